//! [`Caller`]: how a channel calls itself.

use std::env;
use std::sync::Arc;

use rpc_core::{Context, Parties};

/// How a channel calls itself to servers, and whom it calls.
#[derive(Debug)]
pub(crate) struct Caller {
    parties: Arc<Parties>,
    /// Whether it was told its own name.
    is_told: bool,
}

impl Caller {
    /// Whoever has that name, empty if nobody said one, and calls `callee`.
    pub(crate) fn new(name: &str, callee: String) -> Self {
        let is_told = !name.is_empty();
        let caller = if is_told {
            name.to_owned()
        } else {
            name_of_this_program()
        };
        Self {
            parties: Arc::new(Parties::new(caller, callee)),
            is_told,
        }
    }

    /// Whom it calls.
    pub(crate) fn callee(&self) -> &str {
        self.parties.callee()
    }

    /// Puts the names into the context of a call. One that was not told its name has that of the server that a call is made
    /// within.
    pub(crate) fn sign(&self, context: &mut Context) {
        if self.is_told {
            context.set_parties(&self.parties);
        } else {
            context.set_parties_within(&self.parties);
        }
    }
}

/// What peers in Go say where nothing is configured.
fn name_of_this_program() -> String {
    let path = env::current_exe().ok();
    let stem = path.as_ref().and_then(|path| path.file_stem());
    let program = stem.map_or_else(|| "unknown".into(), |stem| stem.to_string_lossy());
    format!("trpc.client.{program}.service")
}

#[cfg(test)]
mod tests {
    use rpc_core::{Clock, Scope, Site};

    use super::*;

    fn signed(caller: &Caller, server: &str) -> (String, String) {
        let site = Site::new(Clock::system(), None).named(server);
        let scope = Scope::at(&Arc::new(site), None);
        let mut context = Context::new(&Arc::new(scope)).child();
        caller.sign(&mut context);
        (context.caller().to_owned(), context.callee().to_owned())
    }

    #[test]
    fn a_name_that_was_told_comes_before_the_servers_and_that_before_the_programs() {
        let callee = || "trpc.app.server.Callee".to_owned();
        let told = Caller::new("trpc.app.told.Caller", callee());
        let server = "trpc.app.server.Caller";
        assert_eq!(
            signed(&told, server),
            ("trpc.app.told.Caller".into(), callee())
        );
        let found = Caller::new("", callee());
        assert_eq!(signed(&found, server), (server.into(), callee()));
        let (caller, _) = signed(&found, "");
        let program = caller.strip_prefix("trpc.client.").unwrap();
        let program = program.strip_suffix(".service").unwrap();
        assert!(program.starts_with("rpc_client"), "{program}");
    }
}
