//! Generates Tern stubs from .proto files, in pure Rust: nobody needs protoc.
//!
//! A build script of one line:
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), rpc_build::BuildError> {
//!     rpc_build::compile(&["proto/greeter.proto"])
//! }
//! ```
//!
//! and a module that includes what it wrote, by the name of the proto package:
//!
//! ```ignore
//! mod pb { tern::include_stubs!("demo.greeter"); }
//! use pb::{Greeter, GreeterClient, GreeterServer, HelloReply, HelloRequest};
//! ```
//!
//! # What is in a package
//!
//! The messages, as prost writes them, and for `service Greeter`:
//!
//! * `Greeter` – the trait of handlers whose methods are `async fn`
//! * `blocking::Greeter` – the same for plain `fn`; all services of a package share the module
//! * `GreeterServer` – `new` and `blocking` make a handler something to mount; `DESCRIPTOR` describes it
//! * `GreeterClient` – calls the service through a channel, a router or a mock
//! * `GREETER` – the static table behind them
//! * `FILE_DESCRIPTOR_SET` – what the .proto files say of the messages, for formats such as JSON
//!
//! A method's name in Rust is its name in snake case, escaped if it is a keyword: `rpc Type` becomes `r#type`.
//! `rpc New` becomes `new_`, because `new` makes the client. On the wire a method has the name in the .proto file.
//! Comments become documentation, `deprecated` becomes `#[deprecated]`, and the options `idempotency_level` and
//! `(trpc.alias)` go to the table. The files that declare the alias, `trpc/proto/trpc_options.proto` and `trpc.proto`,
//! are built in; one of that name in an include directory comes first.
//!
//! A method with `stream` before its request takes an `Inbound` of them, one with `stream` before its reply an
//! `Outbound`, in both traits; its client method gives a `StreamCall` to open. All three are in `tern::stream`.
//!
//! Stubs are made for the services of listed files. Imported files give their messages only.
//!
//! # Which file is called what
//!
//! Each proto package is one file, and the package is its name. Files without a package are one file too, called after
//! the first of them in the list: `plain.proto` is included by `include_stubs!("plain")`.
//!
//! Packages that refer to each other do so by `super::`, in modules nested as the packages are. A file that includes
//! them all, nested like this, is written by [`Config::include_file`].
//!
//! # Well-known types
//!
//! `google.protobuf.Empty` is `()`, and the wrappers (`StringValue`, `Int64Value` and so on) are what they wrap. Other
//! types of `google.protobuf` are generated when something refers to them, as one more package. Who would rather have
//! those of the crate `prost-types`, with their conversions to the types of std, depends on it and says so:
//!
//! ```no_run
//! # fn main() -> Result<(), rpc_build::BuildError> {
//! rpc_build::Config::new()
//!     .extern_path(".google.protobuf", "::prost_types")
//!     .compile(&["proto/greeter.proto"])
//! # }
//! ```
//!
//! # What is not there yet
//!
//! Files of an `edition` instead of `proto2` or `proto3` are refused. Code blocks in comments become code blocks in the
//! documentation, which rustdoc takes for tests unless they are marked as `text`.
//!
//! # Lints
//!
//! Stubs compile without warnings in a crate that denies `warnings`, `missing_docs`, `clippy::all`, `clippy::pedantic`
//! and `clippy::nursery`. They cannot do that where a lint is forbidden, because `forbid` refuses exceptions.
//!
//! # Layout
//!
//! * `parse` – descriptors in: reads .proto files and keeps the line of everything
//! * `plan` – what to emit, and everything that is refused
//! * `describe` – what stubs know of their messages at run time
//! * `fields` – which fields of a message can be sent without a copy
//! * `emit` – text out: the templates
//! * `error` – [`BuildError`], which names the file, the line and the remedy

mod describe;
mod emit;
mod error;
mod fields;
mod parse;
mod plan;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use error::{BuildError, Position};

/// Generates the stubs of these files into `OUT_DIR`, with the settings of [`Config::new`].
///
/// Paths are relative to the directory of the package's Cargo.toml, where build scripts run. Cargo is told to run the
/// build script again when one of the files, or of those they import, has changed.
///
/// # Errors
///
/// When there is no such file, when it is not valid, when its stubs could not be compiled, when they cannot be written.
pub fn compile(protos: &[impl AsRef<Path>]) -> Result<(), BuildError> {
    Config::new().compile(protos)
}

/// How stubs are generated.
///
/// ```no_run
/// # fn main() -> Result<(), rpc_build::BuildError> {
/// rpc_build::Config::new()
///     .include("proto")
///     .bytes(["."])
///     .compile(&["proto/demo/greeter.proto", "proto/demo/report.proto"])
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is generated until `compile` is called"]
pub struct Config {
    includes: Vec<PathBuf>,
    runtime: String,
    bytes: Vec<String>,
    externs: plan::Externs,
    type_attributes: Vec<(String, String)>,
    out_dir: Option<PathBuf>,
    include_file: Option<String>,
    comment_alias: bool,
}

impl Config {
    /// Stubs for the crate `tern`, in `OUT_DIR`.
    pub fn new() -> Self {
        Self {
            includes: Vec::new(),
            runtime: "::tern".to_owned(),
            bytes: Vec::new(),
            externs: plan::Externs::new(),
            type_attributes: Vec::new(),
            out_dir: None,
            include_file: None,
            comment_alias: false,
        }
    }

    /// Searches imports in this directory too. Directories are searched in the order they are named in; the directory of
    /// a listed file is searched without being named, unless the file is below one that is.
    pub fn include(mut self, directory: impl Into<PathBuf>) -> Self {
        self.includes.push(directory.into());
        self
    }

    /// The crate that the stubs use, `::tern` unless this says otherwise. Who depends on `rpc-core` alone says
    /// `::rpc_core`.
    pub fn runtime(mut self, path: impl Into<String>) -> Self {
        self.runtime = path.into();
        self
    }

    /// Makes fields of the type `bytes` [`Bytes`](https://docs.rs/bytes) where they are `Vec<u8>` otherwise: all of them
    /// for `"."`, or those of a package, message or field: `".demo.Blob.content"`. Large blobs gain by it, small ones do
    /// not.
    pub fn bytes<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.bytes.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Uses a Rust type for a proto type, or a Rust module for a proto package, instead of generating them. The proto
    /// path begins with a dot, the Rust path with `::` or `crate::`.
    pub fn extern_path(mut self, proto: impl Into<String>, rust: impl Into<String>) -> Self {
        self.externs.insert(proto.into(), rust.into());
        self
    }

    /// Puts an attribute before the messages and enums at `path`, written as in [`Config::bytes`].
    pub fn type_attribute(mut self, path: impl Into<String>, attribute: impl Into<String>) -> Self {
        self.type_attributes.push((path.into(), attribute.into()));
        self
    }

    /// Writes to this directory instead of `OUT_DIR`.
    pub fn out_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(directory.into());
        self
    }

    /// Also writes a file of this name that includes all packages, in modules nested as they are:
    ///
    /// ```ignore
    /// // after `include_file("pb")`
    /// mod pb { tern::include_stubs!("pb"); }
    /// use pb::demo::greeter::Greeter;
    /// ```
    pub fn include_file(mut self, name: impl Into<String>) -> Self {
        self.include_file = Some(name.into());
        self
    }

    /// Whether a comment line `//@alias=/some/path` at a method is its alias. The option `(trpc.alias)` is read in any
    /// case, and wins.
    pub fn comment_alias(mut self, is_read: bool) -> Self {
        self.comment_alias = is_read;
        self
    }

    /// Generates the stubs of these files.
    ///
    /// # Errors
    ///
    /// Those of [`compile`], and when a setting makes no sense.
    pub fn compile(&self, protos: &[impl AsRef<Path>]) -> Result<(), BuildError> {
        let out_dir = self.where_to_write()?;
        let externs = self.all_externs()?;
        let listed: Vec<&Path> = protos.iter().map(AsRef::as_ref).collect();

        let sources = parse::read(&listed, &self.includes, self.comment_alias)?;
        let paths: Vec<PathBuf> = sources.iter().filter_map(|it| it.path.clone()).collect();
        let include_file = self.include_file.as_deref();
        let plan = plan::Plan::new(sources, &externs, include_file)?;
        let style = emit::Style {
            runtime: &self.runtime,
            bytes: &self.bytes,
            type_attributes: &self.type_attributes,
            externs: &externs,
            include_file,
        };
        for output in emit::emit(plan, &style)? {
            write_if_changed(&out_dir.join(format!("{}.rs", output.stem)), &output.text)?;
        }
        tell_cargo(&paths);
        Ok(())
    }

    fn where_to_write(&self) -> Result<PathBuf, BuildError> {
        let named = self.out_dir.clone();
        named
            .or_else(|| env::var_os("OUT_DIR").map(PathBuf::from))
            .ok_or(BuildError::OutDirUnset)
    }

    fn all_externs(&self) -> Result<plan::Externs, BuildError> {
        for (proto, rust) in &self.externs {
            let remedy = if !proto.starts_with('.') {
                "begin the proto path with a dot"
            } else if !rust.starts_with("::") && !rust.starts_with("crate::") {
                "begin the Rust path with :: or crate::, because stubs use it in modules of any depth"
            } else {
                continue;
            };
            let text = format!("extern_path({proto:?}, {rust:?}): {remedy}");
            return Err(BuildError::Setting { text });
        }
        let alloc = format!("{}::stub::prost::alloc", self.runtime);
        let well_known = [
            ("Empty", "()".to_owned()),
            ("BoolValue", "bool".to_owned()),
            ("BytesValue", format!("{alloc}::vec::Vec<u8>")),
            ("DoubleValue", "f64".to_owned()),
            ("FloatValue", "f32".to_owned()),
            ("Int32Value", "i32".to_owned()),
            ("Int64Value", "i64".to_owned()),
            ("StringValue", format!("{alloc}::string::String")),
            ("UInt32Value", "u32".to_owned()),
            ("UInt64Value", "u64".to_owned()),
        ];
        let mut externs: plan::Externs = well_known
            .into_iter()
            .map(|(name, rust)| (format!(".google.protobuf.{name}"), rust))
            .collect();
        externs.extend(self.externs.clone());
        Ok(externs)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// A file that stays as it is keeps its time, and whatever includes it is not compiled again.
fn write_if_changed(path: &Path, text: &str) -> Result<(), BuildError> {
    let write = || -> io::Result<()> {
        if fs::read(path).is_ok_and(|present| present == text.as_bytes()) {
            return Ok(());
        }
        fs::write(path, text)
    };
    write().map_err(|source| BuildError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Only in a build script does anybody read this.
fn tell_cargo(paths: &[PathBuf]) {
    if env::var_os("OUT_DIR").is_some() {
        for path in paths {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
}
