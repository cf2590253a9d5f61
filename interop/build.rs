//! Generates the stubs of the services that all peers implement.

fn main() -> Result<(), rpc_build::BuildError> {
    rpc_build::compile(&[
        "proto/interop.proto",
        "conformance/conformance.proto",
        "conformance/greeter.proto",
    ])
}
