//! Whether the machine has kept its speed while two things were compared.
//!
//! Virtual cores share physical ones with those of neighbours: for some twenty seconds at
//! a time all code here takes 1.4 times as much CPU time. So a fixed loop, which touches
//! no memory, is timed on all cores before, between and after the sides of a comparison,
//! while nothing else is asked of the machine. If its speed has changed, the comparison
//! is dropped and made again.

use std::sync::Barrier;

use cpu_time::ThreadTime;

use crate::figures::{figure, spread};

/// The steps of the loop: some 10 ms.
const STEPS: u64 = 8_000_000;

/// The loop's time may differ by this factor within a comparison. Without a change it
/// differs by 1.03; between the two speeds, by 1.4.
const STEADY: f64 = 1.15;

/// How often a comparison is made until the machine is steady.
const TRIES: usize = 4;

/// Times the loop, and counts what was dropped.
pub(crate) struct Pace {
    cores: usize,
    seen: Vec<f64>,
    /// The spread of the loop's time, for each comparison that was kept.
    kept: Vec<f64>,
    dropped: usize,
}

impl Pace {
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            cores,
            seen: Vec::new(),
            kept: Vec::new(),
            dropped: 0,
        }
    }

    /// Makes a comparison, until the machine is steady meanwhile; `None` if it never is.
    /// The comparison looks at the pace between its sides, which take a second or two
    /// each.
    pub(crate) fn compare<T>(&mut self, mut sides: impl FnMut(&mut Self) -> T) -> Option<T> {
        for _ in 0..TRIES {
            self.begin();
            let compared = sides(self);
            if self.was_steady() {
                return Some(compared);
            }
        }
        None
    }

    /// Begins a comparison that is made only once.
    pub(crate) fn begin(&mut self) {
        self.seen.clear();
        self.look();
    }

    /// Ends a comparison: whether the machine was steady, so that it counts.
    pub(crate) fn was_steady(&mut self) -> bool {
        self.look();
        let spread = spread_of(&self.seen);
        let is_steady = spread <= STEADY;
        if is_steady {
            self.kept.push(spread);
        } else {
            self.dropped += 1;
        }
        is_steady
    }

    /// Times the loop, on all cores at once.
    pub(crate) fn look(&mut self) {
        let barrier = Barrier::new(self.cores);
        let time = || {
            barrier.wait();
            // Whatever disturbs the loop makes it slower.
            (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
        };
        let slowest = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.cores).map(|_| scope.spawn(time)).collect();
            let times = threads.into_iter().map(|thread| thread.join().unwrap());
            times.fold(0.0, f64::max)
        });
        self.seen.push(slowest);
    }

    /// Prints how many comparisons were dropped, and how steady the machine was in the
    /// others.
    pub(crate) fn print(&self, name: &str) {
        figure(&format!("{name}_comparisons"), self.kept.len() as f64);
        figure(&format!("{name}_comparisons_dropped"), self.dropped as f64);
        spread(&format!("{name}_within"), &self.kept);
    }
}

/// The slowest / the fastest.
fn spread_of(times: &[f64]) -> f64 {
    let slowest = times.iter().copied().fold(0.0, f64::max);
    slowest / times.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The CPU time of the loop: each step needs the result of the one before.
fn once() -> f64 {
    let start = ThreadTime::now();
    let mut state = 1_u64;
    for _ in 0..STEPS {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state ^= state >> 29;
    }
    std::hint::black_box(state);
    start.elapsed().as_secs_f64()
}
