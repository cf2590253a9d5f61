//! What a connection costs that has been used once and is silent.

use std::time::Duration;

use super::measured::Idle;
use super::rounds::plan;
use crate::cell::Cell;
use crate::contestant::Contestant;
use crate::load::{Load, LoadError, Pace};
use crate::machine;

/// Connections that are opened, if the limit of descriptors allows.
const CONNECTIONS: usize = 5_000;

/// Opens connections, makes one call on each, and looks at the server's own memory before and after.
pub(super) fn measure(contestant: &dyn Contestant, is_pinned: bool) -> Result<Idle, String> {
    // One descriptor on each side for each; some are for everything else.
    let connections = CONNECTIONS.min(machine::files_max().saturating_sub(200));
    let server = contestant.start(is_pinned)?;
    let failed = |error: LoadError| error.to_string();
    let connect = |connections| {
        let plan = plan(contestant, Cell::new(connections, 1, 32), Pace::Closed);
        Load::connect(server.address(), plan).map_err(failed)
    };
    let mut warm = connect(8)?;
    warm.run(Duration::from_millis(100)).map_err(failed)?;
    warm.finish().map_err(failed)?;
    let before = server.memory_own();
    let mut idle = connect(connections)?;
    idle.once().map_err(failed)?;
    let after = server.memory_own();
    drop((warm, idle));
    server.end();
    Ok(Idle {
        connections,
        bytes: after.saturating_sub(before) as f64 / connections as f64,
    })
}
