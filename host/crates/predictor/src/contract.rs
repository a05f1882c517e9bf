//! What the contract (`wit/predict.wit`) requires of the scores of one text.
//!
//! Scores that come from outside this process's own code, from a guest or from Redis, are
//! checked against it before they are used.

use std::collections::HashSet;

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

/// The longest label, in bytes.
pub const MAX_LABEL: usize = 1024;

/// The most labels of a text.
pub const MAX_LABELS: usize = 1000;

/// The longest total of the labels of one text, in bytes. A request may have a thousand
/// texts, and all of their answers are in memory at once.
pub const MAX_LABELS_BYTES: usize = 16 * 1024;

/// Up to this many labels, comparing each pair is faster than hashing.
const FEW: usize = 16;

/// What labels may be, for whoever has to mend one.
const RULE: &str = "a label is 1 to 1,024 bytes of text without control, invisible and \
     direction-changing characters, and is given once (the default guest takes its labels \
     from `id2label` in config.json)";

/// How scores break the contract, if they do: a phrase for the log. It has nothing of a
/// label, which a guest may have made of a client's text.
pub fn broken(scores: &[(&str, f32)]) -> Option<String> {
    let labels = scores.iter().map(|(label, _)| *label);
    if let Some(broken) = broken_labels(labels) {
        return Some(broken);
    }
    if let Some((_, score)) = scores
        .iter()
        .find(|(_, score)| !(0.0..=1.0).contains(score))
    {
        return Some(format!("a score of {score}: scores are from 0 to 1"));
    }
    if !scores.is_sorted_by(|a, b| a.1 >= b.1) {
        return Some("labels that are not in order: the highest score comes first".to_owned());
    }
    None
}

/// How labels break the contract, if they do, as [`broken`] says it.
pub fn broken_labels<'a>(labels: impl ExactSizeIterator<Item = &'a str> + Clone) -> Option<String> {
    let bytes: usize = labels.clone().map(str::len).sum();
    let count = labels.len();
    if count == 0 {
        return Some("no label".to_owned());
    }
    if count > MAX_LABELS {
        return Some(format!("{count} labels; there may be {MAX_LABELS}"));
    }
    if bytes > MAX_LABELS_BYTES {
        return Some(format!(
            "labels of {bytes} bytes; there may be {MAX_LABELS_BYTES}"
        ));
    }
    for (at, label) in labels.clone().enumerate() {
        if label.is_empty() || label.len() > MAX_LABEL {
            return Some(format!("a label of {} bytes: {RULE}", label.len()));
        }
        if let Some(hidden) = hidden(label) {
            let code = u32::from(hidden);
            return Some(format!(
                "the character U+{code:04X} in label {at}, counted from 0: {RULE}"
            ));
        }
    }
    let (all, mut numbered) = (labels.clone(), labels.enumerate());
    let twice = if count <= FEW {
        numbered.find(|(at, label)| all.clone().take(*at).any(|other| other == *label))
    } else {
        let mut seen = HashSet::with_capacity(count);
        numbered.find(|(_, label)| !seen.insert(*label))
    };
    twice.map(|(at, _)| format!("label {at} twice, counted from 0: {RULE}"))
}

/// The first character of a label that people cannot see or that changes how others are
/// shown, if there is one: with it, two labels that look the same differ, or one looks like
/// another. A control character also takes six bytes in JSON.
///
/// A zero-width joiner or non-joiner between characters beyond ASCII is part of how they are
/// written: in Persian and in Indic scripts, and in emoji of several people.
fn hidden(label: &str) -> Option<char> {
    if label.is_ascii() {
        return label.chars().find(char::is_ascii_control);
    }
    let mut before = None;
    let mut characters = label.chars().peekable();
    while let Some(character) = characters.next() {
        let beside = [before, characters.peek().copied()];
        let is_joiner = matches!(character, '\u{200c}' | '\u{200d}');
        if is_hidden(character) && !(is_joiner && beside.into_iter().all(can_be_joined)) {
            return Some(character);
        }
        before = Some(character);
    }
    None
}

fn can_be_joined(character: Option<char>) -> bool {
    character.is_some_and(|character| !character.is_ascii() && !is_hidden(character))
}

fn is_hidden(character: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    let category = CodePointMapData::<GeneralCategory>::new().get(character);
    matches!(
        category,
        Control | Format | LineSeparator | ParagraphSeparator
    )
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
            (
                of(&["a".to_owned(), "a\u{7}".to_owned()]),
                "U+0007 in label 1",
            ),
            (vec![("é\u{202e}".to_owned(), 0.5)], "U+202E in label 0"),
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

    #[test]
    fn a_label_has_only_what_people_can_see() {
        for (label, found) in [
            ("good", None),
            ("très bon, \u{5f88}\u{597d} (100 %)", None),
            // A heart with a variation selector, a family, a Persian "neutral".
            ("\u{2764}\u{fe0f}", None),
            ("\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}", None),
            ("\u{628}\u{6cc}\u{200c}\u{637}\u{631}\u{641}", None),
            ("go\u{200d}od", Some('\u{200d}')),
            ("good\u{200c}", Some('\u{200c}')),
            ("\u{200d}\u{e9}", Some('\u{200d}')),
            ("\u{e9}\u{200d}\u{200d}\u{e9}", Some('\u{200d}')),
            ("a\nb", Some('\n')),
            ("\u{7f}", Some('\u{7f}')),
            ("\u{85}", Some('\u{85}')),
            ("go\u{ad}od", Some('\u{ad}')),
            ("\u{feff}good", Some('\u{feff}')),
            ("a\u{200b}", Some('\u{200b}')),
            ("\u{200e}a", Some('\u{200e}')),
            ("\u{202e}doog", Some('\u{202e}')),
            ("\u{2066}a", Some('\u{2066}')),
            ("a\u{2028}b", Some('\u{2028}')),
            ("a\u{2029}b", Some('\u{2029}')),
            ("a\u{e0041}", Some('\u{e0041}')),
        ] {
            assert_eq!(hidden(label), found, "{label:?}");
        }
    }
}
