//! Attachments: a file is read once and served in pieces, none of which is copied on its way to the socket.
//!
//! ```text
//! cargo run --release --example attachment
//! ```
//!
//! A message field of bytes would be copied into the body, with all that is around it, and out of it again at the other
//! end. An attachment is what it is: the handler hands out slices of the file in memory, the socket is given those, and
//! the client gets slices of the buffers that the frames were read into.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::{env, io, process};

use tern::{Bytes, Channel, Context, Fixed, Server, Service, Status};
use tern_examples::files::{File, Files, FilesClient, FilesServer, Name, Piece};

/// Small enough for a frame, which has 10 MiB at most, and large enough that nobody waits for single packets.
const PIECE: u64 = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let shelf = Shelf::default();
    shelf.keep("measured.bin", read_measured()?);
    let running = Server::builder()
        .service(FilesServer::new(shelf))
        .bind("127.0.0.1:0")?
        .start()?;
    let fixed = Fixed::new([running.address()]);
    let files = FilesClient::new(
        Channel::builder("demo.files.Files")
            .resolve(fixed)
            .build()?,
    );

    let measured = fetch(&files, "measured.bin")?;
    println!(
        "all of it is as it was made: {}",
        measured == make_measured()
    );
    store(&files, "copy.bin", measured)?;
    fetch(&files, "copy.bin")?;

    let piece = Piece {
        name: "nothing.bin".into(),
        ..Piece::default()
    };
    if let Err(status) = files.get(piece).wait() {
        println!("nothing.bin -> {status}");
    }
    drop(files);
    Ok(running.stop()?)
}

/// Files in memory, by their names.
#[derive(Default)]
struct Shelf(Mutex<HashMap<String, Bytes>>);

impl Shelf {
    fn keep(&self, name: &str, bytes: Bytes) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(name.to_owned(), bytes);
    }

    /// The file itself and no copy: `Bytes` count who holds them.
    fn find(&self, name: &str) -> Result<Bytes, Status> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = files.get(name).cloned();
        found.ok_or_else(|| Status::service(404, format!("there is no file {name}")))
    }
}

impl Files for Shelf {
    async fn get(&self, cx: &Context, piece: Piece) -> Result<File, Status> {
        let file = self.find(&piece.name)?;
        let size = file.len();
        let begin = usize::try_from(piece.offset).unwrap_or(size).min(size);
        let length = usize::try_from(piece.length.min(PIECE)).unwrap_or(size);
        let bytes = file.slice(begin..begin.saturating_add(length).min(size));
        let checksum = checksum(&bytes);
        cx.reply_attachment(bytes);
        Ok(File {
            size: size as u64,
            checksum,
        })
    }

    async fn put(&self, cx: &Context, name: Name) -> Result<File, Status> {
        // A slice of the buffer that the request was read into. To hold on to it is to hold on to that buffer, which has
        // little else in it.
        let bytes = cx.attachment().clone();
        if bytes.is_empty() {
            return Err(Status::invalid_argument("nothing is attached"));
        }
        let kept = File {
            size: bytes.len() as u64,
            checksum: checksum(&bytes),
        };
        self.keep(&name.name, bytes);
        Ok(kept)
    }
}

/// Asks for piece after piece, and checks each.
fn fetch<S: Service + Clone + 'static>(
    files: &FilesClient<S>,
    name: &str,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut whole = Vec::new();
    let mut pieces = 0;
    loop {
        let piece = Piece {
            name: name.into(),
            offset: whole.len() as u64,
            length: PIECE,
        };
        let response = files.get(piece).wait_response()?;
        let (said, bytes) = (response.body(), response.attachment());
        if checksum(bytes) != said.checksum || bytes.is_empty() {
            return Err(format!("{name} was damaged behind byte {}", whole.len()).into());
        }
        pieces += 1;
        // Here it is copied, because the pieces are wanted in one.
        whole.extend_from_slice(bytes);
        if whole.len() as u64 == said.size {
            break;
        }
    }
    println!(
        "{name}: {} bytes in {pieces} pieces, checksum {:016x}",
        whole.len(),
        checksum(&whole)
    );
    Ok(whole)
}

fn store<S: Service + Clone + 'static>(
    files: &FilesClient<S>,
    name: &str,
    bytes: Vec<u8>,
) -> Result<(), Status> {
    let call = files.put(Name { name: name.into() });
    let kept = call.attachment(Bytes::from(bytes)).wait()?;
    println!(
        "{name}: {} bytes stored, checksum {:016x}",
        kept.size, kept.checksum
    );
    Ok(())
}

/// FNV-1a, which is a few lines. It finds accidents, not forgeries.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The one time that the file is read.
fn read_measured() -> io::Result<Bytes> {
    let path = TemporaryFile::of(&make_measured())?;
    Ok(fs::read(&path.0)?.into())
}

/// Two and a half pieces, the same in each run.
fn make_measured() -> Vec<u8> {
    let number = |place: u64| (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_le_bytes()[0];
    (0..PIECE / 2 * 5).map(number).collect()
}

/// Gone when it is dropped.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn of(bytes: &[u8]) -> io::Result<Self> {
        let path = env::temp_dir().join(format!("tern-attachment-{}.bin", process::id()));
        fs::write(&path, bytes)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // What cannot be removed is left to the system.
        let _ = fs::remove_file(&self.0);
    }
}
