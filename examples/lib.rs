//! The stubs that the examples share.
//!
//! # Layout
//!
//! One module for each proto package; each example is one file beside this one and tells one story.

/// The package `demo.greeter`.
pub mod greeter {
    tern::include_stubs!("demo.greeter");
}

/// The package `echo.v1`.
pub mod echo {
    tern::include_stubs!("echo.v1");

    /// Returns each message of a chat, for programs whose story is another.
    ///
    /// # Errors
    ///
    /// When the caller is gone.
    pub async fn chat_back(
        mut inbound: tern::stream::Inbound<EchoMessage>,
        mut outbound: tern::stream::Outbound<EchoMessage>,
    ) -> Result<(), tern::Status> {
        while let Some(message) = inbound.next().await? {
            outbound.send(message).await?;
        }
        Ok(())
    }
}

/// The package `demo.files`.
pub mod files {
    tern::include_stubs!("demo.files");
}

/// The package `demo.relay`.
pub mod relay {
    tern::include_stubs!("demo.relay");
}

/// The package `demo.shop`.
pub mod shop {
    tern::include_stubs!("demo.shop");
}

/// The package `demo.streaming`.
pub mod streaming {
    tern::include_stubs!("demo.streaming");
}
