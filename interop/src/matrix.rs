//! The matrix of the specification's section 14, made of what ran: which check belongs to which row is in `matrix.json`,
//! and cases of the kit say it themselves.
//!
//! A cell never says more than a run has shown: without a check it is “not run”, and where the kit's cases need what we do
//! not offer it says what that is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tern_conformance::run::{Results, Verdict};

/// Which check belongs where.
const FILE: &str = include_str!("../matrix.json");

/// What came of one check, or why it was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// It holds.
    Ok,
    /// It does not.
    Failed,
    /// It needs this, which we do not offer.
    NotOffered(String),
}

/// What came of the checks, by the source that `matrix.json` names: rows are known for cases of the kit only.
#[derive(Debug, Default)]
pub struct Marks {
    by_source: BTreeMap<String, Vec<(String, BTreeSet<u64>, Mark)>>,
}

impl Marks {
    /// Adds checks by their names.
    pub fn add(&mut self, source: &str, checks: impl IntoIterator<Item = (String, bool)>) {
        let marks = checks.into_iter().map(|(name, holds)| {
            let mark = if holds { Mark::Ok } else { Mark::Failed };
            (name, BTreeSet::new(), mark)
        });
        let known = self.by_source.entry(source.to_owned()).or_default();
        known.extend(marks);
    }

    /// Adds what the kit found.
    pub fn add_kit(&mut self, source: &str, results: &Results) {
        let marks = results.cases.iter().map(|(case, verdict)| {
            let mark = match verdict {
                // Of ours nothing is listed: that would be a disagreement of ours.
                Verdict::Agrees => Mark::Ok,
                Verdict::NotOffered(feature) => Mark::NotOffered(feature.clone()),
                _ => Mark::Failed,
            };
            let rows = case.rows.iter().copied().collect();
            (case.name.clone(), rows, mark)
        });
        let known = self.by_source.entry(source.to_owned()).or_default();
        known.extend(marks);
    }

    /// The matrix in Markdown.
    ///
    /// # Errors
    ///
    /// When `matrix.json` names a check that its source does not have.
    pub fn table(&self) -> Result<String, String> {
        let file: Value = serde_json::from_str(FILE).map_err(|error| error.to_string())?;
        let list = |name: &str| file[name].as_array().cloned().unwrap_or_default();
        let columns = list("columns");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let names: Vec<_> = columns.iter().map(|column| text(&column["name"])).collect();
        let mut lines = vec![
            format!("| | | {} |", names.join(" | ")),
            format!("|{}", " --- |".repeat(names.len() + 2)),
        ];
        for (number, row) in (1..).zip(list("rows")) {
            let cells: Result<Vec<_>, String> = columns
                .iter()
                .map(|column| self.cell(number, &row, column))
                .collect();
            let what = text(&row["what"]);
            lines.push(format!("| {number} | {what} | {} |", cells?.join(" | ")));
        }
        Ok(lines.join("\n") + "\n")
    }

    fn cell(&self, number: u64, row: &Value, column: &Value) -> Result<String, String> {
        let source = column["from"].as_str().unwrap_or_default();
        // What nobody runs, and why.
        let says = [source, "*"].iter().find_map(|of| row["says"][of].as_str());
        if let Some(says) = says {
            return match row.get(source) {
                None => Ok(says.to_owned()),
                Some(_) => Err(format!(
                    "matrix.json: {source} says {says:?} and has checks"
                )),
            };
        }
        let Some(marks) = self.by_source.get(source) else {
            return Ok("not run".to_owned());
        };
        // Both modes of a client have the same cases.
        let family = source.split(' ').next().unwrap_or_default();
        let named = row.get(source).or_else(|| row.get(family));
        let named: Vec<_> = named
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for name in &named {
            if !marks.iter().any(|(known, ..)| known == name) {
                return Err(format!("matrix.json: {source} has no check {name:?}"));
            }
        }
        let only = column["only"].as_str();
        let found = marks.iter().filter(|(name, rows, _)| {
            let is_kit_case =
                rows.contains(&number) && only.is_none_or(|only| name.starts_with(only));
            is_kit_case || named.contains(&name.as_str())
        });
        Ok(summary(found.map(|(name, _, mark)| (name.as_str(), mark))))
    }
}

/// What one cell says.
fn summary<'a>(marks: impl Iterator<Item = (&'a str, &'a Mark)>) -> String {
    let (mut holding, mut failed, mut missing) = (0, Vec::new(), BTreeSet::new());
    for (name, mark) in marks {
        match mark {
            Mark::Ok => holding += 1,
            Mark::Failed => failed.push(name),
            Mark::NotOffered(feature) => {
                missing.insert(feature.as_str());
            }
        }
    }
    let missing: Vec<_> = missing.into_iter().collect();
    match (failed.first(), holding, missing.is_empty()) {
        (Some(first), ..) => format!("**fails**: {} ({first})", failed.len()),
        (None, 0, true) => "not run".to_owned(),
        (None, 0, false) => format!("not offered: {}", missing.join(", ")),
        (None, count, true) => format!("ok ({count})"),
        (None, count, false) => format!("ok ({count}), not offered: {}", missing.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_says_no_more_than_has_run() {
        let (ok, failed) = (Mark::Ok, Mark::Failed);
        let missing = Mark::NotOffered("streams".to_owned());
        let all = |marks: &[(&'static str, Mark)]| {
            summary(marks.iter().map(|(name, mark)| (*name, mark)))
        };
        assert_eq!(all(&[]), "not run");
        assert_eq!(all(&[("a", missing.clone())]), "not offered: streams");
        assert_eq!(all(&[("a", ok.clone()), ("b", ok.clone())]), "ok (2)");
        let some = [("a", ok.clone()), ("b", missing)];
        assert_eq!(all(&some), "ok (1), not offered: streams");
        assert_eq!(all(&[("a", ok), ("b", failed)]), "**fails**: 1 (b)");
    }

    #[test]
    fn a_check_that_nobody_has_is_noticed() {
        let mut marks = Marks::default();
        marks.add("on go", [("something else".to_owned(), true)]);
        assert!(marks.table().unwrap_err().contains("has no check"));
        let table = Marks::default().table().unwrap();
        assert_eq!(table.lines().count(), 22, "{table}");
    }
}
