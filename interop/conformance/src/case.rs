//! Cases: read from the files in `cases/`, where one entry with a table stands for many.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::pattern::{self, Names};
use crate::template;

/// Which end is under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The kit calls it.
    Server,
    /// It calls the kit.
    Client,
}

/// One thing to find out about one end.
#[derive(Debug, Clone)]
pub struct Case {
    /// Unique.
    pub name: String,
    /// What the file is about.
    pub group: String,
    /// The section of the specification that decides, or the part of the reliability document.
    pub spec: String,
    /// Which end it is about.
    pub role: Role,
    /// What a peer has to offer for it; one that does not is not judged.
    pub needs: Vec<String>,
    /// Rows of section 14's matrix that it belongs to.
    pub rows: Vec<u64>,
    /// What the client under test is told to call.
    pub call: Value,
    /// What happens, in order.
    pub steps: Vec<Value>,
    /// Frames that may come at any time and are passed over.
    pub ignoring: Vec<Value>,
    /// Frames that are passed over from some peers, because whether they come is a matter of luck.
    pub tolerated: Vec<Tolerated>,
    /// Peers that are known to do otherwise.
    pub known: Vec<Known>,
}

/// A frame that a peer should not send, and sends at times.
#[derive(Debug, Clone)]
pub struct Tolerated {
    /// Who sends it.
    pub peers: Vec<String>,
    /// Why.
    pub reason: String,
    /// A pattern that holds of it.
    pub frame: Value,
}

/// A disagreement that is known.
#[derive(Debug, Clone)]
pub struct Known {
    /// Who disagrees.
    pub peers: Vec<String>,
    /// Why.
    pub reason: String,
    /// What it does instead. It is held to that.
    pub steps: Vec<Value>,
    /// Whether it does as is written at times: two threads of it race.
    pub is_by_luck: bool,
}

/// All files, in the order of the report.
const FILES: &[(&str, &str)] = &[
    (
        "server/golden.json",
        include_str!("../cases/server/golden.json"),
    ),
    (
        "server/calls.json",
        include_str!("../cases/server/calls.json"),
    ),
    (
        "server/encodings.json",
        include_str!("../cases/server/encodings.json"),
    ),
    (
        "server/context.json",
        include_str!("../cases/server/context.json"),
    ),
    (
        "server/order.json",
        include_str!("../cases/server/order.json"),
    ),
    (
        "server/hostile.json",
        include_str!("../cases/server/hostile.json"),
    ),
    ("server/cpp.json", include_str!("../cases/server/cpp.json")),
    (
        "server/streams.json",
        include_str!("../cases/server/streams.json"),
    ),
    (
        "server/stream_states.json",
        include_str!("../cases/server/stream_states.json"),
    ),
    (
        "client/calls.json",
        include_str!("../cases/client/calls.json"),
    ),
    (
        "client/hostile.json",
        include_str!("../cases/client/hostile.json"),
    ),
    ("client/cpp.json", include_str!("../cases/client/cpp.json")),
    (
        "client/streams.json",
        include_str!("../cases/client/streams.json"),
    ),
];

impl Case {
    /// The disagreement that is known of `peer`, if there is one. `trpc-go` also means `trpc-go multiplexed`.
    pub fn known_of(&self, peer: &str) -> Option<&Known> {
        self.known.iter().find(|known| is_meant(&known.peers, peer))
    }

    /// What is tolerated of `peer`.
    pub fn tolerated_of(&self, peer: &str) -> impl Iterator<Item = &Tolerated> {
        let tolerated = self.tolerated.iter();
        tolerated.filter(move |it| is_meant(&it.peers, peer))
    }

    /// The frames that are passed over with `peer`.
    pub fn passed_over(&self, peer: &str) -> impl Iterator<Item = &Value> {
        let tolerated = self.tolerated_of(peer).map(|it| &it.frame);
        self.ignoring.iter().chain(tolerated)
    }
}

fn is_meant(names: &[String], peer: &str) -> bool {
    names.iter().any(|name| {
        let rest = peer.strip_prefix(name.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    })
}

/// All cases.
///
/// # Errors
///
/// Which file cannot be read, and why.
pub fn all() -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    for (path, text) in FILES {
        let read = read_file(text);
        cases.extend(read.map_err(|error| format!("cases/{path}: {error}"))?);
    }
    let mut names = BTreeSet::new();
    for case in &cases {
        if !names.insert((case.role == Role::Server, case.name.as_str())) {
            return Err(format!("two cases are called {:?}", case.name));
        }
    }
    Ok(cases)
}

/// Reads one file.
///
/// # Errors
///
/// What is wrong with it.
pub fn read_file(text: &str) -> Result<Vec<Case>, String> {
    let file: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let role = match file["role"].as_str() {
        Some("server") => Role::Server,
        Some("client") => Role::Client,
        _ => return Err("role is neither server nor client".to_owned()),
    };
    let lists = file["lists"].as_object().cloned().unwrap_or_default();
    let mut cases = Vec::new();
    for entry in list(&file, "cases")? {
        let read = expand(&entry, &lists).and_then(|entries| {
            let cases = entries
                .iter()
                .map(|(entry, row)| read_case(entry, row, role, &file));
            cases.collect::<Result<Vec<_>, String>>()
        });
        cases.extend(read.map_err(|error| format!("{}: {error}", entry["name"]))?);
    }
    Ok(cases)
}

/// One entry for each row of its table, with the row's values in it.
fn expand(entry: &Value, lists: &Names) -> Result<Vec<(Value, Names)>, String> {
    let mut rows = vec![lists.clone()];
    let each = entry["each"].as_object().cloned().unwrap_or_default();
    for (name, values) in each {
        let values = values_of(&template::fill_in(&values, lists)?)
            .ok_or_else(|| format!("each.{name} is neither a list nor from and to"))?;
        rows = rows
            .iter()
            .flat_map(|row| {
                values.iter().map(|value| {
                    let mut row = row.clone();
                    row.insert(name.clone(), value.clone());
                    row
                })
            })
            .collect();
    }
    Ok(rows
        .into_iter()
        .map(|row| (template::fill_in_known(entry, &row), row))
        .collect())
}

/// The values of a column: a list, or the numbers between two, both included.
fn values_of(column: &Value) -> Option<Vec<Value>> {
    if let Some(values) = column.as_array() {
        return Some(values.clone());
    }
    let (from, to) = (column["from"].as_u64()?, column["to"].as_u64()?);
    Some((from..=to).map(|number| json!(number)).collect())
}

fn read_case(entry: &Value, row: &Names, role: Role, file: &Value) -> Result<Case, String> {
    let text = |name: &str| {
        let value = entry.get(name).or_else(|| file.get(name));
        let value = value.and_then(Value::as_str).map(str::to_owned);
        value.ok_or_else(|| format!("{name} is missing"))
    };
    let mut needs = strings(&file["needs"]);
    needs.extend(strings(&entry["needs"]));
    let rows = entry["rows"].as_array().into_iter().flatten();
    let mut ignoring = list(file, "ignoring")?;
    ignoring.extend(list(entry, "ignoring")?);
    let mut known = Vec::new();
    for listed in list(file, "known")?.iter().chain(&list(entry, "known")?) {
        let listed = template::fill_in_known(listed, row);
        let applies = listed.get("where").is_none_or(|condition| {
            pattern::holds(condition, Some(&json!(row)), "row", &mut Names::new()).is_ok()
        });
        if applies {
            known.push(read_known(&listed)?);
        }
    }
    let tolerated: Result<_, _> = list(entry, "tolerated")?
        .iter()
        .map(read_tolerated)
        .collect();
    let steps = list(entry, "steps")?;
    if steps.is_empty() {
        return Err("a case without steps".to_owned());
    }
    Ok(Case {
        name: text("name")?,
        group: text("about")?,
        spec: text("spec")?,
        role,
        needs,
        rows: rows.filter_map(Value::as_u64).collect(),
        call: entry["call"].clone(),
        steps,
        ignoring,
        tolerated: tolerated?,
        known,
    })
}

fn read_tolerated(listed: &Value) -> Result<Tolerated, String> {
    let (peers, reason) = peers_and_reason(listed)?;
    let frame = listed["frame"].clone();
    if frame.is_null() {
        return Err("a tolerated frame without its pattern".to_owned());
    }
    Ok(Tolerated {
        peers,
        reason,
        frame,
    })
}

/// Who does otherwise, and why: nothing is let pass without both.
fn peers_and_reason(listed: &Value) -> Result<(Vec<String>, String), String> {
    let reason = listed["reason"].as_str().unwrap_or_default();
    let mut peers = strings(&listed["peer"]);
    peers.extend(listed["peer"].as_str().map(str::to_owned));
    if reason.is_empty() || peers.is_empty() {
        return Err("a disagreement needs a peer and a reason".to_owned());
    }
    Ok((peers, reason.to_owned()))
}

fn read_known(listed: &Value) -> Result<Known, String> {
    let (peers, reason) = peers_and_reason(listed)?;
    let steps = list(listed, "steps")?;
    if steps.is_empty() {
        return Err("a known disagreement needs steps of its own".to_owned());
    }
    Ok(Known {
        peers,
        reason,
        steps,
        is_by_luck: listed["at_times"] == json!(true),
    })
}

fn list(value: &Value, name: &str) -> Result<Vec<Value>, String> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => Ok(values.clone()),
        Some(other) => Err(format!("{name} is {other} and not a list")),
    }
}

/// The texts of a list. Names that stand for nothing are passed over: not every row of a table needs something.
fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values
        .filter_map(Value::as_str)
        .filter(|text| !text.starts_with('$'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_sound() {
        let cases = all().unwrap();
        assert!(cases.len() > 500, "only {}", cases.len());
        assert!(cases.iter().any(|case| case.role == Role::Client));
    }

    #[test]
    fn a_table_stands_for_all_its_rows() {
        let text = r#"{"role": "server", "about": "a", "spec": "1", "lists": {"all": [1, 2]}, "cases": [
            {"name": "${a}/${b}", "each": {"a": "$all", "b": ["x", "y"]}, "steps": [{"wait_ms": "$a"}],
             "known": [{"peer": "p", "where": {"a": 2}, "reason": "r", "steps": [{"wait_ms": 1}]}]}]}"#;
        let cases = read_file(text).unwrap();
        let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["1/x", "1/y", "2/x", "2/y"]);
        assert!(cases[0].known_of("p").is_none() && cases[2].known_of("p mode").is_some());
        assert!(cases[2].known_of("peer").is_none());
    }

    #[test]
    fn what_is_missing_is_said() {
        let text = r#"{"role": "server", "about": "a", "cases": [{"name": "n", "steps": [{}]}]}"#;
        assert!(read_file(text).unwrap_err().contains("spec is missing"));
    }
}
