//! The checks of this project, as code: `cargo xtask VERB` runs one, `cargo xtask ci` runs them all.
//!
//! What is allowed stands in tables ([`layers`], [`crates`]), and what judges is a pure function, so that the tests can
//! show each check what it must refuse.
//!
//! # Layout
//!
//! * [`layers`] – which of our crates may use which
//! * [`crates`] – how heavy our crates may be, what must be in no tree, and the oldest versions without known faults
//! * [`workspace`] – what Cargo knows of our crates
//! * [`instructions`] – instructions for each request, and how they compare
//! * [`expected`] – output compared with what was expected
//! * [`run`] – other programs: started, timed, and cut off when they hang

pub mod crates;
pub mod expected;
pub mod instructions;
pub mod layers;
pub mod run;
pub mod workspace;

/// What a check finds: `Err` has the words for whoever must act.
pub type Outcome<T = ()> = Result<T, String>;

/// One line for each fault, or nothing.
///
/// # Errors
///
/// When there is any fault.
pub fn none_of(what: &str, faults: &[String]) -> Outcome {
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("{what}:\n  {}", faults.join("\n  ")))
}
