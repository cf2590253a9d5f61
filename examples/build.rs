//! Generates the stubs of all examples.

fn main() -> Result<(), rpc_build::BuildError> {
    rpc_build::compile(&[
        "proto/greeter.proto",
        "proto/echo.proto",
        "proto/files.proto",
        "proto/relay.proto",
        "proto/shop.proto",
        "proto/streaming.proto",
    ])
}
