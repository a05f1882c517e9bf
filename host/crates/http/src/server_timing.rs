//! The `Server-Timing` header (W3C): where the time of an answer went.

use std::time::{Duration, Instant};

use axum::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use predictor::Work;

pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The stages of an answer to texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stages {
    /// When the whole body had arrived.
    pub(crate) received: Instant,
    /// How long it took to parse the body.
    pub(crate) parsing: Duration,
    /// How long it took until every text was found in the cache or queued.
    pub(crate) lookup: Duration,
    /// The longest wait and the longest prediction of the texts that were computed.
    pub(crate) work: Option<Work>,
}

impl Stages {
    /// The header for a request that started then, in milliseconds.
    pub(crate) fn header(&self, started: Instant) -> Option<HeaderValue> {
        let mut text = Vec::with_capacity(112);
        let mut add = |name: &str, duration| {
            if !text.is_empty() {
                text.extend(b", ");
            }
            text.extend(name.as_bytes());
            text.extend(b";dur=");
            add_millis(&mut text, duration);
        };
        add("read", self.received.saturating_duration_since(started));
        add("parse", self.parsing);
        add("cache", self.lookup);
        if let Some(work) = self.work {
            add("queue", work.queued);
            add("predict", work.scored);
        }
        add("total", started.elapsed());
        HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
    }
}

/// Adds a duration in milliseconds with three decimal places. Every answer to texts has
/// some of them, and the standard library's formatting takes as long as a cache lookup.
fn add_millis(text: &mut Vec<u8>, duration: Duration) {
    let micros = duration.as_secs().saturating_mul(1_000_000);
    let mut micros = micros.saturating_add(u64::from(duration.subsec_micros()));
    // The digits from the last to the first; a `u64` has at most 20.
    let mut digits = [b'0'; 21];
    let mut at = digits.len();
    while at > digits.len() - 5 || micros > 0 {
        at -= 1;
        if at == digits.len() - 4 {
            digits[at] = b'.';
            continue;
        }
        digits[at] += u8::try_from(micros % 10).unwrap_or_default();
        micros /= 10;
    }
    text.extend(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_in_milliseconds() {
        let started = Instant::now();
        let micros = Duration::from_micros;
        let mut stages = Stages {
            received: started + micros(1_500),
            parsing: micros(12),
            lookup: micros(0),
            work: Some(Work {
                queued: micros(2_000_007),
                scored: micros(1_234_567),
            }),
        };
        let header = |stages: &Stages| {
            let header = stages.header(started).unwrap();
            let header = header.to_str().unwrap();
            let (stages, total) = header.split_once(", total;dur=").unwrap();
            assert!(total.parse::<f64>().unwrap() >= 0.0);
            stages.to_owned()
        };
        assert_eq!(
            header(&stages),
            "read;dur=1.500, parse;dur=0.012, cache;dur=0.000, queue;dur=2000.007, \
             predict;dur=1234.567"
        );
        stages.work = Some(Work {
            queued: Duration::MAX,
            scored: micros(999),
        });
        let longest = "queue;dur=18446744073709551.615, predict;dur=0.999";
        assert!(header(&stages).ends_with(longest), "{}", header(&stages));
        stages.work = None;
        assert_eq!(
            header(&stages),
            "read;dur=1.500, parse;dur=0.012, cache;dur=0.000"
        );
    }
}
