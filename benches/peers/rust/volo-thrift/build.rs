//! Generates the service.

fn main() {
    let builder = volo_build::Builder::thrift().add_service("echo.thrift");
    builder.write().expect("echo.thrift is good");
}
