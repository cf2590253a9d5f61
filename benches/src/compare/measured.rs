//! [`Measured`]: everything that a run found out.

use super::Rounds;
use super::footprint::Footprint;
use crate::cell::Cell;
use crate::figures::Figures;

/// Everything that a run found out.
#[derive(Debug, Default)]
pub struct Measured {
    cells: Vec<(Cell, Vec<(&'static str, Rounds)>)>,
    idle: Vec<(&'static str, Idle)>,
    footprints: Vec<(&'static str, Footprint)>,
    /// Crates in the run-time tree of the facade.
    pub crates: Option<usize>,
    /// Who does not take part, and why.
    absent: Vec<(&'static str, String)>,
}

/// What idle connections cost.
#[derive(Debug, Clone)]
pub struct Idle {
    /// How many there were.
    pub connections: usize,
    /// Bytes of its own memory that the server uses for each.
    pub bytes: f64,
}

impl Measured {
    /// Adds what was measured in a cell.
    pub fn add_cell(&mut self, cell: Cell, all: Vec<(&'static str, Rounds)>) {
        self.cells.push((cell, all));
    }

    /// Adds what idle connections cost a contestant.
    pub fn add_idle(&mut self, name: &'static str, idle: Idle) {
        self.idle.push((name, idle));
    }

    /// Adds what a contestant's program is.
    pub fn add_footprint(&mut self, name: &'static str, footprint: Footprint) {
        self.footprints.push((name, footprint));
    }

    /// Adds somebody who does not take part, and why.
    pub fn add_absence(&mut self, name: &'static str, why: String) {
        self.absent.push((name, why));
    }

    /// Who does not take part, and why.
    pub fn absences(&self) -> &[(&'static str, String)] {
        &self.absent
    }

    /// All that took part in a cell.
    pub fn cell(&self, cell: Cell) -> &[(&'static str, Rounds)] {
        let mut cells = self.cells.iter();
        let found = cells.find_map(|(other, all)| (*other == cell).then_some(all.as_slice()));
        found.unwrap_or_default()
    }

    /// What one contestant did in a cell.
    pub fn rounds(&self, name: &str, cell: Cell) -> Option<&Rounds> {
        find(self.cell(cell), name)
    }

    /// What idle connections cost.
    pub fn idle(&self, name: &str) -> Option<&Idle> {
        find(&self.idle, name)
    }

    /// Milliseconds from the start of a program to its first answer.
    pub fn start_ms(&self, name: &str) -> Figures {
        find(&self.footprints, name).map_or_else(Figures::default, |found| found.start_ms.clone())
    }

    /// Bytes of a program without its symbols.
    pub fn stripped(&self, name: &str) -> Option<u64> {
        find(&self.footprints, name)?.stripped
    }

    /// Why somebody does not take part.
    pub fn absence(&self, name: &str) -> Option<&str> {
        find(&self.absent, name).map(String::as_str)
    }
}

fn find<'a, T>(all: &'a [(&'static str, T)], name: &str) -> Option<&'a T> {
    let mut all = all.iter();
    all.find_map(|(other, found)| (*other == name).then_some(found))
}
