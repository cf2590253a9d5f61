//! [`Cell`]: one shape of load with one size of payload.

use std::fmt;

/// One shape of load with one size of payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Connections.
    pub connections: usize,
    /// Calls in flight on each.
    pub in_flight: usize,
    /// Bytes of payload in each request and each answer.
    pub payload: usize,
}

impl Cell {
    /// So many connections, calls in flight on each, and bytes.
    pub const fn new(connections: usize, in_flight: usize, payload: usize) -> Self {
        Self {
            connections,
            in_flight,
            payload,
        }
    }
}

/// `8x64, 1 KiB`
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections,
            in_flight,
            payload,
        } = self;
        write!(f, "{connections}x{in_flight}, ")?;
        match payload {
            0..1024 => write!(f, "{payload} B"),
            1024..1_048_576 => write!(f, "{} KiB", payload >> 10),
            _ => write!(f, "{} MiB", payload >> 20),
        }
    }
}

/// All shapes carry the small payloads.
pub const SHAPES: [(usize, usize); 4] = [(1, 1), (1, 64), (64, 1), (8, 64)];
/// The small payloads.
pub const PAYLOADS: [usize; 2] = [32, 1024];
/// One shape carries the large ones.
pub const WIDE: [Cell; 2] = [Cell::new(64, 1, 64 * 1024), Cell::new(64, 1, 1024 * 1024)];

/// The cells of a run over everything.
pub fn all() -> Vec<Cell> {
    let mut cells = of(&SHAPES, &PAYLOADS);
    cells.extend(WIDE);
    cells
}

/// Each of these shapes with each of these payloads.
pub fn of(shapes: &[(usize, usize)], payloads: &[usize]) -> Vec<Cell> {
    let of_payload = |payload: &usize| {
        let payload = *payload;
        let cell = move |shape: &(usize, usize)| Cell::new(shape.0, shape.1, payload);
        shapes.iter().map(cell)
    };
    payloads.iter().flat_map(of_payload).collect()
}

/// In which cells of a run a contestant takes part, if it is not asked for by name.
#[derive(Debug, Clone, Copy)]
pub enum Cells {
    /// In all.
    All,
    /// In those that something is to be learned from.
    Only(&'static [Cell]),
    /// In none.
    OnRequest,
}

impl Cells {
    /// Whether this one is among them.
    pub fn contains(self, cell: Cell) -> bool {
        match self {
            Self::All => true,
            Self::Only(cells) => cells.contains(&cell),
            Self::OnRequest => false,
        }
    }

    /// Whether there are any.
    pub fn is_ever(self) -> bool {
        !matches!(self, Self::OnRequest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_says_its_size_in_the_largest_unit_that_fits() {
        let shown = [32, 1024, 65_536, 1_048_576].map(|size| Cell::new(8, 64, size).to_string());
        assert_eq!(
            shown,
            ["8x64, 32 B", "8x64, 1 KiB", "8x64, 64 KiB", "8x64, 1 MiB"]
        );
    }

    #[test]
    fn a_run_over_everything_has_each_cell_once() {
        let cells = all();
        assert_eq!(cells.len(), SHAPES.len() * PAYLOADS.len() + WIDE.len());
        for (index, cell) in cells.iter().enumerate() {
            assert!(!cells[..index].contains(cell), "{cell}");
        }
    }
}
