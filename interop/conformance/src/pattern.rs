//! Patterns over what came: values that have to be equal, and objects that say what will do.
//!
//! | pattern | holds of |
//! | --- | --- |
//! | a number, text or truth | the same; a default also where nothing was sent |
//! | `null`, `{"?absent": true}` | nothing |
//! | `{"?any": true}` | everything, and nothing |
//! | `{"?present": true}` | anything that was sent, a default too |
//! | `{"?not": P}` | what `P` does not hold of |
//! | `{"?one_of": [P, ...]}` | what one of them holds of |
//! | `{"?min": 1, "?max": 9}` | numbers between, both included |
//! | `{"?contains": "text"}` | texts with this in them |
//! | `{"?exactly": {...}}` | objects with these fields and no others |
//! | `{"?bind": "id"}` | anything; `$id` stands for it from here on |
//! | `{"?end": true}` | the end of the connection, where a frame is expected |
//! | `{"?all": [P, ...]}` | frames that all of them hold of |
//! | bytes, as in `blob.rs` | the same bytes |
//! | any other object | objects whose fields these patterns hold of, whatever else they have |

use serde_json::{Map, Value, json};

use crate::frame::Frame;
use crate::{blob, pack, protobuf, schema};

/// Names and what they stand for.
pub type Names = Map<String, Value>;

/// Whether `pattern` holds of `value`, which is at `place`.
///
/// # Errors
///
/// Where it does not hold, and what was there.
pub fn holds(
    pattern: &Value,
    value: Option<&Value>,
    place: &str,
    names: &mut Names,
) -> Result<(), String> {
    let shown = || value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    let wrong = || format!("{place} is {}, expected {pattern}", shown());
    let verdict = |is_right| if is_right { Ok(()) } else { Err(wrong()) };
    match pattern {
        Value::Null => verdict(value.is_none()),
        Value::Object(fields) if fields.keys().any(|name| name.starts_with('?')) => {
            fields.iter().try_for_each(|(name, given)| {
                if name == "?bind" {
                    let name = given.as_str().unwrap_or_default().to_owned();
                    names.insert(name, value.cloned().unwrap_or(json!(0)));
                    return Ok(());
                }
                verdict(operator(name, given, value, place, names)?)
            })
        }
        Value::Object(fields) if is_blob(fields) => {
            let expected = blob::show(&blob::read(pattern)?);
            verdict(equals(&expected, value))
        }
        Value::Object(fields) => fields.iter().try_for_each(|(name, pattern)| {
            let value = value.and_then(|value| value.get(name));
            holds(pattern, value, &format!("{place}.{name}"), names)
        }),
        Value::String(text) => {
            verdict(equals(&blob::show(text.as_bytes()), value) || equals(pattern, value))
        }
        _ => verdict(equals(pattern, value)),
    }
}

/// Whether `pattern` holds of a frame. Besides the parts of a frame it may name `as`, `json` and `unpacked`, which are the
/// body after its `content_encoding` was undone.
///
/// # Errors
///
/// Where it does not hold, and what was there.
pub fn holds_of(pattern: &Value, frame: &Frame, names: &mut Names) -> Result<(), String> {
    let fields = pattern
        .as_object()
        .ok_or_else(|| format!("{pattern} is no pattern of a frame"))?;
    if let Some(choices) = fields.get("?one_of").and_then(Value::as_array) {
        let tried: Vec<_> = choices
            .iter()
            .map(|choice| holds_of(choice, frame, names))
            .collect();
        if tried.iter().any(Result::is_ok) {
            return Ok(());
        }
        let reasons: Vec<_> = tried.into_iter().filter_map(Result::err).collect();
        return Err(reasons.join("; or "));
    }
    if let Some(all) = fields.get("?all").and_then(Value::as_array) {
        return all.iter().try_for_each(|one| {
            let mut one = one.clone();
            if let Some(encoding) = fields.get("content_encoding") {
                one["content_encoding"] = encoding.clone();
            }
            holds_of(&one, frame, names)
        });
    }
    let encoding = pattern.get("content_encoding").and_then(Value::as_u64);
    let encoding = encoding.unwrap_or_else(|| frame.number("content_encoding"));
    let unpacked = || pack::unpack(encoding, &frame.body);
    // What a head says explains more than a body that is not what was expected.
    let is_head = |name: &str| ["request", "response", "init", "feedback", "close"].contains(&name);
    let (heads, others): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| is_head(name));
    for (name, pattern) in heads.into_iter().chain(others) {
        match name.as_str() {
            "request" | "response" | "init" | "feedback" | "close" | "data"
                if *name != frame.kind =>
            {
                return Err(format!("{frame} came where {name} was expected"));
            }
            "request" | "response" | "init" | "feedback" | "close" => {
                holds(pattern, Some(&frame.head), name, names)?;
            }
            "data" => holds(pattern, Some(&json!({})), name, names)?,
            "body" => holds(pattern, Some(&blob::show(&frame.body)), name, names)?,
            "attachment" => holds(pattern, Some(&blob::show(&frame.attachment)), name, names)?,
            "unpacked" => holds(pattern, Some(&blob::show(&unpacked()?)), name, names)?,
            "json" => {
                let value = serde_json::from_slice(&unpacked()?);
                let value: Value =
                    value.map_err(|error| format!("the body is not JSON: {error}"))?;
                holds(pattern, Some(&value), name, names)?;
            }
            "as" => {
                let messages = pattern.as_object().into_iter().flatten();
                for (message, pattern) in messages {
                    let value = protobuf::read(schema::body(message)?, &unpacked()?)?;
                    holds(pattern, Some(&value), message, names)?;
                }
            }
            "content_encoding" => {}
            "?end" => return Err(format!("{frame} came where the end was expected")),
            name => holds(pattern, frame.fixed.get(name), name, names)?,
        }
    }
    Ok(())
}

/// Whether the end of the connection will do in place of a frame.
pub fn allows_end(pattern: &Value) -> bool {
    let choices = pattern["?one_of"].as_array().into_iter().flatten();
    pattern.get("?end").is_some() || choices.into_iter().any(allows_end)
}

fn operator(
    name: &str,
    given: &Value,
    value: Option<&Value>,
    place: &str,
    names: &mut Names,
) -> Result<bool, String> {
    Ok(match name {
        "?any" => true,
        "?absent" => value.is_none(),
        "?present" => value.is_some(),
        "?not" => holds(given, value, place, names).is_err(),
        "?one_of" => {
            let choices = given.as_array().ok_or("?one_of wants a list")?;
            choices
                .iter()
                .any(|choice| holds(choice, value, place, names).is_ok())
        }
        "?min" => in_order(Some(given), value),
        "?max" => in_order(value, Some(given)),
        "?contains" => {
            let text = value.and_then(Value::as_str).unwrap_or_default();
            text.contains(given.as_str().ok_or("?contains wants a text")?)
        }
        "?exactly" => {
            let expected = given.as_object().ok_or("?exactly wants an object")?;
            let nothing = Map::new();
            let there = value.and_then(Value::as_object).unwrap_or(&nothing);
            let is_known = there.keys().all(|name| expected.contains_key(name));
            is_known && holds(given, Some(&json!(there)), place, names).is_ok()
        }
        unknown => return Err(format!("{unknown} is no pattern")),
    })
}

fn in_order(small: Option<&Value>, large: Option<&Value>) -> bool {
    let number = |value: Option<&Value>| value.map_or(Some(0.0), Value::as_f64);
    matches!((number(small), number(large)), (Some(small), Some(large)) if small <= large)
}

/// Equal, where nothing is as good as a default: protobuf cannot tell them apart.
fn equals(expected: &Value, value: Option<&Value>) -> bool {
    match value {
        Some(value) => value == expected,
        None => [json!(0), json!(""), json!(false)].contains(expected),
    }
}

fn is_blob(fields: &Map<String, Value>) -> bool {
    ["hex", "fill", "repeat"]
        .iter()
        .any(|name| fields.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_right(pattern: &Value, value: &Value) -> bool {
        holds(pattern, Some(value), "it", &mut Names::new()).is_ok()
    }

    #[test]
    fn each_pattern_holds_of_what_it_says_and_of_nothing_else() {
        for (pattern, right, wrong) in [
            (json!(1), json!(1), json!(2)),
            (json!("a"), json!("a"), json!("b")),
            (json!({"?one_of": [1, 2]}), json!(2), json!(3)),
            (json!({"?min": 1, "?max": 3}), json!(3), json!(4)),
            (json!({"?not": 1}), json!(2), json!(1)),
            (json!({"?contains": "b"}), json!("abc"), json!("ac")),
            (json!({"hex": "61"}), json!("a"), json!("b")),
            (json!({"a": 1}), json!({"a": 1, "b": 2}), json!({"a": 2})),
            (
                json!({"?exactly": {"a": 1}}),
                json!({"a": 1}),
                json!({"a": 1, "b": 2}),
            ),
            (json!({"a": null}), json!({}), json!({"a": 0})),
            (json!({"a": 0}), json!({}), json!({"a": 1})),
            (json!({"a": {"?present": true}}), json!({"a": 0}), json!({})),
        ] {
            assert!(is_right(&pattern, &right), "{pattern} of {right}");
            assert!(!is_right(&pattern, &wrong), "{pattern} of {wrong}");
        }
    }

    #[test]
    fn what_is_bound_can_be_named() {
        let mut names = Names::new();
        let pattern = json!({"id": {"?bind": "id"}});
        holds(&pattern, Some(&json!({"id": 7})), "it", &mut names).unwrap();
        assert_eq!(names["id"], json!(7));
    }
}
