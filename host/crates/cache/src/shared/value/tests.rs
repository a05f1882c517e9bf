use super::*;
use predictor::Digest;

const KEY: Key = Digest([7; 32]);

fn scores(scores: &[(&str, f32)]) -> Scores {
    let score = |(label, score): &(&str, f32)| Score {
        label: (*label).into(),
        score: *score,
    };
    scores.iter().map(score).collect()
}

fn decoded(bytes: &[u8]) -> Option<Scores> {
    decode(&KEY, bytes, &Labels::default())
}

#[test]
fn what_was_written_is_read() {
    for written in [
        scores(&[("POSITIVE", 0.75), ("NEGATIVE", 0.25)]),
        scores(&[("é", 1.0), ("b", 0.0), ("c", 0.0)]),
        scores(&[("only", f32::MIN_POSITIVE)]),
    ] {
        let bytes = encode(&KEY, &written).unwrap();
        assert_eq!(decoded(&bytes), Some(written));
    }
}

#[test]
fn the_layout_is_that_of_its_format() {
    let bytes = encode(&KEY, &scores(&[("AB", 0.5)])).unwrap();
    let (body, sum) = bytes.split_at(bytes.len() - CHECKSUM);
    assert_eq!(body, [1, 1, 0, 2, 0, b'A', b'B', 0, 0, 0, 0x3f]);
    assert_eq!(sum.len(), 8);
}

#[test]
fn labels_are_kept_once() {
    let labels = Labels::default();
    let bytes = encode(&KEY, &scores(&[("A", 0.5), ("B", 0.5)])).unwrap();
    let (one, two) = (decode(&KEY, &bytes, &labels), decode(&KEY, &bytes, &labels));
    assert!(Arc::ptr_eq(&one.unwrap()[0].label, &two.unwrap()[0].label));
    for number in 0..2 * MAX_LABELS {
        assert_eq!(*labels.shared(&number.to_string()), number.to_string());
    }
    assert!(labels.0.lock().unwrap().len() <= MAX_LABELS);
}

#[test]
fn whatever_is_cut_or_altered_is_no_answer() {
    let bytes = encode(&KEY, &scores(&[("POSITIVE", 0.75), ("NEGATIVE", 0.25)])).unwrap();
    for length in 0..bytes.len() {
        assert_eq!(decoded(&bytes[..length]), None, "{length}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            assert_eq!(decoded(&altered), None, "{at} {bit}");
        }
    }
    assert_eq!(decoded(&[&bytes[..], &[0]].concat()), None);
    assert_eq!(decoded(b"a value of another application"), None);
    let other = Digest([8; 32]);
    assert_eq!(decode(&other, &bytes, &Labels::default()), None);
}

#[test]
fn answers_that_break_the_contract_are_none_whoever_wrote_them() {
    for broken in [
        &[][..],
        &[("", 0.5)],
        &[("a", f32::NAN)],
        &[("a", 1.5)],
        &[("a", -0.1)],
        &[("a", 0.25), ("b", 0.75)],
    ] {
        let bytes = encode(&KEY, &scores(broken)).unwrap();
        assert_eq!(decoded(&bytes), None, "{broken:?}");
    }
    // Of another format, with a sum that is right.
    let mut body = vec![FORMAT + 1, 1, 0, 1, 0, b'a', 0, 0, 0, 0];
    body.extend(checksum(&KEY, &body));
    assert_eq!(decoded(&body), None);
}

#[test]
fn a_value_with_a_checksum_is_still_held_to_the_contract() {
    let labels = Labels::default();
    let many: Vec<String> = (0..=u16::MAX).map(|number| format!("{number:x}")).collect();
    let many: Vec<_> = many.iter().map(|label| (&**label, 0.5)).collect();
    for broken in [
        &[("a\u{1b}[2J", 0.5)][..],
        &[("a\u{202e}b", 0.5)],
        &[("a\u{2028}", 0.5)],
        &[("a", 0.5), ("a\u{200b}", 0.5)],
        &[("a", 0.5), ("a", 0.5)],
        &[("a", f32::NAN)],
        &[("", 0.5)],
        &[],
        &many[..1001],
        &many[..usize::from(u16::MAX)],
    ] {
        let bytes = encode(&KEY, &scores(broken)).unwrap();
        assert_eq!(
            decode(&KEY, &bytes, &labels),
            None,
            "{:?}",
            &broken[..1.min(broken.len())]
        );
    }
    // Nor is anything of them kept.
    assert!(labels.is_empty());
}

#[test]
fn the_largest_answer_is_the_longest_value() {
    let label = |number| format!("{number:016}");
    let labels: Vec<String> = (0..contract::MAX_LABELS).map(label).collect();
    let mut scores: Vec<_> = labels.iter().map(|label| (&**label, 0.5)).collect();
    let rest = contract::MAX_LABELS_BYTES - 16 * contract::MAX_LABELS;
    let longer = format!("{:0width$}", 0, width = 16 + rest);
    scores[0].0 = &longer;
    let bytes = encode(&KEY, &self::scores(&scores)).unwrap();
    assert_eq!(bytes.len(), MAX_VALUE);
    assert!(decoded(&bytes).is_some());
}
