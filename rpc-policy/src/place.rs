//! [`Placement`]: whether a method runs on a pool or on the event loop, found out by how long it takes.
//!
//! # The problem
//!
//! A handler of a microsecond on a pool pays several times its own time for two thread switches; a handler of a
//! millisecond on an event loop makes everybody else on that loop wait. Which of the two a method is, is hard to say by
//! looking at it, and changes with its data.
//!
//! # The algorithm
//!
//! ```text
//!                     `proof` runs, at most 1 % of them long
//!               ┌───────────────────────────────────────────────┐
//!               │                                               ▼
//!    ┌─> Pool (runs, long)                                    Loop
//!    │    │     ▲                                               │
//!    └────┘     └───────────────────────────────────────────────┘
//!    more than 1 % long:           one run overshoots: `proof` doubles
//!    counts anew
//! ```
//!
//! In a proof a run is long when it took more than the budget, or had to wait. One in a hundred may be: so the budget bounds
//! the 99th percentile, and a worker that the system has suspended for a while, which looks like a handler that took long,
//! costs no proof.
//!
//! On the loop a run overshoots when it took more than five times the budget, or had to wait: on a loop, nothing waits. The
//! step between the two is what keeps a method from flapping whose runs lie around the budget, and what interrupts and cold
//! caches add to a run now and then (up to twice the budget of 20 µs was seen on a busy machine). There is no such allowance
//! as in a proof, since everybody on the loop pays for it. That the proof doubles keeps a method that overshoots once in a
//! while from moving all the time.
//!
//! The whole state is one word, so loops and workers share it without a lock; while a method is on the loop and its runs
//! are short, they only read it.
//!
//! # Parameters
//!
//! * `budget`, the time that 99 of 100 runs may take. No default here; [`Mount::auto`](rpc_core::Mount::auto) takes 20 µs.
//! * `proof`, in runs: how many the first move onto the loop takes. Default: 1,000. It doubles with each way back, six
//!   times at most.
//!
//! # Worst case
//!
//! A method whose every `n`th run overshoots keeps the loop once in `proof + n` runs, that is, after six ways back, once in
//! 64,000 and more. Reports of runs that began before a move and end after it are dropped.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rpc_core::Move;

/// Finds the place of one method: it begins on the pool, is moved onto the loop by a proof, and back by one run that
/// overshoots.
///
/// ```
/// use std::time::Duration;
/// use rpc_policy::place::{Placement, Run};
///
/// let placement = Placement::new(Duration::from_micros(20)).proof(500);
/// let short = Run::Took(Duration::from_micros(3));
/// let moves = (0..500).filter_map(|_| placement.ran_on_pool(short)).count();
/// assert_eq!((moves, placement.is_on_loop()), (1, true));
///
/// placement.ran_on_loop(Run::Took(Duration::from_micros(101)));
/// assert!(!placement.is_on_loop());
/// ```
pub struct Placement {
    budget: Duration,
    proof: u32,
    /// A [`State`].
    state: AtomicU64,
    /// The longest run of the present proof, in nanoseconds. It decides nothing.
    longest: AtomicU64,
}

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// It took so long, from its beginning to its end.
    Took(Duration),
    /// It had to wait for something.
    Waited,
}

impl Placement {
    /// A method on the pool, whose runs may take `budget` if it is to leave.
    pub fn new(budget: Duration) -> Self {
        Self {
            budget,
            proof: PROOF,
            state: AtomicU64::new(State::default().packed()),
            longest: AtomicU64::new(0),
        }
    }

    /// How many runs the first move onto the loop takes; at least one, at most 16,777,215. Default: 1,000.
    pub fn proof(mut self, runs: u32) -> Self {
        self.proof = runs.clamp(1, COUNT_MAX);
        self
    }

    /// Whether the method runs on the loop now.
    pub fn is_on_loop(&self) -> bool {
        self.state().is_on_loop
    }

    /// Whether such a run is too much for a loop.
    pub fn overshoots(&self, run: Run) -> bool {
        is_longer(run, self.budget.saturating_mul(TOLERANCE))
    }

    /// How many runs the next move onto the loop takes.
    pub fn next_proof(&self) -> u32 {
        self.proof_of(self.state())
    }

    /// Takes in a run on the pool. Says so if it was the one that completes a proof: the method is on the loop now. Of
    /// several threads one is told.
    pub fn ran_on_pool(&self, run: Run) -> Option<Move> {
        let is_long = self.note(run);
        let next = |state: State| (!state.is_on_loop).then(|| self.proved(state, is_long));
        let before = self.update(next)?;
        let after = self.proved(before, is_long);
        if after.runs > 0 {
            return None;
        }
        let longest = Duration::from_nanos(self.longest.swap(0, Ordering::Relaxed));
        after.is_on_loop.then_some(Move::ToLoop {
            runs: self.proof_of(before),
            longest,
        })
    }

    /// Takes in a run on the loop. Says so if it overshoots: the method is on the pool now. Of several threads one is told.
    pub fn ran_on_loop(&self, run: Run) -> Option<Move> {
        if !self.overshoots(run) {
            return None;
        }
        self.update(|state| state.is_on_loop.then(|| state.returned()))?;
        Some(match run {
            Run::Took(took) => Move::TooLong { took },
            Run::Waited => Move::HadToWait,
        })
    }

    /// The state after one more run of a proof. No run counted means that the proof has ended, one way or the other.
    fn proved(&self, state: State, is_long: bool) -> State {
        let proof = self.proof_of(state);
        let runs = state.runs + 1;
        let long = state.long + u32::from(is_long);
        let is_over = long > proof / LONG_ONE_IN;
        if is_over || runs >= proof {
            return State {
                is_on_loop: !is_over,
                returns: state.returns,
                long: 0,
                runs: 0,
            };
        }
        State {
            long,
            runs,
            ..state
        }
    }

    fn proof_of(&self, state: State) -> u32 {
        self.proof.saturating_mul(1 << state.returns).min(COUNT_MAX)
    }

    fn note(&self, run: Run) -> bool {
        if let Run::Took(time) = run {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            // Most runs are not the longest, and then nothing is written that others look at.
            if nanos > self.longest.load(Ordering::Relaxed) {
                self.longest.fetch_max(nanos, Ordering::Relaxed);
            }
        }
        is_longer(run, self.budget)
    }

    /// Replaces the state, unless `next` has none; returns what it was. The word holds all there is to know, so it needs
    /// no order with others.
    fn update(&self, next: impl Fn(State) -> Option<State>) -> Option<State> {
        let next = |word| next(State::unpacked(word)).map(State::packed);
        let before = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        before.ok().map(State::unpacked)
    }

    fn state(&self) -> State {
        State::unpacked(self.state.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placement")
            .field("budget", &self.budget)
            .field("proof", &self.next_proof())
            .field("is_on_loop", &self.is_on_loop())
            .finish_non_exhaustive()
    }
}

fn is_longer(run: Run, than: Duration) -> bool {
    match run {
        Run::Took(time) => time > than,
        Run::Waited => true,
    }
}

/// What is known of a method. As a word, from the lowest bit: 24 bits `runs`, 24 bits `long`, 8 bits `returns`, 1 bit
/// `is_on_loop`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    is_on_loop: bool,
    /// How often the proof has doubled.
    returns: u32,
    /// Of the runs, those that were long.
    long: u32,
    /// Runs of the present proof.
    runs: u32,
}

impl State {
    fn packed(self) -> u64 {
        let [runs, long, returns] = [self.runs, self.long, self.returns].map(u64::from);
        runs | long << 24 | returns << 48 | u64::from(self.is_on_loop) << 56
    }

    fn unpacked(word: u64) -> Self {
        let field = |shift: u32, max: u32| {
            u32::try_from(word >> shift & u64::from(max)).expect("no more than `max`")
        };
        Self {
            is_on_loop: field(56, 1) == 1,
            returns: field(48, 0xff),
            long: field(24, COUNT_MAX),
            runs: field(0, COUNT_MAX),
        }
    }

    /// Back on the pool, with more to prove.
    fn returned(self) -> Self {
        Self {
            is_on_loop: false,
            returns: (self.returns + 1).min(DOUBLINGS_MAX),
            long: 0,
            runs: 0,
        }
    }
}

/// Long enough that a method whose every fiftieth run is long does not get through by luck.
const PROOF: u32 = 1_000;
const LONG_ONE_IN: u32 = 100;
/// So many times the budget is still no overshoot.
const TOLERANCE: u32 = 5;
/// From 1,000 runs to 64,000.
const DOUBLINGS_MAX: u32 = 6;
/// What a field of 24 bits holds.
const COUNT_MAX: u32 = (1 << 24) - 1;

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const BUDGET: Duration = Duration::from_micros(20);
    const SHORT: Run = Run::Took(BUDGET);
    const LONG: Run = Run::Took(Duration::from_micros(21));
    /// As long as a run on the loop may take.
    const LONGISH: Run = Run::Took(Duration::from_micros(100));
    const OVERSHOT: Run = Run::Took(Duration::from_micros(101));

    fn placement() -> Placement {
        Placement::new(BUDGET)
    }

    /// How many short runs it takes until the method is on the loop.
    fn runs_until_moved(placement: &Placement) -> u32 {
        let moved = (1..=COUNT_MAX).find(|_| placement.ran_on_pool(SHORT).is_some());
        moved.expect("a proof ends")
    }

    #[test]
    fn a_method_is_moved_by_its_proof_and_not_a_run_earlier() {
        let placement = placement();
        assert!((0..999).all(|_| placement.ran_on_pool(SHORT).is_none()));
        assert!(!placement.is_on_loop());
        let how = Move::ToLoop {
            runs: 1_000,
            longest: BUDGET,
        };
        assert_eq!(placement.ran_on_pool(SHORT), Some(how));
        assert!(placement.is_on_loop());
    }

    #[test]
    fn one_run_in_a_hundred_may_be_long_in_a_proof_and_not_one_more() {
        let placement = placement();
        assert!((0..10).all(|_| placement.ran_on_pool(LONG).is_none()));
        assert_eq!(runs_until_moved(&placement), 990);

        let placement = self::placement();
        assert!((0..11).all(|_| placement.ran_on_pool(LONG).is_none()));
        assert_eq!(runs_until_moved(&placement), 1_000, "it began anew");
    }

    #[test]
    fn a_run_that_waits_is_long() {
        let placement = placement().proof(1);
        assert_eq!(placement.ran_on_pool(Run::Waited), None);
        assert!(!placement.is_on_loop());
        placement.ran_on_pool(SHORT);
        assert_eq!(placement.ran_on_loop(Run::Waited), Some(Move::HadToWait));
        assert!(!placement.is_on_loop());
    }

    #[test]
    fn the_first_overshoot_on_the_loop_moves_it_back_and_doubles_the_proof() {
        let placement = placement();
        for doublings in 0..10 {
            let runs = runs_until_moved(&placement);
            assert_eq!(runs, 1_000 << doublings.min(6));
            assert!((0..5_000).all(|_| placement.ran_on_loop(LONGISH).is_none()));
            let took = Duration::from_micros(101);
            assert_eq!(
                placement.ran_on_loop(OVERSHOT),
                Some(Move::TooLong { took })
            );
            assert!(!placement.is_on_loop());
        }
    }

    #[test]
    fn reports_from_where_the_method_is_not_change_nothing() {
        let placement = placement().proof(2);
        placement.ran_on_pool(SHORT);
        assert_eq!(placement.ran_on_loop(OVERSHOT), None);
        assert_eq!(
            (placement.next_proof(), runs_until_moved(&placement)),
            (2, 1)
        );
        assert_eq!(placement.ran_on_pool(LONG), None);
        assert!(placement.is_on_loop());
    }

    #[test]
    fn counts_saturate() {
        let placement = placement().proof(u32::MAX);
        assert_eq!(placement.next_proof(), COUNT_MAX);
        let full = State {
            is_on_loop: true,
            returns: DOUBLINGS_MAX,
            long: COUNT_MAX,
            runs: COUNT_MAX,
        };
        assert_eq!(State::unpacked(full.packed()), full);
        assert_eq!(placement.proof_of(full), COUNT_MAX);
        assert_eq!(full.returned().returns, DOUBLINGS_MAX);
        placement.state.store(full.packed(), Ordering::Relaxed);
        assert!(placement.ran_on_loop(OVERSHOT).is_some());
        assert_eq!(Placement::new(BUDGET).proof(0).next_proof(), 1);
    }

    #[test]
    fn of_several_threads_one_is_told_of_a_move() {
        let placement = placement();
        let told = |report: &(dyn Fn() -> Option<Move> + Sync)| {
            thread::scope(|scope| {
                let reporters: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| (0..250).filter_map(|_| report()).count()))
                    .collect();
                reporters
                    .into_iter()
                    .map(|reporter| reporter.join().unwrap())
                    .sum::<usize>()
            })
        };
        assert_eq!(told(&|| placement.ran_on_pool(SHORT)), 1);
        assert_eq!(told(&|| placement.ran_on_loop(OVERSHOT)), 1);
        assert_eq!(placement.next_proof(), 2_000);
    }

    /// What the rules say, in more words and less space than the machine.
    #[derive(Default)]
    struct Rules {
        is_on_loop: bool,
        returns: u32,
        proof: Vec<bool>,
    }

    impl Rules {
        fn next_proof(&self, first: u32) -> u32 {
            (first << self.returns.min(6)).min(COUNT_MAX)
        }

        fn ran_on_pool(&mut self, is_long: bool, first: u32) {
            if self.is_on_loop {
                return;
            }
            self.proof.push(is_long);
            let wanted = self.next_proof(first) as usize;
            if self.proof.iter().filter(|is_long| **is_long).count() > wanted / 100 {
                self.proof.clear();
            } else if self.proof.len() == wanted {
                self.proof.clear();
                self.is_on_loop = true;
            }
        }

        fn ran_on_loop(&mut self, overshoots: bool) {
            if self.is_on_loop && overshoots {
                self.is_on_loop = false;
                self.returns += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn a_method_is_always_where_the_rules_say(
            first in 1_u32..250,
            // How many runs, whether on the loop, and how the last of them went.
            stretches in prop::collection::vec((0_u32..300, any::<bool>(), 0_u8..5), 1..60),
        ) {
            let (placement, mut rules) = (placement().proof(first), Rules::default());
            for (runs, on_loop, last) in stretches {
                let last = [SHORT, LONG, LONGISH, OVERSHOT, Run::Waited][usize::from(last)];
                for run in (0..runs).map(|_| SHORT).chain([last]) {
                    let was_on_loop = placement.is_on_loop();
                    let how = if on_loop {
                        rules.ran_on_loop(matches!(run, OVERSHOT | Run::Waited));
                        placement.ran_on_loop(run)
                    } else {
                        rules.ran_on_pool(run != SHORT, first);
                        placement.ran_on_pool(run)
                    };
                    prop_assert_eq!(placement.is_on_loop(), rules.is_on_loop);
                    prop_assert_eq!(placement.next_proof(), rules.next_proof(first));
                    let is_told = how.map(Move::is_to_loop);
                    let moved = was_on_loop != rules.is_on_loop;
                    prop_assert_eq!(is_told, moved.then_some(rules.is_on_loop));
                }
            }
        }
    }
}
