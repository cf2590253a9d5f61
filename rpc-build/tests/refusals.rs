//! What people read when there are no stubs: the file, the line and the remedy.

mod project;

use std::error::Error;
use std::fs;

use project::Project;
use rpc_build::{BuildError, Config};

/// Compiles one file with these lines below its first two.
fn refusal(name: &str, lines: &str) -> String {
    let text = format!("syntax = \"proto3\";\npackage demo;\n{lines}");
    let project = Project::new(name, &[("proto/greeter.proto", &text)]);
    project.refusal(Config::new(), &["proto/greeter.proto"])
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let project = Project::new("refuse_missing", &[]);
    assert_eq!(
        project.refusal(Config::new(), &["proto/greeter.proto"]),
        "no such file: proto/greeter.proto: paths are relative to the directory of the package's Cargo.toml"
    );
}

#[test]
fn an_import_that_is_not_there_is_named_with_the_place_it_was_searched() {
    let import = "import \"common.proto\";\n";
    let project = Project::new(
        "refuse_import",
        &[("proto/a.proto", import), ("other/b.proto", "")],
    );
    let config = Config::new().include(project.path("other"));
    assert_eq!(
        project.refusal(config, &["proto/a.proto"]),
        "proto/a.proto:1:1: import 'common.proto' not found, searched other, proto: name the directory it is relative \
         to with Config::include"
    );
}

#[test]
fn the_import_of_an_import_is_missed_where_it_is_imported() {
    let project = Project::new(
        "refuse_import_of_import",
        &[
            ("proto/a.proto", "import \"b.proto\";\n"),
            ("proto/b.proto", "\nimport \"c.proto\";\n"),
        ],
    );
    assert_eq!(
        project.refusal(Config::new(), &["proto/a.proto"]),
        "proto/b.proto:2:1: import 'c.proto' not found, searched proto: name the directory it is relative to with \
         Config::include"
    );
}

#[test]
fn a_service_that_would_take_the_name_of_the_description_is_refused() {
    let lines = "message A {}\nservice FileDescriptorSet { rpc A(A) returns (A); }";
    assert_eq!(
        refusal("refuse_description", lines),
        "the name FILE_DESCRIPTOR_SET is taken by the description of the messages, and needed for the table of \
         demo.FileDescriptorSet, proto/greeter.proto:4: rename the service"
    );
}

#[test]
fn a_syntax_error_has_line_and_column() {
    assert_eq!(
        refusal("refuse_syntax", "message Hello {\n  string name 1;\n}\n"),
        "proto/greeter.proto:4:15: expected '=', but found '1'"
    );
}

#[test]
fn a_type_that_is_not_defined_has_line_and_column() {
    assert_eq!(
        refusal("refuse_undefined", "message Hello {\n  Name name = 1;\n}\n"),
        "proto/greeter.proto:4:3: name 'Name' is not defined"
    );
}

#[test]
fn methods_of_one_rust_name_are_refused() {
    let lines = "message M {}\nservice Greeter {\n  rpc SayHello(M) returns (M);\n  rpc sayHello(M) returns (M);\n}\n";
    assert_eq!(
        refusal("refuse_same_ident", lines),
        "two methods are say_hello in Rust: SayHello and sayHello in demo.Greeter, proto/greeter.proto:6: rename one \
         of them"
    );
}

#[test]
fn methods_of_one_alias_are_refused() {
    let lines = "import \"trpc.proto\";
message M {}
service Greeter {
  rpc A(M) returns (M) { option (trpc.alias) = \"/hi\"; }
  rpc B(M) returns (M) { option (trpc.alias) = \"/hi\"; }
}
";
    assert_eq!(
        refusal("refuse_same_alias", lines),
        "two methods answer to /hi: A and B in demo.Greeter, proto/greeter.proto:7: change the alias of one of them"
    );
}

#[test]
fn an_alias_that_is_the_path_of_another_method_is_refused() {
    let lines = "import \"trpc.proto\";
message M {}
service Greeter {
  rpc A(M) returns (M);
  rpc B(M) returns (M) { option (trpc.alias) = \"/demo.Greeter/A\"; }
}
";
    assert_eq!(
        refusal("refuse_alias_of_path", lines),
        "two methods answer to /demo.Greeter/A: A and B in demo.Greeter, proto/greeter.proto:7: change the alias of \
         one of them"
    );
}

#[test]
fn a_message_with_the_name_of_a_stub_is_refused() {
    for (message, rust) in [
        ("greeter", "Greeter"),
        ("GreeterServer", "GreeterServer"),
        ("greeter_client", "GreeterClient"),
    ] {
        let lines = format!("message {message} {{}}\n\nservice Greeter {{}}\n");
        assert_eq!(
            refusal(&format!("refuse_taken_{message}"), &lines),
            format!(
                "the name {rust} is taken by the message {message}, proto/greeter.proto:3, and needed for \
                 demo.Greeter, proto/greeter.proto:5: rename one of them"
            )
        );
    }
}

#[test]
fn services_whose_stubs_have_one_name_are_refused() {
    assert_eq!(
        refusal(
            "refuse_two_services",
            "service Greeter {}\nservice GreeterServer {}\n"
        ),
        "the name GreeterServer is taken by the service Greeter, proto/greeter.proto:3, and needed for \
         demo.GreeterServer, proto/greeter.proto:4: rename one of them"
    );
}

#[test]
fn a_message_whose_inside_needs_the_blocking_module_is_refused() {
    let lines = "message Blocking { message Inner {} }\nservice Greeter {}\n";
    assert_eq!(
        refusal("refuse_blocking_message", lines),
        "the name blocking is taken by the message Blocking, proto/greeter.proto:3, and needed for demo.Greeter, \
         proto/greeter.proto:4: rename one of them"
    );
}

#[test]
fn a_package_that_is_the_blocking_module_of_another_is_refused_where_both_are_included() {
    let files = [
        ("a.proto", "package demo; service Greeter {}"),
        ("b.proto", "package demo.blocking; message M {}"),
    ];
    let project = Project::new("refuse_blocking_package", &files);
    let config = Config::new().include_file("all");
    assert_eq!(
        project.refusal(config, &["a.proto", "b.proto"]),
        "the blocking traits of package demo and package demo.blocking would both be the module demo::blocking: \
         rename one of them"
    );
    assert!(
        project
            .compile(Config::new(), &["a.proto", "b.proto"])
            .is_ok()
    );
}

#[test]
fn packages_of_one_rust_module_are_refused() {
    let files = [
        ("a.proto", "package demo.Shop; message M {}"),
        ("b.proto", "package demo.shop; message N {}"),
    ];
    let project = Project::new("refuse_same_module", &files);
    assert_eq!(
        project.refusal(Config::new(), &["a.proto", "b.proto"]),
        "package demo.Shop and package demo.shop would both be the module demo::shop: rename one of them"
    );
}

#[test]
fn files_of_one_name_are_refused() {
    let files = [
        ("demo.proto", "message M {}"),
        ("b.proto", "package demo; message N {}"),
    ];
    let project = Project::new("refuse_same_file", &files);
    assert_eq!(
        project.refusal(Config::new(), &["demo.proto", "b.proto"]),
        "what has no package and package demo would both be demo.rs: rename one of them"
    );
    assert_eq!(
        project.refusal(Config::new().include_file("demo"), &["b.proto"]),
        "package demo and the file of all packages would both be demo.rs: rename one of them"
    );
}

#[test]
fn listed_files_that_imports_cannot_tell_apart_are_refused() {
    let files = [
        ("user/api.proto", "package user;"),
        ("shop/api.proto", "package shop;"),
    ];
    let project = Project::new("refuse_shadowed", &files);
    assert_eq!(
        project.refusal(Config::new(), &["user/api.proto", "shop/api.proto"]),
        "two files of one name: shop/api.proto would be read as user/api.proto: name a directory above both with \
         Config::include"
    );
    let config = Config::new().include(project.path("."));
    assert!(
        project
            .compile(config, &["user/api.proto", "shop/api.proto"])
            .is_ok()
    );
}

#[test]
fn outside_of_a_build_script_there_is_nowhere_to_write() {
    let error = rpc_build::compile(&["proto/greeter.proto"]).unwrap_err();
    assert!(matches!(error, BuildError::OutDirUnset));
    // `main` returns it, and what cargo then shows is `Error: {:?}`.
    assert_eq!(
        format!("{error:?}"),
        "OUT_DIR is not set: call this from build.rs, or say where to write with Config::out_dir"
    );
}

#[test]
fn a_directory_that_cannot_be_written_to_is_named_with_the_cause() {
    let project = Project::new("refuse_write", &[("a.proto", "message M {}")]);
    fs::remove_dir_all(project.path("out")).unwrap();
    let error = project.compile(Config::new(), &["a.proto"]).unwrap_err();
    assert!(error.to_string().contains("out/a.rs: No such file"));
    assert!(error.source().is_some());
}

#[test]
fn a_path_that_means_something_else_in_each_module_is_refused() {
    let project = Project::new("refuse_extern", &[("a.proto", "message M {}")]);
    let config = Config::new().extern_path(".google.protobuf", "prost_types");
    assert_eq!(
        project.refusal(config, &["a.proto"]),
        "extern_path(\".google.protobuf\", \"prost_types\"): begin the Rust path with :: or crate::, because stubs use \
         it in modules of any depth"
    );
    let config = Config::new().extern_path("google.protobuf", "::prost_types");
    assert_eq!(
        project.refusal(config, &["a.proto"]),
        "extern_path(\"google.protobuf\", \"::prost_types\"): begin the proto path with a dot"
    );
}
