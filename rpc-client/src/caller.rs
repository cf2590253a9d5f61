//! [`Caller`]: how a channel calls itself.

use std::env;

use rpc_core::Context;

/// How a channel calls itself to servers.
#[derive(Debug)]
pub(crate) enum Caller {
    /// As it was told.
    Told(String),
    /// As the server that a call is made within, or else so.
    Found(String),
}

impl Caller {
    /// Whoever has that name; empty if nobody said one.
    pub(crate) fn of(name: &str) -> Self {
        if name.is_empty() {
            Self::Found(name_of_this_program())
        } else {
            Self::Told(name.to_owned())
        }
    }

    /// Puts the names into the context of a call.
    pub(crate) fn sign(&self, context: &mut Context, callee: &str) {
        match self {
            Self::Told(caller) => context.set_names(caller, callee),
            Self::Found(caller) => context.set_names_within(caller, callee),
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
    use std::sync::Arc;

    use rpc_core::{Clock, Scope, Site};

    use super::*;

    fn signed(caller: &Caller, server: &str) -> (String, String) {
        let site = Site::new(Clock::system(), None).named(server);
        let scope = Scope::at(&Arc::new(site), None);
        let mut context = Context::new(&Arc::new(scope)).child();
        caller.sign(&mut context, "trpc.app.server.Callee");
        (context.caller().to_owned(), context.callee().to_owned())
    }

    #[test]
    fn a_name_that_was_told_comes_before_the_servers_and_that_before_the_programs() {
        let callee = || "trpc.app.server.Callee".to_owned();
        let told = Caller::of("trpc.app.told.Caller");
        let server = "trpc.app.server.Caller";
        assert_eq!(
            signed(&told, server),
            ("trpc.app.told.Caller".into(), callee())
        );
        let found = Caller::of("");
        assert_eq!(signed(&found, server), (server.into(), callee()));
        let (caller, _) = signed(&found, "");
        let program = caller.strip_prefix("trpc.client.").unwrap();
        let program = program.strip_suffix(".service").unwrap();
        assert!(program.starts_with("rpc_client"), "{program}");
    }
}
