//! What came of a run, as a table: on the terminal and in Markdown.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::run::{Results, Verdict};

/// How often each verdict came, in one group of cases or in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cases.
    pub all: usize,
    /// Those that agree.
    pub agree: usize,
    /// Those that disagree as is listed.
    pub listed: usize,
    /// Those that need what the peer does not offer.
    pub not_offered: usize,
    /// Those that somebody has to look at.
    pub red: usize,
}

impl Counts {
    fn add(&mut self, verdict: &Verdict) {
        self.all += 1;
        match verdict {
            Verdict::Agrees => self.agree += 1,
            Verdict::Listed(_) => self.listed += 1,
            Verdict::NotOffered(_) => self.not_offered += 1,
            Verdict::Disagrees(_) | Verdict::Outdated(_) => self.red += 1,
        }
    }

    fn cells(self) -> [usize; 5] {
        [
            self.all,
            self.agree,
            self.listed,
            self.not_offered,
            self.red,
        ]
    }
}

const COLUMNS: [&str; 6] = ["cases", "all", "agree", "listed", "not offered", "wrong"];

/// The counts of each group, in the order of the files, and of all.
pub fn counts(results: &Results) -> (Vec<(&str, Counts)>, Counts) {
    let mut groups: Vec<(&str, Counts)> = Vec::new();
    let mut total = Counts::default();
    for (case, verdict) in &results.cases {
        total.add(verdict);
        if let Some((_, counts)) = groups.iter_mut().find(|(group, _)| *group == case.group) {
            counts.add(verdict);
        } else {
            let mut counts = Counts::default();
            counts.add(verdict);
            groups.push((&case.group, counts));
        }
    }
    (groups, total)
}

/// The report for a terminal.
#[derive(Debug)]
pub struct Terminal<'a>(pub &'a Results);

impl fmt::Display for Terminal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (groups, total) = counts(self.0);
        let [first, rest @ ..] = COLUMNS;
        let widest = groups.iter().map(|(group, _)| group.len()).max();
        let width = widest.unwrap_or(0).max(self.0.peer.len()).max(first.len());
        write!(f, "{:width$}", self.0.peer)?;
        for column in rest {
            write!(f, "  {column:>11}")?;
        }
        writeln!(f)?;
        for (group, counts) in groups.iter().chain(&[("total", total)]) {
            write!(f, "{group:width$}")?;
            for cell in counts.cells() {
                write!(f, "  {cell:>11}")?;
            }
            writeln!(f)?;
        }
        for (reason, names) in by_reason(self.0, |verdict| match verdict {
            Verdict::Listed(reason) => Some(format!("listed: {reason}")),
            Verdict::NotOffered(feature) => Some(format!("not offered: {feature}")),
            _ => None,
        }) {
            writeln!(f, "{reason}\n    {}", names.join("\n    "))?;
        }
        for (reason, names) in tolerated(self.0) {
            writeln!(f, "tolerated: {reason}\n    {}", names.join("\n    "))?;
        }
        for (name, verdict) in self.0.red() {
            if let Verdict::Disagrees(why) | Verdict::Outdated(why) = verdict {
                writeln!(f, "WRONG {name}\n    {why}")?;
            }
        }
        Ok(())
    }
}

/// The report in Markdown: a table, the disagreements with their reasons, and what was not offered, by name.
pub fn markdown(results: &Results) -> String {
    let (groups, total) = counts(results);
    let mut text = format!(
        "| {} |\n|{}\n",
        COLUMNS.join(" | "),
        " --- |".repeat(COLUMNS.len())
    );
    for (group, counts) in groups.iter().chain(&[("**total**", total)]) {
        let cells = counts.cells().map(|cell| cell.to_string());
        line(&mut text, &format!("| {group} | {} |", cells.join(" | ")));
    }
    let listed = by_reason(results, |verdict| match verdict {
        Verdict::Listed(reason) => Some(reason.clone()),
        _ => None,
    });
    if !listed.is_empty() {
        line(&mut text, "\nDisagreements that are listed:\n");
        for (reason, names) in listed {
            line(&mut text, &format!("* {reason} ({})", in_short(&names)));
        }
    }
    let tolerated = tolerated(results);
    if !tolerated.is_empty() {
        line(
            &mut text,
            "\nTolerated, because two threads of the peer race:\n",
        );
        for (reason, names) in tolerated {
            line(&mut text, &format!("* {reason} ({})", in_short(&names)));
        }
    }
    let missing = by_reason(results, |verdict| match verdict {
        Verdict::NotOffered(feature) => Some(feature.clone()),
        _ => None,
    });
    if !missing.is_empty() {
        line(&mut text, "\nNot offered:\n");
        for (feature, names) in missing {
            line(&mut text, &format!("* {feature} ({})", in_short(&names)));
        }
    }
    for (name, verdict) in results.red() {
        if let Verdict::Disagrees(why) | Verdict::Outdated(why) = verdict {
            line(&mut text, &format!("\n**Wrong**: {name}: {why}"));
        }
    }
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes what it is given");
}

/// A few names in full, many by their number and one of them.
fn in_short(names: &[&str]) -> String {
    match names {
        [first, _, _, _, ..] => format!("{} cases, such as “{first}”", names.len()),
        few => few
            .iter()
            .map(|name| format!("“{name}”"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// What was passed over, whether it came or not.
fn tolerated(results: &Results) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (case, verdict) in &results.cases {
        if *verdict != Verdict::Agrees {
            continue;
        }
        for tolerated in case.tolerated_of(&results.peer) {
            let names = found.entry(&tolerated.reason).or_default();
            names.push(&case.name);
        }
    }
    found
}

fn by_reason(
    results: &Results,
    reason: impl Fn(&Verdict) -> Option<String>,
) -> BTreeMap<String, Vec<&str>> {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (case, verdict) in &results.cases {
        if let Some(reason) = reason(verdict) {
            found.entry(reason).or_default().push(&case.name);
        }
    }
    found
}
