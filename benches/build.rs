//! Generates the stubs of the service that is measured.

fn main() -> Result<(), rpc_build::BuildError> {
    rpc_build::compile(&["proto/echo.proto"])
}
