//! The golden frames of section 12: bytes that were made by hand and read by two parsers that share no code.

use serde_json::Value;

use crate::blob;

/// The same file that judges Tern's own codec.
const FILE: &str = include_str!("../../../rpc-codec/tests/vectors/trpc-frames.json");

/// One golden frame.
#[derive(Debug, Clone)]
pub struct Vector {
    /// As the file has it.
    pub name: String,
    /// The whole frame.
    pub bytes: Vec<u8>,
    /// Its fields, by the names of the schema; `None` for frames that are broken.
    pub decoded: Option<Value>,
}

/// The golden frame of this name.
///
/// # Errors
///
/// When there is none.
pub fn find(name: &str) -> Result<Vector, String> {
    all()
        .into_iter()
        .find(|vector| vector.name == name)
        .ok_or_else(|| format!("no golden frame is called {name:?}"))
}

/// All golden frames.
pub fn all() -> Vec<Vector> {
    list("frames")
        .into_iter()
        .map(|frame| Vector {
            name: text(&frame, "name"),
            bytes: bytes(&frame, "hex"),
            decoded: frame.get("decoded").filter(|it| !it.is_null()).cloned(),
        })
        .collect()
}

/// Name, `content_encoding`, packed and plain bytes of the golden bodies.
pub fn compressed_bodies() -> Vec<(String, u64, Vec<u8>, Vec<u8>)> {
    let bodies = list("compressed_bodies").into_iter().map(|body| {
        let encoding = body["content_encoding"].as_u64().expect("a number");
        let name = text(&body, "name");
        (
            name,
            encoding,
            bytes(&body, "hex"),
            bytes(&body, "decoded_hex"),
        )
    });
    bodies.collect()
}

fn list(name: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(FILE).expect("the golden frames are JSON");
    file[name].as_array().expect("a list").clone()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().expect("a text").to_owned()
}

fn bytes(value: &Value, name: &str) -> Vec<u8> {
    blob::unhex(&text(value, name)).expect("hexadecimal digits")
}
