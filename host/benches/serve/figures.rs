//! Medians, percentiles, and how they are printed.

use std::time::Duration;

/// A line for people and programs alike.
pub(crate) fn figure(name: &str, value: f64) {
    if value.abs() >= 100.0 {
        println!("figure {name} {value:.1}");
    } else {
        println!("figure {name} {value:.3}");
    }
}

/// The median of the rounds, and their range.
pub(crate) fn spread(name: &str, rounds: &[f64]) {
    if rounds.is_empty() {
        return;
    }
    figure(name, median(rounds));
    figure(
        &format!("{name}_min"),
        rounds.iter().copied().fold(f64::INFINITY, f64::min),
    );
    figure(
        &format!("{name}_max"),
        rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    );
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

/// Every sample that was recorded, in order.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// The smallest sample that `share` of all do not exceed (nearest rank), in
    /// milliseconds.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank is a whole number from 1 on"
        )]
        let rank = (share * self.0.len() as f64).ceil().max(1.0) as usize;
        self.0[rank - 1].as_secs_f64() * 1e3
    }

    /// Prints p50, p95, p99 and the maximum in milliseconds; nothing without
    /// samples.
    pub(crate) fn print(&self, name: &str) {
        if self.0.is_empty() {
            return;
        }
        for percent in [50, 95, 99] {
            let share = f64::from(percent) / 100.0;
            figure(&format!("{name}_p{percent}_ms"), self.percentile(share));
        }
        figure(&format!("{name}_max_ms"), self.percentile(1.0));
    }
}
