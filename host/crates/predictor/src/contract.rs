//! What the contract (`wit/predict.wit`) requires of the scores of one text.
//!
//! Scores that come from outside this process's own code, from a guest or from Redis, are
//! checked against it before they are used.

use std::collections::HashSet;

/// The longest label, in bytes.
pub const MAX_LABEL: usize = 1024;

/// The most labels of a text.
pub const MAX_LABELS: usize = 1000;

/// The longest total of the labels of one text, in bytes. A request may have a thousand
/// texts, and all of their answers are in memory at once.
pub const MAX_LABELS_BYTES: usize = 16 * 1024;

/// Up to this many labels, comparing each pair is faster than hashing.
const FEW: usize = 16;

/// How scores break the contract, if they do: a phrase for the log.
pub fn broken(scores: &[(&str, f32)]) -> Option<String> {
    let labels = || scores.iter().map(|(label, _)| *label);
    let bytes: usize = labels().map(str::len).sum();
    if scores.is_empty() {
        return Some("no label".to_owned());
    }
    if scores.len() > MAX_LABELS {
        let labels = scores.len();
        return Some(format!("{labels} labels; there may be {MAX_LABELS}"));
    }
    if bytes > MAX_LABELS_BYTES {
        return Some(format!(
            "labels of {bytes} bytes; there may be {MAX_LABELS_BYTES}"
        ));
    }
    for (label, score) in scores {
        // A control character is invisible, and takes six bytes in JSON.
        if label.contains(char::is_control) {
            return Some("a label with a control character".to_owned());
        }
        if label.is_empty() || label.len() > MAX_LABEL {
            return Some(format!("a label of {} bytes", label.len()));
        }
        if !(0.0..=1.0).contains(score) {
            return Some(format!("a score of {score}"));
        }
    }
    if !scores.is_sorted_by(|a, b| a.1 >= b.1) {
        return Some("labels that are not in order".to_owned());
    }
    let twice = if scores.len() <= FEW {
        labels()
            .enumerate()
            .find(|(at, label)| labels().take(*at).any(|other| other == *label))
    } else {
        let mut seen = HashSet::with_capacity(scores.len());
        labels().enumerate().find(|(_, label)| !seen.insert(*label))
    };
    twice.map(|(at, _)| format!("label {at} twice, counted from 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_described() {
        let long = "x".repeat(MAX_LABEL + 1);
        let many: Vec<_> = (0..=MAX_LABELS).map(|number| number.to_string()).collect();
        let of = |labels: &[String]| -> Vec<(String, f32)> {
            labels.iter().map(|label| (label.clone(), 0.5)).collect()
        };
        let repeated: Vec<_> = many[..=FEW].iter().chain(&many[3..4]).cloned().collect();
        let large: Vec<_> = (0..20).map(|number| format!("{number:01000}")).collect();
        let check = |scores: &[(String, f32)]| {
            let scores: Vec<_> = scores
                .iter()
                .map(|(label, score)| (&**label, *score))
                .collect();
            broken(&scores)
        };
        for (scores, words) in [
            (vec![], "no label"),
            (of(&many), "1001 labels"),
            (of(&large), "labels of 20000 bytes"),
            (vec![("a\u{7}".to_owned(), 0.5)], "control character"),
            (vec![(String::new(), 0.5)], "a label of 0 bytes"),
            (vec![(long, 0.5)], "a label of 1025 bytes"),
            (vec![("a".to_owned(), f32::NAN)], "a score of NaN"),
            (vec![("a".to_owned(), 1.5)], "a score of 1.5"),
            (
                vec![("a".to_owned(), 0.1), ("b".to_owned(), 0.9)],
                "not in order",
            ),
            (
                vec![("a".to_owned(), 0.5), ("a".to_owned(), 0.5)],
                "label 1 twice",
            ),
            (of(&repeated), "label 17 twice"),
        ] {
            let told = check(&scores).expect(words);
            assert!(told.contains(words), "{told}");
        }
        assert_eq!(check(&of(&many[..MAX_LABELS])), None);
        assert_eq!(check(&of(&many[..FEW])), None);
    }
}
