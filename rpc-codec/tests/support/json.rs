//! A message of every kind there is in JSON, and what judges how it is read and written.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use rpc_codec::serialize::Json;
use rpc_core::serialize::Place;
use rpc_core::{Code, Format, Message, MessageType, Serialization, Status};

const SHAPES: &str = include_str!("../proto/shapes.proto");

/// Protobuf as it is, so that nothing but JSON is judged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Protobuf(pub(crate) Bytes);

impl Message for Protobuf {
    fn encode(&self, _: Format, out: &mut BytesMut) -> Result<(), Status> {
        out.extend_from_slice(&self.0);
        Ok(())
    }

    fn decode(_: Format, body: Bytes) -> Result<Self, Status> {
        Ok(Self(body))
    }

    fn knows(format: Format) -> bool {
        format == Format::Protobuf
    }
}

/// The type `test.json.Shapes`.
pub(crate) fn shapes() -> MessageType {
    static FILES: OnceLock<Vec<u8>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let mut files = protox::file::ChainFileResolver::new();
        files.add(Shapes);
        files.add(protox::file::GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(files);
        compiler.include_imports(true);
        compiler
            .open_file(Shapes::NAME)
            .expect("a file that is sound");
        compiler.encode_file_descriptor_set()
    });
    MessageType {
        name: "test.json.Shapes",
        files,
        large: None,
    }
}

struct Shapes;

impl Shapes {
    const NAME: &str = "shapes.proto";
}

impl protox::file::FileResolver for Shapes {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        match name {
            Self::NAME => protox::file::File::from_source(name, SHAPES),
            other => Err(protox::Error::file_not_found(other)),
        }
    }
}

pub(crate) fn descriptor() -> MessageDescriptor {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    let of = shapes();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(of.files).expect("a sound description"));
    pool.get_message_by_name(of.name).expect("it is described")
}

/// One for all, as a server has.
fn json() -> &'static Json {
    static JSON: OnceLock<Json> = OnceLock::new();
    JSON.get_or_init(Json::new)
}

/// The protobuf that the text is.
pub(crate) fn read(text: &[u8]) -> Result<Bytes, Status> {
    let mut place: Option<Protobuf> = None;
    let into: &mut dyn Place = &mut place;
    json().read(Bytes::copy_from_slice(text), &shapes(), into)?;
    Ok(place.expect("it was read").0)
}

/// The text that the protobuf is.
pub(crate) fn write(protobuf: Bytes, bytes_max: usize) -> Result<String, Status> {
    let mut out = BytesMut::new();
    json().write(&Protobuf(protobuf), &shapes(), bytes_max, &mut out)?;
    Ok(String::from_utf8(out.to_vec()).expect("JSON is text"))
}

/// What any text may become, and what it is then written as, within this bound.
const BYTES_MAX: usize = 1 << 20;

/// What is read is protobuf, what is written of it is JSON that another reader reads as the same, and so do we.
pub(crate) fn run(text: &[u8]) -> Result<bool, String> {
    let protobuf = match read(text) {
        Ok(protobuf) => protobuf,
        Err(status) if status.code() == Code::Malformed => return Ok(false),
        Err(status) => return Err(format!("it is no fault of the text: {status}")),
    };
    let message = match DynamicMessage::decode(descriptor(), protobuf.clone()) {
        Ok(message) => message,
        // A level of `Struct` is three of protobuf.
        Err(error) if error.to_string().contains("recursion limit") => return Ok(false),
        Err(error) => return Err(format!("it became no protobuf: {error}")),
    };
    let written = match write(protobuf, BYTES_MAX) {
        Ok(written) if written.len() <= BYTES_MAX => written,
        Ok(_) => return Err("it became longer than allowed".into()),
        // An `Any` hides as many levels as it likes from the reader of protobuf.
        Err(status) if status.message().contains("deeper") => return Ok(true),
        Err(status) if status.message().contains("longer than") => return Ok(true),
        Err(status) => return Err(format!("what was read cannot be written: {status}")),
    };
    let again = read(written.as_bytes()).map_err(|status| format!("{written}: {status}"))?;
    let twice = write(again, BYTES_MAX).map_err(|status| status.to_string())?;
    if twice != written {
        return Err(format!("{written} comes back as {twice}"));
    }
    judged(&written, &message)?;
    Ok(true)
}

/// Another reader of JSON reads the same of it.
pub(crate) fn judged(written: &str, message: &DynamicMessage) -> Result<(), String> {
    let mut theirs = serde_json::Deserializer::from_str(written);
    let theirs = match DynamicMessage::deserialize(descriptor(), &mut theirs) {
        Ok(theirs) => theirs,
        // It knows no empty `Any`, and not the shortest text of the largest number of 32 bits.
        Err(error) if is_known(&error.to_string()) => return Ok(()),
        Err(error) => return Err(format!("the other reader says {error} of {written}")),
    };
    // NaN is not equal to itself, but has one text.
    let text = |message: &DynamicMessage| write(message.encode_to_vec().into(), BYTES_MAX);
    match (text(&theirs), text(message)) {
        (Ok(theirs), Ok(ours)) if theirs == ours => Ok(()),
        (theirs, ours) => Err(format!(
            "the other reader reads {theirs:?} where we have {ours:?}"
        )),
    }
}

fn is_known(error: &str) -> bool {
    error.contains("expected '@type'") || error.contains("float value out of range")
}
