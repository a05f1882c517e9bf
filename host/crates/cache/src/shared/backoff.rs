//! How long to wait before the next try.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// The first wait, before it is spread.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait, before it is spread.
const LONGEST: Duration = Duration::from_secs(15);

/// Waits that double, each spread by a quarter, so that the replicas of a
/// server do not come back to Redis all at once.
#[derive(Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries += 1;
        // Every hasher of the standard library has a random state.
        let random = u8::try_from(RandomState::new().hash_one(()) & 0xff).unwrap_or(0);
        wait.mul_f64(0.75 + 0.5 * f64::from(random) / 255.0)
    }

    /// Begins anew.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_spread() {
        let mut backoff = Backoff::default();
        let mut expected = FIRST.as_secs_f64();
        for _ in 0..100 {
            let wait = backoff.next().as_secs_f64();
            assert!(wait >= 0.74 * expected && wait <= 1.26 * expected, "{wait}");
            expected = (2.0 * expected).min(LONGEST.as_secs_f64());
        }
        backoff.reset();
        assert!(backoff.next() < Duration::from_millis(700));
        let firsts: Vec<Duration> = (0..20).map(|_| Backoff::default().next()).collect();
        assert!(firsts.iter().any(|wait| *wait != firsts[0]));
    }
}
