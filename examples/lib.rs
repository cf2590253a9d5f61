//! The stubs that the examples share.

/// The package `demo.greeter`.
pub mod greeter {
    tern::include_stubs!("demo.greeter");
}

/// The package `echo.v1`.
pub mod echo {
    tern::include_stubs!("echo.v1");
}
