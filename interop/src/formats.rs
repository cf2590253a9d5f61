//! Our implementation of the service of `proto/formats.proto`: what comes goes back.

use tern::{Context, Status};

use crate::pb::{Everything, Formats, FormatsClient};
use crate::service::Ours;

impl Formats for Ours {
    async fn echo(&self, _: &Context, request: Everything) -> Result<Everything, Status> {
        Ok(request)
    }

    async fn echo_bytes(&self, _: &Context, request: Vec<u8>) -> Result<Vec<u8>, Status> {
        Ok(request)
    }
}

/// Calls it.
pub type Client = FormatsClient<tern::Channel>;
