//! What the messages of the wire and of the kit's own service look like, as tables.
//!
//! The names and numbers are those of tRPC's public schema and of `conformance.proto`.

/// A message and its fields.
#[derive(Debug)]
pub struct Message {
    /// As in the `.proto` file.
    pub name: &'static str,
    /// In the order of their numbers.
    pub fields: &'static [Field],
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Its number on the wire.
    pub number: u32,
    /// As in the `.proto` file.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether there may be several.
    pub is_repeated: bool,
}

/// What a field holds, which also says how it is written.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A varint without a sign; enumerations too.
    Unsigned,
    /// A varint of 64 bits in two's complement: int32 and int64.
    Signed,
    /// A varint in zigzag: sint32 and sint64.
    ZigZag,
    /// A varint that is 0 or 1.
    Bool,
    /// Four bytes, little-endian.
    Fixed32,
    /// Eight bytes, little-endian.
    Fixed64,
    /// An IEEE double.
    Double,
    /// Bytes or text, with their length before them.
    Bytes,
    /// A message within the message.
    Nested(&'static Message),
    /// `map<string, bytes>`.
    Map,
}

const fn field(number: u32, name: &'static str, kind: Kind) -> Field {
    Field {
        number,
        name,
        kind,
        is_repeated: false,
    }
}

const fn repeated(number: u32, name: &'static str, kind: Kind) -> Field {
    Field {
        is_repeated: true,
        ..field(number, name, kind)
    }
}

use Kind::{Bool, Bytes, Double, Fixed32, Fixed64, Map, Nested, Signed, Unsigned, ZigZag};

/// The head of a unary request.
pub static REQUEST: Message = Message {
    name: "RequestProtocol",
    fields: &[
        field(1, "version", Unsigned),
        field(2, "call_type", Unsigned),
        field(3, "request_id", Unsigned),
        field(4, "timeout", Unsigned),
        field(5, "caller", Bytes),
        field(6, "callee", Bytes),
        field(7, "func", Bytes),
        field(8, "message_type", Unsigned),
        field(9, "trans_info", Map),
        field(10, "content_type", Unsigned),
        field(11, "content_encoding", Unsigned),
        field(12, "attachment_size", Unsigned),
    ],
};

/// The head of a unary response.
pub static RESPONSE: Message = Message {
    name: "ResponseProtocol",
    fields: &[
        field(1, "version", Unsigned),
        field(2, "call_type", Unsigned),
        field(3, "request_id", Unsigned),
        field(4, "ret", Signed),
        field(5, "func_ret", Signed),
        field(6, "error_msg", Bytes),
        field(7, "message_type", Unsigned),
        field(8, "trans_info", Map),
        field(9, "content_type", Unsigned),
        field(10, "content_encoding", Unsigned),
        field(12, "attachment_size", Unsigned),
    ],
};

static INIT_REQUEST: Message = Message {
    name: "TrpcStreamInitRequestMeta",
    fields: &[
        field(1, "caller", Bytes),
        field(2, "callee", Bytes),
        field(3, "func", Bytes),
        field(4, "message_type", Unsigned),
        field(5, "trans_info", Map),
    ],
};

static INIT_RESPONSE: Message = Message {
    name: "TrpcStreamInitResponseMeta",
    fields: &[field(1, "ret", Signed), field(2, "error_msg", Bytes)],
};

/// The payload of INIT.
pub static INIT: Message = Message {
    name: "TrpcStreamInitMeta",
    fields: &[
        field(1, "request_meta", Nested(&INIT_REQUEST)),
        field(2, "response_meta", Nested(&INIT_RESPONSE)),
        field(3, "init_window_size", Unsigned),
        field(4, "content_type", Unsigned),
        field(5, "content_encoding", Unsigned),
    ],
};

/// The payload of FEEDBACK.
pub static FEEDBACK: Message = Message {
    name: "TrpcStreamFeedBackMeta",
    fields: &[field(1, "window_size_increment", Unsigned)],
};

/// The payload of CLOSE.
pub static CLOSE: Message = Message {
    name: "TrpcStreamCloseMeta",
    fields: &[
        field(1, "close_type", Signed),
        field(2, "ret", Signed),
        field(3, "msg", Bytes),
        field(4, "message_type", Unsigned),
        field(5, "trans_info", Map),
        field(6, "func_ret", Signed),
    ],
};

static INNER: Message = Message {
    name: "Inner",
    fields: &[field(1, "text", Bytes), field(2, "number", Signed)],
};

/// What bodies can be: the messages of `conformance.proto`, and the one of the golden frames.
static BODIES: [&Message; 8] = [
    &Message {
        name: "Msg",
        fields: &[field(1, "msg", Bytes)],
    },
    &Message {
        name: "Payload",
        fields: &[field(1, "data", Bytes), field(2, "delay_ms", Unsigned)],
    },
    &Message {
        name: "Failure",
        fields: &[
            field(1, "code", Signed),
            field(2, "text", Bytes),
            field(3, "is_framework", Bool),
        ],
    },
    &Message {
        name: "Mark",
        fields: &[field(1, "key", Bytes), field(2, "delay_ms", Unsigned)],
    },
    &Message {
        name: "Sum",
        fields: &[field(1, "count", Unsigned), field(2, "bytes", Unsigned)],
    },
    &Message {
        name: "Every",
        fields: &[
            field(1, "flag", Bool),
            field(2, "int32", Signed),
            field(3, "int64", Signed),
            field(4, "uint32", Unsigned),
            field(5, "uint64", Unsigned),
            field(6, "sint64", ZigZag),
            field(7, "fixed32", Fixed32),
            field(8, "fixed64", Fixed64),
            field(9, "real", Double),
            field(10, "text", Bytes),
            field(11, "raw", Bytes),
            field(12, "color", Unsigned),
            field(13, "inner", Nested(&INNER)),
            repeated(14, "numbers", Signed),
            repeated(15, "inners", Nested(&INNER)),
            field(16, "table", Map),
        ],
    },
    &Message {
        name: "SpreadRequest",
        fields: &[
            field(1, "count", Unsigned),
            field(2, "size", Unsigned),
            field(3, "fail_code", Signed),
            field(4, "fail_text", Bytes),
            field(5, "is_framework", Bool),
            field(6, "delay_ms", Unsigned),
        ],
    },
    &INNER,
];

/// The message of a body, by its name.
///
/// # Errors
///
/// When there is none of that name.
pub fn body(name: &str) -> Result<&'static Message, String> {
    let found = BODIES.iter().find(|message| message.name == name);
    found
        .copied()
        .ok_or_else(|| format!("no message of conformance.proto is called {name:?}"))
}
