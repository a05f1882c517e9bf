//! Answers the texts that a revision fails on by the next one in a chain, so that a bad
//! revision costs a request time and nothing else.
//!
//! This module must not know why a revision is not trusted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::active::ActiveRevision;
use super::probation;
use super::request;
use super::routes::Control;
use predictor::{
    Answer, BoxFuture, ErrorKind, Pending, PredictError, Predictor, Request, RequestOptions,
};

/// The revisions that may answer the texts of one request, in the order in which they are
/// asked.
pub(super) struct FallbackChain {
    pub(super) below: Arc<dyn Predictor>,
    pub(super) control: Arc<Control>,
    pub(super) options: RequestOptions,
    /// At least two; the last one is trusted.
    pub(super) revisions: Vec<Arc<ActiveRevision>>,
}

/// A text whose answer is awaited.
struct Waiting {
    text: String,
    reply: oneshot::Sender<Landing>,
}

type Landing = Result<Answer, PredictError>;

/// How many texts are sent on in one request, at most.
const SEND_ON: usize = 1024;

/// The longest wait before a text is offered again to a revision whose queue is full. The
/// text has been accepted once, so it is not refused now.
const OFFER_AGAIN: Duration = Duration::from_millis(100);

impl FallbackChain {
    /// Accepts texts, as [`Predictor::predict`] does. Answers that are there already cost
    /// nothing more; a task follows the others, and ends when nobody waits for them.
    pub(super) async fn predict(
        self: Arc<Self>,
        texts: Vec<String>,
    ) -> Result<Vec<Pending>, PredictError> {
        let request = self.request(0, texts.clone());
        let pending = self.below.predict(request).await?;
        let mut answers = Vec::with_capacity(pending.len());
        let mut open = Vec::new();
        for (text, pending) in texts.into_iter().zip(pending) {
            answers.push(match pending {
                Pending::Ready(answer) => Pending::Ready(answer),
                later @ Pending::Later(_) => {
                    let (reply, landing) = oneshot::channel();
                    open.push((Waiting { text, reply }, later));
                    Pending::Later(Box::pin(async { landing.await.unwrap_or_else(|_| lost()) }))
                }
            });
        }
        if !open.is_empty() {
            tokio::spawn(self.follow(0, open).in_current_span());
        }
        Ok(answers)
    }

    /// Waits for the answers of the revision at `at`, and sends on the texts that it fails
    /// on.
    ///
    /// Boxed, because texts that are sent on are followed by this function again.
    fn follow(self: Arc<Self>, at: usize, open: Vec<(Waiting, Pending)>) -> BoxFuture<()> {
        Box::pin(async move {
            let is_last = at + 1 == self.revisions.len();
            let asked = (!is_last).then(|| &*self.revisions[at]);
            let answers: FuturesUnordered<_> = open
                .into_iter()
                .map(|(waiting, answer)| wait(waiting, answer, asked))
                .collect();
            // A demoted revision gives back all of its texts at once: they go on as one
            // request.
            let mut answers = answers.ready_chunks(SEND_ON);
            while let Some(ready) = answers.next().await {
                let mut failed = Vec::new();
                for (waiting, landing) in ready.into_iter().flatten() {
                    match landing {
                        Some(landing) => self.reply(at, waiting, landing),
                        None => failed.push(waiting),
                    }
                }
                if !failed.is_empty() {
                    // Before the texts go on: whoever sees their answers finds the new
                    // routes.
                    self.control.demote_failed();
                    let sent_on = Arc::clone(&self).send_on(at + 1, failed);
                    tokio::spawn(sent_on.in_current_span());
                }
            }
        })
    }

    /// Asks the revision at `at` for texts that the one before has failed on.
    fn send_on(self: Arc<Self>, at: usize, mut texts: Vec<Waiting>) -> BoxFuture<()> {
        Box::pin(async move {
            let accepted = loop {
                texts.retain(|waiting| !waiting.reply.is_closed());
                if texts.is_empty() {
                    return;
                }
                let copies = texts.iter().map(|waiting| waiting.text.clone()).collect();
                match self.below.predict(self.request(at, copies)).await {
                    Err(PredictError {
                        kind: ErrorKind::Overloaded { retry_after },
                        ..
                    }) => tokio::time::sleep(retry_after.min(OFFER_AGAIN)).await,
                    accepted => break accepted,
                }
            };
            match accepted {
                Ok(pending) => {
                    let open = texts.into_iter().zip(pending).collect();
                    self.follow(at, open).await;
                }
                Err(error) => {
                    for waiting in texts {
                        self.reply(at, waiting, Err(error.clone()));
                    }
                }
            }
        })
    }

    fn reply(&self, at: usize, waiting: Waiting, landing: Landing) {
        if at > 0 && landing.is_ok() {
            self.revisions[0].counters.rescued.inc();
        }
        // The caller may have left.
        let _ = waiting.reply.send(landing);
    }

    fn request(&self, at: usize, texts: Vec<String>) -> Request {
        request(&self.revisions[at], texts, self.options)
    }
}

/// Waits for one answer, as long as its caller does. There is no landing if `asked` is to
/// blame, and another revision should be asked; for the last of a chain `asked` is `None`.
async fn wait(
    mut waiting: Waiting,
    answer: Pending,
    asked: Option<&ActiveRevision>,
) -> Option<(Waiting, Option<Landing>)> {
    let retired = async {
        match asked {
            Some(revision) => revision.retired().await,
            None => std::future::pending().await,
        }
    };
    let landing = tokio::select! {
        biased;
        landing = answer => Some(landing),
        () = waiting.reply.closed() => return None,
        () = retired => None,
    };
    let failed = asked.is_some()
        && matches!(&landing, Some(Err(error)) if probation::weight(error).is_some());
    Some((waiting, landing.filter(|_| !failed)))
}

/// The task that had the answer is gone: the runtime is shutting down.
fn lost() -> Landing {
    Err(PredictError::unavailable())
}
