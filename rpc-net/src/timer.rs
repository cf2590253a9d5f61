//! [`TimerWheel`]: the timers of one event loop.
//!
//! An event loop holds a timer for each call in flight, and nearly all of them are cancelled long before their time.
//! So setting and cancelling must be cheap and firing may cost a little more: a hierarchical timing wheel (Varghese and
//! Lauck, "Hashed and hierarchical timing wheels", SOSP 1987) does both in constant time, whatever the number of
//! timers, where a heap needs a logarithm for each.
//!
//! Time is counted in ticks of one millisecond. Four levels of 64 slots cover 64 ms, 4 s, 4.4 min and 4.7 h; what is
//! later than that is parked. A timer sits at the level of the highest group of six bits in which its tick differs from
//! the present one:
//!
//! ```text
//!   tick   ...... | bits 18..24 | bits 12..18 | bits 6..12 | bits 0..6
//!          parked |   level 3   |   level 2   |  level 1   |  level 0
//! ```
//!
//! When time reaches the slot of a coarse level, its timers move to finer ones. Hence the slots in use all lie ahead of
//! the present one within their level, no slot holds timers of two rounds, and the first slot in use of the first level
//! in use is always the next.
//!
//! The worst case is a timer that lives long enough to move through all levels: it is linked anew three times. A
//! parked one is looked at once in 4.7 h.

use std::time::{Duration, Instant};
use std::{fmt, iter, mem};

use crate::pages::Slab;

/// The timers of one event loop, each with a value that says what it is for.
///
/// The wheel has no clock: it is told the time. A timer never fires before its time, and fires when the wheel is told
/// a time at least one tick of a millisecond after it, if not earlier.
pub struct TimerWheel<T> {
    start: Instant,
    /// The tick up to which time has passed: timers up to here are due.
    tick: u64,
    timers: Slab<Timer<T>>,
    lists: Box<[List; LISTS]>,
    /// One bit for each slot in use.
    in_use: [u64; LEVELS as usize],
    /// Stamped on the next timer, so that a key of a timer that is gone matches no other.
    stamp: u32,
}

/// Names one timer of a wheel. Once that has fired or was cancelled the key names nothing, whoever sits in its place:
/// for the next four billion timers, so whoever is told that a timer fired forgets the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerKey {
    index: u32,
    stamp: u32,
}

impl<T> TimerWheel<T> {
    /// A wheel without timers that begins to turn at `start`.
    pub fn new(start: Instant) -> Self {
        Self {
            start,
            tick: 0,
            timers: Slab::default(),
            lists: Box::new([List::EMPTY; LISTS]),
            in_use: [0; LEVELS as usize],
            stamp: 0,
        }
    }

    /// Sets a timer for `at`. If the wheel has been told a time not before `at`, it fires at the next poll.
    pub fn insert(&mut self, at: Instant, value: T) -> TimerKey {
        let stamp = self.stamp;
        self.stamp = stamp.wrapping_add(1);
        let tick = self.tick_after(at);
        let list = self.list_of(tick);
        let before = self.lists[usize::from(list)].last;
        let index = self.timers.insert(Timer {
            tick,
            value,
            stamp,
            before,
            after: NOBODY,
            list,
        });
        self.append(index, list, before);
        TimerKey { index, stamp }
    }

    /// Takes a timer back and returns its value; `None` if it has fired or was cancelled before. Constant time.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let timer = self
            .timers
            .remove_if(key.index, |timer| timer.stamp == key.stamp)?;
        Some(self.unlink(timer))
    }

    /// Takes out the next timer whose time has come by `now`; `None` if there is no more. Earlier ones come first;
    /// within a tick, and among those that were late when they were set, the order is not promised.
    ///
    /// A `now` before one that the wheel has been told is taken for that one.
    pub fn poll(&mut self, now: Instant) -> Option<T> {
        if self.timers.is_empty() {
            // Nothing to move, so time may jump. This keeps an idle wheel free of cost.
            self.tick = self.tick.max(self.tick_before(now));
            return None;
        }
        if self.lists[DUE].is_empty() {
            self.advance(self.tick_before(now));
        }
        let timer = self.timers.remove(self.lists[DUE].first)?;
        Some(self.unlink(timer))
    }

    /// Takes out all timers whose time has come by `now`, in the order of [`TimerWheel::poll`].
    pub fn expire(&mut self, now: Instant, into: &mut Vec<T>) {
        while let Some(value) = self.poll(now) {
            into.push(value);
        }
    }

    /// When to poll next: not later than the time at which the first timer fires. It may be earlier, when that is still
    /// far away; polling then finds nothing and brings the answer nearer, at most once for each level. `None` without
    /// timers. Costs a look at four words.
    pub fn next_at(&self) -> Option<Instant> {
        if self.timers.is_empty() {
            return None;
        }
        let tick = if self.lists[DUE].is_empty() {
            self.next_slot().map_or(self.next_round(), Slot::first_tick)
        } else {
            self.tick
        };
        Some(self.start + Duration::from_millis(tick))
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.timers.len()
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    /// Lets time pass up to `tick`, slot by slot, so that timers become due in the order of their times.
    fn advance(&mut self, tick: u64) {
        loop {
            while let Some(slot) = self.next_slot().filter(|slot| slot.first_tick() <= tick) {
                self.tick = slot.first_tick();
                self.in_use[slot.level as usize] &= !(1 << slot.place);
                self.relink(slot.list());
            }
            if tick < self.next_round() {
                break;
            }
            // The levels are empty now, because all that they hold comes before the next round. However far time has
            // jumped, go on at the first round in which there is something to do.
            self.tick = self.first_parked_round().min(tick);
            self.relink(PARKED);
        }
        self.tick = self.tick.max(tick);
    }

    /// Empties a list and puts its timers where they belong now.
    fn relink(&mut self, list: usize) {
        let mut next = mem::replace(&mut self.lists[list], List::EMPTY).first;
        while next != NOBODY {
            let index = next;
            next = linked(&mut self.timers, index).after;
            self.link(index);
        }
    }

    /// Puts a timer that is in no list into the one it belongs to.
    fn link(&mut self, index: u32) {
        let tick = linked(&mut self.timers, index).tick;
        let list = self.list_of(tick);
        let before = self.lists[usize::from(list)].last;
        let timer = linked(&mut self.timers, index);
        (timer.list, timer.before, timer.after) = (list, before, NOBODY);
        self.append(index, list, before);
    }

    /// Makes a list end with a timer that stands behind `before`.
    fn append(&mut self, index: u32, list: u16, before: u32) {
        let number = usize::from(list);
        if number < DUE {
            self.in_use[number / SLOTS] |= 1 << (number % SLOTS);
        }
        let list = &mut self.lists[number];
        list.last = index;
        match before {
            NOBODY => list.first = index,
            before => linked(&mut self.timers, before).after = index,
        }
    }

    /// Takes a timer that is gone out of its list, and returns its value.
    fn unlink(&mut self, timer: Timer<T>) -> T {
        let number = usize::from(timer.list);
        let list = &mut self.lists[number];
        match timer.before {
            NOBODY => list.first = timer.after,
            before => linked(&mut self.timers, before).after = timer.after,
        }
        match timer.after {
            NOBODY => list.last = timer.before,
            after => linked(&mut self.timers, after).before = timer.before,
        }
        if number < DUE && list.is_empty() {
            self.in_use[number / SLOTS] &= !(1 << (number % SLOTS));
        }
        timer.value
    }

    fn list_of(&self, tick: u64) -> u16 {
        let list = if tick <= self.tick {
            DUE
        } else {
            match (tick ^ self.tick).ilog2() / SLOT_BITS {
                level if level < LEVELS => Slot::of(tick, level).list(),
                _ => PARKED,
            }
        };
        u16::try_from(list).expect("there are fewer")
    }

    /// The slot in use that time reaches first.
    fn next_slot(&self) -> Option<Slot> {
        let level = (0..LEVELS).find(|&level| self.in_use[level as usize] != 0)?;
        Some(Slot {
            level,
            place: self.in_use[level as usize].trailing_zeros(),
            around: self.tick,
        })
    }

    /// The first tick that differs from the present one in the bits above all levels.
    fn next_round(&self) -> u64 {
        ((self.tick >> ROUND_BITS) + 1) << ROUND_BITS
    }

    /// The first tick of the round of the first parked timer.
    fn first_parked_round(&self) -> u64 {
        let timer = |index| self.timers.get(index);
        iter::successors(timer(self.lists[PARKED].first), |parked| {
            timer(parked.after)
        })
        .map(|parked| parked.tick >> ROUND_BITS << ROUND_BITS)
        .min()
        .unwrap_or(u64::MAX)
    }

    /// The last tick that has begun at `now`.
    fn tick_before(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start);
        passed
            .as_secs()
            .saturating_mul(1_000)
            .saturating_add(u64::from(passed.subsec_millis()))
            .min(TICK_MAX)
    }

    /// The first tick that does not begin before `at`: this rounding up is why no timer fires early.
    fn tick_after(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.start);
        passed
            .as_secs()
            .saturating_mul(1_000)
            .saturating_add(u64::from(passed.subsec_nanos().div_ceil(1_000_000)))
            .min(TICK_MAX)
    }
}

impl<T> fmt::Debug for TimerWheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerWheel")
            .field("len", &self.len())
            .field("tick", &self.tick)
            .finish_non_exhaustive()
    }
}

/// A timer, linked to its neighbours in the same list.
struct Timer<T> {
    tick: u64,
    value: T,
    stamp: u32,
    before: u32,
    after: u32,
    list: u16,
}

/// A timer that a list names.
fn linked<T>(timers: &mut Slab<Timer<T>>, index: u32) -> &mut Timer<T> {
    timers.get_mut(index).expect("lists name timers")
}

/// The ends of a doubly linked list.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

impl List {
    const EMPTY: Self = Self {
        first: NOBODY,
        last: NOBODY,
    };

    fn is_empty(self) -> bool {
        self.first == NOBODY
    }
}

/// A slot of a level, in the round in which `around` lies.
#[derive(Clone, Copy)]
struct Slot {
    level: u32,
    place: u32,
    around: u64,
}

impl Slot {
    fn of(tick: u64, level: u32) -> Self {
        Self {
            level,
            place: ((tick >> (level * SLOT_BITS)) & SLOT_MASK) as u32,
            around: tick,
        }
    }

    fn list(self) -> usize {
        self.level as usize * SLOTS + self.place as usize
    }

    fn first_tick(self) -> u64 {
        let shift = self.level * SLOT_BITS;
        let round = self.around >> (shift + SLOT_BITS) << SLOT_BITS;
        (round | u64::from(self.place)) << shift
    }
}

const SLOT_BITS: u32 = 6;
const SLOT_MASK: u64 = 0b11_1111;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: u32 = 4;
const ROUND_BITS: u32 = SLOT_BITS * LEVELS;

/// The lists: those of the slots, level by level, then two more.
const DUE: usize = LEVELS as usize * SLOTS;
const PARKED: usize = DUE + 1;
const LISTS: usize = DUE + 2;

/// The end of a list.
const NOBODY: u32 = u32::MAX;

/// Time ends here, in 146 million years, so that the arithmetic above cannot overflow.
const TICK_MAX: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rpc_core::Clock;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn wheel<T>() -> (TimerWheel<T>, Instant) {
        let start = Clock::system().now();
        (TimerWheel::new(start), start)
    }

    fn expired<T>(wheel: &mut TimerWheel<T>, now: Instant) -> Vec<T> {
        let mut values = Vec::new();
        wheel.expire(now, &mut values);
        values
    }

    #[test]
    fn fires_at_its_time_and_not_before() {
        let (mut wheel, start) = wheel();
        wheel.insert(start + ms(5), "five");
        assert_eq!(wheel.poll(start + Duration::from_nanos(4_999_999)), None);
        assert_eq!(wheel.poll(start + ms(5)), Some("five"));
        assert_eq!(wheel.poll(start + ms(6)), None);
    }

    #[test]
    fn a_time_between_two_ticks_is_rounded_up() {
        let (mut wheel, start) = wheel();
        wheel.insert(start + Duration::from_micros(4_001), ());
        assert_eq!(wheel.next_at(), Some(start + ms(5)));
        assert_eq!(wheel.poll(start + Duration::from_micros(4_999)), None);
        assert_eq!(wheel.poll(start + ms(5)), Some(()));
    }

    #[test]
    fn a_time_that_has_passed_fires_at_the_next_poll() {
        let (mut wheel, start) = wheel();
        wheel.insert(start, "at the start");
        assert_eq!(wheel.poll(start), Some("at the start"));
        assert_eq!(wheel.poll(start + ms(100)), None);
        wheel.insert(start + ms(40), "late");
        assert_eq!(wheel.next_at(), Some(start + ms(100)));
        assert_eq!(wheel.poll(start + ms(100)), Some("late"));
    }

    #[test]
    fn a_cancelled_timer_gives_its_value_back_once_and_never_fires() {
        let (mut wheel, start) = wheel();
        let key = wheel.insert(start + ms(70), "gone");
        assert_eq!(wheel.cancel(key), Some("gone"));
        assert_eq!(wheel.cancel(key), None);
        assert_eq!(wheel.next_at(), None);
        assert_eq!(wheel.poll(start + ms(1_000)), None);
    }

    #[test]
    fn a_key_does_not_name_who_came_later() {
        let (mut wheel, start) = wheel();
        let old = wheel.insert(start + ms(1), "old");
        assert_eq!(wheel.poll(start + ms(1)), Some("old"));
        let new = wheel.insert(start + ms(2), "new");
        assert_eq!(old.index, new.index);
        assert_eq!(wheel.cancel(old), None);
        assert_eq!(wheel.cancel(new), Some("new"));
    }

    #[test]
    fn a_jump_fires_all_that_was_passed_in_order() {
        let (mut wheel, start) = wheel();
        let times = [3, 64, 65, 4_096, 300_000, 16_777_216, 99_999_999];
        for &time in times.iter().rev() {
            wheel.insert(start + ms(time), time);
        }
        assert_eq!(expired(&mut wheel, start + ms(100_000_000)), times);
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_parked_timer_fires_on_time_however_time_gets_there() {
        let year = ms(31_536_000_000);
        for step in [ms(1_000_003), ms(16_777_216), year] {
            let (mut wheel, start) = wheel();
            wheel.insert(start + year, ());
            let mut now = start;
            while now + step < start + year {
                now += step;
                assert_eq!(wheel.poll(now), None);
            }
            assert_eq!(wheel.poll(start + ms(31_535_999_999)), None);
            assert_eq!(wheel.poll(start + year), Some(()));
        }
    }

    #[test]
    fn the_end_of_time_is_only_far_away() {
        let (mut wheel, start) = wheel();
        let end = (0..63)
            .rev()
            .map(|bit| Duration::from_secs(1 << bit))
            .fold(start, |at, step| at.checked_add(step).unwrap_or(at));
        let key = wheel.insert(end, "end");
        assert_eq!(wheel.poll(start + ms(1_000_000_000_000)), None);
        assert!(wheel.next_at().is_some());
        assert_eq!(wheel.cancel(key), Some("end"));
    }

    #[test]
    fn a_loop_that_sleeps_until_next_at_wakes_once_for_each_level() {
        let (mut wheel, start) = wheel();
        wheel.insert(start + ms(12_345_678), ());
        let mut wakes = 0;
        while let Some(at) = wheel.next_at() {
            wakes += 1;
            wheel.poll(at);
        }
        assert!(wakes <= LEVELS, "woke {wakes} times");
    }

    #[test]
    fn time_that_runs_backwards_changes_nothing() {
        let (mut wheel, start) = wheel();
        wheel.insert(start + ms(10), ());
        assert_eq!(wheel.poll(start + ms(9)), None);
        assert_eq!(wheel.poll(start), None);
        assert_eq!(wheel.poll(start + ms(10)), Some(()));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64),
        Cancel(prop::sample::Index),
        Pass(u64),
        SleepUntilNext,
    }

    /// Microseconds of every order of magnitude, from below a tick to beyond the last level.
    fn span() -> impl Strategy<Value = u64> {
        (0_u32..37).prop_flat_map(|bits| 0..=(1_u64 << bits))
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => span().prop_map(Step::Insert),
            2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
            2 => span().prop_map(Step::Pass),
            1 => Just(Step::SleepUntilNext),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_map(steps in steps()) {
            let (mut wheel, start) = wheel();
            let mut now = start;
            // By (tick, number), where the tick is the time rounded up, or the present when it was set too late.
            let mut model = BTreeMap::new();
            let mut keys = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let passed = now;
                match step {
                    // Counted from a little before now, so that some times have passed.
                    Step::Insert(after) => {
                        let at = (now + Duration::from_micros(after)).checked_sub(ms(1)).unwrap_or(now);
                        let begun = now.duration_since(start).as_millis();
                        let tick = at.saturating_duration_since(start).as_nanos().div_ceil(1_000_000).max(begun);
                        keys.push((wheel.insert(at, (tick, number)), (tick, number)));
                        model.insert((tick, number), at);
                    }
                    Step::Cancel(_) if keys.is_empty() => {}
                    Step::Cancel(which) => {
                        let (key, name) = keys.swap_remove(which.index(keys.len()));
                        prop_assert_eq!(wheel.cancel(key), model.remove(&name).map(|_| name));
                    }
                    Step::Pass(micros) => now += Duration::from_micros(micros),
                    Step::SleepUntilNext => now = now.max(wheel.next_at().unwrap_or(now)),
                }
                let first = model.keys().next().map(|(tick, _)| *tick);
                let earliest = wheel.next_at().map(|at| (at - start).as_millis());
                prop_assert_eq!(earliest.is_some(), first.is_some());
                prop_assert!(earliest <= first, "next_at {:?} is later than {:?}", earliest, first);
                if now == passed {
                    continue;
                }
                let fired = expired(&mut wheel, now);
                let due = model.iter().take_while(|((tick, _), _)| *tick <= (now - start).as_millis());
                let mut due: Vec<_> = due.map(|(name, _)| *name).collect();
                prop_assert!(fired.is_sorted_by_key(|(tick, _)| *tick));
                for name in &due {
                    prop_assert!(model.remove(name).is_some_and(|at| at <= now), "fired too early");
                }
                let mut fired = fired;
                fired.sort_unstable();
                due.sort_unstable();
                prop_assert_eq!(fired, due);
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
