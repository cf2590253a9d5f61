//! Instructions for each request: those that were accepted, and how those that are measured compare.

use std::fmt::{self, Write};

use crate::Outcome;

/// More above what was accepted than this is a fault, and more below asks to be accepted: the counts themselves differ
/// by less than a thousandth from one run to the next, but a compiler may place code otherwise for reasons of its own.
pub const SLACK: f64 = 0.03;

/// Instructions for each request, by case.
pub type Counts = Vec<(String, f64)>;

/// What was accepted, as `benches/instructions.txt` keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The compiler that it holds for. Counts of two compilers are not to be compared.
    pub compiler: String,
    /// The counts.
    pub counts: Counts,
}

impl Accepted {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// When a line is not one.
    pub fn parse(text: &str) -> Outcome<Self> {
        let mut lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let compiler = lines
            .next()
            .filter(|line| line.starts_with("rustc "))
            .ok_or("it does not name the compiler")?;
        let counts = lines.map(|line| {
            let parts = line
                .split_once(' ')
                .and_then(|(case, count)| Some((case.to_owned(), count.trim().parse().ok()?)));
            parts.ok_or_else(|| format!("`{line}` is not a case and its count"))
        });
        Ok(Self {
            compiler: compiler.to_owned(),
            counts: counts.collect::<Outcome<_>>()?,
        })
    }
}

/// The file.
impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# Instructions for each request, counted and written by `cargo xtask instructions --accept`.\n")?;
        writeln!(f, "{}", self.compiler)?;
        self.counts
            .iter()
            .try_for_each(|(case, count)| writeln!(f, "{case} {count:.0}"))
    }
}

/// How measured counts compare with others.
#[derive(Debug, Default)]
pub struct Comparison {
    /// One line for each case, to be shown.
    pub shown: String,
    /// One sentence for each case that takes more than it may, and for each that has no partner.
    pub faults: Vec<String>,
    /// Whether a case takes so much less that the better count should be accepted.
    pub is_better: bool,
}

impl Comparison {
    /// Compares `measured` with `before`.
    pub fn new(measured: &Counts, before: &Counts) -> Self {
        let mut comparison = Self::default();
        for (case, count) in measured {
            match find(before, case) {
                Some(accepted) => comparison.add(case, *count, accepted),
                None => comparison.faults.push(format!(
                    "{case} takes {count:.0}, and nothing to compare that with is known"
                )),
            }
        }
        let gone = before
            .iter()
            .filter(|(case, _)| find(measured, case).is_none());
        comparison
            .faults
            .extend(gone.map(|(case, _)| format!("{case} is not measured any more")));
        comparison
    }

    fn add(&mut self, case: &str, count: f64, before: f64) {
        let change = count / before - 1.0;
        let percent = change * 100.0;
        let _ = writeln!(
            self.shown,
            "{case:<20} {count:>7.0}  {percent:>+6.2} % of {before:.0}"
        );
        self.is_better |= change < -SLACK;
        // A count that is none would compare with nothing.
        if change > SLACK || !change.is_finite() {
            self.faults.push(format!(
                "{case} takes {count:.0} instructions for a request, {percent:.1} % more than the {before:.0} of before"
            ));
        }
    }
}

fn find(counts: &Counts, case: &str) -> Option<f64> {
    counts
        .iter()
        .find(|(other, _)| other == case)
        .map(|(_, count)| *count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(&str, f64)]) -> Counts {
        all.iter()
            .map(|(case, count)| ((*case).to_owned(), *count))
            .collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let accepted = Accepted {
            compiler: "rustc 1.95.0 x86_64".into(),
            counts: counts(&[("a", 1200.0), ("b", 7.0)]),
        };
        assert_eq!(Accepted::parse(&accepted.to_string()).unwrap(), accepted);
        assert!(Accepted::parse("a 1200\n").is_err());
        assert!(Accepted::parse("rustc 1\na many\n").is_err());
    }

    #[test]
    fn more_than_the_slack_is_a_fault_and_less_is_not() {
        let before = counts(&[("a", 1000.0)]);
        let compared = |count| Comparison::new(&counts(&[("a", count)]), &before);
        assert!(compared(1029.0).faults.is_empty());
        let fault = compared(1031.0).faults.concat();
        assert!(fault.contains("3.1 % more than the 1000"), "{fault}");
        assert!(!compared(971.0).is_better);
        assert!(compared(969.0).is_better && compared(969.0).faults.is_empty());
        assert_eq!(compared(f64::NAN).faults.len(), 1);
    }

    #[test]
    fn a_case_without_a_partner_is_noticed() {
        let [a, b] = ["a", "b"].map(|case| counts(&[(case, 1.0)]));
        let comparison = Comparison::new(&a, &b);
        assert_eq!(comparison.faults.len(), 2, "{:?}", comparison.faults);
    }
}
