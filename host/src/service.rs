//! The rules that hold for every prediction, whoever asks and however it is
//! made: how many texts, how long each, and by when an answer must be there.
//!
//! This module must not know status codes, JSON, or what lies below the
//! [`Predictor`] that it wraps.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::predictor::{ErrorKind, PredictError, PredictResult, Predictions, Predictor};

/// What a single request may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most texts in one request.
    pub max_texts: usize,
    /// The longest text, in bytes of UTF-8.
    pub max_text_bytes: usize,
    /// How long a request may take from the moment its texts are known.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_texts: 1024,
            max_text_bytes: 128 * 1024,
            deadline: Duration::from_secs(30),
        }
    }
}

/// A [`Predictor`] that holds every request to its [`Limits`].
pub struct Service {
    inner: Arc<dyn Predictor>,
    limits: Limits,
}

impl Service {
    /// Puts `limits` before `inner`.
    ///
    /// A request without texts is passed on as well, because only the layer
    /// below knows the version that answers it: `inner` must answer an empty
    /// list at once, with no scores and with the version that would have
    /// answered.
    pub fn new(inner: Arc<dyn Predictor>, limits: Limits) -> Self {
        Self { inner, limits }
    }

    /// Refuses what is too much, before any work is done for it.
    fn admit(&self, texts: &[String]) -> Result<(), PredictError> {
        let (given, allowed) = (texts.len(), self.limits.max_texts);
        if given > allowed {
            return Err(PredictError::new(
                ErrorKind::TooManyTexts { given, allowed },
                format!("the request holds {given} texts; at most {allowed} are allowed"),
            ));
        }
        let allowed = self.limits.max_text_bytes;
        let mut lengths = texts.iter().map(String::len).enumerate();
        match lengths.find(|(_, given)| *given > allowed) {
            None => Ok(()),
            Some((index, given)) => Err(PredictError::new(
                ErrorKind::TextTooLong {
                    index,
                    given,
                    allowed,
                },
                format!("the text is {given} bytes long in UTF-8; at most {allowed} are allowed"),
            )),
        }
    }

    async fn answer(&self, texts: Vec<String>) -> PredictResult {
        self.admit(&texts)?;
        let asked = texts.len();
        let deadline = self.limits.deadline;
        match tokio::time::timeout(deadline, self.inner.predict(texts)).await {
            Ok(answer) => answer.and_then(|predictions| checked(predictions, asked)),
            Err(_) => Err(PredictError::new(
                ErrorKind::TimedOut,
                format!("the answer was not ready within {deadline:?}"),
            )),
        }
    }
}

impl Predictor for Service {
    fn predict(
        &self,
        texts: Vec<String>,
    ) -> Pin<Box<dyn Future<Output = PredictResult> + Send + '_>> {
        Box::pin(self.answer(texts))
    }
}

/// Scores that cannot be matched to their texts, or that are not numbers, must
/// not reach a caller: replaceable logic made them, so they are looked at here.
fn checked(predictions: Predictions, asked: usize) -> PredictResult {
    let answered = predictions.scores.len();
    let detail = if answered != asked {
        format!("{answered} answers to {asked} texts")
    } else if !predictions
        .scores
        .iter()
        .flatten()
        .all(|s| s.score.is_finite())
    {
        "a score that is not a finite number".to_owned()
    } else {
        return Ok(predictions);
    };
    Err(PredictError::new(ErrorKind::Failed, "the prediction failed").with_detail(detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predictor::{Digest, Score, Version};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Scores a text by its length, after a delay; counts its calls.
    #[derive(Default)]
    struct Fake {
        calls: AtomicUsize,
        delay: Duration,
        surplus: usize,
        score: Option<f32>,
    }

    impl Predictor for Fake {
        fn predict(
            &self,
            texts: Vec<String>,
        ) -> Pin<Box<dyn Future<Output = PredictResult> + Send + '_>> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tokio::time::sleep(self.delay).await;
                #[expect(clippy::cast_precision_loss, reason = "short texts")]
                let lengths = texts.iter().map(|text| text.len() as f32);
                let surplus = std::iter::repeat_n(0.0, self.surplus);
                Ok(Predictions {
                    scores: lengths
                        .chain(surplus)
                        .map(|length| {
                            vec![Score {
                                label: "LENGTH".to_owned(),
                                score: self.score.unwrap_or(length),
                            }]
                        })
                        .collect(),
                    version: Arc::new(Version {
                        guest: Digest([1; 32]),
                        model: Digest([2; 32]),
                    }),
                })
            })
        }
    }

    const LIMITS: Limits = Limits {
        max_texts: 3,
        max_text_bytes: 4,
        deadline: Duration::from_millis(200),
    };

    async fn ask(fake: &Arc<Fake>, texts: &[&str]) -> PredictResult {
        let service = Service::new(fake.clone(), LIMITS);
        service
            .predict(texts.iter().map(ToString::to_string).collect())
            .await
    }

    #[tokio::test]
    async fn answers_keep_their_order() {
        let answer = ask(&Arc::default(), &["aaa", "", "aaaa"]).await.unwrap();
        let scores: Vec<f32> = answer.scores.iter().map(|s| s[0].score).collect();
        assert_eq!(scores, [3.0, 0.0, 4.0]);
    }

    #[tokio::test]
    async fn no_texts_get_no_scores_and_a_version() {
        let answer = ask(&Arc::default(), &[]).await.unwrap();
        assert!(answer.scores.is_empty());
        assert_eq!(answer.version.guest, Digest([1; 32]));
    }

    #[tokio::test]
    async fn too_much_is_refused_before_any_work() {
        let fake = Arc::default();
        let error = ask(&fake, &["a"; 4]).await.unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::TooManyTexts {
                given: 4,
                allowed: 3
            }
        );
        // Four characters, but five bytes.
        let error = ask(&fake, &["aaaa", "aaaé"]).await.unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::TextTooLong {
                index: 1,
                given: 5,
                allowed: 4
            }
        );
        assert_eq!(fake.calls.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_late_answer_is_a_timeout() {
        let fake = Arc::new(Fake {
            delay: Duration::from_secs(60),
            ..Fake::default()
        });
        let error = ask(&fake, &["a"]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn answers_that_fit_no_text_are_a_failure() {
        for fake in [
            Fake {
                surplus: 1,
                ..Fake::default()
            },
            Fake {
                score: Some(f32::NAN),
                ..Fake::default()
            },
        ] {
            let error = ask(&Arc::new(fake), &["a"]).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Failed);
        }
    }
}
