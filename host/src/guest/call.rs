//! Calling a guest, and checking what it answers.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime_wasi::WasiCtxBuilder;

use super::bindings::{Error, Score as GuestScore, Serving, ServingPre};
use super::error::{CallError, LoadError};
use super::golden::Golden;
use super::load::LoadedFrom;
use super::runtime::Runtime;
use super::state::State;
use crate::predictor::{Abandoned, PredictError, Score, Scorer, Scores, Version};

/// A guest that is ready to serve.
pub struct Guest {
    runtime: Arc<Runtime>,
    serving: ServingPre<State>,
    version: Arc<Version>,
    loaded_from: LoadedFrom,
    labels: Arc<Labels>,
}

/// The labels of a guest's first answer. Later answers share them, so that an
/// answer that is kept is small.
type Labels = OnceLock<Vec<Arc<str>>>;

/// One instance of a guest.
pub struct Instance {
    runtime: Arc<Runtime>,
    store: Store<State>,
    serving: Serving,
    labels: Arc<Labels>,
}

/// The longest label, in bytes. The contract names it.
const MAX_LABEL: usize = 1024;

/// Lets a call that is stopped by the epoch say so first: the timer behind it
/// is for guests that wait instead of running.
const GRACE: Duration = Duration::from_millis(100);

impl Guest {
    pub(super) fn new(
        runtime: Arc<Runtime>,
        serving: ServingPre<State>,
        version: Arc<Version>,
        loaded_from: LoadedFrom,
    ) -> Self {
        Self {
            runtime,
            serving,
            version,
            loaded_from,
            labels: Arc::default(),
        }
    }

    /// What answers of this guest are known by.
    pub fn version(&self) -> &Arc<Version> {
        &self.version
    }

    /// Whether the guest had to be compiled.
    pub fn loaded_from(&self) -> LoadedFrom {
        self.loaded_from
    }

    /// Makes an instance: the snapshot's memory, and nothing of any other call.
    ///
    /// # Errors
    ///
    /// If there are as many instances as there may be, or if the component's
    /// start function traps.
    pub async fn instantiate(&self) -> Result<Instance, CallError> {
        self.instantiate_unless(None).await
    }

    async fn instantiate_unless(
        &self,
        abandoned: Option<Abandoned>,
    ) -> Result<Instance, CallError> {
        let time = self.runtime.limits.call;
        // No directory, no environment, no arguments; input is empty and output
        // goes nowhere.
        let wasi = WasiCtxBuilder::new()
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        let serving = self.runtime.serving();
        let mut store = self.runtime.store(serving, wasi, time, abandoned);
        let making = self.serving.instantiate_async(&mut store);
        let made = tokio::time::timeout(time + GRACE, making).await;
        let serving = match (store.data().run.stopped(), made) {
            (Some(stopped), _) => return Err(stopped.error(time)),
            (None, Err(_)) => return Err(CallError::TimedOut(time)),
            (None, Ok(made)) => {
                made.map_err(|error| CallError::Instantiate(format!("{error:#}")))?
            }
        };
        store.data().run.pause();
        Ok(Instance {
            runtime: Arc::clone(&self.runtime),
            store,
            serving,
            labels: Arc::clone(&self.labels),
        })
    }

    /// Scores texts in an instance of their own. Must be called in a tokio
    /// runtime with a timer, on a thread that may block: the model runs there.
    ///
    /// # Errors
    ///
    /// If the guest fails, is stopped, or breaks the contract.
    pub async fn predict(&self, texts: &[String]) -> Result<Vec<Scores>, CallError> {
        self.instantiate().await?.predict(texts).await
    }

    /// Predicts, so that a guest that can not is never served: one text of any
    /// kind, and then those of the golden answers.
    pub(super) fn self_test(&self, golden: &Golden) -> Result<(), LoadError> {
        let executor = executor().map_err(|error| LoadError::Host(error.to_string()))?;
        let predict = |text: &str| {
            let texts = [text.to_owned()];
            executor
                .block_on(self.predict(&texts))
                .map_err(LoadError::SelfTest)
        };
        predict("The self-test of a guest.")?;
        let mut answers = Vec::new();
        for sample in golden.samples() {
            answers.extend(predict(&sample.text)?);
        }
        golden.compare(&answers)
    }
}

impl Instance {
    /// Scores texts. An instance may be called again only after a success.
    ///
    /// # Errors
    ///
    /// As [`Guest::predict`].
    pub async fn predict(&mut self, texts: &[String]) -> Result<Vec<Scores>, CallError> {
        let time = self.runtime.limits.call;
        self.store.data().run.restart(time);
        let predictor = self.serving.fastsentiment_predict_predictor();
        let call = predictor.call_predict(&mut self.store, texts);
        let answer = tokio::time::timeout(time + GRACE, call)
            .await
            .map_err(|_| CallError::TimedOut(time))?;
        self.store.data().run.pause();
        // A guest that is stopped while the model runs sees an inference that
        // failed, and may report that in its own way.
        match (self.store.data().run.stopped(), answer) {
            (_, Ok(Ok(scores))) => check(texts.len(), scores, &self.labels),
            (Some(stopped), _) => Err(stopped.error(time)),
            (None, Ok(Err(error))) => Err(reported(error, texts.len())),
            (None, Err(error)) => Err(self.trapped(&error)),
        }
    }

    fn trapped(&self, error: &wasmtime::Error) -> CallError {
        if self.store.data().memory.refused() {
            return CallError::OutOfMemory {
                limit: self.runtime.limits.memory,
            };
        }
        CallError::Trapped(format!("{error:#}"))
    }
}

impl Scorer for Guest {
    fn version(&self) -> &Arc<Version> {
        &self.version
    }

    fn score(&self, texts: &[String], abandoned: &Abandoned) -> Result<Vec<Scores>, PredictError> {
        thread_local! {
            // Each thread that calls guests runs their futures itself, so that
            // none waits for a thread that serves sockets.
            static EXECUTOR: std::io::Result<Executor> = executor();
        }
        EXECUTOR.with(|executor| match executor {
            Ok(executor) => {
                let begun = Instant::now();
                let abandoned = Some(Arc::clone(abandoned));
                let answer = executor.block_on(async {
                    let mut instance = self.instantiate_unless(abandoned).await?;
                    instance.predict(texts).await
                });
                // The instance is gone by now: giving it back is part of a call.
                self.runtime.metrics.count(begun.elapsed(), &answer);
                Ok(answer?)
            }
            Err(error) => Err(CallError::Instantiate(error.to_string()).into()),
        })
    }
}

/// What runs the futures of one call at a time.
type Executor = tokio::runtime::Runtime;

fn executor() -> std::io::Result<Executor> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
}

/// Brings a guest's own report into the host's terms.
fn reported(error: Error, texts: usize) -> CallError {
    match error {
        Error::InvalidText(text) if (text.index as usize) < texts => CallError::InvalidText {
            index: text.index as usize,
            reason: text.reason,
        },
        Error::InvalidText(text) => CallError::BadAnswer(format!(
            "it refuses text {} of {texts}, counted from 0",
            text.index
        )),
        Error::ModelMissing(why) | Error::ModelUnsuitable(why) => CallError::Model(why),
        Error::InferenceFailed(why) => CallError::Inference(why),
        Error::Internal(why) => CallError::Internal(why),
    }
}

/// Holds an answer to the contract: a guest is not trusted with the shape of
/// what the host sends out.
fn check(
    texts: usize,
    answer: Vec<Vec<GuestScore>>,
    labels: &Labels,
) -> Result<Vec<Scores>, CallError> {
    let bad = |what: String| Err(CallError::BadAnswer(what));
    if answer.len() != texts {
        return bad(format!("{} answers to {texts} texts", answer.len()));
    }
    for (index, scores) in answer.iter().enumerate() {
        if scores.is_empty() {
            return bad(format!("no label for text {index}"));
        }
        for score in scores {
            if score.label.is_empty() || score.label.len() > MAX_LABEL {
                return bad(format!("a label of {} bytes", score.label.len()));
            }
            if !(0.0..=1.0).contains(&score.score) {
                return bad(format!("a score of {}", score.score));
            }
        }
        if !scores.is_sorted_by(|a, b| a.score >= b.score) {
            return bad(format!("the labels of text {index} are not in order"));
        }
    }
    if let Some(first) = answer.first() {
        labels.get_or_init(|| {
            let labels = first.iter().map(|score| score.label.as_str().into());
            labels.take(MAX_SHARED_LABELS).collect()
        });
    }
    let shared = |label: String| {
        let mut known = labels.get().into_iter().flatten();
        let known = known.find(|known| ***known == *label);
        known.map_or_else(|| label.into(), Arc::clone)
    };
    let scores = |scores: Vec<GuestScore>| {
        scores
            .into_iter()
            .map(|GuestScore { label, score }| Score {
                label: shared(label),
                score,
            })
            .collect()
    };
    Ok(answer.into_iter().map(scores).collect())
}

/// How many labels answers share: those of most models, and few enough to be
/// looked through for each score.
const MAX_SHARED_LABELS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn score(label: &str, score: f32) -> GuestScore {
        GuestScore {
            label: label.to_owned(),
            score,
        }
    }

    #[test]
    fn an_answer_that_keeps_the_contract_passes() {
        let answer = vec![
            vec![score("a", 1.0), score("b", 0.0)],
            vec![score("a", 0.5)],
        ];
        assert!(check(2, answer, &Labels::new()).is_ok());
        assert!(check(0, Vec::new(), &Labels::new()).is_ok());
    }

    #[test]
    fn an_answer_that_breaks_the_contract_is_refused() {
        let long = "x".repeat(MAX_LABEL + 1);
        let broken = [
            (2, vec![vec![score("a", 1.0)]]),
            (1, vec![Vec::new()]),
            (1, vec![vec![score("", 1.0)]]),
            (1, vec![vec![score(&long, 1.0)]]),
            (1, vec![vec![score("a", f32::NAN)]]),
            (1, vec![vec![score("a", 1.1)]]),
            (1, vec![vec![score("a", -0.1)]]),
            (1, vec![vec![score("a", f32::INFINITY)]]),
            (1, vec![vec![score("a", 0.1), score("b", 0.9)]]),
        ];
        for (texts, answer) in broken {
            let described = format!("{answer:?}");
            assert!(
                matches!(
                    check(texts, answer, &Labels::new()),
                    Err(CallError::BadAnswer(_))
                ),
                "{described}"
            );
        }
    }
}
