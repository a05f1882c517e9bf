//! The cases of `fastsentiment test`: one JSON object a line, with a text and what a guest
//! should answer.

use predictor::Scores;
use sandbox::CallError;
use serde::Deserialize;

/// A text, and what a guest should answer.
#[derive(Debug)]
pub(super) struct Case {
    /// Its line in the file, from 1.
    pub(super) line: usize,
    pub(super) text: String,
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    /// This label comes first.
    Label {
        label: String,
        /// Its score, and how much it may differ.
        score: Option<(f64, f64)>,
    },
    /// The call fails with a message that contains this.
    Error(String),
}

/// A line as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: String,
    label: Option<String>,
    score: Option<f64>,
    within: Option<f64>,
    error: Option<String>,
}

/// How much a score may differ, unless `within` says otherwise.
const WITHIN: f64 = 0.01;

/// Why a file of cases cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CasesError {
    #[error("line {line}: {reason}")]
    Line { line: usize, reason: String },
    #[error("there are no cases")]
    Empty,
}

/// Reads cases. Empty lines are skipped.
///
/// # Errors
///
/// If a line is not a case, or if there is none.
pub(super) fn parse(file: &str) -> Result<Vec<Case>, CasesError> {
    let lines = file.lines().zip(1..);
    let lines = lines.filter(|(text, _)| !text.trim().is_empty());
    let cases = lines.map(|(text, line)| {
        let case = expected(text).map(|(text, expected)| Case {
            line,
            text,
            expected,
        });
        case.map_err(|reason| CasesError::Line { line, reason })
    });
    let cases: Vec<Case> = cases.collect::<Result<_, _>>()?;
    if cases.is_empty() {
        return Err(CasesError::Empty);
    }
    Ok(cases)
}

fn expected(line: &str) -> Result<(String, Expected), String> {
    // Lists of values would do as well, for the parser.
    if !line.trim_start().starts_with('{') {
        return Err("must be a JSON object with `text`".to_owned());
    }
    let line: Line = serde_json::from_str(line).map_err(|error| {
        // Each line is a document of its own.
        let error = error.to_string();
        let place = error.rfind(" at line 1");
        error[..place.unwrap_or(error.len())].to_owned()
    })?;
    let is_share = |number: &f64| (0.0..=1.0).contains(number);
    for (name, number) in [("score", line.score), ("within", line.within)] {
        if number.is_some_and(|number| !is_share(&number)) {
            return Err(format!("`{name}` must be a number from 0 to 1"));
        }
    }
    let expected = match (line.label, line.score, line.within, line.error) {
        (Some(label), None, None, None) => Expected::Label { label, score: None },
        (Some(label), Some(score), within, None) => Expected::Label {
            label,
            score: Some((score, within.unwrap_or(WITHIN))),
        },
        (None, None, None, Some(error)) => Expected::Error(error),
        (Some(_), None, Some(_), None) => return Err("`within` needs `score`".to_owned()),
        (None, None, None, None) => return Err("`label` or `error` is missing".to_owned()),
        (Some(_), .., Some(_)) => {
            return Err("a case has either `label` or `error`, not both".to_owned());
        }
        (None, ..) => return Err("`score` and `within` need `label`".to_owned()),
    };
    Ok((line.text, expected))
}

impl Case {
    /// What is wrong with an answer; `None` if it is as expected.
    pub(super) fn fault(&self, answer: &Result<Scores, CallError>) -> Option<String> {
        match (&self.expected, answer) {
            (Expected::Error(part), Err(error)) => {
                let is_expected = error.to_string().contains(part);
                (!is_expected).then(|| format!("expected an error with `{part}`"))
            }
            (Expected::Error(part), Ok(_)) => Some(format!("expected an error with `{part}`")),
            (Expected::Label { label, score }, Ok(scores)) => {
                let first = scores.first().filter(|first| *first.label == **label);
                let is_close = match (first, score) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some(first), Some((score, within))) => {
                        (f64::from(first.score) - score).abs() <= *within
                    }
                };
                (!is_close).then(|| expectation(label, *score))
            }
            (Expected::Label { label, score }, Err(_)) => Some(expectation(label, *score)),
        }
    }
}

fn expectation(label: &str, score: Option<(f64, f64)>) -> String {
    match score {
        None => format!("expected {label}"),
        Some((score, within)) => format!("expected {label} {score} within {within}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use predictor::Score;

    fn reason(file: &str) -> String {
        parse(file).unwrap_err().to_string()
    }

    #[test]
    fn a_line_that_is_no_case_is_named() {
        for (line, words) in [
            ("{", "EOF while parsing"),
            (r#"["a", "A"]"#, "must be a JSON object with `text`"),
            ("3", "must be a JSON object with `text`"),
            (r#"{"label": "A"}"#, "missing field `text`"),
            (r#"{"text": "a"}"#, "`label` or `error` is missing"),
            (r#"{"text": "a", "lable": "A"}"#, "unknown field `lable`"),
            (r#"{"text": "a", "text": "b"}"#, "duplicate field `text`"),
            (r#"{"text": "a", "label": 1}"#, "invalid type"),
            (r#"{"text": "a", "label": "A", "error": "e"}"#, "not both"),
            (
                r#"{"text": "a", "label": "A", "within": 0.1}"#,
                "`within` needs `score`",
            ),
            (r#"{"text": "a", "score": 0.1}"#, "need `label`"),
            (
                r#"{"text": "a", "score": 0.1, "error": "e"}"#,
                "need `label`",
            ),
            (
                r#"{"text": "a", "label": "A", "score": 1.5}"#,
                "`score` must be a number from 0 to 1",
            ),
            (
                r#"{"text": "a", "label": "A", "score": 0.5, "within": -1}"#,
                "`within` must be a number from 0 to 1",
            ),
        ] {
            let good = r#"{"text": "a", "label": "A"}"#;
            let reason = reason(&format!("{good}\n\n{line}\n{good}"));
            assert!(reason.starts_with("line 3: "), "{reason}");
            assert!(reason.contains(words), "{line}: {reason}");
            assert!(!reason.contains("line 1"), "{reason}");
        }
        assert_eq!(reason(" \n\n"), "there are no cases");
    }

    #[test]
    fn answers_are_compared_with_the_label_and_its_score() {
        let answer = |label: &str, score: f32| -> Result<Scores, CallError> {
            let first = Score {
                label: label.into(),
                score,
            };
            Ok([first].into())
        };
        let case = |line: &str| parse(line).unwrap().remove(0);
        let label = case(r#"{"text": "a", "label": "A"}"#);
        assert_eq!(label.fault(&answer("A", 0.1)), None);
        assert_eq!(label.fault(&answer("B", 0.9)).unwrap(), "expected A");
        assert!(label.fault(&Ok([].into())).is_some());
        let trap = || Err(CallError::Internal("out of luck".to_owned()));
        assert!(label.fault(&trap()).is_some());
        let score = case(r#"{"text": "a", "label": "A", "score": 0.9}"#);
        assert_eq!(score.fault(&answer("A", 0.909)), None);
        let fault = score.fault(&answer("A", 0.92)).unwrap();
        assert_eq!(fault, "expected A 0.9 within 0.01");
        let wide = case(r#"{"text": "a", "label": "A", "score": 0.9, "within": 0.05}"#);
        assert_eq!(wide.fault(&answer("A", 0.92)), None);
        assert!(wide.fault(&answer("B", 0.92)).is_some());
        let error = case(r#"{"text": "a", "error": "of luck"}"#);
        assert_eq!(error.fault(&trap()), None);
        assert!(error.fault(&answer("A", 0.9)).is_some());
        assert!(error.fault(&Err(CallError::Exited(1))).is_some());
    }
}
