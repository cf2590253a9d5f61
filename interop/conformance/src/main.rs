//! `tern-conformance`: judges a server or a client of tRPC. Ends with 1 when something is wrong, with 2 for wrong flags.

use std::process::ExitCode;
use std::{env, fs, process};

use tern_conformance::case::{self, Case};
use tern_conformance::peer::{FEATURES, Peer};
use tern_conformance::report::{self, Terminal};
use tern_conformance::run;

const USAGE: &str = "usage:
  tern-conformance --name NAME [--server ADDRESS [--streams ADDRESS]] [--client 'COMMAND {address} {call}']
                   [--lacks FEATURE[,FEATURE...]] [--only TEXT] [--markdown FILE]
  tern-conformance --list

  --name      what the peer is called in lists of known disagreements, such as trpc-go
  --server    judge the server that listens at IP:PORT or unix:PATH
  --streams   where its streams are served, if that is another address
  --client    judge the client that this command starts, once for each case
  --lacks     features that it does not have; their cases are shown as not offered
  --only      only cases with this text in their names
  --markdown  write the report to a file, too
  --list      the names of all cases and of all features
";

fn main() -> ExitCode {
    match judge() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tern-conformance: {error}");
            ExitCode::from(2)
        }
    }
}

fn judge() -> Result<ExitCode, String> {
    let mut peer = Peer {
        run: process::id().to_string(),
        ..Peer::default()
    };
    let (mut only, mut file) = (String::new(), None);
    let mut words = env::args().skip(1);
    while let Some(flag) = words.next() {
        if flag == "--list" {
            return list();
        }
        let value = words.next();
        let value = value.ok_or_else(|| format!("{flag} wants a value\n{USAGE}"))?;
        match flag.as_str() {
            "--name" => peer.name = value,
            "--server" => peer.server = Some(value.parse()?),
            "--streams" => peer.streams = Some(value.parse()?),
            "--client" => peer.client = value.split_whitespace().map(str::to_owned).collect(),
            "--lacks" => peer.lacks = value.split(',').map(str::to_owned).collect(),
            "--only" => only = value,
            "--markdown" => file = Some(value),
            _ => return Err(format!("{flag} is no flag\n{USAGE}")),
        }
    }
    check(&peer)?;
    let cases: Vec<Case> = case::all()?
        .into_iter()
        .filter(|case| case.name.contains(&only))
        .collect();
    let results = run::run(&cases, &peer);
    print!("{}", Terminal(&results));
    if let Some(file) = file {
        let text = report::markdown(&results);
        fs::write(&file, text).map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(if results.red().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn check(peer: &Peer) -> Result<(), String> {
    if peer.name.is_empty() {
        return Err(format!("--name is needed\n{USAGE}"));
    }
    if peer.server.is_none() && peer.client.is_empty() {
        return Err(format!("--server or --client is needed\n{USAGE}"));
    }
    let is_known = |lack: &str| FEATURES.iter().any(|(feature, _)| *feature == lack);
    match peer.lacks.iter().find(|lack| !is_known(lack)) {
        Some(lack) => Err(format!("{lack:?} is no feature: --list names them")),
        None => Ok(()),
    }
}

fn list() -> Result<ExitCode, String> {
    for case in case::all()? {
        println!("{:?}: {} ({})", case.role, case.name, case.spec);
    }
    for (feature, means) in FEATURES {
        println!("feature {feature}: {means}");
    }
    Ok(ExitCode::SUCCESS)
}
