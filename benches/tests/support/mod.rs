//! What tests that count allocations have in common.

use stats_alloc::Stats;

/// Bounds that were looked at, and those that were not kept.
#[derive(Default)]
pub(crate) struct Bounds {
    excesses: Vec<String>,
}

impl Bounds {
    /// Says how often memory was asked for in each of `times`, which is to be at most `bound`.
    #[expect(clippy::cast_precision_loss, reason = "there are not that many")]
    pub(crate) fn check(&mut self, what: &str, stats: Stats, times: usize, bound: f64) {
        let each = (stats.allocations + stats.reallocations) as f64 / times as f64;
        let said = format!("{what}: {each:.2} allocations (at most {bound})");
        println!("{said}");
        if each > bound {
            self.excesses.push(said);
        }
    }

    /// Fails if one was not kept.
    pub(crate) fn assert_kept(&self) {
        assert!(self.excesses.is_empty(), "{:#?}", self.excesses);
    }
}
