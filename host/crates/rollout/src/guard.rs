//! Texts that a version fails on are answered by the one that is trusted, so that
//! a bad version costs a request time and nothing else.
//!
//! This module must not know why a version is not trusted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::release::{Release, is_failure};
use super::request;
use predictor::{Answer, BoxFuture, Caching, ErrorKind, Pending, PredictError, Predictor, Request};

/// The way of one request from version to version.
pub(super) struct Guard {
    pub(super) below: Arc<dyn Predictor>,
    pub(super) caching: Caching,
    /// The versions in the order in which they are asked, two at least; the last
    /// one is trusted.
    pub(super) releases: Vec<Arc<Release>>,
}

/// A text that somebody waits for.
struct Wanted {
    text: String,
    reply: oneshot::Sender<Landing>,
}

type Landing = Result<Answer, PredictError>;

/// How many texts are sent on at once, at most.
const TOGETHER: usize = 1024;

/// The longest until a text that a version has failed on is offered again to one
/// that had too much to do: it was taken on before, so that it is not refused now.
const RETRY_AFTER: Duration = Duration::from_millis(100);

impl Guard {
    /// Takes texts on, as [`Predictor::predict`] does. What is there already costs
    /// nothing more; the rest is looked after by a task, which ends when nobody
    /// waits.
    pub(super) async fn predict(
        self: Arc<Self>,
        texts: Vec<String>,
    ) -> Result<Vec<Pending>, PredictError> {
        let request = self.request(0, texts.clone());
        let pending = self.below.predict(request).await?;
        let mut answers = Vec::with_capacity(pending.len());
        let mut making = Vec::new();
        for (text, pending) in texts.into_iter().zip(pending) {
            answers.push(match pending {
                Pending::Ready(answer) => Pending::Ready(answer),
                Pending::Later(answer) => {
                    let (reply, told) = oneshot::channel();
                    making.push((Wanted { text, reply }, answer));
                    Pending::Later(Box::pin(async { told.await.unwrap_or_else(|_| lost()) }))
                }
            });
        }
        if !making.is_empty() {
            tokio::spawn(self.look_after(0, making).in_current_span());
        }
        Ok(answers)
    }

    /// Waits for the answers of one version, and sends texts on that it fails on.
    ///
    /// Boxed, since what is sent on comes here again.
    fn look_after(
        self: Arc<Self>,
        at: usize,
        making: Vec<(Wanted, BoxFuture<Landing>)>,
    ) -> BoxFuture<()> {
        Box::pin(async move {
            let next = self.releases.get(at + 1).map(|_| &*self.releases[at]);
            let making = making.into_iter();
            let answers: FuturesUnordered<_> = making
                .map(|(wanted, answer)| wait(wanted, answer, next))
                .collect();
            // A version that falls gives all of its texts back at once: they go
            // on as one request.
            let mut answers = answers.ready_chunks(TOGETHER);
            while let Some(ready) = answers.next().await {
                let mut failed = Vec::new();
                for (wanted, landing) in ready.into_iter().flatten() {
                    match landing {
                        Some(landing) => self.reply(at, wanted, landing),
                        None => failed.push(wanted),
                    }
                }
                if !failed.is_empty() {
                    let sent_on = Arc::clone(&self).send_on(at + 1, failed);
                    tokio::spawn(sent_on.in_current_span());
                }
            }
        })
    }

    /// Has texts answered by the next version.
    fn send_on(self: Arc<Self>, at: usize, mut texts: Vec<Wanted>) -> BoxFuture<()> {
        Box::pin(async move {
            let taken_on = loop {
                texts.retain(|wanted| !wanted.reply.is_closed());
                if texts.is_empty() {
                    return;
                }
                let copies = texts.iter().map(|wanted| wanted.text.clone()).collect();
                match self.below.predict(self.request(at, copies)).await {
                    Err(PredictError {
                        kind: ErrorKind::Overloaded { retry_after },
                        ..
                    }) => tokio::time::sleep(retry_after.min(RETRY_AFTER)).await,
                    taken_on => break taken_on,
                }
            };
            match taken_on {
                Ok(pending) => {
                    let answers = pending.into_iter().map(|pending| match pending {
                        Pending::Ready(answer) => Box::pin(std::future::ready(Ok(answer))),
                        Pending::Later(answer) => answer,
                    });
                    let making = texts.into_iter().zip(answers).collect();
                    self.look_after(at, making).await;
                }
                Err(error) => {
                    for wanted in texts {
                        self.reply(at, wanted, Err(error.clone()));
                    }
                }
            }
        })
    }

    fn reply(&self, at: usize, wanted: Wanted, landing: Landing) {
        if at > 0 && landing.is_ok() {
            self.releases[0].counters.rescued.inc();
        }
        // The caller may have gone meanwhile.
        let _ = wanted.reply.send(landing);
    }

    fn request(&self, at: usize, texts: Vec<String>) -> Request {
        request(&self.releases[at], texts, self.caching)
    }
}

/// Waits for one answer, as long as somebody wants it. `failing` is a version
/// whose failure is none of the text: there is no landing then.
async fn wait(
    mut wanted: Wanted,
    answer: BoxFuture<Landing>,
    failing: Option<&Release>,
) -> Option<(Wanted, Option<Landing>)> {
    let fallen = async {
        match failing {
            Some(release) => release.ended().await,
            None => std::future::pending().await,
        }
    };
    let landing = tokio::select! {
        biased;
        landing = answer => Some(landing),
        () = wanted.reply.closed() => return None,
        () = fallen => None,
    };
    let failed = matches!(&landing, Some(Err(error)) if failing.is_some() && is_failure(error));
    Some((wanted, landing.filter(|_| !failed)))
}

/// The task that had the answer is gone: the runtime is being shut down.
fn lost() -> Landing {
    Err(PredictError::new(
        ErrorKind::Unavailable,
        "the server is not predicting at the moment",
    ))
}
