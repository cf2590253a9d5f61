//! Formats: one handler answers protobuf, JSON and FlatBuffers, the last by a serialization of our own.
//!
//! ```text
//! cargo run --release --example formats
//! ```

use std::error::Error;

use bytes::BytesMut;
use flatbuffers::{
    FlatBufferBuilder, ForwardsUOffset, InvalidFlatbuffer, Verifiable, Verifier, VerifierOptions,
    WIPOffset,
};
use tern::serialize::{AnyMessage, Place};
use tern::{
    Bytes, Call, Channel, Code, Context, Fixed, Format, Formats, Message, MessageType, Raw,
    Serialization, Server, Service, Status,
};
use tern_examples::shop::{Item, PRICES, Price, Prices, PricesClient, PricesServer};

/// The number of FlatBuffers in the protocol.
const FLATBUFFERS: Format = Format::Other(3);

fn main() -> Result<(), Box<dyn Error>> {
    // The table is a value: another server in this process may have another.
    let formats = Formats::default().with(FlatBuffers);
    let running = Server::builder()
        .formats(formats.clone())
        .service(PricesServer::new(Shop))
        .bind("127.0.0.1:0")?
        .start()?;
    let channel = Channel::builder("demo.shop.Prices")
        .resolve(Fixed::new([running.address()]))
        .formats(formats)
        .build()?;
    let prices = PricesClient::new(channel.clone());

    println!("the same call in three formats");
    for format in [Format::Protobuf, Format::Json, FLATBUFFERS] {
        let item = Item {
            name: "lamp".into(),
        };
        let price = prices.get(item).format(format).wait()?;
        println!("  {format:?}: {} cents", price.cents);
    }

    println!("what goes over the wire, seen through bytes that are not read");
    println!(
        "  {}",
        text(&ask(
            &channel,
            Format::Json,
            br#"{"name": "lamp", "unknown": []}"#
        )?)
    );
    let buffer = written(&Item {
        name: "lamp".into(),
    });
    println!(
        "  {} bytes for {}",
        ask(&channel, FLATBUFFERS, &buffer)?.len(),
        buffer.len()
    );

    println!("what is broken is refused, and where JSON is broken is said");
    for (format, body) in [
        (Format::Json, &b"{\"name\": 7}"[..]),
        (FLATBUFFERS, &buffer[..buffer.len() - 8]),
        (Format::Other(200), b"who knows"),
    ] {
        match ask(&channel, format, body) {
            Ok(answer) => println!("  {format:?}: {} bytes", answer.len()),
            Err(status) => println!("  {format:?}: {status}"),
        }
    }
    drop((prices, channel));
    Ok(running.stop()?)
}

struct Shop;

impl Prices for Shop {
    async fn get(&self, _: &Context, item: Item) -> Result<Price, Status> {
        let cents = item.name.len() as u64 * 1000 + 99;
        Ok(Price { cents })
    }
}

/// Calls with a body of that format, and returns that of the answer.
fn ask(
    channel: &(impl Service + Clone + 'static),
    format: Format,
    body: &[u8],
) -> Result<Bytes, Status> {
    let body = Raw(Bytes::copy_from_slice(body));
    let call = Call::<_, Raw, Raw>::new(channel.clone(), &PRICES.methods[0], body);
    Ok(call.format(format).wait()?.0)
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// FlatBuffers for the messages of the shop.
///
/// ```text
/// table Item { name: string; }
/// table Price { cents: ulong; }
/// ```
#[derive(Debug)]
struct FlatBuffers;

impl Serialization for FlatBuffers {
    fn number(&self) -> u32 {
        3
    }

    fn name(&self) -> &'static str {
        "FlatBuffers"
    }

    fn read(&self, body: Bytes, of: &MessageType, into: &mut dyn Place) -> Result<(), Status> {
        let known = read_as::<Item>(&body, into).or_else(|| read_as::<Price>(&body, into));
        known.unwrap_or_else(|| Err(unknown(Code::Malformed, of)))
    }

    fn write(
        &self,
        message: &dyn AnyMessage,
        of: &MessageType,
        bytes_max: usize,
        out: &mut BytesMut,
    ) -> Result<(), Status> {
        let item = message.downcast_ref().map(written::<Item>);
        let known = item.or_else(|| message.downcast_ref().map(written::<Price>));
        let buffer = known.ok_or_else(|| unknown(Code::Unencodable, of))?;
        if buffer.len() > bytes_max {
            let text = format!(
                "a buffer of {} bytes, and {bytes_max} are allowed",
                buffer.len()
            );
            return Err(Status::new(Code::Unencodable, text));
        }
        out.extend_from_slice(&buffer);
        Ok(())
    }
}

fn unknown(code: Code, of: &MessageType) -> Status {
    Status::new(code, format!("nobody has said how {} is a table", of.name))
}

/// A message that is a table.
trait Flat: Message {
    /// What its bytes have to be before anything is read of them.
    type Table: Verifiable;

    fn build(
        &self,
        builder: &mut FlatBufferBuilder<'_>,
    ) -> WIPOffset<flatbuffers::TableFinishedWIPOffset>;

    /// What is not there has its default.
    fn read(table: &Table<'_>) -> Self;
}

/// Reads a message of that type, if that is what belongs there. What came is verified as a whole first.
fn read_as<M: Flat>(body: &Bytes, into: &mut dyn Place) -> Option<Result<(), Status>> {
    if !into.takes::<M>() {
        return None;
    }
    let options = VerifierOptions::default();
    let mut verifier = Verifier::new(&options, body);
    let read = <ForwardsUOffset<M::Table>>::run_verifier(&mut verifier, 0)
        .map_err(|error| error.to_string())
        .and_then(|()| Table::root(body).ok_or_else(|| "it has no root".to_owned()));
    Some(match read {
        Ok(table) => {
            let _ = into.put(M::read(&table));
            Ok(())
        }
        Err(error) => {
            let text = format!(
                "the buffer is broken: {}",
                error.lines().next().unwrap_or_default()
            );
            Err(Status::new(Code::Malformed, text))
        }
    })
}

fn written<M: Flat>(message: &M) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let table = message.build(&mut builder);
    builder.finish_minimal(table);
    builder.finished_data().to_vec()
}

/// Where the first and only field of either table is found in a table of offsets.
const FIRST: u16 = 4;

struct ItemTable;

impl Verifiable for ItemTable {
    fn run_verifier(verifier: &mut Verifier<'_, '_>, at: usize) -> Result<(), InvalidFlatbuffer> {
        let table = verifier.visit_table(at)?;
        table
            .visit_field::<ForwardsUOffset<&str>>("name", FIRST, false)?
            .finish();
        Ok(())
    }
}

impl Flat for Item {
    type Table = ItemTable;

    fn build(
        &self,
        builder: &mut FlatBufferBuilder<'_>,
    ) -> WIPOffset<flatbuffers::TableFinishedWIPOffset> {
        let name = builder.create_string(&self.name);
        let table = builder.start_table();
        builder.push_slot_always(FIRST, name);
        builder.end_table(table)
    }

    fn read(table: &Table<'_>) -> Self {
        let name = table.field(FIRST).and_then(|at| table.string(at));
        let name = name.unwrap_or_default().to_owned();
        Self { name }
    }
}

struct PriceTable;

impl Verifiable for PriceTable {
    fn run_verifier(verifier: &mut Verifier<'_, '_>, at: usize) -> Result<(), InvalidFlatbuffer> {
        let table = verifier.visit_table(at)?;
        table.visit_field::<u64>("cents", FIRST, false)?.finish();
        Ok(())
    }
}

impl Flat for Price {
    type Table = PriceTable;

    fn build(
        &self,
        builder: &mut FlatBufferBuilder<'_>,
    ) -> WIPOffset<flatbuffers::TableFinishedWIPOffset> {
        let table = builder.start_table();
        builder.push_slot(FIRST, self.cents, 0);
        builder.end_table(table)
    }

    fn read(table: &Table<'_>) -> Self {
        let cents = table.field(FIRST).and_then(|at| table.number(at));
        let cents = cents.map_or(0, u64::from_le_bytes);
        Self { cents }
    }
}

/// A table in a buffer. What the compiler of schemas writes would read it without a look at bounds, after it is verified;
/// that takes unsafe code, which these examples have none of.
struct Table<'a> {
    buffer: &'a [u8],
    at: usize,
}

impl<'a> Table<'a> {
    fn root(buffer: &'a [u8]) -> Option<Self> {
        let mut table = Self { buffer, at: 0 };
        table.at = table.offset(0)?;
        Some(table)
    }

    /// Where a field is, if it is there: the table begins with the way back to its offsets.
    fn field(&self, slot: u16) -> Option<usize> {
        let back = i32::from_le_bytes(self.number(self.at)?);
        let offsets = self
            .at
            .checked_add_signed(isize::try_from(back).ok()?.checked_neg()?)?;
        let length = u16::from_le_bytes(self.number(offsets)?);
        let slot = (slot < length).then_some(slot)?;
        match u16::from_le_bytes(self.number(offsets + usize::from(slot))?) {
            0 => None,
            offset => self.at.checked_add(offset.into()),
        }
    }

    fn string(&self, at: usize) -> Option<&'a str> {
        let at = self.offset(at)?;
        let length = usize::try_from(u32::from_le_bytes(self.number(at)?)).ok()?;
        let bytes = self.buffer.get(at.checked_add(4)?..)?.get(..length)?;
        std::str::from_utf8(bytes).ok()
    }

    fn number<const BYTES: usize>(&self, at: usize) -> Option<[u8; BYTES]> {
        self.buffer.get(at..)?.first_chunk().copied()
    }

    /// Where an offset leads that is counted from its own place.
    fn offset(&self, at: usize) -> Option<usize> {
        let offset = u32::from_le_bytes(self.number(at)?);
        at.checked_add(usize::try_from(offset).ok()?)
    }
}
