//! Descriptors in: .proto files become [`Source`]s, with the line of everything that may have to be complained about.

use std::path::{Component, Path, PathBuf};

use prost_types::method_options::IdempotencyLevel;
use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, FileDescriptorProto};
use protox::Compiler;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};
use protox::prost_reflect::{MethodDescriptor, ServiceDescriptor, Value};

use crate::error::{BuildError, Position};

/// One .proto file, listed or imported.
#[derive(Debug)]
pub(crate) struct Source {
    /// What imports call it.
    pub(crate) name: String,
    /// Where it was read. `None` if it is built in.
    pub(crate) path: Option<PathBuf>,
    /// Its place in the list that was to be compiled. `None` if it was only imported.
    pub(crate) listed: Option<usize>,
    pub(crate) descriptor: FileDescriptorProto,
    pub(crate) types: Vec<Type>,
    pub(crate) services: Vec<Service>,
}

/// A message or enum that is not inside of another.
#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) name: String,
    /// "message" or "enum".
    pub(crate) kind: &'static str,
    pub(crate) at: Position,
    /// Whether there is more inside of it, which goes to a Rust module of its name.
    pub(crate) has_inner: bool,
}

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// With the package.
    pub(crate) full_name: String,
    pub(crate) at: Position,
    pub(crate) methods: Vec<Method>,
}

#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) at: Position,
    pub(crate) shape: Shape,
    pub(crate) alias: Option<String>,
    pub(crate) idempotency: IdempotencyLevel,
}

/// How many messages a call of a method has, each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Unary,
    ClientStream,
    ServerStream,
    Duplex,
}

impl Shape {
    fn of(method: &MethodDescriptor) -> Self {
        match (method.is_client_streaming(), method.is_server_streaming()) {
            (false, false) => Self::Unary,
            (true, false) => Self::ClientStream,
            (false, true) => Self::ServerStream,
            (true, true) => Self::Duplex,
        }
    }
}

/// Reads the files in the list and all they import. A file comes after those it imports.
///
/// Imports are searched in `includes`, then in the directories of listed files that are in none of `includes`.
pub(crate) fn read(
    listed: &[&Path],
    includes: &[PathBuf],
    comment_alias: bool,
) -> Result<Vec<Source>, BuildError> {
    let listed: Vec<PathBuf> = listed.iter().map(|path| tidy(path)).collect();
    if let Some(path) = listed.iter().find(|path| !path.is_file()) {
        return Err(BuildError::NoSuchFile { path: path.clone() });
    }
    let searched = search_path(&listed, includes);
    refuse_shadowed(&listed, &searched)?;

    let mut compiler = Compiler::with_file_resolver(resolver(&searched));
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&listed)
        .map_err(|error| explain(&error, &searched))?;

    let pool = compiler.descriptor_pool();
    let sources = compiler.files().zip(pool.files());
    Ok(sources
        .map(|(file, descriptor)| {
            let place = listed
                .iter()
                .position(|path| file.path() == Some(path.as_path()));
            let lines = Lines {
                file: file.path().unwrap_or(Path::new(file.name())),
                locations: locations(descriptor.file_descriptor_proto()),
            };
            Source {
                name: file.name().to_owned(),
                path: file.path().map(Path::to_owned),
                listed: (!file.is_import()).then(|| place.unwrap_or(usize::MAX)),
                types: types(descriptor.file_descriptor_proto(), &lines),
                services: descriptor
                    .services()
                    .map(|service| declared_service(&service, &lines, comment_alias))
                    .collect(),
                descriptor: descriptor.file_descriptor_proto().clone(),
            }
        })
        .collect())
}

/// Where an `@alias` comment says so, the second path of a method.
pub(crate) fn alias_in_comment(line: &str) -> Option<&str> {
    let path = line.trim().strip_prefix("@alias=")?.trim();
    (!path.is_empty()).then_some(path)
}

fn types(file: &FileDescriptorProto, lines: &Lines<'_>) -> Vec<Type> {
    let messages = file
        .message_type
        .iter()
        .enumerate()
        .map(|(i, message)| Type {
            name: message.name().to_owned(),
            kind: "message",
            at: lines.at(&[FILE_MESSAGE, place(i)]),
            has_inner: has_inner(message),
        });
    let enums = file.enum_type.iter().enumerate().map(|(i, this)| Type {
        name: this.name().to_owned(),
        kind: "enum",
        at: lines.at(&[FILE_ENUM, place(i)]),
        has_inner: false,
    });
    messages.chain(enums).collect()
}

fn has_inner(message: &DescriptorProto) -> bool {
    let is_map_entry = |inner: &DescriptorProto| {
        let options = inner.options.as_ref();
        options.is_some_and(prost_types::MessageOptions::map_entry)
    };
    !message.nested_type.iter().all(is_map_entry)
        || !message.enum_type.is_empty()
        || message
            .field
            .iter()
            .any(|field| field.oneof_index.is_some() && !field.proto3_optional())
}

fn declared_service(
    service: &ServiceDescriptor,
    lines: &Lines<'_>,
    comment_alias: bool,
) -> Service {
    Service {
        name: service.name().to_owned(),
        full_name: service.full_name().to_owned(),
        at: lines.at(service.path()),
        methods: service
            .methods()
            .map(|method| declared_method(&method, lines, comment_alias))
            .collect(),
    }
}

fn declared_method(method: &MethodDescriptor, lines: &Lines<'_>, comment_alias: bool) -> Method {
    let from_comment = || comment_alias.then(|| lines.alias(method.path())).flatten();
    let options = method.method_descriptor_proto().options.as_ref();
    Method {
        name: method.name().to_owned(),
        at: lines.at(method.path()),
        shape: Shape::of(method),
        alias: alias_option(method).or_else(from_comment),
        idempotency: options.map_or(
            IdempotencyLevel::IdempotencyUnknown,
            prost_types::MethodOptions::idempotency_level,
        ),
    }
}

/// The option is known by its number, so that it does not matter which file declares it.
fn alias_option(method: &MethodDescriptor) -> Option<String> {
    let options = method.options();
    let (_, value) = options
        .extensions()
        .find(|(extension, _)| extension.number() == ALIAS)?;
    match value {
        Value::String(alias) if !alias.is_empty() => Some(alias.clone()),
        _ => None,
    }
}

/// Where the things in a file are declared.
struct Lines<'a> {
    file: &'a Path,
    locations: &'a [Location],
}

impl Lines<'_> {
    fn at(&self, path: &[i32]) -> Position {
        let first_line = self.location(path).and_then(|it| it.span.first());
        Position {
            file: self.file.to_owned(),
            line: first_line.map_or(1, |&line| usize::try_from(line).unwrap_or(0) + 1),
        }
    }

    fn alias(&self, path: &[i32]) -> Option<String> {
        let location = self.location(path)?;
        let mut lines = [location.leading_comments(), location.trailing_comments()]
            .into_iter()
            .flat_map(str::lines);
        lines.find_map(alias_in_comment).map(str::to_owned)
    }

    fn location(&self, path: &[i32]) -> Option<&Location> {
        self.locations.iter().find(|it| it.path == path)
    }
}

fn locations(file: &FileDescriptorProto) -> &[Location] {
    file.source_code_info
        .as_ref()
        .map_or(&[], |info| &info.location)
}

fn place(index: usize) -> i32 {
    i32::try_from(index).expect("a file has fewer declarations than bytes, and those are bounded")
}

/// Paths as they look without `./`, so that they can be compared.
fn tidy(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .collect()
}

/// The upper directories come first, so that a file below two of them has the longer name, as imports usually do.
fn search_path(listed: &[PathBuf], includes: &[PathBuf]) -> Vec<PathBuf> {
    let mut searched: Vec<PathBuf> = includes.iter().map(|include| tidy(include)).collect();
    let mut parents: Vec<PathBuf> = listed
        .iter()
        .filter(|path| {
            !searched
                .iter()
                .any(|include| below(path, include).is_some())
        })
        .filter_map(|path| path.parent().map(Path::to_owned))
        .collect();
    parents.sort_by_key(|parent| parent.components().count());
    for parent in parents {
        if !searched.contains(&parent) {
            searched.push(parent);
        }
    }
    searched
}

fn refuse_shadowed(listed: &[PathBuf], searched: &[PathBuf]) -> Result<(), BuildError> {
    for path in listed {
        let Some(name) = searched.iter().find_map(|include| below(path, include)) else {
            continue;
        };
        match find(name, searched) {
            Some(by) if by != *path => {
                let path = path.clone();
                return Err(BuildError::Shadowed { path, by });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What imports call the file at `path` if `include` is searched.
fn below<'a>(path: &'a Path, include: &Path) -> Option<&'a Path> {
    let name = path.strip_prefix(include).ok()?;
    let is_plain = |part| matches!(part, Component::Normal(_));
    name.components().all(is_plain).then_some(name)
}

fn find(name: &Path, searched: &[PathBuf]) -> Option<PathBuf> {
    searched
        .iter()
        .map(|include| include.join(name))
        .find(|path| path.is_file())
}

/// The user's directories first: who has a file of that name means it.
fn resolver(searched: &[PathBuf]) -> ChainFileResolver {
    let mut chain = ChainFileResolver::new();
    for include in searched {
        chain.add(IncludeFileResolver::new(include.clone()));
    }
    chain.add(BuiltIn);
    chain.add(GoogleFileResolver::new());
    chain
}

/// The options of tRPC, which nobody needs to have a copy of.
struct BuiltIn;

impl FileResolver for BuiltIn {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "trpc.proto" => File::from_source(name, include_str!("../proto/trpc.proto")),
            "trpc/proto/trpc_options.proto" => {
                File::from_source(name, include_str!("../proto/trpc/proto/trpc_options.proto"))
            }
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// protox names files as imports do; people look for them where they lie. Its `Debug` has line and column.
fn explain(error: &protox::Error, searched: &[PathBuf]) -> BuildError {
    let mut text = format!("{error:?}");
    let found = error
        .file()
        .and_then(|name| Some((name, find(Path::new(name), searched)?)));
    if let Some((name, path)) = found
        && let Some(rest) = text.strip_prefix(name)
    {
        text = format!("{}{rest}", path.display());
    }
    if error.is_file_not_found() {
        let searched = searched.to_owned();
        return BuildError::Import { text, searched };
    }
    BuildError::Invalid { text }
}

/// `(trpc.alias)`, an extension of `google.protobuf.MethodOptions`.
const ALIAS: u32 = 50001;

/// Field numbers of `google.protobuf.FileDescriptorProto`, of which the paths of locations are made.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn imports_are_searched_beside_the_files_the_upper_directories_first() {
        let listed = paths(&["a/b/x.proto", "a/y.proto", "a/b/z.proto"]);
        assert_eq!(search_path(&listed, &[]), paths(&["a", "a/b"]));
    }

    #[test]
    fn a_named_directory_stands_for_the_files_below_it() {
        let listed = paths(&["proto/demo/x.proto", "other/y.proto"]);
        assert_eq!(
            search_path(&listed, &paths(&["./proto"])),
            paths(&["proto", "other"])
        );
    }

    #[test]
    fn the_current_directory_stands_for_what_is_below_it_only() {
        let listed = paths(&["x.proto", "../y.proto", "/z/z.proto"]);
        assert_eq!(
            search_path(&listed, &paths(&["."])),
            paths(&["", "..", "/z"])
        );
    }

    #[test]
    fn an_alias_is_a_comment_of_its_own_line() {
        assert_eq!(alias_in_comment("@alias=/hi"), Some("/hi"));
        assert_eq!(alias_in_comment(" @alias=/hi "), Some("/hi"));
        assert_eq!(alias_in_comment("see @alias=/hi"), None);
        assert_eq!(alias_in_comment("@alias="), None);
    }
}
