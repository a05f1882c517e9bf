//! Calling a guest, and checking what it answers.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Store, Trap};
use wasmtime_wasi::WasiCtxBuilder;

use super::bindings::{Error, Score as GuestScore, Serving, ServingPre};
use super::error::{CallError, LoadError};
use super::load::LoadedFrom;
use super::runtime::Runtime;
use super::state::State;
use crate::predictor::{Score, Version};

/// A guest that is ready to serve.
pub struct Guest {
    runtime: Arc<Runtime>,
    serving: ServingPre<State>,
    version: Arc<Version>,
    loaded_from: LoadedFrom,
}

/// One instance of a guest.
pub struct Instance {
    runtime: Arc<Runtime>,
    store: Store<State>,
    serving: Serving,
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
        let time = self.runtime.limits.call;
        // No directory, no environment, no arguments; input is empty and output
        // goes nowhere.
        let wasi = WasiCtxBuilder::new()
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        let mut store = self.runtime.store(self.runtime.serving(), wasi, time);
        let serving = self
            .serving
            .instantiate_async(&mut store)
            .await
            .map_err(|error| CallError::Instantiate(format!("{error:#}")))?;
        Ok(Instance {
            runtime: Arc::clone(&self.runtime),
            store,
            serving,
        })
    }

    /// Scores texts in an instance of their own. Must be called in a tokio
    /// runtime with a timer, on a thread that may block: the model runs there.
    ///
    /// # Errors
    ///
    /// If the guest fails, is stopped, or breaks the contract.
    pub async fn predict(&self, texts: &[String]) -> Result<Vec<Vec<Score>>, CallError> {
        self.instantiate().await?.predict(texts).await
    }

    /// Predicts once, so that a guest that can not is never served.
    pub(super) fn self_test(&self) -> Result<(), LoadError> {
        let texts = ["The self-test of a guest.".to_owned()];
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| LoadError::SelfTest(CallError::Internal(error.to_string())))?
            .block_on(self.predict(&texts))
            .map(|_| ())
            .map_err(LoadError::SelfTest)
    }
}

impl Instance {
    /// Scores texts. An instance may be called again only after a success.
    ///
    /// # Errors
    ///
    /// As [`Guest::predict`].
    pub async fn predict(&mut self, texts: &[String]) -> Result<Vec<Vec<Score>>, CallError> {
        let time = self.runtime.limits.call;
        self.store.set_epoch_deadline(Runtime::ticks(time));
        let predictor = self.serving.fastsentiment_predict_predictor();
        let call = predictor.call_predict(&mut self.store, texts);
        let answer = tokio::time::timeout(time + GRACE, call)
            .await
            .map_err(|_| CallError::TimedOut(time))?;
        match answer {
            Ok(Ok(scores)) => check(texts.len(), scores),
            Ok(Err(error)) => Err(reported(error, texts.len())),
            Err(error) => Err(self.trapped(&error)),
        }
    }

    fn trapped(&self, error: &wasmtime::Error) -> CallError {
        if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
            return CallError::TimedOut(self.runtime.limits.call);
        }
        if self.store.data().memory.refused() {
            return CallError::OutOfMemory {
                limit: self.runtime.limits.memory,
            };
        }
        CallError::Trapped(format!("{error:#}"))
    }
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
fn check(texts: usize, answer: Vec<Vec<GuestScore>>) -> Result<Vec<Vec<Score>>, CallError> {
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
    let scores = |scores: Vec<GuestScore>| {
        scores
            .into_iter()
            .map(|score| Score {
                label: score.label,
                score: score.score,
            })
            .collect()
    };
    Ok(answer.into_iter().map(scores).collect())
}

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
        assert!(check(2, answer).is_ok());
        assert!(check(0, Vec::new()).is_ok());
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
                matches!(check(texts, answer), Err(CallError::BadAnswer(_))),
                "{described}"
            );
        }
    }
}
