//! What stubs know of their messages at run time: the .proto files of a package and of all they import, as little of them
//! as it takes to read and write their messages.

use std::collections::{BTreeSet, HashMap};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumOptions, FieldDescriptorProto, FieldOptions,
    FileDescriptorProto, FileDescriptorSet, MessageOptions,
};
use protox::prost_reflect::prost::Message;

/// A `FileDescriptorSet` of the package's files and of what they import, however far. `files` are sorted: each comes after
/// those it imports.
///
/// What only the compiler needs is left out, and files of which nothing is left: comments, services, options.
pub(crate) fn package(package: &str, files: &[&FileDescriptorProto]) -> Vec<u8> {
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    for file in files.iter().rev() {
        if file.package() == package || wanted.contains(file.name()) {
            wanted.insert(file.name());
            wanted.extend(file.dependency.iter().map(String::as_str));
        }
    }
    let declared = declared(files);
    let described = files.iter().filter(|file| wanted.contains(file.name()));
    let described = described.filter_map(|file| described_file(file, &declared));
    FileDescriptorSet {
        file: described.collect(),
    }
    .encode_to_vec()
}

/// What the paths of the types in a file begin with.
pub(crate) fn scope(file: &FileDescriptorProto) -> String {
    match file.package() {
        "" => String::new(),
        package => format!(".{package}"),
    }
}

/// The file that declares each type. Types begin with a dot.
fn declared<'a>(files: &[&'a FileDescriptorProto]) -> HashMap<String, &'a str> {
    let mut declared = HashMap::new();
    for file in files {
        let scope = scope(file);
        let mut declare = |path| {
            declared.insert(path, file.name());
        };
        file.enum_type
            .iter()
            .for_each(|it| declare(format!("{scope}.{}", it.name())));
        for message in &file.message_type {
            declare_message(message, &scope, &mut declare);
        }
    }
    declared
}

fn declare_message(message: &DescriptorProto, scope: &str, declare: &mut impl FnMut(String)) {
    let path = format!("{scope}.{}", message.name());
    message
        .enum_type
        .iter()
        .for_each(|it| declare(format!("{path}.{}", it.name())));
    for inner in &message.nested_type {
        declare_message(inner, &path, declare);
    }
    declare(path);
}

/// The file without what only the compiler needs; nothing if nothing is left. It imports the files of the types it
/// refers to, as others may not be there.
fn described_file(
    file: &FileDescriptorProto,
    declared: &HashMap<String, &str>,
) -> Option<FileDescriptorProto> {
    if file.message_type.is_empty() && file.enum_type.is_empty() {
        return None;
    }
    let message_type: Vec<_> = file.message_type.iter().map(described_message).collect();
    let mut dependency = BTreeSet::new();
    for message in &message_type {
        add_dependencies(message, declared, &mut dependency);
    }
    dependency.remove(file.name());
    Some(FileDescriptorProto {
        name: file.name.clone(),
        package: file.package.clone(),
        syntax: file.syntax.clone(),
        dependency: dependency.into_iter().map(str::to_owned).collect(),
        message_type,
        enum_type: file.enum_type.iter().map(described_enum).collect(),
        ..FileDescriptorProto::default()
    })
}

fn add_dependencies<'a>(
    message: &DescriptorProto,
    declared: &HashMap<String, &'a str>,
    found: &mut BTreeSet<&'a str>,
) {
    let types = message
        .field
        .iter()
        .filter_map(|field| field.type_name.as_deref());
    found.extend(types.filter_map(|path| declared.get(path)));
    for inner in &message.nested_type {
        add_dependencies(inner, declared, found);
    }
}

fn described_message(message: &DescriptorProto) -> DescriptorProto {
    let map_entry = message
        .options
        .as_ref()
        .and_then(|options| options.map_entry);
    DescriptorProto {
        name: message.name.clone(),
        field: message.field.iter().map(described_field).collect(),
        nested_type: message.nested_type.iter().map(described_message).collect(),
        enum_type: message.enum_type.iter().map(described_enum).collect(),
        oneof_decl: message.oneof_decl.clone(),
        options: map_entry.map(|_| MessageOptions {
            map_entry,
            ..MessageOptions::default()
        }),
        ..DescriptorProto::default()
    }
}

fn described_field(field: &FieldDescriptorProto) -> FieldDescriptorProto {
    let packed = field.options.as_ref().and_then(|options| options.packed);
    FieldDescriptorProto {
        options: packed.map(|_| FieldOptions {
            packed,
            ..FieldOptions::default()
        }),
        ..field.clone()
    }
}

fn described_enum(this: &EnumDescriptorProto) -> EnumDescriptorProto {
    let allow_alias = this
        .options
        .as_ref()
        .and_then(|options| options.allow_alias);
    let mut value = this.value.clone();
    for value in &mut value {
        value.options = None;
    }
    EnumDescriptorProto {
        name: this.name.clone(),
        value,
        options: allow_alias.map(|_| EnumOptions {
            allow_alias,
            ..EnumOptions::default()
        }),
        ..EnumDescriptorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use protox::prost_reflect::DescriptorPool;

    use super::*;

    fn described(name: &str, files: &[(&str, &str)]) -> DescriptorPool {
        let mut all = protox::file::ChainFileResolver::new();
        for (name, text) in files {
            let file = protox::file::File::from_source(name, text).unwrap();
            all.add(One(file));
        }
        all.add(protox::file::GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(all);
        compiler.include_imports(true).include_source_info(true);
        compiler.open_file(files[0].0).unwrap();
        let files = compiler.file_descriptor_set().file;
        let files: Vec<_> = files.iter().collect();
        DescriptorPool::decode(&*package(name, &files)).unwrap()
    }

    struct One(protox::file::File);

    impl protox::file::FileResolver for One {
        fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
            if name == self.0.name() {
                return Ok(self.0.clone());
            }
            Err(protox::Error::file_not_found(name))
        }
    }

    fn names(pool: &DescriptorPool) -> Vec<String> {
        pool.files().map(|file| file.name().to_owned()).collect()
    }

    const SHOP: &str = "syntax = 'proto3'; package shop;
        import 'money.proto'; import 'options.proto'; import 'unused.proto'; import 'google/protobuf/timestamp.proto';
        // A comment.
        service Orders { rpc Place(Order) returns (Order) {} }
        message Order {
            option (note) = 'gone';
            map<string, money.Money> prices = 1 [deprecated = true];
            repeated int32 counts = 2 [packed = false];
            google.protobuf.Timestamp at = 3;
            optional State state = 4;
            enum State { option allow_alias = true; NEW = 0; FRESH = 0; }
            reserved 5;
        }";
    const MONEY: &str = "syntax = 'proto3'; package money; message Money { int64 units = 1; }";
    const OPTIONS: &str = "syntax = 'proto3'; import 'google/protobuf/descriptor.proto';
        extend google.protobuf.MessageOptions { string note = 50000; }";
    const UNUSED: &str = "syntax = 'proto3'; package unused; message Payload { string text = 1; }";

    #[test]
    fn what_messages_are_made_of_is_kept_and_nothing_else() {
        let files = [
            ("shop.proto", SHOP),
            ("money.proto", MONEY),
            ("options.proto", OPTIONS),
            ("unused.proto", UNUSED),
        ];
        let pool = described("shop", &files);
        let order = pool.get_message_by_name("shop.Order").unwrap();
        assert!(order.get_field(1).unwrap().is_map());
        assert!(!order.get_field(2).unwrap().is_packed());
        assert!(order.get_field(4).unwrap().supports_presence());
        assert_eq!(order.get_field_by_json_name("state").unwrap().number(), 4);
        let shop = pool.get_file_by_name("shop.proto").unwrap();
        let shop = shop.file_descriptor_proto();
        assert!(shop.service.is_empty() && shop.source_code_info.is_none());
        let imports = ["google/protobuf/timestamp.proto", "money.proto"];
        assert_eq!(shop.dependency, imports, "those of types that it refers to");
        // What may be in an `Any` is imported and not referred to.
        assert!(pool.get_message_by_name("unused.Payload").is_some());
        assert!(!names(&pool).contains(&"options.proto".to_owned()));
    }

    #[test]
    fn what_a_package_does_not_import_is_not_there() {
        let pool = described(
            "money",
            &[
                ("shop.proto", SHOP),
                ("money.proto", MONEY),
                ("options.proto", OPTIONS),
                ("unused.proto", UNUSED),
            ],
        );
        assert_eq!(names(&pool), ["money.proto"]);
    }
}
