//! `cargo xtask VERB`.

mod verbs;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["help" | "--help" | "-h"] => {
            println!("{}", help());
            Ok(())
        }
        ["ci"] => verbs::ci(),
        ["instructions", "--accept"] => verbs::accept_instructions(),
        [name] => match verbs::ALL.iter().find(|verb| verb.name == name) {
            Some(verb) => (verb.run)(),
            None => Err(format!("there is no verb `{name}`\n\n{}", help())),
        },
        _ => Err(format!("one verb at a time\n\n{}", help())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let lines = verbs::ALL.iter().map(|verb| (verb.name, verb.says));
    let all = (
        "ci",
        "everything in CI's order, with the time each step took",
    );
    let lines = lines.chain([all]);
    let lines: Vec<_> = lines
        .map(|(name, says)| format!("  {name:<12} {says}"))
        .collect();
    format!("usage: cargo xtask VERB\n\n{}", lines.join("\n"))
}
