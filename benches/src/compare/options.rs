//! [`Options`]: what a run is told on its command line.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use crate::cell::{self, Cell};
use crate::contestant::Contestant;
use crate::gates;

const USAGE: &str = "\
usage: cargo bench --bench compare -- [options]

Without options: every cell, each with whom it tells something about, and the gates. A quarter of an hour at most, and
some minutes more the first time, when peers are built.

  --gates              only what the gates ask for; fails when one is missed
  --quick              two cells, one short round, only what is built with this package: tells whether anything is
                       badly off
  --shape CxD          connections x calls in flight on each; may be given more than once
  --payload BYTES      may be given more than once
  --contestant NAME    in every cell, also where it does not take part by itself; may be given more than once
  --rounds N           default: 3
  --seconds S          of each round, default: 1
  --curve              latency against load, too
  --report FILE        writes everything to FILE in Markdown, with latency against load beside it as SVG; Cargo runs
                       benches in benches/, so a name alone is there";

/// What `--quick` looks at.
const QUICK: [Cell; 2] = [Cell::new(64, 1, 32), Cell::new(8, 64, 32)];

/// What a run is told on its command line.
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) is_gated: bool,
    is_quick: bool,
    pub(super) has_curve: bool,
    shapes: Vec<(usize, usize)>,
    payloads: Vec<usize>,
    pub(super) names: Vec<String>,
    pub(super) rounds: usize,
    pub(super) warm_up: Duration,
    pub(super) window: Duration,
    pub(super) report: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            is_gated: false,
            is_quick: false,
            has_curve: false,
            shapes: Vec::new(),
            payloads: Vec::new(),
            names: Vec::new(),
            rounds: 3,
            warm_up: Duration::from_millis(300),
            window: Duration::from_secs(1),
            report: None,
        }
    }
}

impl Options {
    /// What it may be told.
    pub const USAGE: &str = USAGE;

    /// `None` when help was asked for.
    ///
    /// # Errors
    ///
    /// Says what was not understood.
    pub fn parse(
        mut arguments: impl Iterator<Item = String>,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(USAGE);
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                // Cargo says so.
                "--bench" => {}
                "--gates" => options.is_gated = true,
                "--quick" => options.be_quick(),
                "--curve" => options.has_curve = true,
                "--shape" => options.shapes.push(shape(&value()?)?),
                "--payload" => options.payloads.push(value()?.parse()?),
                "--contestant" => options.names.push(value()?),
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--seconds" => options.window = Duration::from_secs_f64(value()?.parse()?),
                "--report" => options.report = Some(value()?.into()),
                other => return Err(format!("unknown argument `{other}`\n\n{USAGE}").into()),
            }
        }
        options.has_curve |= options.report.is_some() && !options.is_gated;
        Ok(Some(options))
    }

    fn be_quick(&mut self) {
        self.is_quick = true;
        self.rounds = 1;
        self.warm_up = Duration::from_millis(100);
        self.window = Duration::from_millis(400);
    }

    /// The cells that are measured.
    pub(super) fn cells(&self) -> Vec<Cell> {
        if self.has_all_cells() {
            return match (self.is_quick, self.is_gated) {
                (true, _) => QUICK.to_vec(),
                (false, true) => gates::cells(),
                (false, false) => cell::all(),
            };
        }
        let shapes = or(&self.shapes, &cell::SHAPES);
        cell::of(shapes, or(&self.payloads, &cell::PAYLOADS))
    }

    /// Whether the gates are judged: in every run but those that look at a part.
    pub(super) fn has_gates(&self) -> bool {
        let is_whole = self.has_all_cells() && self.names.is_empty() && !self.is_quick;
        self.is_gated || is_whole
    }

    /// Whether a contestant takes part at all.
    pub(super) fn wants(&self, contestant: &dyn Contestant) -> bool {
        if self.is_quick && self.names.is_empty() && !contestant.is_own() {
            return false;
        }
        let mut cells = self.cells().into_iter();
        cells.any(|cell| self.wants_at(contestant, cell)) || self.wants_beside(contestant)
    }

    /// Whether a contestant takes part in a cell.
    pub(super) fn wants_at(&self, contestant: &dyn Contestant, cell: Cell) -> bool {
        if self.is_named(contestant) {
            return true;
        }
        match (self.names.is_empty(), self.is_gated) {
            (true, false) => contestant.cells().contains(cell),
            (true, true) => gates::asks(contestant.name(), Some(cell)),
            (false, _) => false,
        }
    }

    /// Whether a contestant takes part in what is measured beside the cells.
    pub(super) fn wants_beside(&self, contestant: &dyn Contestant) -> bool {
        match (self.names.is_empty(), self.is_gated) {
            (true, false) => contestant.cells().is_ever(),
            (true, true) => gates::asks(contestant.name(), None),
            (false, _) => self.is_named(contestant),
        }
    }

    fn is_named(&self, contestant: &dyn Contestant) -> bool {
        self.names.iter().any(|name| name == contestant.name())
    }

    fn has_all_cells(&self) -> bool {
        self.shapes.is_empty() && self.payloads.is_empty()
    }
}

fn or<'a, T>(given: &'a [T], all: &'a [T]) -> &'a [T] {
    if given.is_empty() { all } else { given }
}

/// `8x64`
fn shape(text: &str) -> Result<(usize, usize), Box<dyn Error>> {
    let (connections, in_flight) = text.split_once('x').ok_or(USAGE)?;
    let (connections, in_flight) = (connections.parse()?, in_flight.parse()?);
    if connections == 0 || in_flight == 0 {
        return Err("a shape has at least one connection and one call in flight".into());
    }
    Ok((connections, in_flight))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &str) -> Options {
        let arguments = arguments.split_whitespace().map(str::to_owned);
        Options::parse(arguments).unwrap().unwrap()
    }

    #[test]
    fn shapes_and_payloads_that_are_not_given_are_all() {
        assert_eq!(options("").cells(), cell::all());
        let cells = options("--shape 3x5 --payload 7").cells();
        assert_eq!(cells, [Cell::new(3, 5, 7)]);
        assert_eq!(options("--shape 3x5").cells().len(), cell::PAYLOADS.len());
    }

    #[test]
    fn a_run_that_looks_at_a_part_judges_no_gates_unless_it_is_told_to() {
        assert!(options("--report x.md").has_gates());
        assert!(!options("--quick").has_gates());
        assert!(!options("--contestant floor").has_gates());
        assert!(options("--shape 8x64 --gates").has_gates());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in ["--shape 8", "--shape 0x1", "--rounds", "--fast"] {
            let arguments = wrong.split_whitespace().map(str::to_owned);
            assert!(Options::parse(arguments).is_err(), "{wrong}");
        }
    }
}
