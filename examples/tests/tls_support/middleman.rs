//! Somebody between client and server who can do harm.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Passes on what one client and the server say to each other, until it is told to do harm.
pub(crate) struct Middleman {
    pub(crate) address: SocketAddr,
    pub(crate) to_server: Arc<Way>,
    pub(crate) to_client: Arc<Way>,
}

/// One direction.
pub(crate) struct Way {
    /// Bytes that are passed on before the harm is done.
    left: AtomicUsize,
    harm: Harm,
    pub(crate) is_done: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// One bit of what comes next is turned round.
    Damage,
    /// The connection ends, as if the other end had ended it in order.
    Cut,
    /// Nothing more is passed on, and nothing more is read.
    Stop,
}

impl Way {
    fn new(harm: Harm) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(usize::MAX),
            harm,
            is_done: AtomicBool::new(false),
        })
    }

    /// Does the harm after so many further bytes.
    pub(crate) fn harm_after(&self, bytes: usize) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    /// Passes on what `from` says. Returns at its end.
    fn pass_on(&self, mut from: &TcpStream, mut to: &TcpStream) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let left = self.left.load(Ordering::SeqCst);
            let mut bytes = &mut buffer[..read];
            if left <= read && !self.is_done.swap(true, Ordering::SeqCst) {
                match self.harm {
                    Harm::Damage => bytes[read / 2] ^= 1,
                    Harm::Cut => bytes = &mut bytes[..left],
                    Harm::Stop => loop {
                        thread::park();
                    },
                }
            }
            if left != usize::MAX {
                self.left.store(left.saturating_sub(read), Ordering::SeqCst);
            }
            if to.write_all(bytes).is_err() {
                break;
            }
            if self.harm == Harm::Cut && self.is_done.load(Ordering::SeqCst) {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}

impl Middleman {
    /// Passes connections on to `server`, and does `harm` in either direction when it is told to.
    pub(crate) fn before(server: SocketAddr, harm: Harm) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (to_server, to_client) = (Way::new(harm), Way::new(harm));
        let ways = (Arc::clone(&to_server), Arc::clone(&to_client));
        thread::spawn(move || {
            let mut halves = Vec::new();
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else {
                    return;
                };
                let (client, server) = (Arc::new(client), Arc::new(server));
                let (up, down) = (Arc::clone(&ways.0), Arc::clone(&ways.1));
                let (from, to) = (Arc::clone(&client), Arc::clone(&server));
                halves.push(thread::spawn(move || up.pass_on(&from, &to)));
                halves.push(thread::spawn(move || down.pass_on(&server, &client)));
            }
        });
        Self {
            address,
            to_server,
            to_client,
        }
    }
}
