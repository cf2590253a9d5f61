//! Plays all cases with a peer and judges what came of them.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::case::Case;
use crate::peer::Peer;
use crate::script;

/// How long what is due may take. Long, because machines that test are busy; nobody waits for it who does as is written.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a peer may take that is known to do otherwise. If it does as is written after all, it mostly does at once.
const PATIENCE_WITH_KNOWN: Duration = Duration::from_millis(700);
/// How many cases run at once: most of the time they wait.
const AT_ONCE: usize = 6;

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The peer does as the specification says.
    Agrees,
    /// It does otherwise, as was known: why.
    Listed(String),
    /// It has not what the case needs.
    NotOffered(String),
    /// It does otherwise, and nobody knew: how.
    Disagrees(String),
    /// What was known of it does not hold any more: what it does.
    Outdated(String),
}

impl Verdict {
    /// Whether somebody has to look at it.
    pub fn is_red(&self) -> bool {
        matches!(self, Self::Disagrees(_) | Self::Outdated(_))
    }
}

/// What came of all cases with one peer, in their order.
#[derive(Debug)]
pub struct Results {
    /// Who was under test.
    pub peer: String,
    /// Each case with its verdict.
    pub cases: Vec<(Case, Verdict)>,
}

impl Results {
    /// What somebody has to look at: its name and what is wrong.
    pub fn red(&self) -> Vec<(&str, &Verdict)> {
        let red = self.cases.iter().filter(|(_, verdict)| verdict.is_red());
        red.map(|(case, verdict)| (case.name.as_str(), verdict))
            .collect()
    }
}

/// Plays those of `cases` that concern `peer`.
pub fn run(cases: &[Case], peer: &Peer) -> Results {
    let cases: Vec<_> = cases.iter().filter(|case| peer.plays(case.role)).collect();
    let verdicts: Vec<_> = cases.iter().map(|_| Mutex::new(None)).collect();
    let turns = Mutex::new(cases.iter().zip(&verdicts));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let turn = turns.lock().expect("nobody panics with it").next();
                    let Some((case, verdict)) = turn else { return };
                    *verdict.lock().expect("nobody else has it") = Some(judge(case, peer));
                }
            });
        }
    });
    let verdicts = verdicts.into_iter().map(|verdict| {
        let verdict = verdict.into_inner().expect("nobody panics with it");
        verdict.expect("each has had its turn")
    });
    Results {
        peer: peer.name.clone(),
        cases: cases.into_iter().cloned().zip(verdicts).collect(),
    }
}

/// Plays one case.
pub fn judge(case: &Case, peer: &Peer) -> Verdict {
    if let Some(missing) = peer.missing(case) {
        return Verdict::NotOffered(missing.to_owned());
    }
    let Some(known) = case.known_of(&peer.name) else {
        return match script::play(case, &case.steps, peer, PATIENCE) {
            Ok(()) => Verdict::Agrees,
            Err(why) => Verdict::Disagrees(why),
        };
    };
    let as_written = script::play(case, &case.steps, peer, PATIENCE_WITH_KNOWN);
    if as_written.is_ok() && known.is_by_luck {
        return Verdict::Listed(known.reason.clone());
    }
    if as_written.is_ok() {
        let why = "it does as the specification says, though a disagreement is listed: take that off the list";
        return Verdict::Outdated(why.to_owned());
    }
    match script::play(case, &known.steps, peer, PATIENCE) {
        Ok(()) => Verdict::Listed(known.reason.clone()),
        Err(why) => Verdict::Outdated(format!(
            "neither what the specification says nor what is listed ({}): {why}",
            known.reason
        )),
    }
}
