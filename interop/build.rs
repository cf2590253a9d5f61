//! Generates the stubs of the service that all peers implement.

fn main() -> Result<(), rpc_build::BuildError> {
    rpc_build::compile(&["proto/interop.proto"])
}
