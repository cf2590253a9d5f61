//! Output compared with what was expected. In an expected line `{..}` stands for any characters, or none.

use std::fmt::Write;

const ANYTHING: &str = "{..}";

/// Compares line by line.
///
/// # Errors
///
/// When they differ: all lines, those that are missing marked `-`, and those that were not expected `+`.
pub fn compare(expected: &str, found: &str) -> Result<(), String> {
    let expected: Vec<_> = expected.lines().collect();
    let found: Vec<_> = found.lines().collect();
    let matches = |(expected, found): (&&str, &&str)| line_matches(expected, found);
    if expected.len() == found.len() && expected.iter().zip(&found).all(matches) {
        return Ok(());
    }
    Err(difference(&expected, &found))
}

/// Whether a line is as expected.
fn line_matches(pattern: &str, line: &str) -> bool {
    let Some((before, rest)) = pattern.split_once(ANYTHING) else {
        return pattern == line;
    };
    let Some(line) = line.strip_prefix(before) else {
        return false;
    };
    // What follows may begin anywhere in what is left.
    let mut starts = line.char_indices().map(|(at, _)| at).chain([line.len()]);
    starts.any(|at| line_matches(rest, &line[at..]))
}

/// The longest common course of lines, and what stands beside it.
fn difference(expected: &[&str], found: &[&str]) -> String {
    let mut common = vec![vec![0_usize; found.len() + 1]; expected.len() + 1];
    for (i, pattern) in expected.iter().enumerate().rev() {
        for (j, line) in found.iter().enumerate().rev() {
            common[i][j] = if line_matches(pattern, line) {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let mut text = String::new();
    let (mut i, mut j) = (0, 0);
    while i < expected.len() || j < found.len() {
        let both = i < expected.len() && j < found.len();
        let (mark, line) = if both && line_matches(expected[i], found[j]) {
            (i, j) = (i + 1, j + 1);
            (' ', found[j - 1])
        } else if j == found.len() || (both && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', expected[i - 1])
        } else {
            j += 1;
            ('+', found[j - 1])
        };
        writeln!(text, "{mark} {line}").expect("a string can be written to");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_characters_may_stand_where_anything_is_expected() {
        for (pattern, line) in [
            ("plain", "plain"),
            ("{..}", ""),
            ("took {..} ms", "took 12 ms"),
            ("took {..} ms", "took  ms"),
            ("{..}a{..}b", "xxaxab"),
            ("{..} µs", "é µs"),
            ("{}", "{}"),
        ] {
            assert!(line_matches(pattern, line), "{pattern} {line}");
        }
        for (pattern, line) in [
            ("plain", "plainer"),
            ("took {..} ms", "took 12 s"),
            ("{..}a{..}b", "xxbxa"),
            ("", "x"),
        ] {
            assert!(!line_matches(pattern, line), "{pattern} {line}");
        }
    }

    #[test]
    fn every_line_counts() {
        assert_eq!(compare("a\n{..}\nc\n", "a\nb\nc\n"), Ok(()));
        assert_eq!(compare("", ""), Ok(()));
        assert!(compare("a\n", "").is_err());
        assert!(compare("a\n", "a\nb\n").is_err());
    }

    #[test]
    fn the_difference_shows_what_is_missing_and_what_is_new() {
        let difference = compare("a\nb {..}\nc\nd\n", "a\nb 1\nx\nd\ne\n").unwrap_err();
        assert_eq!(difference, "  a\n  b 1\n- c\n+ x\n  d\n+ e\n");
    }
}
