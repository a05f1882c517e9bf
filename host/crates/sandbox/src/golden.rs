//! The self-test against `golden.json`, the expected answers that some models come
//! with. `model/tools/golden.py` describes the file.
//!
//! A guest that answers with the labels of the file has to agree with it. Only clear
//! texts are compared, since another quantisation or threshold may change the
//! others, and one in eight may differ. So a guest that always gives the same answer
//! is refused, as is one that swaps its labels. A guest with labels of its own, such
//! as one that adds `NEUTRAL`, only has to give the same labels for every text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

use serde::Deserialize;

use super::error::LoadError;
use super::model_files::ModelFiles;
use predictor::Scores;

/// The file's name in a model directory.
const FILE: &str = "golden.json";

/// The largest file, in bytes; that of the default model has 71 KB.
const MAX_FILE: u64 = 16 << 20;

/// How many texts a guest is tested with, each in a call of its own.
const TEXTS: usize = 8;

/// One answer in so many may differ.
const ONE_MAY_DIFFER_OF: usize = 8;

/// The longest text, in bytes, so that the test is quick.
const MAX_TEXT: usize = 512;

/// The lowest score of a clear answer.
const CLEAR: f64 = 0.9;

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    model: Described,
    answers: Vec<Entry>,
}

#[derive(Default, Deserialize)]
struct Described {
    /// Digests of the model's files, by their names.
    #[serde(default)]
    sha256: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    /// Long, repetitive texts are not in the file.
    text: Option<String>,
    scores: BTreeMap<String, f64>,
}

/// The golden answers that a guest is compared with.
#[derive(Debug, Default)]
pub(super) struct Golden(Vec<Sample>);

/// One of them.
#[derive(Debug)]
pub(super) struct Sample {
    /// Its position in the file, from 0.
    index: usize,
    pub(super) text: String,
    label: String,
    labels: BTreeSet<String>,
}

impl Golden {
    /// Chooses from the golden answers of a model directory. There are none if the
    /// file is missing, or if it was written for other files than those beside it.
    pub(super) fn read(model: &ModelFiles) -> Result<Self, LoadError> {
        if model.digest_of(FILE).is_none() {
            return Ok(Self::default());
        }
        let path = model.dir().join(FILE);
        let damaged = |reason: String| LoadError::Golden {
            path: path.clone(),
            reason,
        };
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
            .map_err(|error| damaged(error.to_string()))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(damaged(format!("it is larger than {MAX_FILE} bytes")));
        }
        let document: Document =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if let Some(name) = stale(&document, model) {
            tracing::warn!(
                path = %path.display(),
                "the golden answers were written for another {name}; guests are not compared \
                 with them"
            );
            return Ok(Self::default());
        }
        Ok(Self::choose(document.answers))
    }

    /// Chooses clear and short texts, of each label in turn.
    fn choose(entries: Vec<Entry>) -> Self {
        let mut by_label: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for (index, entry) in entries.into_iter().enumerate() {
            if let Some(sample) = Sample::of(index, entry) {
                by_label
                    .entry(sample.label.clone())
                    .or_default()
                    .push(sample);
            }
        }
        let mut rows: Vec<_> = by_label.into_values().map(Vec::into_iter).collect();
        let mut chosen = Vec::new();
        while chosen.len() < TEXTS {
            let before = chosen.len();
            chosen.extend(rows.iter_mut().filter_map(Iterator::next));
            if chosen.len() == before {
                break;
            }
        }
        chosen.truncate(TEXTS);
        chosen.sort_by_key(|sample| sample.index);
        Self(chosen)
    }

    /// The texts to test a guest with.
    pub(super) fn samples(&self) -> &[Sample] {
        &self.0
    }

    /// Compares answers with the samples, one for each; there is none to a text that the
    /// guest refuses.
    pub(super) fn compare(&self, answers: &[Option<Scores>]) -> Result<(), LoadError> {
        let mut wrong: Option<String> = None;
        let mut differ = 0;
        let mut first: Option<(usize, BTreeSet<&str>)> = None;
        for (sample, answer) in self.0.iter().zip(answers) {
            let Some(answer) = answer else { continue };
            let index = sample.index;
            let labels: BTreeSet<&str> = answer.iter().map(|score| &*score.label).collect();
            let (of, expected) = first.get_or_insert_with(|| (index, labels.clone()));
            if labels != *expected {
                return Err(LoadError::WrongAnswers(format!(
                    "it answers text {index} of {FILE} with the labels {}, and text {of} with {}",
                    list(&labels),
                    list(expected)
                )));
            }
            let comparable = labels.iter().copied().eq(sample.labels.iter());
            let top = answer.first().map_or("", |score| &*score.label);
            if comparable && top != sample.label {
                differ += 1;
                wrong.get_or_insert_with(|| {
                    let (top, label) = (shown(top), shown(&sample.label));
                    format!("it answers text {index} of {FILE} with {top}, not with {label}")
                });
            }
        }
        match wrong {
            Some(wrong) if differ > self.0.len() / ONE_MAY_DIFFER_OF => Err(
                LoadError::WrongAnswers(format!("{wrong}; {differ} of {} differ", self.0.len())),
            ),
            _ => Ok(()),
        }
    }
}

impl Sample {
    /// A sample, if the text is short and the answer clear.
    fn of(index: usize, entry: Entry) -> Option<Self> {
        let text = entry.text.filter(|text| text.len() <= MAX_TEXT)?;
        let (label, score) = entry.scores.iter().max_by(|a, b| a.1.total_cmp(b.1))?;
        (*score >= CLEAR).then(|| Self {
            index,
            text,
            label: label.clone(),
            labels: entry.scores.keys().cloned().collect(),
        })
    }
}

/// A file that has changed, or is gone, since the golden answers were written.
fn stale<'a>(document: &'a Document, model: &ModelFiles) -> Option<&'a str> {
    let mut files = document.model.sha256.iter();
    files
        .find(|(name, digest)| {
            model
                .digest_of(name)
                .map(|found| found.to_string())
                .as_ref()
                != Some(*digest)
        })
        .map(|(name, _)| name.as_str())
}

/// The first labels, each cut: a guest may have many long ones.
fn list(labels: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 8;
    let mut words: Vec<String> = labels
        .iter()
        .take(SHOWN)
        .map(|label| shown(label))
        .collect();
    if labels.len() > SHOWN {
        words.push(format!("{} more", labels.len() - SHOWN));
    }
    words.join(", ")
}

/// A label as text of bounded length.
pub(super) fn shown(label: &str) -> String {
    const SHOWN: usize = 40;
    match label.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}...`", label[..end].escape_debug()),
        None => format!("`{}`", label.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use predictor::Score;

    const LABELS: [&str; 2] = ["bad", "good"];

    fn entry(text: &str, good: f64) -> Entry {
        Entry {
            text: Some(text.to_owned()),
            scores: BTreeMap::from([("bad".to_owned(), 1.0 - good), ("good".to_owned(), good)]),
        }
    }

    /// Eight clear answers, `bad` and `good` in turn.
    fn golden() -> Golden {
        let entries = (0..8).map(|index| entry("a text", f64::from(index % 2)));
        Golden::choose(entries.collect())
    }

    fn answer(labels: &[&str]) -> Scores {
        let score = |label: &&str| Score {
            label: (*label).into(),
            score: 0.5,
        };
        labels.iter().map(score).collect()
    }

    /// Compares answers that are right except at these places.
    fn wrong_at(at: &[usize]) -> Result<(), LoadError> {
        let answers: Vec<_> = (0..8)
            .map(|index| {
                let good = (index % 2 == 1) != at.contains(&index);
                Some(answer(if good {
                    &["good", "bad"]
                } else {
                    &["bad", "good"]
                }))
            })
            .collect();
        golden().compare(&answers)
    }

    #[test]
    fn one_answer_in_eight_may_differ() {
        wrong_at(&[]).expect("all agree");
        wrong_at(&[3]).expect("one may differ");
        let error = wrong_at(&[3, 6]).expect_err("two may not").to_string();
        for word in ["text 3", "`bad`", "`good`", "2 of 8"] {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }

    #[test]
    fn other_labels_must_be_the_same_for_every_text() {
        let three = Some(answer(&["neutral", "good", "bad"]));
        golden().compare(&vec![three.clone(); 8]).expect("its own");
        let mut answers = vec![three; 8];
        answers[5] = None;
        golden().compare(&answers).expect("one is refused");
        answers[5] = Some(answer(&["good", "bad"]));
        let error = golden().compare(&answers).expect_err("not the same");
        for word in ["text 5", "text 0", "`neutral`"] {
            assert!(error.to_string().contains(word), "{word:?}: {error}");
        }
    }

    #[test]
    fn samples_are_clear_and_short_and_of_every_label() {
        let mut entries: Vec<Entry> = (0..20).map(|_| entry("praise", 0.95)).collect();
        entries.push(entry("doubt", 0.6));
        entries.push(entry(&"x".repeat(MAX_TEXT + 1), 0.01));
        entries.push(Entry {
            text: None,
            ..entry("", 0.01)
        });
        entries.push(entry("blame", 0.05));
        let golden = Golden::choose(entries);
        let chosen: Vec<_> = golden.0.iter().map(|sample| &*sample.label).collect();
        assert_eq!(chosen.len(), TEXTS);
        assert_eq!(chosen.last(), Some(&LABELS[0]));
        assert!(chosen[..7].iter().all(|label| *label == LABELS[1]));
    }

    #[test]
    fn long_lists_of_labels_are_cut() {
        let many: Vec<String> = (0..100)
            .map(|n| format!("{n:03}{}", "x".repeat(900)))
            .collect();
        let many: BTreeSet<&str> = many.iter().map(String::as_str).collect();
        let listed = list(&many);
        assert!(
            listed.len() < 500 && listed.ends_with("92 more"),
            "{listed}"
        );
    }
}
