//! Generates the stubs of the service that is measured, for tonic as for Tern. Its payload is `Bytes`: whoever cares for
//! what is measured here would choose that, and it hides nothing of the framework behind an allocation of the message's.

fn main() -> Result<(), rpc_build::BuildError> {
    rpc_build::Config::new()
        .bytes(["."])
        .compile(&["proto/echo.proto"])
}
