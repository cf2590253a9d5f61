//! The parts of `docs/interop.md` that a run writes: what stands between `<!-- NAME: begin` and `<!-- NAME: end`.

use std::fs;
use std::path::PathBuf;

/// Where the page is.
fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/interop.md")
}

/// Puts `parts`, each a name and its text, into the page.
///
/// # Errors
///
/// When the page or one of its parts is not there, or cannot be written.
pub fn write(parts: &[(&str, String)]) -> Result<(), String> {
    let path = page();
    let text = fs::read_to_string(&path).map_err(|error| format!("docs/interop.md: {error}"))?;
    let new = with(&text, parts)?;
    fs::write(&path, new).map_err(|error| format!("docs/interop.md: {error}"))
}

/// Says what in the page is not what this run made.
///
/// # Errors
///
/// Which lines differ.
pub fn check(parts: &[(&str, String)]) -> Result<(), String> {
    let text = fs::read_to_string(page()).map_err(|error| format!("docs/interop.md: {error}"))?;
    let new = with(&text, parts)?;
    let missing: Vec<_> = new
        .lines()
        .filter(|line| !text.lines().any(|old| old == *line))
        .collect();
    if new == text {
        return Ok(());
    }
    Err(format!(
        "docs/interop.md is not what the run makes; `cargo run -p tern-interop -- --write-docs` writes it. The run has:\n{}",
        missing.join("\n")
    ))
}

/// The page with other parts.
fn with(text: &str, parts: &[(&str, String)]) -> Result<String, String> {
    let mut text = text.to_owned();
    for (name, part) in parts {
        let missing = || format!("docs/interop.md has no part {name:?}");
        let begin = text
            .find(&format!("<!-- {name}: begin"))
            .ok_or_else(missing)?;
        let after = text[begin..].find('\n').ok_or_else(missing)?;
        let start = begin + after + 1;
        let length = text[start..]
            .find(&format!("<!-- {name}: end"))
            .ok_or_else(missing)?;
        text.replace_range(start..start + length, &format!("\n{}\n\n", part.trim_end()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_written() {
        let page = "before\n<!-- a: begin, by a run -->\nold\n<!-- a: end -->\nafter\n";
        let new = with(page, &[("a", "new\n".to_owned())]).unwrap();
        let expected = "before\n<!-- a: begin, by a run -->\n\nnew\n\n<!-- a: end -->\nafter\n";
        assert_eq!(new, expected);
        assert_eq!(with(&new, &[("a", "new\n".to_owned())]).unwrap(), new);
        assert!(with(page, &[("b", String::new())]).is_err());
    }
}
