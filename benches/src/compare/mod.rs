//! A run: who takes part, what is measured, what is said about it.
//!
//! Rounds of the contestants are interleaved, each in a fresh server process, so that what disturbs the machine disturbs
//! all. Ratios are taken within a round; shown is their median and, in brackets, the smallest and the largest. Numbers
//! of different runs are not to be compared.
//!
//! # Layout
//!
//! * [`Options`] – what a run is told; [`Measured`] – what it found out
//! * [`Rounds`] – one contestant in one cell; `idle`, `footprint`, `curves` – what is measured beside the cells
//! * `tables`, `document` – what is said

mod curves;
mod document;
mod footprint;
mod idle;
mod measured;
mod options;
mod rounds;
mod tables;

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use self::document::Document;
pub use self::footprint::Footprint;
pub use self::measured::{Idle, Measured};
pub use self::options::Options;
pub use self::rounds::{Round, Rounds};
use crate::cell::Cell;
use crate::contestant::{self, Contestant, Programs};
use crate::figures::short;
use crate::report::Table;
use crate::{gates, machine, versions};

/// Does what the options say. It fails when a contestant does, and with `--gates` when a gate is missed.
///
/// # Errors
///
/// When nothing can be measured, or the report cannot be written.
pub fn run(options: &Options, programs: &Programs) -> Result<ExitCode, Box<dyn Error>> {
    let mut run = Run {
        options,
        document: Document::default(),
        measured: Measured::default(),
        is_sound: true,
        is_pinned: false,
        contestants: Vec::new(),
    };
    run.introduce();
    run.gather(programs)?;
    run.measure_cells();
    run.measure_idle();
    run.measure_footprints();
    run.measure_curves();
    let missed = run.judge();
    if let Some(path) = &options.report {
        run.document.write(path)?;
    }
    let is_failed = !run.is_sound || (options.is_gated && missed > 0);
    Ok(if is_failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

struct Run<'a> {
    options: &'a Options,
    document: Document,
    measured: Measured,
    /// Whether everybody answered what they were asked.
    is_sound: bool,
    is_pinned: bool,
    contestants: Vec<Box<dyn Contestant>>,
}

impl Run<'_> {
    /// Says when, where and how.
    fn introduce(&mut self) {
        let arguments: Vec<_> = env::args()
            .skip(1)
            .filter(|text| text != "--bench")
            .collect();
        self.document.say(&format!(
            "{}: {}; {}\n\n`cargo bench --bench compare -- {}`; rounds in each cell: {}, of {} s",
            machine::date(),
            machine::description(),
            versions::rustc(),
            arguments.join(" "),
            self.options.rounds,
            self.options.window.as_secs_f64(),
        ));
    }

    /// Finds out who takes part. Peers are built before this process keeps to one CPU.
    fn gather(&mut self, programs: &Programs) -> Result<(), Box<dyn Error>> {
        let all = contestant::all(programs);
        let is_known = |name: &&String| all.iter().any(|it| it.name() == name.as_str());
        if let Some(name) = self.options.names.iter().find(|name| !is_known(name)) {
            let names: Vec<_> = all.iter().map(|it| it.name()).collect();
            return Err(format!("there is no `{name}`, but {}", names.join(", ")).into());
        }
        if self.options.has_gates() {
            for (name, why) in contestant::MISSING {
                self.measured.add_absence(name, why.to_owned());
            }
        }
        let mut versions = Table::new(&["server", "version"]).with_text_columns(&[1]);
        for mut contestant in all {
            if !self.options.wants(contestant.as_ref()) {
                continue;
            }
            match contestant.prepare() {
                Ok(()) => {
                    versions.row([contestant.name().to_owned(), contestant.version()]);
                    self.contestants.push(contestant);
                }
                Err(why) => self.measured.add_absence(contestant.name(), why),
            }
        }
        self.document.section(&"Who is compared", &versions);
        for (name, why) in self.measured.absences() {
            self.document.say(&format!("Without {name}: {why}."));
        }
        self.is_pinned = machine::pin_client();
        if !self.is_pinned {
            let text = "Server and client share their CPUs: nothing here pins processes.";
            self.document.say(&text);
        }
        Ok(())
    }

    fn measure_cells(&mut self) {
        for cell in self.options.cells() {
            let parties = self.contestants.iter().map(|it| &**it);
            let parties: Vec<_> = parties
                .filter(|it| self.options.wants_at(*it, cell))
                .collect();
            let all = measure_cell(&parties, cell, self.options, self.is_pinned);
            self.measured.add_cell(cell, all);
            let table = tables::of_cell(&self.measured, cell);
            self.document.section(&cell, &table);
            for (name, rounds) in self.measured.cell(cell) {
                if let Some(why) = &rounds.failure {
                    self.document
                        .say(&format!("Without {name}, which failed: {why}"));
                    self.is_sound = false;
                }
            }
        }
    }

    fn measure_idle(&mut self) {
        let columns = ["server", "connections", "bytes of its own memory for each"];
        let mut table = Table::new(&columns);
        for contestant in &self.contestants {
            let name = contestant.name();
            if !self.options.wants_beside(contestant.as_ref()) {
                continue;
            }
            eprintln!("idle connections: {name}");
            match idle::measure(contestant.as_ref(), self.is_pinned) {
                Ok(idle) => {
                    table.row([
                        name.to_owned(),
                        idle.connections.to_string(),
                        short(idle.bytes),
                    ]);
                    self.measured.add_idle(name, idle);
                }
                Err(why) => {
                    table.row([name.to_owned(), "-".to_owned(), why]);
                    self.is_sound = false;
                }
            }
        }
        self.document.section(&"Idle connections", &table);
    }

    /// One contestant of each program stands for it.
    fn measure_footprints(&mut self) {
        let columns = ["server", "start to first answer, ms", "stripped, MB"];
        let mut table = Table::new(&columns);
        let mut programs = BTreeSet::<PathBuf>::new();
        for contestant in &self.contestants {
            let name = contestant.name();
            let mut is_new = || programs.insert(contestant.program().0.to_owned());
            if !self.options.wants_beside(contestant.as_ref()) || !is_new() {
                continue;
            }
            eprintln!("starts: {name}");
            match footprint::measure(contestant.as_ref()) {
                Ok(footprint) => {
                    let megabytes = footprint.stripped.map(|bytes| short(bytes as f64 / 1e6));
                    table.row([
                        name.to_owned(),
                        footprint.start_ms.to_string(),
                        megabytes.unwrap_or_else(|| "-".to_owned()),
                    ]);
                    self.measured.add_footprint(name, footprint);
                }
                Err(why) => {
                    table.row([name.to_owned(), why, "-".to_owned()]);
                    self.is_sound = false;
                }
            }
        }
        self.measured.crates = footprint::crates();
        self.document.section(&"Programs", &table);
    }

    fn measure_curves(&mut self) {
        if !self.options.has_curve {
            return;
        }
        let title = "Latency against load, 64 connections, 32 B";
        match curves::measure(&self.contestants, self.options, self.is_pinned) {
            Ok((table, chart)) => {
                self.document.section(&title, &table);
                self.document.chart = Some(chart);
            }
            Err(why) => {
                self.document.section(&title, &why);
                self.is_sound = false;
            }
        }
    }

    /// Says how many gates are missed, if the run is there to tell.
    fn judge(&mut self) -> usize {
        if !self.options.has_gates() {
            return 0;
        }
        let (table, missed) = gates::judge(&self.measured);
        self.document.section(&"Gates", &table);
        let text = match missed {
            0 => "No gate that was measured is missed.".to_owned(),
            1 => "One gate is missed.".to_owned(),
            _ => format!("{missed} gates are missed."),
        };
        self.document.say(&text);
        missed
    }
}

fn measure_cell(
    contestants: &[&dyn Contestant],
    cell: Cell,
    options: &Options,
    is_pinned: bool,
) -> Vec<(&'static str, Rounds)> {
    let named = |it: &&dyn Contestant| (it.name(), Rounds::default());
    let mut all: Vec<_> = contestants.iter().map(named).collect();
    for round in 1..=options.rounds {
        for (contestant, (name, rounds)) in contestants.iter().zip(&mut all) {
            eprintln!("{cell}, round {round}: {name}");
            rounds.measure(*contestant, cell, options, is_pinned);
        }
    }
    all
}
