//! Text out: prost writes the messages, the templates in this file the stubs beside them.
//!
//! The templates spell out every path, because a message may well be called `Result` or `Send`.

mod shapes;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use prost_build::{Comments, Module, ServiceGenerator};
use prost_types::FileDescriptorProto;
use prost_types::method_options::IdempotencyLevel;

use crate::error::BuildError;
use crate::fields::Field;
use crate::parse::alias_in_comment;
use crate::plan::{DESCRIPTION, Externs, Method, Package, Plan, Service};
use shapes::Signature;

/// A file to be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// What `include_stubs!` calls it.
    pub(crate) stem: String,
    pub(crate) text: String,
}

/// What the user chose.
#[derive(Debug)]
pub(crate) struct Style<'a> {
    pub(crate) runtime: &'a str,
    pub(crate) bytes: &'a [String],
    pub(crate) type_attributes: &'a [(String, String)],
    pub(crate) externs: &'a Externs,
    pub(crate) include_file: Option<&'a str>,
}

/// Writes one file for each package that has anything in it, and the one that includes them all if it was asked for.
pub(crate) fn emit(plan: Plan, style: &Style<'_>) -> Result<Vec<Output>, BuildError> {
    let mut requests = Vec::new();
    let mut headers = BTreeMap::new();
    let mut services = HashMap::new();
    let mut descriptions = BTreeMap::new();
    for package in plan.packages {
        let header = header(&package);
        let module = package.module;
        if let Some(file) = package.files.first() {
            descriptions.insert(file.package().to_owned(), package.description);
        }
        let files = package.files.into_iter();
        requests.extend(files.map(|file| (module.clone(), file)));
        let planned = package.services.into_iter();
        services.extend(planned.map(|service| (service.full_name.clone(), service)));
        headers.insert(module, (header, package.stem));
    }
    let mut modules = prost(services, plan.large, descriptions, style)
        .generate(requests)
        .map_err(|error| BuildError::Setting {
            text: error.to_string(),
        })?;
    // What prost has nothing to write for is not there.
    headers.retain(|module, _| modules.contains_key(module));

    let tree = style.include_file.map(|stem| Output {
        stem: stem.to_owned(),
        text: tree(headers.iter().map(|(module, (_, stem))| (module, &**stem))),
    });
    let packages = headers.into_iter().map(|(module, (header, stem))| {
        let text = modules
            .remove(&module)
            .expect("the others are not retained");
        let text = text.strip_prefix(PROST_HEADER).unwrap_or(&text);
        let text = header + &lenient(text);
        Output { stem, text }
    });
    Ok(packages.chain(tree).collect())
}

fn prost(
    services: HashMap<String, Service>,
    large: HashMap<String, Vec<Field>>,
    descriptions: BTreeMap<String, Vec<u8>>,
    style: &Style<'_>,
) -> prost_build::Config {
    let mut config = prost_build::Config::new();
    config
        .prost_path(format!("{}::stub::prost", style.runtime))
        .compile_well_known_types()
        .bytes(style.bytes)
        .service_generator(Box::new(Stubs {
            runtime: style.runtime.to_owned(),
            services,
            large,
            descriptions,
            blocking: BTreeMap::new(),
        }));
    for (proto, rust) in style.externs {
        config.extern_path(proto, rust);
    }
    for (path, attribute) in style.type_attributes {
        config.type_attribute(path, attribute);
    }
    config
}

/// What prost asks to write whatever belongs to services, with all types resolved.
struct Stubs {
    runtime: String,
    services: HashMap<String, Service>,
    large: HashMap<String, Vec<Field>>,
    descriptions: BTreeMap<String, Vec<u8>>,
    /// The traits that belong into the module `blocking` of each package.
    blocking: BTreeMap<String, String>,
}

impl ServiceGenerator for Stubs {
    fn generate(&mut self, resolved: prost_build::Service, out: &mut String) {
        let full_name = match &*resolved.package {
            "" => resolved.proto_name.clone(),
            package => format!("{package}.{}", resolved.proto_name),
        };
        let stub = Stub {
            r: &self.runtime,
            service: &self.services[&full_name],
            large: &self.large,
            resolved: &resolved,
        };
        out.push_str(&stub.table());
        out.push_str(&stub.handler());
        out.push_str(&stub.server());
        out.push_str(&stub.client());
        let blocking = self.blocking.entry(resolved.package.clone()).or_default();
        blocking.push_str(&stub.blocking_handler());
    }

    fn finalize_package(&mut self, package: &str, out: &mut String) {
        if let Some(traits) = self.blocking.remove(package) {
            let description = self.descriptions.remove(package).unwrap_or_default();
            out.push_str(&description_text(&description));
            let traits = traits.trim_end();
            let _ = write!(
                out,
                "
/// The services of this package for handlers whose methods are plain `fn`.
pub mod blocking {{
{traits}
}}
"
            );
        }
    }
}

/// The templates for one service.
struct Stub<'a> {
    /// The crate that generated code names: everything the stubs need is in it.
    r: &'a str,
    service: &'a Service,
    large: &'a HashMap<String, Vec<Field>>,
    resolved: &'a prost_build::Service,
}

impl Stub<'_> {
    fn table(&self) -> String {
        let r = self.r;
        let Service {
            full_name, table, ..
        } = self.service;
        let rows = self.each_method(|i, method, types| {
            let Method {
                name,
                path,
                alias,
                shape,
                ..
            } = method;
            let request = self.message_type(&types.input_proto_type, &types.input_type);
            let reply = self.message_type(&types.output_proto_type, &types.output_type);
            let idempotency = match method.idempotency {
                IdempotencyLevel::IdempotencyUnknown => "Unknown",
                IdempotencyLevel::NoSideEffects => "NoSideEffects",
                IdempotencyLevel::Idempotent => "Idempotent",
            };
            format!(
                "        {r}::MethodDescriptor {{
            index: {i},
            name: {name:?},
            path: {path:?},
            alias: {alias:?},
            service: {full_name:?},
            idempotency: {r}::Idempotency::{idempotency},
            shape: {r}::Shape::{shape:?},
            request: {request},
            reply: {reply},
        }},
"
            )
        });
        format!(
            "
/// What is known of `{full_name}` before any call is made.
pub static {table}: {r}::ServiceDescriptor = {r}::ServiceDescriptor {{
    name: {full_name:?},
    methods: &[
{rows}    ],
}};
"
        )
    }

    /// What is known of the message at `path`, which is `rust` here.
    fn message_type(&self, path: &str, rust: &str) -> String {
        let r = self.r;
        let name = path.trim_start_matches('.');
        let large = match self.large.get(path) {
            None => "::core::option::Option::None".to_owned(),
            Some(fields) => {
                let fields = fields.iter();
                let fields: Vec<_> = fields
                    .map(|Field { ident, number }| format!("({number}, &mut it.{ident})"))
                    .collect();
                let fields = fields.join(", ");
                format!(
                    "::core::option::Option::Some(|it| {{
                    {r}::stub::take_largest(it, |it: &mut {rust}| [{fields}])
                }})"
                )
            }
        };
        format!(
            "{r}::MessageType {{
                name: {name:?},
                files: {DESCRIPTION},
                large: {large},
            }}"
        )
    }

    fn handler(&self) -> String {
        let r = self.r;
        let name = &self.resolved.name;
        let docs = self.handler_docs(0);
        let deprecated = self.deprecated(0);
        let methods = self.each_method(|i, method, types| {
            let ident = &method.ident;
            let docs = method_docs(types, method, &format!("Answers `{}`.", method.name), 1);
            let gap = if i == 0 { "" } else { "\n" };
            let signature =
                Signature::new(r, method.shape, &types.input_type, &types.output_type);
            let (parameters, output) = (signature.parameters("        "), &signature.output);
            format!(
                "{gap}{docs}    fn {ident}(
        &self,
        cx: &{r}::Context,
{parameters}    ) -> impl ::core::future::Future<Output = ::core::result::Result<{output}, {r}::Status>> + ::core::marker::Send;
"
            )
        });
        format!(
            "
{docs}///
/// The methods of a handler are written as `async fn`; [`blocking::{name}`] has them as plain `fn`.
{deprecated}pub trait {name}: ::core::marker::Send + ::core::marker::Sync + 'static {{
{methods}}}
"
        )
    }

    fn blocking_handler(&self) -> String {
        let r = self.r;
        let name = &self.resolved.name;
        let docs = self.handler_docs(1);
        let deprecated = self.deprecated(1);
        let methods = self.each_method(|i, method, types| {
            let ident = &method.ident;
            let docs = method_docs(types, method, &format!("Answers `{}`.", method.name), 2);
            let gap = if i == 0 { "" } else { "\n" };
            let (input, output) = (inside(&types.input_type), inside(&types.output_type));
            let signature = Signature::new(r, method.shape, &input, &output);
            let (parameters, output) = (signature.parameters("            "), &signature.output);
            format!(
                "{gap}{docs}        fn {ident}(
            &self,
            cx: &{r}::Context,
{parameters}        ) -> ::core::result::Result<{output}, {r}::Status>;
"
            )
        });
        format!(
            "{docs}{deprecated}    pub trait {name}: ::core::marker::Send + ::core::marker::Sync + 'static {{
{methods}    }}

"
        )
    }

    fn server(&self) -> String {
        let r = self.r;
        let name = &self.resolved.name;
        let deprecated = self.deprecated(0);
        let full_name = &self.service.full_name;
        let table = &self.service.table;
        let new = self.mount(name, ".await");
        let blocking = self.mount(&format!("blocking::{name}"), "");
        format!(
            "
/// Makes handlers the service `{full_name}`, for a server or a router to mount.
#[derive(Clone, Copy, Debug)]
{deprecated}pub struct {name}Server;

impl {name}Server {{
    /// What is known of the service before any call is made.
    pub const DESCRIPTOR: &'static {r}::ServiceDescriptor = &{table};

    /// Mounts a handler whose methods are `async fn`.
    pub fn new(handler: impl {name}) -> {r}::Mount<impl {r}::Service + 'static> {{
{new}    }}

    /// Mounts a handler whose methods are plain `fn`.
    pub fn blocking(handler: impl blocking::{name}) -> {r}::Mount<impl {r}::Service + 'static> {{
{blocking}    }}
}}
"
        )
    }

    /// The only code with something to do: from the method's place in the table to the handler's method.
    fn mount(&self, handler: &str, wait: &str) -> String {
        let r = self.r;
        let arms = self.each_method(|i, method, _| {
            let call = format!("{handler}::{}", method.ident);
            let served = shapes::served(r, method.shape, &call, wait);
            format!("                    {i} => {{\n{served}                    }}\n")
        });
        format!(
            "        struct Stub<H>(H);

        impl<H: {handler}> {r}::Service for Stub<H> {{
            async fn call(&self, request: {r}::Request) -> ::core::result::Result<{r}::Response, {r}::Status> {{
                match request.method().index {{
{arms}                    _ => Err({r}::stub::no_such_method(&request)),
                }}
            }}
        }}

        {r}::Mount::new(Self::DESCRIPTOR, Stub(handler))
"
        )
    }

    fn client(&self) -> String {
        let r = self.r;
        let name = &self.resolved.name;
        let Service {
            full_name, table, ..
        } = self.service;
        let deprecated = self.deprecated(0);
        let comment = docs(&self.resolved.comments, "", 0);
        let gap = if comment.is_empty() { "" } else { "///\n" };
        let methods = self.each_method(|i, method, types| {
            let ident = &method.ident;
            let docs = method_docs(types, method, &format!("Calls `{}`.", method.name), 1);
            let (input, output) = (beside_s(&types.input_type), beside_s(&types.output_type));
            let row = format!("&{table}.methods[{i}]");
            let called = shapes::called(r, method.shape, input, output, &row);
            format!("\n{docs}    pub fn {ident}{called}")
        });
        format!(
            "
/// Calls `{full_name}` through a channel, or through any other service.
{gap}{comment}#[derive(Clone, Debug)]
{deprecated}pub struct {name}Client<S> {{
    service: S,
}}

impl<S: {r}::Service + ::core::clone::Clone + 'static> {name}Client<S> {{
    /// A client that calls through `service`. Each call clones it.
    pub fn new(service: S) -> Self {{
        Self {{ service }}
    }}
{methods}}}
"
        )
    }

    fn handler_docs(&self, depth: u8) -> String {
        let otherwise = format!("Handles the calls of `{}`.", self.service.full_name);
        docs(&self.resolved.comments, &otherwise, depth)
    }

    fn deprecated(&self, depth: u8) -> String {
        deprecated(self.resolved.options.deprecated(), depth)
    }

    fn each_method(
        &self,
        write: impl Fn(usize, &Method, &prost_build::Method) -> String,
    ) -> String {
        let planned = self.service.methods.iter();
        planned
            .zip(&self.resolved.methods)
            .enumerate()
            .map(|(i, (method, types))| write(i, method, types))
            .collect()
    }
}

/// The comments of the method without the line that was read as its alias, and whether it is deprecated.
fn method_docs(
    resolved: &prost_build::Method,
    planned: &Method,
    otherwise: &str,
    depth: u8,
) -> String {
    let mut comments = resolved.comments.clone();
    for lines in [&mut comments.leading, &mut comments.trailing] {
        lines.retain(|line| {
            let alias = alias_in_comment(line);
            alias.is_none() || alias != planned.alias.as_deref()
        });
    }
    docs(&comments, otherwise, depth) + &deprecated(resolved.options.deprecated(), depth)
}

fn docs(comments: &Comments, otherwise: &str, depth: u8) -> String {
    let mut comments = comments.clone();
    comments.leading_detached.clear();
    if comments.leading.is_empty() && comments.trailing.is_empty() && !otherwise.is_empty() {
        comments.leading.push(format!(" {otherwise}"));
    }
    let mut text = String::new();
    comments.append_with_indent(depth, &mut text);
    text
}

fn deprecated(is_deprecated: bool, depth: u8) -> String {
    if is_deprecated {
        indent(depth.into()) + "#[deprecated]\n"
    } else {
        String::new()
    }
}

/// A type as it is called one module further in.
fn inside(path: &str) -> String {
    let is_the_same_everywhere = path.starts_with("::")
        || path.starts_with("crate::")
        || matches!(
            path,
            "()" | "bool" | "f32" | "f64" | "i32" | "i64" | "u32" | "u64"
        );
    if is_the_same_everywhere {
        path.to_owned()
    } else {
        format!("super::{path}")
    }
}

/// A type as it is called where `S` is the type of the client's service.
fn beside_s(path: &str) -> &str {
    match path {
        "S" => "self::S",
        path => path,
    }
}

fn header(package: &Package) -> String {
    let files: Vec<&str> = package
        .files
        .iter()
        .map(FileDescriptorProto::name)
        .collect();
    let mut header = format!(
        "// @generated by rpc-build from {}. Change it there.\n\n",
        files.join(", ")
    );
    for path in &package.reaches {
        // The compiler shows the line, and with it the remedy, when the modules are not nested like the packages.
        let _ = writeln!(
            header,
            "#[allow(unused_imports)]\nuse {path} as _; // not found? include all packages at once: Config::include_file\n"
        );
    }
    header
}

/// The static with what is known of a package's messages. White space is escaped, as some of it would be lost where a
/// line goes on.
fn description_text(description: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b' ' => "\\x20".to_owned(),
        byte => byte.escape_ascii().to_string(),
    };
    let lines = description.chunks(40).map(|line| {
        let escaped: String = line.iter().map(escape).collect();
        format!("    {escaped}\\\n")
    });
    format!(
        "
/// What the .proto files say of the messages of this package, as a `google.protobuf.FileDescriptorSet`.
pub static {DESCRIPTION}: &[u8] = b\"\\
{}\";
",
        lines.collect::<String>()
    )
}

/// Modules nested like the packages, so that the paths in the messages find each other.
fn tree<'a>(packages: impl Iterator<Item = (&'a Module, &'a str)>) -> String {
    let mut text =
        "// @generated by rpc-build: all packages, nested as their names say.\n\n".to_owned();
    let mut open: Vec<&str> = Vec::new();
    let close = |open: &mut Vec<&str>, text: &mut String| {
        open.pop();
        let _ = writeln!(text, "{}}}", indent(open.len()));
    };
    for (module, stem) in packages {
        let parts: Vec<&str> = module.parts().collect();
        while !parts.starts_with(&open) {
            close(&mut open, &mut text);
        }
        for part in &parts[open.len()..] {
            let (indent, package) = (indent(open.len()), dotted(&open, part));
            let _ = writeln!(text, "{indent}/// The proto package `{package}`.");
            if open.is_empty() {
                let _ = writeln!(text, "{LENIENT}");
            }
            let _ = writeln!(text, "{indent}pub mod {part} {{");
            open.push(part);
        }
        let _ = writeln!(
            text,
            "{}include!({:?});",
            indent(open.len()),
            format!("{stem}.rs")
        );
    }
    while !open.is_empty() {
        close(&mut open, &mut text);
    }
    text
}

fn dotted(parents: &[&str], part: &str) -> String {
    let parts = parents.iter().chain([&part]);
    let plain = parts.map(|part| part.trim_start_matches("r#"));
    plain.collect::<Vec<_>>().join(".")
}

fn indent(depth: usize) -> String {
    "    ".repeat(depth)
}

/// Puts [`LENIENT`] before each item: a file that is included cannot have one attribute for all of it.
fn lenient(text: &str) -> String {
    let mut lenient = String::with_capacity(text.len() * 2);
    let mut indent = "";
    for line in text.lines() {
        if line.starts_with("pub ") || line.starts_with("impl") {
            let _ = writeln!(lenient, "{LENIENT}");
        }
        // prost forgets to indent this one.
        if line.starts_with("#[prost(prost_path") {
            lenient.push_str(indent);
        }
        let _ = writeln!(lenient, "{line}");
        indent = &line[..line.len() - line.trim_start().len()];
    }
    lenient
}

/// What a user's lints may say about hand-written code and should not say about stubs.
const LENIENT: &str = "#[allow(missing_docs, missing_debug_implementations, dead_code, deprecated, unreachable_pub, \
                       unused_qualifications, clippy::all, clippy::pedantic, clippy::nursery)]";

const PROST_HEADER: &str = "// This file is @generated by prost-build.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_called_differently_from_the_inside_unless_their_path_is_absolute() {
        assert_eq!(inside("Hello"), "super::Hello");
        assert_eq!(inside("hello::Inner"), "super::hello::Inner");
        assert_eq!(inside("super::common::Id"), "super::super::common::Id");
        assert_eq!(inside("::prost_types::Any"), "::prost_types::Any");
        assert_eq!(inside("crate::Id"), "crate::Id");
        assert_eq!(inside("()"), "()");
        assert_eq!(inside("i64"), "i64");
    }

    #[test]
    fn each_item_and_nothing_inside_of_it_is_marked() {
        let text = "/// A.\n#[derive(A)]\n#[prost(prost_path = \"p\")]\npub struct A {\n    pub a: i32,\n}\nimpl A {\n}\n\
                    pub mod a {\n    #[derive(A)]\n#[prost(prost_path = \"p\")]\n    pub struct B;\n}\n";
        let expected = format!(
            "/// A.\n#[derive(A)]\n#[prost(prost_path = \"p\")]\n{LENIENT}\npub struct A {{\n    pub a: i32,\n}}\n\
             {LENIENT}\nimpl A {{\n}}\n\
             {LENIENT}\npub mod a {{\n    #[derive(A)]\n    #[prost(prost_path = \"p\")]\n    pub struct B;\n}}\n"
        );
        assert_eq!(lenient(text), expected);
    }
}
