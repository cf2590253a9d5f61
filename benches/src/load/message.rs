//! The message that is sent, as protobuf: `EchoMessage { payload }`.

use prost::Message;

use crate::echo::EchoMessage;

/// A message with a payload of that length.
pub(super) fn encode(payload: usize) -> Vec<u8> {
    let payload = vec![0x5a; payload].into();
    EchoMessage { payload }.encode_to_vec()
}
