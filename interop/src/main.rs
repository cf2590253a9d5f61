//! Runs all checks and writes what came of them to standard output, as tables in Markdown. Ends with 1 if one failed.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use tern_conformance::case;
use tern_conformance::report::{self, Terminal};
use tern_interop::check::Check;
use tern_interop::checks::streams::StreamPeers;
use tern_interop::checks::{
    bytes, calls, carried, ends, formats, java_calls, java_ends, java_quirks, java_streams,
    networks, quirks, streams,
};
use tern_interop::conformance::{Everybody, client, server};
use tern_interop::go::{Case, Go, Mode, Transport};
use tern_interop::java::Java;
use tern_interop::networks::{Network, OurServer};
use tern_interop::ours::{Handlers, Variant};
use tern_interop::{columns, docs};

const USAGE: &str = "usage:
  tern-interop                                    all checks
  tern-interop conformance [TEXT]                 the conformance kit: all cases, or those with TEXT in their names
  tern-interop conformance-server IP:PORT         our server for the kit
  tern-interop conformance-client ADDRESS CALL    our client for the kit
  tern-interop --write-docs | --check-docs        the parts of docs/interop.md that a run makes";

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => return everything(),
        ["conformance-client", address, call] => client::run(address, call),
        ["conformance-server", address] => serve(address),
        ["conformance"] => conform(""),
        ["conformance", only] => conform(only),
        ["--write-docs"] => parts().and_then(|parts| docs::write(&parts)),
        ["--check-docs"] => parts().and_then(|parts| docs::check(&parts)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tern-interop: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Our server for the kit, until it is told to stop.
fn serve(address: &str) -> Result<(), String> {
    let address = address.parse();
    let address = address.map_err(|_| "the address is not IP:PORT".to_owned())?;
    let running = server::start(address).map_err(|error| error.to_string())?;
    println!("listening {}", running.address());
    running.join().map_err(|error| error.to_string())
}

/// The conformance kit with everybody who is here.
fn conform(only: &str) -> Result<(), String> {
    let mut cases = case::all()?;
    cases.retain(|case| case.name.contains(only));
    let found = Everybody::play(&cases, &this_program()?);
    let mut wrong = 0;
    for (title, results) in found.all() {
        println!("{title}\n{}", Terminal(results));
        wrong += results.red().len();
    }
    match wrong {
        0 => Ok(()),
        wrong => Err(format!("{wrong} cases are wrong")),
    }
}

/// Makes what `docs/interop.md` has of a run.
fn parts() -> Result<Vec<(&'static str, String)>, String> {
    let found = Everybody::play(&case::all()?, &this_program()?);
    let marks = columns::marks(&found);
    let tables = found
        .all()
        .map(|(title, results)| format!("#### {title}\n\n{}", report::markdown(results)));
    Ok(vec![
        ("matrix", marks.table()?),
        ("conformance", tables.collect::<Vec<_>>().join("\n")),
    ])
}

fn this_program() -> Result<PathBuf, String> {
    env::current_exe().map_err(|error| format!("the system does not say what runs: {error}"))
}

fn everything() -> ExitCode {
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
        show(their_streams(go));
        let title = "Our streams on tRPC-Go's server";
        let on_go = |_| StreamPeers { go };
        show(checks(title, &streams::CHECKS, &["go-net"], on_go));
        let title = "What our client sends beside the message";
        show(checks(title, &carried::CHECKS, &Transport::ALL, peers));
        let title = "How connections end";
        show(checks(title, &ends::CHECKS, &Transport::ALL, peers));
        let title = "Our client on tRPC-Go's server, in other formats than protobuf";
        show(checks(title, &formats::CHECKS, &Transport::ALL, peers));
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
    if let Some(java) = Java::find() {
        show(their_java_client(java));
        let go = Go::find();
        let peers = |_| java_calls::Peers { java, go };
        let title = "Our client on tRPC-Java's server";
        show(checks(title, &java_calls::CHECKS, &["outcome"], peers));
        show(their_java_streams(java));
        let title = "Our streams on tRPC-Java's server";
        show(checks(title, &java_streams::CHECKS, &["outcome"], peers));
        let title = "How connections of tRPC-Java's client end";
        show(checks(title, &java_ends::CHECKS, &["outcome"], peers));
        let title = "Quirks of tRPC-Java";
        show(checks(title, &java_quirks::CHECKS, &["outcome"], peers));
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

fn their_streams(go: &Go) -> Table {
    let mut table = Table::new("tRPC-Go's client on our streams");
    for variant in Variant::ALL {
        let server = variant.start();
        table.add_column(variant.to_string(), go.stream_client(server.address(), &[]));
    }
    table
}

fn their_java_client(java: &Java) -> Table {
    let mut table = Table::new("tRPC-Java's client on our server");
    for variant in Variant::ALL {
        let server = variant.start();
        let cases = java.client(server.address(), 2, &[]);
        table.add_column(variant.to_string(), cases);
    }
    table
}

fn their_java_streams(java: &Java) -> Table {
    let mut table = Table::new("tRPC-Java's client on our streams");
    for variant in Variant::ALL {
        let server = variant.start();
        table.add_column(variant.to_string(), java.stream_client(server.address()));
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
