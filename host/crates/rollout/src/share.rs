//! A share of all texts.

use sha2::{Digest as _, Sha256};

/// A share of all texts, greater than 0 and at most 1.
///
/// Whether it holds a text depends on the text alone, and a larger share holds every text
/// of a smaller one.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// All texts.
    pub const ALL: Self = Self(1.0);

    /// `None` unless `share` is greater than 0 and at most 1.
    pub fn new(share: f64) -> Option<Self> {
        (share > 0.0 && share <= 1.0).then_some(Self(share))
    }

    /// The share as a number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Whether it holds a text.
    pub(super) fn holds(self, text: &str) -> bool {
        place(text) < self.0
    }
}

/// The place of a text among all texts, from 0 to less than 1, by its SHA-256. There is no
/// salt, so that a text stays where it is when the share or the revision changes, and on
/// every replica.
fn place(text: &str) -> f64 {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // As many bits as the number is exact for: with more, the last texts would be rounded
    // up to 1, which no share holds.
    let bits = u64::from_be_bytes(first) >> (u64::BITS - f64::MANTISSA_DIGITS);
    #[expect(clippy::cast_precision_loss, reason = "these many bits are exact")]
    let place = bits as f64 / (1_u64 << f64::MANTISSA_DIGITS) as f64;
    place
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "what is counted is little")]
mod tests {
    use super::*;

    /// A canary may run for weeks and on many replicas, so a text's place must not change
    /// with a release of the server.
    #[test]
    fn a_text_keeps_its_place() {
        // The digest of no bytes begins with e3b0c442_98fc1c14, that of `abc`
        // with ba7816bf_8f01cfea: their first 53 bits.
        let exactly = |digest: u64| (digest >> 11) as f64 / 9_007_199_254_740_992.0;
        for (text, digest) in [("", 0xe3b0_c442_98fc_1c14), ("abc", 0xba78_16bf_8f01_cfea)] {
            assert!((place(text) - exactly(digest)).abs() < f64::EPSILON);
        }
        assert!(Share::new(0.9).unwrap().holds(""));
        assert!(!Share::new(0.88).unwrap().holds(""));
    }

    #[test]
    fn a_share_holds_its_part_and_those_of_smaller_ones() {
        let texts: Vec<String> = (0..20_000).map(|number| format!("text {number}")).collect();
        let mut before = vec![false; texts.len()];
        for part in [0.001, 0.01, 0.1, 0.25, 0.5, 0.9, 1.0] {
            let share = Share::new(part).unwrap();
            let held: Vec<bool> = texts.iter().map(|text| share.holds(text)).collect();
            let count = held.iter().filter(|held| **held).count() as f64;
            // Five standard deviations.
            let all = texts.len() as f64;
            let noise = 5.0 * (all * part * (1.0 - part)).sqrt();
            assert!((count - all * part).abs() <= noise, "{count} for {part}");
            for (smaller, larger) in before.iter().zip(&held) {
                assert!(*larger || !smaller, "a text has left the share at {part}");
            }
            before = held;
        }
        assert!(before.iter().all(|held| *held), "all is all");
    }

    #[test]
    fn a_share_is_a_part() {
        for no_share in [0.0, -0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::new(no_share), None);
        }
        assert_eq!(Share::new(1.0), Some(Share::ALL));
    }
}
