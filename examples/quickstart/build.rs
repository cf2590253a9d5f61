fn main() -> Result<(), rpc_build::BuildError> {
    rpc_build::compile(&["greeter.proto"])
}
