//! [`BuildError`]: why there are no stubs, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why there are no stubs. The text names the .proto file, the line and the remedy.
///
/// `Debug` prints what `Display` prints, so that a build script whose `main` returns the error shows the text to the
/// person who reads the output of cargo.
#[non_exhaustive]
pub enum BuildError {
    /// `OUT_DIR` is not set: not in a build script.
    OutDirUnset,
    /// A file in the list does not exist.
    NoSuchFile {
        /// The file as it was listed.
        path: PathBuf,
    },
    /// A file in the list cannot be told from another of the same name in an include directory before it.
    Shadowed {
        /// The file as it was listed.
        path: PathBuf,
        /// The file that would be read instead.
        by: PathBuf,
    },
    /// A file imports one that is nowhere to be found.
    Import {
        /// `file:line:column: what is missing`.
        text: String,
        /// The directories that were searched.
        searched: Vec<PathBuf>,
    },
    /// A file is not valid: its syntax, or a name that is not defined.
    Invalid {
        /// `file:line:column: what is wrong`.
        text: String,
    },
    /// A file is valid, and no stubs can be made of it.
    Refused {
        /// What stands in the way.
        problem: String,
        /// Where it is declared.
        at: Position,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Two packages, or a package and the file of all packages, would be written to the same place.
    SameFile {
        /// What would be written there.
        contents: [String; 2],
        /// The file, or the Rust module.
        place: String,
    },
    /// A setting of [`Config`](crate::Config) makes no sense.
    Setting {
        /// Which one, and why.
        text: String,
    },
    /// A file could not be written.
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutDirUnset => f.write_str(
                "OUT_DIR is not set: call this from build.rs, or say where to write with Config::out_dir",
            ),
            Self::NoSuchFile { path } => write!(
                f,
                "no such file: {}: paths are relative to the directory of the package's Cargo.toml",
                path.display()
            ),
            Self::Shadowed { path, by } => write!(
                f,
                "two files of one name: {} would be read as {}: name a directory above both with Config::include",
                path.display(),
                by.display()
            ),
            Self::Import { text, searched } => {
                write!(f, "{text}, searched")?;
                for (i, directory) in searched.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma} {}", named(directory).display())?;
                }
                f.write_str(": name the directory it is relative to with Config::include")
            }
            Self::Invalid { text } | Self::Setting { text } => f.write_str(text),
            Self::Refused {
                problem,
                at,
                remedy,
            } => write!(f, "{problem}, {at}: {remedy}"),
            Self::SameFile {
                contents: [first, second],
                place,
            } => write!(
                f,
                "{first} and {second} would both be {place}: rename one of them"
            ),
            Self::Write { path, source } => write!(f, "cannot write {}: {source}", path.display()),
        }
    }
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Write { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A line of a .proto file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// The current directory has no name in paths that are relative to it.
fn named(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_the_text_for_people() {
        let error = BuildError::OutDirUnset;
        assert_eq!(format!("{error:?}"), error.to_string());
    }

    #[test]
    fn the_cause_of_a_failed_write_is_kept() {
        let error = BuildError::Write {
            path: "out/pb.rs".into(),
            source: io::Error::other("disk full"),
        };
        assert_eq!(error.to_string(), "cannot write out/pb.rs: disk full");
        assert!(error.source().is_some());
    }
}
