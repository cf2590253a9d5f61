//! Our implementation of the service, as `proto/interop.proto` describes it.

use std::time::Duration;

use tern::{Context, Status};

use crate::pb::{Interop, UnaryRequest, UnaryResponse, blocking};

/// What [`UnaryResponse::served_by`] says of us.
pub const NAME: &str = "tern";

/// Our implementation, with both kinds of handlers.
#[derive(Debug, Clone, Copy)]
pub struct Ours;

impl Interop for Ours {
    async fn unary(&self, cx: &Context, request: UnaryRequest) -> Result<UnaryResponse, Status> {
        answer_metadata(cx);
        answer_carried(cx);
        if request.delay_ms > 0 {
            cx.sleep(delay(&request)).await;
        }
        answer(request)
    }
}

impl blocking::Interop for Ours {
    fn unary(&self, cx: &Context, request: UnaryRequest) -> Result<UnaryResponse, Status> {
        answer_metadata(cx);
        answer_carried(cx);
        if request.delay_ms > 0 {
            tern::park::wait(cx.sleep(delay(&request)))
                .ok_or_else(|| Status::internal("this handler must not run on an I/O thread"))?;
        }
        answer(request)
    }
}

/// Returns the metadata of the application under other names, and tells what is left of the time.
fn answer_metadata(cx: &Context) {
    for (key, value) in cx.metadata().iter() {
        if let Some(name) = key.strip_prefix("app-") {
            cx.reply_metadata(format!("app-echo-{name}"), value.clone());
        }
    }
    if cx.deadline().is_some() {
        cx.reply_metadata("app-left-ms", cx.remaining().as_millis().to_string());
    }
}

/// Sends the attachment back, and tells what was seen of marks and names, if it is asked to.
fn answer_carried(cx: &Context) {
    if !cx.attachment().is_empty() {
        cx.reply_attachment(cx.attachment().clone());
    }
    if cx.metadata().get("look").is_none() {
        return;
    }
    cx.reply_metadata("app-seen-marks", cx.marks().0.to_string());
    cx.reply_metadata("app-seen-caller", cx.caller().to_owned());
    cx.reply_metadata("app-seen-callee", cx.callee().to_owned());
    if let Some(key) = cx.dyeing_key().filter(|_| cx.is_dyed()) {
        cx.reply_metadata("app-seen-dyeing", key.to_owned());
    }
    if let Some(env) = cx.env() {
        cx.reply_metadata("app-seen-env", env.to_owned());
    }
}

fn delay(request: &UnaryRequest) -> Duration {
    Duration::from_millis(u64::from(request.delay_ms))
}

fn answer(request: UnaryRequest) -> Result<UnaryResponse, Status> {
    match request.fail_code {
        0 => Ok(UnaryResponse {
            payload: request.payload,
            served_by: NAME.to_owned(),
        }),
        code => Err(Status::service(code, request.fail_message)),
    }
}
