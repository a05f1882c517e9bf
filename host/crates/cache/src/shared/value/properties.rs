//! What holds for every answer, and for all bytes that Redis may return.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use predictor::Digest;

const KEY: Key = Digest([7; 32]);

fn decoded(bytes: &[u8]) -> Option<Scores> {
    decode(&KEY, bytes, &Labels::default())
}

/// Answers that keep to the contract.
fn valid() -> impl Strategy<Value = Scores> {
    let labels = btree_set("[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]{1,12}", 1..12);
    labels.prop_flat_map(|labels| {
        let scores = vec(0.0_f32..=1.0, labels.len());
        (Just(labels), scores).prop_map(|(labels, mut scores)| {
            scores.sort_by(|a, b| b.total_cmp(a));
            let pairs = labels.into_iter().zip(scores);
            pairs
                .map(|(label, score)| Score {
                    label: label.into(),
                    score,
                })
                .collect()
        })
    })
}

/// Whatever fits the layout, whether or not it keeps to the contract.
fn any_scores() -> impl Strategy<Value = Scores> {
    let score = (".{0,4}", any::<f32>());
    vec(score, 0..5).prop_map(|scores| {
        let scores = scores.into_iter();
        scores
            .map(|(label, score)| Score {
                label: label.into(),
                score,
            })
            .collect()
    })
}

/// Bodies that are often nearly right, each with its right checksum, so that they get past
/// it and into the parser.
fn checksummed() -> impl Strategy<Value = Vec<u8>> {
    let written = prop_oneof![valid(), any_scores()];
    let written = written.prop_map(|scores| {
        let mut bytes = encode(&KEY, &scores).unwrap();
        bytes.truncate(bytes.len() - CHECKSUM);
        bytes
    });
    let altered = (written.clone(), any::<Index>(), any::<u8>(), any::<Index>());
    let altered = altered.prop_map(|(mut body, at, byte, end)| {
        let at = at.index(body.len());
        body[at] = byte;
        body.truncate(end.index(body.len()) + 1);
        body
    });
    let body = prop_oneof![written, altered, vec(any::<u8>(), 0..64)];
    body.prop_map(|mut body| {
        body.extend(checksum(&KEY, &body));
        body
    })
}

proptest! {
    #[test]
    fn an_answer_is_read_as_it_was_written(scores in valid()) {
        let bytes = encode(&KEY, &scores).unwrap();
        prop_assert_eq!(decoded(&bytes), Some(scores));
    }

    #[test]
    fn nothing_without_its_checksum_is_accepted(
        bytes in vec(any::<u8>(), 0..256),
        scores in valid(),
        at in any::<Index>(),
        change in 1..=u8::MAX,
    ) {
        prop_assert_eq!(decoded(&bytes), None);
        let mut altered = encode(&KEY, &scores).unwrap();
        let at = at.index(altered.len());
        altered[at] ^= change;
        prop_assert_eq!(decoded(&altered), None);
    }

    #[test]
    fn what_is_accepted_keeps_to_the_contract_and_is_written_the_same(bytes in checksummed()) {
        if let Some(scores) = decoded(&bytes) {
            let pairs: Vec<_> = scores.iter().map(|it| (&*it.label, it.score)).collect();
            prop_assert_eq!(contract::broken(&pairs), None);
            prop_assert_eq!(encode(&KEY, &scores), Some(bytes));
        }
    }
}
