//! Many messages on one stream, by the rules of flow control: section 8.6, from both sides.

use std::time::Duration;

use serde_json::{Value, json};

use crate::frame;
use crate::wire::{Connection, Next};

/// The stream that cases use when they do not say.
const STREAM: u64 = 100;

/// Sends and receives as many messages as `spec` says, whichever is possible first, and keeps to the window of the peer;
/// gives back its own by quarters. A peer that sends beyond the window fails, but for one message.
///
/// # Errors
///
/// When something else comes, or nothing while something is due.
pub fn exchange(
    connection: &mut Connection,
    spec: &Value,
    patience: Duration,
) -> Result<(), String> {
    let number = |name: &str| spec[name].as_i64().unwrap_or(0);
    let message = frame::write(&json!({"data": spec["message"], "stream_id": STREAM}))?;
    let length = i64::try_from(message.len() - frame::FIXED_BYTES).map_err(|it| it.to_string())?;
    let (mut to_send, mut to_receive) = (number("send"), number("receive"));
    let (mut theirs, ours) = (number("their_window"), number("our_window"));
    let is_bounded = theirs > 0;
    // What the peer may still send, and what it has not been told yet that it may.
    let (mut credit, mut consumed) = (ours, 0);
    while to_send > 0 || to_receive > 0 {
        if to_send > 0 && (theirs > 0 || !is_bounded) {
            connection.send(&message)?;
            theirs -= length;
            to_send -= 1;
            continue;
        }
        let next = match connection.next(patience) {
            Next::Frame(frame) => frame,
            other => {
                return Err(format!(
                    "{other:?} with {to_send} messages to send and {to_receive} to come"
                ));
            }
        };
        match next.kind {
            "feedback" => {
                let more = next.head["window_size_increment"].as_i64();
                theirs += more.unwrap_or(0);
            }
            "data" if to_receive > 0 => {
                if ours > 0 && credit <= 0 {
                    return Err(format!("a message though the window is {credit}"));
                }
                let taken = i64::try_from(next.body.len()).map_err(|it| it.to_string())?;
                to_receive -= 1;
                credit -= taken;
                consumed += taken;
                if ours > 0 && consumed >= ours / 4 {
                    let feedback = json!({"feedback": {"window_size_increment": consumed}, "stream_id": STREAM});
                    connection.send(&frame::write(&feedback)?)?;
                    credit += consumed;
                    consumed = 0;
                }
            }
            _ => {
                return Err(format!(
                    "{next} with {to_send} messages to send and {to_receive} to come"
                ));
            }
        }
    }
    Ok(())
}
