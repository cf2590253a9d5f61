//! What the steps of one case share: connections by their names, the client under test, and what names stand for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::{Case, Role};
use crate::driver::{Driver, Told};
use crate::pattern::Names;
use crate::peer::Peer;
use crate::template;
use crate::time::{now, pause};
use crate::wire::{Connection, Listener, Next};

/// The name of whichever connection something comes on; and, after that, of the one it came on.
pub const ANY: &str = "any";
/// The name of the connection that something last came on.
pub const IT: &str = "it";

/// How long each connection is looked at, when it can be any.
const GLANCE: Duration = Duration::from_millis(5);
/// How long a client may take to connect, busy as the machine may be.
const CONNECT: Duration = Duration::from_secs(8);

/// One case while it is played.
#[derive(Debug)]
pub struct Stage<'a> {
    /// What is played.
    pub case: &'a Case,
    /// With whom.
    pub peer: &'a Peer,
    /// How long what is due may take.
    pub patience: Duration,
    /// What names stand for.
    pub names: Names,
    /// The client under test.
    pub driver: Option<Driver>,
    connections: BTreeMap<String, Connection>,
    listener: Option<Listener>,
    it: String,
    accepted: usize,
}

impl<'a> Stage<'a> {
    /// Sets the stage; starts the client under test, if it is one.
    ///
    /// # Errors
    ///
    /// When there is no port for it, or it cannot be started.
    pub fn new(case: &'a Case, peer: &'a Peer, patience: Duration) -> Result<Self, String> {
        let mut names = Names::new();
        names.insert("run".to_owned(), json!(peer.run));
        let mut stage = Self {
            case,
            peer,
            patience,
            names,
            driver: None,
            connections: BTreeMap::new(),
            listener: None,
            it: "first".to_owned(),
            accepted: 0,
        };
        if case.role == Role::Client {
            let listener = Listener::new()?;
            let address = listener.address()?.to_string();
            let call = template::fill_in(&case.call, &stage.names)?;
            stage.driver = Some(Driver::start(&peer.client, &address, &call)?);
            stage.listener = Some(listener);
        }
        Ok(stage)
    }

    /// Which connection a step means that does not say so.
    pub fn usual(&self) -> &'static str {
        match self.case.role {
            Role::Server => "first",
            Role::Client => IT,
        }
    }

    /// The connection of this name; it is made when it is first asked for.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or nobody connects.
    pub fn connection(&mut self, on: &str) -> Result<&mut Connection, String> {
        let on = match on {
            IT | ANY => self.it.clone(),
            name => name.to_owned(),
        };
        if !self.connections.contains_key(&on) {
            let connection = match &self.listener {
                Some(listener) => listener.accept(CONNECT)?,
                None => Connection::to(self.peer.address_for(self.case)?)?,
            };
            self.connections.insert(on.clone(), connection);
        }
        self.connections
            .get_mut(&on)
            .ok_or_else(|| format!("there is no connection {on}"))
    }

    /// Ends a connection.
    pub fn hang_up(&mut self, on: &str) {
        let on = if on == IT { &self.it } else { on };
        self.connections.remove(on);
    }

    /// What comes next on a connection; on any of them, and on new ones, if a client may choose.
    ///
    /// # Errors
    ///
    /// When the connection cannot be made.
    pub fn next(&mut self, on: &str, patience: Duration) -> Result<Next, String> {
        if self.case.role == Role::Server || ![ANY, IT].contains(&on) {
            return Ok(self.connection(on)?.next(patience));
        }
        let patience = patience.max(if self.connections.is_empty() {
            CONNECT
        } else {
            GLANCE
        });
        let start = now();
        let mut has_ended = false;
        loop {
            let names: Vec<_> = self.connections.keys().cloned().collect();
            for name in names {
                match self.connection(&name)?.next(GLANCE) {
                    Next::Silence => {}
                    // One that the client has done with says nothing of those that it still uses, or is to make.
                    Next::End => {
                        self.connections.remove(&name);
                        has_ended = true;
                    }
                    next => {
                        self.it = name;
                        return Ok(next);
                    }
                }
            }
            let at_once = Duration::ZERO;
            if let Some(Ok(connection)) = self.listener.as_ref().map(|it| it.accept(at_once)) {
                self.accepted += 1;
                // Some clients make more connections than they use: it is another one only when something comes on it.
                let name = format!("connection {}", self.accepted);
                self.connections.insert(name, connection);
            }
            if self.connections.is_empty() {
                pause(GLANCE);
            }
            match now() - start < patience {
                true => {}
                false if has_ended => return Ok(Next::End),
                false => return Ok(Next::Silence),
            }
        }
    }

    /// What the client under test says of a call that went wrong, if it does: it often knows why.
    pub fn last_words(&mut self) -> String {
        let told = self.driver.as_mut().map(|driver| driver.next_line(GLANCE));
        match told {
            Some(Told::Line(line)) => format!("; the client says {line}"),
            _ => String::new(),
        }
    }

    /// The client under test ends without a word of its call.
    ///
    /// # Errors
    ///
    /// When it says something, or nothing and goes on.
    pub fn ended(&mut self, patience: Duration) -> Result<(), String> {
        let driver = self.driver.as_mut().ok_or("only clients end")?;
        match driver.next_line(patience) {
            Told::End => Ok(()),
            Told::Nothing => Err("the client goes on and says nothing".to_owned()),
            Told::Line(line) => Err(format!("{line} where the end of the client was expected")),
        }
    }

    /// The next outcome that the client under test tells.
    ///
    /// # Errors
    ///
    /// When there is no client, or it says nothing in time.
    pub fn outcome(&mut self, patience: Duration) -> Result<Value, String> {
        let driver = self.driver.as_mut();
        driver
            .ok_or("only clients have outcomes")?
            .outcome(patience)
    }
}
