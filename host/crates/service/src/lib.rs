//! The rules for every prediction, whoever asks: how many texts, how long each, and the
//! deadline. It also counts what becomes of requests, and whether anything is answered at
//! all.
//!
//! [`Service::predict`] answers a request as a whole. [`Bulk`] answers texts without end:
//! it cuts them into chunks, each of which is a request of its own to the layers below.
//!
//! This crate must not know status codes, JSON, or what lies below the [`Router`] that it
//! asks.

mod bulk;
mod failing;
mod metrics;
mod predictions;

pub use bulk::Bulk;
pub use metrics::Metrics;
pub use predictions::Predictions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use predictor::{Answer, ErrorKind, Pending, PredictError, RequestOptions, Revision, Router};

/// Limits on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most texts in one request.
    pub max_texts: usize,
    /// The longest text, in bytes of UTF-8.
    pub max_text_bytes: usize,
    /// How long a request may take, once its texts have been read.
    pub deadline: Duration,
    /// How many chunks of all bulk requests together may be in progress at a time; at least
    /// 1. Clients take turns. Other requests share the queue with that many.
    pub bulk_chunks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_texts: 1024,
            max_text_bytes: 128 * 1024,
            deadline: Duration::from_secs(30),
            bulk_chunks: 4,
        }
    }
}

/// Options of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How long the caller waits, if that is less than the deadline.
    pub timeout: Option<Duration>,
    /// What the layers below need to know.
    pub request: RequestOptions,
}

/// Answers requests that keep to the [`Limits`].
pub struct Service {
    router: Arc<dyn Router>,
    limits: Limits,
    metrics: Metrics,
    turns: bulk::Turns,
}

impl Service {
    /// Puts `limits` before `router`.
    pub fn new(router: Arc<dyn Router>, limits: Limits, metrics: Metrics) -> Self {
        Self {
            router,
            turns: bulk::Turns::new(limits.bulk_chunks),
            limits,
            metrics,
        }
    }

    /// The limits on a request.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The most texts in one request.
    pub fn max_texts(&self) -> usize {
        self.limits.max_texts
    }

    /// The longest text, in bytes of UTF-8.
    pub fn max_text_bytes(&self) -> usize {
        self.limits.max_text_bytes
    }

    /// The error for a request of too many texts, which is counted as refused. For callers
    /// that stop reading such a request instead of keeping its texts.
    pub fn too_many(&self, given: usize) -> PredictError {
        let allowed = self.limits.max_texts;
        let error = PredictError::new(
            ErrorKind::TooManyTexts { given, allowed },
            format!("the request holds {given} texts; at most {allowed} are allowed"),
        );
        self.metrics.begin(given).end(Err(&error));
        error
    }

    /// Whether nothing is answered: all recent predictions have failed.
    pub fn is_failing(&self) -> bool {
        self.metrics.failures.is_failing(&self.router.live())
    }

    /// The revision that is live now.
    pub fn revision(&self) -> Arc<Revision> {
        self.router.live()
    }

    /// The revisions that answer texts now, and so those that a request may ask for: the
    /// live one, and then any other.
    pub fn answering(&self) -> Vec<Arc<Revision>> {
        self.router.answering()
    }

    /// Scores every text. Dropping the future cancels the request.
    ///
    /// # Errors
    ///
    /// If the request exceeds a limit, if it is not answered in time, or if a text cannot be
    /// scored: the first such text is named.
    pub async fn predict(
        &self,
        texts: Vec<String>,
        options: Options,
    ) -> Result<Predictions, PredictError> {
        if texts.len() > self.limits.max_texts {
            return Err(self.too_many(texts.len()));
        }
        let counted = self.metrics.begin(texts.len());
        let answer = self.answer_in_time(texts, options).await;
        counted.end(answer.as_ref().map(|_| ()));
        answer
    }

    async fn answer_in_time(
        &self,
        texts: Vec<String>,
        options: Options,
    ) -> Result<Predictions, PredictError> {
        self.admit(&texts)?;
        let deadline = self.deadline(options);
        match tokio::time::timeout(deadline, self.answer(texts, options.request)).await {
            Ok(answer) => answer,
            Err(_) => Err(late(deadline)),
        }
    }

    fn deadline(&self, options: Options) -> Duration {
        let allowed = self.limits.deadline;
        options.timeout.map_or(allowed, |asked| asked.min(allowed))
    }

    /// Refuses texts that are too long, before any work is done for them. This is the only
    /// place where that limit is tested.
    fn admit(&self, texts: &[String]) -> Result<(), PredictError> {
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

    async fn answer(
        &self,
        texts: Vec<String>,
        options: RequestOptions,
    ) -> Result<Predictions, PredictError> {
        let begun = Instant::now();
        let pending = self.router.predict(texts, options).await?;
        let mut predictions = Predictions::of(pending.len(), begun.elapsed());
        for (index, pending) in pending.into_iter().enumerate() {
            let answer = self.settled(pending).await;
            predictions.add(answer.map_err(|error| in_request(error, index))?);
        }
        if predictions.revisions.is_empty() {
            predictions.revisions.push(self.router.live());
        }
        Ok(predictions)
    }

    /// Waits for an answer, and records whether it is a failure. A caller that leaves drops
    /// this, which counts as none.
    async fn settled(&self, pending: Pending) -> Result<Answer, PredictError> {
        let answer = pending.await;
        let outcome = answer.as_ref().map(|_| ());
        self.metrics.failures.record(outcome, || self.router.live());
        answer
    }
}

fn late(deadline: Duration) -> PredictError {
    PredictError::new(
        ErrorKind::TimedOut,
        format!("the answer was not ready within {deadline:?}"),
    )
}

/// The error of one text, as one of its request.
fn in_request(mut error: PredictError, at: usize) -> PredictError {
    if let ErrorKind::InvalidText { index } = &mut error.kind {
        *index = at;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use predictor::{Answer, BoxFuture, Digest, Score, Source};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn of_guest(number: u8) -> Revision {
        let (guest, model) = (Digest([number; 32]), Digest([2; 32]));
        Revision::new(guest, model, Revision::NO_CONFIGURATION)
    }

    /// Scores a text by its length, after a delay; refuses `bad`.
    #[derive(Default)]
    struct Fake {
        calls: AtomicUsize,
        delay: Duration,
    }

    impl Router for Fake {
        fn live(&self) -> Arc<Revision> {
            Arc::new(of_guest(1))
        }

        fn predict(
            &self,
            texts: Vec<String>,
            _: RequestOptions,
        ) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let (delay, live) = (self.delay, self.live());
            let answer = move |text: String| -> Pending {
                let mut revision = Arc::clone(&live);
                Pending::Later(Box::pin(async move {
                    tokio::time::sleep(delay).await;
                    match text.as_str() {
                        "bad" => {
                            let kind = ErrorKind::InvalidText { index: 0 };
                            return Err(PredictError::new(kind, "bad"));
                        }
                        "new" => revision = Arc::new(of_guest(3)),
                        _ => {}
                    }
                    #[expect(clippy::cast_precision_loss, reason = "short texts")]
                    let score = text.len() as f32;
                    Ok(Answer {
                        scores: [Score {
                            label: "LENGTH".into(),
                            score,
                        }]
                        .into(),
                        revision,
                        source: if text.is_empty() {
                            Source::Memory
                        } else {
                            Source::Computed
                        },
                        work: None,
                    })
                }))
            };
            let answers = texts.into_iter().map(answer).collect();
            Box::pin(async move { Ok(answers) })
        }
    }

    const LIMITS: Limits = Limits {
        max_texts: 3,
        max_text_bytes: 4,
        deadline: Duration::from_millis(200),
        bulk_chunks: 1,
    };

    async fn ask(fake: &Arc<Fake>, texts: &[&str]) -> Result<Predictions, PredictError> {
        ask_with(fake, texts, Options::default()).await
    }

    async fn ask_with(
        fake: &Arc<Fake>,
        texts: &[&str],
        options: Options,
    ) -> Result<Predictions, PredictError> {
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        let service = Service::new(fake.clone(), LIMITS, metrics);
        let texts = texts.iter().map(ToString::to_string).collect();
        service.predict(texts, options).await
    }

    #[tokio::test]
    async fn answers_keep_their_order() {
        let answer = ask(&Arc::default(), &["aaa", "", "aaaa"]).await.unwrap();
        let scores: Vec<f32> = answer.scores.iter().map(|s| s[0].score).collect();
        assert_eq!(scores, [3.0, 0.0, 4.0]);
        assert_eq!(answer.hits, 1);
    }

    #[tokio::test]
    async fn no_texts_get_no_scores_and_a_version() {
        let answer = ask(&Arc::default(), &[]).await.unwrap();
        assert!(answer.scores.is_empty());
        assert_eq!(guests(&answer), [Digest([1; 32])]);
    }

    #[tokio::test]
    async fn every_version_that_answered_is_named_once() {
        let answer = ask(&Arc::default(), &["new", "a", "new"]).await.unwrap();
        assert_eq!(guests(&answer), [Digest([3; 32]), Digest([1; 32])]);
        let answer = ask(&Arc::default(), &["a", "b", "c"]).await.unwrap();
        assert_eq!(guests(&answer), [Digest([1; 32])]);
    }

    fn guests(answer: &Predictions) -> Vec<Digest> {
        answer
            .revisions
            .iter()
            .map(|revision| revision.guest())
            .collect()
    }

    #[tokio::test]
    async fn a_bad_text_is_named_by_its_place_in_the_request() {
        let error = ask(&Arc::default(), &["a", "bad", "b"]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidText { index: 1 });
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
        let late = Arc::new(Fake {
            delay: Duration::from_secs(60),
            ..Fake::default()
        });
        let error = ask(&late, &["a"]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimedOut);
        assert!(error.message.contains("200ms"));
    }

    #[tokio::test]
    async fn a_caller_can_shorten_the_deadline_and_not_lengthen_it() {
        let late = Arc::new(Fake {
            delay: Duration::from_secs(60),
            ..Fake::default()
        });
        for (asked, said) in [(50, "50ms"), (10_000, "200ms")] {
            let options = Options {
                timeout: Some(Duration::from_millis(asked)),
                ..Options::default()
            };
            let error = ask_with(&late, &["a"], options).await.unwrap_err();
            assert!(error.message.contains(said), "{}", error.message);
        }
    }
}
