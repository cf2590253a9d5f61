//! What to emit: packages, the stubs in them, and every name they need. Pure, and the place where we refuse.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use prost_build::Module;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{DescriptorProto, FileDescriptorProto};

use crate::describe;
use crate::error::{BuildError, Position};
use crate::fields::{self, Field};
use crate::parse::{self, Shape, Source};

/// All that is emitted for one compilation.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) packages: Vec<Package>,
    /// What can be large in the messages that we write, by the path of the message.
    pub(crate) large: HashMap<String, Vec<Field>>,
}

/// One file of stubs.
#[derive(Debug)]
pub(crate) struct Package {
    /// What `include_stubs!` calls it: the proto package, unless that has no name.
    pub(crate) stem: String,
    pub(crate) module: Module,
    pub(crate) files: Vec<FileDescriptorProto>,
    pub(crate) services: Vec<Service>,
    /// One type of each other package that this one refers to, as a path from here.
    pub(crate) reaches: Vec<String>,
    /// A `FileDescriptorSet` of its files and all that they import, if there are services in them.
    pub(crate) description: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Service {
    /// With the package.
    pub(crate) full_name: String,
    /// The name of the static that describes it.
    pub(crate) table: String,
    pub(crate) methods: Vec<Method>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) name: String,
    /// Its name in Rust.
    pub(crate) ident: String,
    pub(crate) path: String,
    pub(crate) alias: Option<String>,
    pub(crate) idempotency: IdempotencyLevel,
    pub(crate) shape: Shape,
}

/// The static that holds what is known of a package's messages.
pub(crate) const DESCRIPTION: &str = "FILE_DESCRIPTOR_SET";

/// Rust types that stand for proto types, which begin with a dot. A package stands for all types in it.
pub(crate) type Externs = BTreeMap<String, String>;

impl Plan {
    /// Plans stubs for the services of listed files, and messages for all files.
    pub(crate) fn new(
        sources: Vec<Source>,
        externs: &Externs,
        include_file: Option<&str>,
    ) -> Result<Self, BuildError> {
        let types = Types::new(&sources, externs);
        let unpackaged = unpackaged_stem(&sources);
        let sources = without_unused_google_files(sources, &types);
        let descriptors: Vec<_> = sources.iter().map(|source| &source.descriptor).collect();
        let mut large = fields::of_text_and_bytes(descriptors.iter().copied());
        // What the user's types have inside is not for us to say, and a wrapper is in Rust what it wraps.
        large.retain(|message, _| {
            !types.is_extern(message) && !message.starts_with(".google.protobuf.")
        });
        let mut descriptions: HashMap<String, Vec<u8>> = listed(&sources)
            .filter(|source| !source.services.is_empty())
            .map(|source| source.descriptor.package())
            .map(|package| (package.to_owned(), describe::package(package, &descriptors)))
            .collect();
        let mut groups: BTreeMap<Module, Vec<Source>> = BTreeMap::new();
        for source in sources {
            let module = Module::from_protobuf_package_name(source.descriptor.package());
            groups.entry(module).or_default().push(source);
        }
        let packages = groups
            .into_iter()
            .map(|(module, sources)| {
                let description = descriptions.remove(sources[0].descriptor.package());
                let description = description.unwrap_or_default();
                Package::new(module, sources, &types, &unpackaged, description)
            })
            .collect::<Result<Vec<_>, _>>()?;
        refuse_same_files(&packages, include_file)?;
        Ok(Self { packages, large })
    }
}

impl Package {
    fn new(
        module: Module,
        sources: Vec<Source>,
        types: &Types<'_>,
        unpackaged: &str,
        description: Vec<u8>,
    ) -> Result<Self, BuildError> {
        let name = sources[0].descriptor.package().to_owned();
        refuse_same_module(&name, &module, &sources)?;
        refuse_taken_names(&sources)?;
        let services = listed(&sources)
            .flat_map(|source| &source.services)
            .map(|service| Service::new(&name, service))
            .collect::<Result<_, _>>()?;
        let reaches = reaches(&name, &module, &sources, types);
        let stem = if name.is_empty() {
            unpackaged.to_owned()
        } else {
            name
        };
        let files = sources.into_iter().map(file_to_generate).collect();
        Ok(Self {
            stem,
            module,
            files,
            services,
            reaches,
            description,
        })
    }

    /// For people.
    fn title(&self) -> String {
        if self.module.is_empty() {
            "what has no package".to_owned()
        } else {
            format!("package {}", self.stem)
        }
    }
}

impl Service {
    fn new(package: &str, declared: &parse::Service) -> Result<Self, BuildError> {
        let mut methods: Vec<Method> = Vec::new();
        for method in &declared.methods {
            let planned = Method::new(package, declared, method);
            refuse_same_method(&methods, &planned, declared, &method.at)?;
            methods.push(planned);
        }
        Ok(Self {
            full_name: declared.full_name.clone(),
            table: table_name(&declared.name),
            methods,
        })
    }
}

impl Method {
    fn new(package: &str, service: &parse::Service, declared: &parse::Method) -> Self {
        // Without a package the dot stays: the other implementations of the protocol call it so.
        let path = format!("/{package}.{}/{}", service.name, declared.name);
        Self {
            name: declared.name.clone(),
            ident: method_ident(&declared.name),
            alias: declared.alias.clone().filter(|alias| *alias != path),
            path,
            idempotency: declared.idempotency,
            shape: declared.shape,
        }
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        [Some(&*self.path), self.alias.as_deref()]
            .into_iter()
            .flatten()
    }
}

/// The types of all files, and who has them.
struct Types<'a> {
    /// The package of each type that is not inside of another. The type begins with a dot.
    packages: HashMap<String, String>,
    externs: &'a Externs,
}

impl<'a> Types<'a> {
    fn new(sources: &[Source], externs: &'a Externs) -> Self {
        let packages = sources
            .iter()
            .flat_map(|source| {
                let package = source.descriptor.package();
                type_paths(source).map(|path| (path, package.to_owned()))
            })
            .collect();
        Self { packages, externs }
    }

    /// The type at `path`, or that which has it inside, and its package.
    fn outermost(&self, path: &str) -> Option<(&str, &str)> {
        let (outer, package) =
            prefixes(path).find_map(|prefix| self.packages.get_key_value(prefix))?;
        Some((outer, package))
    }

    fn is_extern(&self, path: &str) -> bool {
        prefixes(path).any(|prefix| self.externs.contains_key(prefix))
    }
}

/// `.a`, `.a.b`, `.a.b.C`, for the last of them.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let dots = path.match_indices('.').map(|(at, _)| at).skip(1);
    dots.chain([path.len()]).map(|end| &path[..end])
}

fn type_paths(source: &Source) -> impl Iterator<Item = String> {
    let prefix = describe::scope(&source.descriptor);
    let types = source.types.iter();
    types.map(move |it| format!("{prefix}.{}", it.name))
}

/// The types that the messages of a file refer to, and the services if stubs are made of them.
fn references(source: &Source) -> Vec<&str> {
    let mut found = Vec::new();
    for message in &source.descriptor.message_type {
        add_references(message, &mut found);
    }
    if source.listed.is_some() {
        let services = source.descriptor.service.iter();
        let methods = services.flat_map(|service| &service.method);
        found.extend(methods.flat_map(|method| [method.input_type(), method.output_type()]));
    }
    found
}

fn add_references<'a>(message: &'a DescriptorProto, found: &mut Vec<&'a str>) {
    found.extend(
        message
            .field
            .iter()
            .filter_map(|it| it.type_name.as_deref()),
    );
    for inner in &message.nested_type {
        add_references(inner, found);
    }
}

/// Most files of google.protobuf are imported for options: generating all that is in them would be for nothing. Those
/// with types that Rust types stand for stay, because prost looks into a type to see what it can derive.
fn without_unused_google_files(sources: Vec<Source>, types: &Types<'_>) -> Vec<Source> {
    let mut wanted: HashSet<String> = HashSet::new();
    let mut kept: Vec<Source> = Vec::new();
    // Backwards, because a file comes after those it refers to.
    for source in sources.into_iter().rev() {
        let is_optional =
            source.descriptor.package() == "google.protobuf" && source.listed.is_none();
        if is_optional && !type_paths(&source).any(|path| wanted.contains(&path)) {
            continue;
        }
        let references = references(&source).into_iter();
        let outermost = references.filter_map(|path| types.outermost(path));
        wanted.extend(outermost.map(|(outer, _)| outer.to_owned()));
        kept.push(source);
    }
    kept.reverse();
    kept
}

/// Files without a package are one file of stubs. It is called after the first of them in the list.
fn unpackaged_stem(sources: &[Source]) -> String {
    let unpackaged = sources
        .iter()
        .filter(|source| source.descriptor.package().is_empty());
    let first = unpackaged.min_by_key(|source| source.listed.unwrap_or(usize::MAX));
    first
        .and_then(|source| Path::new(&source.name).file_stem()?.to_str())
        .unwrap_or_default()
        .to_owned()
}

/// The paths go up by `super`, as those in the messages do.
fn reaches(package: &str, module: &Module, sources: &[Source], types: &Types<'_>) -> Vec<String> {
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    let references = sources.iter().flat_map(references);
    for path in references.filter(|path| !types.is_extern(path)) {
        match types.outermost(path) {
            Some((outer, other)) if other != package => {
                let name = outer.rsplit('.').next().unwrap_or(outer);
                let other_module = Module::from_protobuf_package_name(other);
                found
                    .entry(other)
                    .or_insert_with(|| path_from(module, &other_module, &camel(name)));
            }
            _ => {}
        }
    }
    found.into_values().collect()
}

fn path_from(here: &Module, there: &Module, name: &str) -> String {
    let common = here
        .parts()
        .zip(there.parts())
        .take_while(|(a, b)| a == b)
        .count();
    let up = match here.len() - common {
        0 => vec!["self"],
        n => vec!["super"; n],
    };
    up.into_iter()
        .chain(there.parts().skip(common))
        .chain([name])
        .collect::<Vec<_>>()
        .join("::")
}

/// Imported files give their messages; who wants their stubs lists them.
fn file_to_generate(source: Source) -> FileDescriptorProto {
    let mut file = source.descriptor;
    if source.listed.is_none() {
        file.service.clear();
    }
    file
}

fn listed(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| source.listed.is_some())
}

fn refuse_same_method(
    before: &[Method],
    method: &Method,
    service: &parse::Service,
    at: &Position,
) -> Result<(), BuildError> {
    let refused = |other: &Method, what: String, remedy| BuildError::Refused {
        problem: format!(
            "two methods {what}: {} and {} in {}",
            other.name, method.name, service.full_name
        ),
        at: at.clone(),
        remedy,
    };
    if let Some(other) = before.iter().find(|other| other.ident == method.ident) {
        let what = format!("are {} in Rust", method.ident);
        return Err(refused(other, what, "rename one of them"));
    }
    for path in method.paths() {
        if let Some(other) = before.iter().find(|it| it.paths().any(|it| it == path)) {
            let what = format!("answer to {path}");
            return Err(refused(other, what, "change the alias of one of them"));
        }
    }
    Ok(())
}

/// Messages and stubs share one Rust module.
fn refuse_taken_names(sources: &[Source]) -> Result<(), BuildError> {
    let mut taken: HashMap<String, String> = HashMap::new();
    for it in sources.iter().flat_map(|source| &source.types) {
        let holder = format!("the {} {}, {}", it.kind, it.name, it.at);
        if it.has_inner && snake(&it.name) == "blocking" {
            taken.insert("blocking".to_owned(), holder.clone());
        }
        taken.insert(camel(&it.name), holder);
    }
    for service in listed(sources).flat_map(|source| &source.services) {
        if table_name(&service.name) == DESCRIPTION {
            return Err(BuildError::Refused {
                problem: format!(
                    "the name {DESCRIPTION} is taken by the description of the messages, and needed for the table of {}",
                    service.full_name
                ),
                at: service.at.clone(),
                remedy: "rename the service",
            });
        }
        let name = camel(&service.name);
        let server = format!("{name}Server");
        let client = format!("{name}Client");
        for name in [&*name, &*server, &*client, "blocking"] {
            if let Some(holder) = taken.get(name) {
                return Err(BuildError::Refused {
                    problem: format!(
                        "the name {name} is taken by {holder}, and needed for {}",
                        service.full_name
                    ),
                    at: service.at.clone(),
                    remedy: "rename one of them",
                });
            }
        }
        let holder = format!("the service {}, {}", service.name, service.at);
        taken.extend([name, server, client].map(|name| (name, holder.clone())));
    }
    Ok(())
}

fn refuse_same_module(name: &str, module: &Module, sources: &[Source]) -> Result<(), BuildError> {
    let packages = sources.iter().map(|source| source.descriptor.package());
    match packages.into_iter().find(|package| *package != name) {
        Some(other) => Err(BuildError::SameFile {
            contents: [format!("package {name}"), format!("package {other}")],
            place: format!("the module {}", path_of(module)),
        }),
        None => Ok(()),
    }
}

fn refuse_same_files(packages: &[Package], include_file: Option<&str>) -> Result<(), BuildError> {
    let whole = include_file.map(|stem| (stem, "the file of all packages".to_owned()));
    let each = packages
        .iter()
        .map(|package| (package.stem.as_str(), package.title()));
    let mut taken = HashMap::new();
    for (stem, title) in each.chain(whole) {
        if let Some(other) = taken.insert(stem, title.clone()) {
            return Err(BuildError::SameFile {
                contents: [other, title],
                place: format!("{stem}.rs"),
            });
        }
    }
    match include_file {
        Some(_) => refuse_packages_called_blocking(packages),
        None => Ok(()),
    }
}

/// Among modules nested like packages, one may have the place of the blocking traits of its parent.
fn refuse_packages_called_blocking(packages: &[Package]) -> Result<(), BuildError> {
    for parent in packages.iter().filter(|it| !it.services.is_empty()) {
        let module = Module::from_parts(parent.module.parts().chain(["blocking"]));
        if let Some(child) = packages.iter().find(|package| package.module == module) {
            return Err(BuildError::SameFile {
                contents: [
                    format!("the blocking traits of {}", parent.title()),
                    child.title(),
                ],
                place: format!("the module {}", path_of(&module)),
            });
        }
    }
    Ok(())
}

/// `new` makes a client, so a method of that name gets what prost gives to keywords it cannot escape.
fn method_ident(name: &str) -> String {
    match snake(name) {
        ident if ident == "new" => "new_".to_owned(),
        ident => ident,
    }
}

/// prost's own rule, keywords included, through the one public door to it.
pub(crate) fn snake(name: &str) -> String {
    let module = Module::from_protobuf_package_name(name);
    module.parts().collect()
}

/// prost's rule for types: the words of the snake-case name, each with a capital letter.
fn camel(name: &str) -> String {
    let snake = snake(name);
    let words = unescaped(&snake).split('_').filter(|word| !word.is_empty());
    let capitalised = words.map(|word| word[..1].to_uppercase() + &word[1..]);
    match capitalised.collect::<String>() {
        name if name == "Self" => "Self_".to_owned(),
        name if name.starts_with(char::is_numeric) => format!("_{name}"),
        name => name,
    }
}

fn table_name(service: &str) -> String {
    unescaped(&snake(service)).to_uppercase()
}

fn unescaped(ident: &str) -> &str {
    ident.strip_prefix("r#").unwrap_or(ident)
}

fn path_of(module: &Module) -> String {
    module.parts().collect::<Vec<_>>().join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str) -> Module {
        Module::from_protobuf_package_name(name)
    }

    #[test]
    fn methods_have_the_names_that_prost_gives_and_one_of_ours() {
        assert_eq!(method_ident("GetHTTPStatus"), "get_http_status");
        assert_eq!(method_ident("Type"), "r#type");
        assert_eq!(method_ident("Self"), "self_");
        assert_eq!(method_ident("New"), "new_");
    }

    #[test]
    fn types_have_the_names_that_prost_gives() {
        assert_eq!(camel("HTTPStatus"), "HttpStatus");
        assert_eq!(camel("greeter_client"), "GreeterClient");
        assert_eq!(camel("Type"), "Type");
        assert_eq!(camel("Self"), "Self_");
        assert_eq!(camel("Sha_256"), "Sha256");
    }

    #[test]
    fn other_packages_are_reached_from_where_both_part() {
        let here = module("shop.order");
        assert_eq!(
            path_from(&here, &module("shop.stock"), "Item"),
            "super::stock::Item"
        );
        assert_eq!(path_from(&here, &module("shop"), "Item"), "super::Item");
        assert_eq!(path_from(&here, &module(""), "Item"), "super::super::Item");
        assert_eq!(
            path_from(&module(""), &here, "Item"),
            "self::shop::order::Item"
        );
    }

    #[test]
    fn a_package_stands_for_what_is_in_it_and_not_for_its_namesakes() {
        let externs = Externs::from([(".google.protobuf".to_owned(), "::x".to_owned())]);
        let types = Types::new(&[], &externs);
        assert!(types.is_extern(".google.protobuf.Any"));
        assert!(types.is_extern(".google.protobuf.Field.Kind"));
        assert!(!types.is_extern(".google.protobuf2.Any"));
        assert!(!types.is_extern(".google.type.Date"));
    }
}
