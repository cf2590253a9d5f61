//! Names in case files: `"$name"` is the value of a name, `"${name}"` within a text is its text; dots lead into objects.

use serde_json::Value;

use crate::pattern::Names;

/// Puts values in place of names.
///
/// # Errors
///
/// When a name stands for nothing.
pub fn fill_in(value: &Value, names: &Names) -> Result<Value, String> {
    replace(value, names, true)
}

/// The same, but names that stand for nothing yet are left as they are.
pub fn fill_in_known(value: &Value, names: &Names) -> Value {
    replace(value, names, false).expect("nothing fails that may stay")
}

fn replace(value: &Value, names: &Names, all: bool) -> Result<Value, String> {
    match value {
        Value::String(text) => replace_text(text, names, all),
        Value::Array(values) => values
            .iter()
            .map(|value| replace(value, names, all))
            .collect(),
        Value::Object(fields) => {
            let filled: Result<_, String> = fields
                .iter()
                .map(|(name, value)| {
                    let name = match replace_text(name, names, all)? {
                        Value::String(name) => name,
                        other => other.to_string(),
                    };
                    Ok((name, replace(value, names, all)?))
                })
                .collect();
            Ok(Value::Object(filled?))
        }
        plain => Ok(plain.clone()),
    }
}

fn replace_text(text: &str, names: &Names, all: bool) -> Result<Value, String> {
    if let Some(name) = text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
        return match look_up(name, names) {
            Some(value) => Ok(value.clone()),
            None if all => Err(format!("${name} stands for nothing")),
            None => Ok(Value::String(text.to_owned())),
        };
    }
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            // No name ends here, so none has begun.
            rest = &rest[before.len()..];
            break;
        };
        match look_up(name, names) {
            Some(Value::String(value)) => filled.push_str(value),
            Some(value) => filled.push_str(&value.to_string()),
            None if all => return Err(format!("${{{name}}} stands for nothing")),
            None => filled.extend(["${", name, "}"]),
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(Value::String(filled))
}

fn look_up<'a>(path: &str, names: &'a Names) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let first = names.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_replaced_wherever_they_stand() {
        let Value::Object(names) = json!({"n": 7, "codec": {"name": "gzip"}}) else {
            unreachable!("an object was written")
        };
        let value = json!({"id": "$n", "name": "${codec.name} of ${n}", "list": ["$codec"]});
        let filled = json!({"id": 7, "name": "gzip of 7", "list": [{"name": "gzip"}]});
        assert_eq!(fill_in(&value, &names), Ok(filled));
        assert!(fill_in(&json!("$later"), &names).is_err());
        assert_eq!(fill_in_known(&json!("$later"), &names), json!("$later"));
    }
}
