//! What a first service costs its author: lines to write, crates to build.

use std::fs;
use std::path::{Path, PathBuf};

use xtask::{Outcome, crates, none_of, workspace};

const LINES_MAX: usize = 35;
const CRATES_MAX: usize = 80;

pub(crate) fn run() -> Outcome {
    let folder = workspace::root().join("examples/quickstart");
    let mut faults = Vec::new();
    let mut lines = 0;
    for path in written_by_hand(&folder)? {
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let is_manifest = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        let count = count_lines(&text, if is_manifest { "#" } else { "//" });
        let shown = path.strip_prefix(&folder).unwrap_or(&path);
        println!("{:>4} lines  {}", count, shown.display());
        lines += count;
    }
    let crates = crates::tree("quickstart", "normal,build")?.len();
    println!("{lines:>4} lines of {LINES_MAX} allowed, {crates} crates of {CRATES_MAX} allowed");
    if lines == 0 {
        faults.push(format!("no lines in {}", folder.display()));
    }
    if lines > LINES_MAX {
        faults.push(format!("{lines} lines to write, {LINES_MAX} are allowed"));
    }
    if crates > CRATES_MAX {
        faults.push(format!(
            "{crates} crates to build, {CRATES_MAX} are allowed"
        ));
    }
    none_of("a first service costs too much", &faults)
}

/// The manifest, the sources and the `.proto` files in a folder and below.
fn written_by_hand(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let extension = path.extension().unwrap_or_default();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(written_by_hand(&path)?);
        } else if ["rs", "proto", "toml"]
            .iter()
            .any(|kind| extension == *kind)
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Lines that are neither blank nor only a comment.
fn count_lines(text: &str, comment: &str) -> usize {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with(comment))
        .count()
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_and_comments_are_not_counted() {
        let source =
            "//! What it is.\n\n    // Why.\nfn main() {\n}\n\n/// And this.\n#[derive(Debug)]\n";
        assert_eq!(count_lines(source, "//"), 3);
        assert_eq!(count_lines("# why\n[package]\n\nname = \"x\"\n", "#"), 2);
        assert_eq!(count_lines("", "//"), 0);
    }
}
