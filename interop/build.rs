//! Generates the stubs of the services that all peers implement.

fn main() -> Result<(), rpc_build::BuildError> {
    rpc_build::Config::new()
        .extern_path(".google.protobuf", "::prost_types")
        .compile(&[
            "proto/interop.proto",
            "proto/formats.proto",
            "proto/streams.proto",
            "conformance/conformance.proto",
            "conformance/conformance_streams.proto",
            "conformance/greeter.proto",
        ])
}
