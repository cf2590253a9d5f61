//! Runs all checks and writes what came of them to standard output, as tables in Markdown. Ends with 1 if one failed.

use std::process::ExitCode;

use tern_interop::check::Check;
use tern_interop::checks::{bytes, calls, networks, quirks};
use tern_interop::go::{Case, Go, Mode, Transport};
use tern_interop::networks::{Network, OurServer};
use tern_interop::ours::{Handlers, Variant};

fn main() -> ExitCode {
    let mut failures = 0;
    let mut show = |table: Table| {
        table.print();
        failures += table.failures();
    };
    show(bytes_on_ours());
    if let Some(go) = Go::find() {
        show(their_client(go));
        show(their_client_on_each_variant(go));
        let peers = |transport| calls::Peers { go, transport };
        let title = "Our client on tRPC-Go's server";
        show(checks(title, &calls::CHECKS, &Transport::ALL, peers));
        show(their_client_over_networks(go));
        let peers = |network| networks::Peers { go, network };
        let title = "Our client on tRPC-Go's server, beside TCP";
        show(checks(title, &networks::CHECKS, &Network::ALL, peers));
        let title = "Over Unix sockets alone";
        show(checks(title, &networks::ON_UNIX, &[Network::Unix], peers));
        let title = "Over UDP alone";
        show(checks(title, &networks::ON_UDP, &[Network::Udp], peers));
        let peers = |transport| calls::Peers { go, transport };
        let title = "Quirks of tRPC-Go";
        show(checks(title, &quirks::CHECKS, &Transport::ALL, peers));
    }
    match failures {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn bytes_on_ours() -> Table {
    let servers: Vec<_> = Variant::ALL.map(Variant::start).into();
    let mut targets = servers.iter().map(tern_interop::ours::OurServer::address);
    let target = |_| targets.next().expect("a server for each variant");
    let title = "Bytes on our server";
    checks(title, &bytes::CHECKS, &Variant::ALL, target)
}

fn their_client(go: &Go) -> Table {
    let server = Variant::new(Handlers::Async, 2).start();
    let mut table = Table::new("tRPC-Go's client on our server");
    for transport in Transport::ALL {
        for mode in Mode::ALL {
            let cases = go.client(server.address(), mode, transport, &[]);
            table.add_column(format!("{mode}, {transport}"), cases);
        }
    }
    table
}

fn their_client_over_networks(go: &Go) -> Table {
    let mut table = Table::new("tRPC-Go's client on our server, beside TCP");
    for network in Network::ALL {
        let server = OurServer::start(network);
        for mode in network.modes() {
            let cases = go.client_over(network, *mode, &server.address);
            // Not all cases make sense everywhere, so each has its rows.
            let named = cases.into_iter().map(|case| Case {
                name: format!("{network}, {mode}: {}", case.name),
                ..case
            });
            table.add_rows(named);
        }
    }
    table
}

fn their_client_on_each_variant(go: &Go) -> Table {
    let mut table = Table::new("tRPC-Go's client on our server, by the way it runs handlers");
    for mode in Mode::ALL {
        let cases = Variant::ALL.map(|variant| {
            let server = variant.start();
            let cases = go.client(server.address(), mode, Transport::Tnet, &[]);
            let failed = cases.iter().filter(|case| case.outcome.is_err()).count();
            let outcome = match failed {
                0 => Ok(()),
                failed => Err(format!("{failed} of {}", cases.len())),
            };
            let name = format!("all {} cases: {variant}", cases.len());
            Case { name, outcome }
        });
        table.add_column(mode.to_string(), cases.into());
    }
    table
}

/// Runs all checks on each of the targets that belong to `modes`.
fn checks<Target, Mode>(
    title: &'static str,
    checks: &[Check<Target>],
    modes: &[Mode],
    mut target: impl FnMut(Mode) -> Target,
) -> Table
where
    Target: Clone + Send + 'static,
    Mode: Copy + ToString,
{
    let mut table = Table::new(title);
    for mode in modes {
        let target = target(*mode);
        let cases = checks.iter().map(|check| Case {
            name: check.name.to_owned(),
            outcome: check.outcome(&target),
        });
        table.add_column(mode.to_string(), cases.collect());
    }
    table
}

/// What came of the same cases in several modes.
struct Table {
    title: &'static str,
    modes: Vec<String>,
    rows: Vec<(String, Vec<Result<(), String>>)>,
}

impl Table {
    fn new(title: &'static str) -> Self {
        Self {
            title,
            modes: Vec::new(),
            rows: Vec::new(),
        }
    }

    fn add_column(&mut self, mode: String, cases: Vec<Case>) {
        self.modes.push(mode);
        for Case { name, outcome } in cases {
            match self.rows.iter_mut().find(|(row, _)| *row == name) {
                Some((_, outcomes)) => outcomes.push(outcome),
                None => self.rows.push((name, vec![outcome])),
            }
        }
    }

    /// Rows of the one column that the table has.
    fn add_rows(&mut self, cases: impl Iterator<Item = Case>) {
        self.modes = vec!["outcome".to_owned()];
        self.rows
            .extend(cases.map(|case| (case.name, vec![case.outcome])));
    }

    fn failures(&self) -> usize {
        let outcomes = self.rows.iter().flat_map(|(_, outcomes)| outcomes);
        outcomes.filter(|outcome| outcome.is_err()).count()
    }

    fn print(&self) {
        println!("## {}\n", self.title);
        println!("| case | {} |", self.modes.join(" | "));
        println!("| --- |{}", " --- |".repeat(self.modes.len()));
        for (name, outcomes) in &self.rows {
            let cells: Vec<_> = outcomes.iter().map(cell).collect();
            println!("| {name} | {} |", cells.join(" | "));
        }
        println!();
    }
}

fn cell(outcome: &Result<(), String>) -> String {
    match outcome {
        Ok(()) => "ok".to_owned(),
        Err(reason) => {
            let words: Vec<_> = reason.split_whitespace().collect();
            format!("**FAIL** {}", words.join(" ").replace('|', "\\|"))
        }
    }
}
