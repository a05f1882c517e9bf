//! Calls of a guest, each in a fresh instance.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::Store;
use wasmtime_wasi::I32Exit;

use super::answer::{Labels, check, failed, reported};
use super::bindings::{Describing, DescribingPre, Serving, ServingPre, descriptor};
use super::contract::{PredictWhole, WholeTexts};
use super::error::{CallError, is_exhausted, with_stderr};
use super::load::LoadedFrom;
use super::output::{Output, Printer};
use super::runtime::Runtime;
use super::state::{Configured, MAX_TABLE_ELEMENTS, Refused, State, configured, sandbox};
use super::trap;
use predictor::{CancellationToken, Description, PredictError, Revision, Scorer, Scores};

/// A guest that is ready to serve.
pub struct Guest {
    runtime: Arc<Runtime>,
    serving: ServingPre<State>,
    version: Arc<Revision>,
    configured: Configured,
    loaded_from: LoadedFrom,
    labels: Arc<Labels>,
    output: Arc<Output>,
    pub(super) description: Option<Description>,
    /// `None` if it cannot refuse texts instead of truncating them.
    pub(super) whole_texts: Option<WholeTexts>,
}

/// One instance of a guest, which exports `E`.
pub struct Instance<E = Serving> {
    runtime: Arc<Runtime>,
    store: Store<State>,
    exports: E,
    labels: Arc<Labels>,
    stdout: Printer,
    stderr: Printer,
}

/// The end of what an instance has printed, each stream in one line of at most 2 KiB, without
/// characters that cannot be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// Standard output; empty if nothing was printed.
    pub stdout: String,
    /// Standard error; empty if nothing was printed.
    pub stderr: String,
}

impl Guest {
    pub(super) fn new(
        runtime: Arc<Runtime>,
        serving: ServingPre<State>,
        version: Arc<Revision>,
        loaded_from: LoadedFrom,
    ) -> Self {
        Self {
            output: Output::new(&version.guest()),
            configured: configured(version.configuration()),
            runtime,
            serving,
            version,
            loaded_from,
            labels: Arc::default(),
            description: None,
            whole_texts: None,
        }
    }

    /// The revision of this guest's answers.
    pub fn revision(&self) -> &Arc<Revision> {
        &self.version
    }

    /// What the guest says of itself; `None` if it says nothing.
    pub fn description(&self) -> Option<&Description> {
        self.description.as_ref()
    }

    /// Whether the guest was compiled, or its code was found.
    pub fn loaded_from(&self) -> LoadedFrom {
        self.loaded_from
    }

    /// Makes an instance. It begins with the memory of the snapshot, and holds
    /// nothing of other calls.
    ///
    /// # Errors
    ///
    /// If the pool has no free instance, or if the component's start function traps.
    pub async fn instantiate(&self) -> Result<Instance, CallError> {
        self.instantiate_unless(None).await
    }

    async fn instantiate_unless(
        &self,
        abandoned: Option<CancellationToken>,
    ) -> Result<Instance, CallError> {
        let make = async |store: &mut Store<State>| self.serving.instantiate_async(store).await;
        self.instance(abandoned, make).await
    }

    async fn instance<E>(
        &self,
        abandoned: Option<CancellationToken>,
        make: impl AsyncFnOnce(&mut Store<State>) -> wasmtime::Result<E>,
    ) -> Result<Instance<E>, CallError> {
        let time = self.runtime.limits.call;
        let (stdout, stderr) = (self.output.stdout(), self.output.stderr());
        let wasi = sandbox()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .build();
        let serving = self.runtime.serving();
        let mut store = self
            .runtime
            .store(serving, wasi, &self.configured, time, abandoned);
        let run = Arc::clone(&store.data().run);
        let making = make(&mut store);
        let exports = run.limited(time, making).await?.map_err(|error| {
            if is_exhausted(&error) {
                return CallError::NoRoom(format!("{error:#}"));
            }
            exited(&error).unwrap_or_else(|| {
                let (why, stderr) = (trap::describe(&error), stderr.tail());
                CallError::Instantiate(with_stderr(&why, &stderr))
            })
        })?;
        run.pause();
        Ok(Instance {
            runtime: Arc::clone(&self.runtime),
            store,
            exports,
            labels: Arc::clone(&self.labels),
            stdout,
            stderr,
        })
    }

    /// Asks a fresh instance to describe itself.
    pub(super) async fn describe(
        &self,
        describing: &DescribingPre<State>,
    ) -> Result<descriptor::Description, CallError> {
        let make = async |store: &mut Store<State>| describing.instantiate_async(store).await;
        self.instance(None, make).await?.describe().await
    }

    /// Scores texts in a fresh instance. Must be called in a tokio runtime with a
    /// timer, on a thread that may block, since the model runs on it.
    ///
    /// # Errors
    ///
    /// If the guest fails, is stopped, or breaks the contract.
    pub async fn predict(&self, texts: &[String]) -> Result<Vec<Scores>, CallError> {
        self.instantiate().await?.predict(texts).await
    }
}

impl Instance {
    /// Scores texts. An instance must not be called again after an error.
    ///
    /// # Errors
    ///
    /// As [`Guest::predict`].
    pub async fn predict(&mut self, texts: &[String]) -> Result<Vec<Scores>, CallError> {
        let (count, labels) = (texts.len(), Arc::clone(&self.labels));
        let predict = async |exports: &Serving, store: &mut Store<State>| {
            let predictor = exports.fastsentiment_predict_predictor();
            predictor.call_predict(store, texts).await
        };
        let answer = self.call(predict, |error| reported(error, count)).await?;
        check(count, answer, &labels)
    }

    /// What it has printed so far. It may contain a client's text.
    pub fn printed(&self) -> Printed {
        Printed {
            stdout: self.stdout.tail(),
            stderr: self.stderr.tail(),
        }
    }
}

impl Instance<PredictWhole<'_>> {
    async fn predict(&mut self, texts: &[String]) -> Result<Vec<Scores>, CallError> {
        let (count, labels) = (texts.len(), Arc::clone(&self.labels));
        let predict = async |predict: &PredictWhole<'_>, store: &mut Store<State>| {
            predict
                .call_async(store, (texts,))
                .await
                .map(|(answer,)| answer)
        };
        let answer = self.call(predict, |error| reported(error, count)).await?;
        check(count, answer, &labels)
    }
}

impl Instance<Describing> {
    async fn describe(&mut self) -> Result<descriptor::Description, CallError> {
        let describe = async |exports: &Describing, store: &mut Store<State>| {
            let descriptor = exports.fastsentiment_predict_descriptor();
            descriptor.call_describe(store).await
        };
        self.call(describe, |why: String| failed(&why)).await
    }
}

impl<E> Instance<E> {
    /// Calls one of its exports; `reported` converts an error that the guest reports.
    async fn call<A, R>(
        &mut self,
        call: impl AsyncFnOnce(&E, &mut Store<State>) -> wasmtime::Result<Result<A, R>>,
        reported: impl FnOnce(R) -> CallError,
    ) -> Result<A, CallError> {
        let time = self.runtime.limits.call;
        let run = Arc::clone(&self.store.data().run);
        run.restart(time);
        let call = call(&self.exports, &mut self.store);
        let answer = run.limited(time, call).await?;
        run.pause();
        match (answer, run.stopped()) {
            (Ok(Ok(answer)), _) => Ok(answer),
            // A guest that is stopped while the model runs sees a failed inference, and
            // may report that as an error of its own.
            (Ok(Err(_)), Some(stopped)) => Err(stopped.error(time)),
            (Ok(Err(error)), None) => Err(reported(error)),
            (Err(error), _) => Err(self.trapped(&error)),
        }
    }

    /// The size of its linear memories, in bytes.
    pub fn memory(&self) -> usize {
        self.store.data().memory.used()
    }

    fn trapped(&self, error: &wasmtime::Error) -> CallError {
        if let Some(exited) = exited(error) {
            return exited;
        }
        let why = trap::describe(error);
        let why = match self.store.data().memory.refused() {
            // It goes to the log, and must not have the guest's words.
            Some(Refused::ByHost) => return CallError::NoRoom(why),
            Some(Refused::Memory) => {
                return CallError::OutOfMemory {
                    limit: self.runtime.limits.memory,
                };
            }
            Some(Refused::Table) => {
                format!("its tables may have at most {MAX_TABLE_ELEMENTS} elements; {why}")
            }
            None => why,
        };
        let stderr = self.stderr.tail();
        CallError::Trapped { why, stderr }
    }
}

/// The error of a guest that called `exit`, if it did.
fn exited(error: &wasmtime::Error) -> Option<CallError> {
    let exit = error.downcast_ref::<I32Exit>()?;
    Some(CallError::Exited(exit.0))
}

impl Scorer for Guest {
    fn revision(&self) -> &Arc<Revision> {
        &self.version
    }

    fn score(
        &self,
        texts: &[String],
        abandoned: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        self.called(async || {
            let mut instance = self.instantiate_unless(Some(abandoned.clone())).await?;
            instance.predict(texts).await
        })
    }

    fn score_whole(
        &self,
        texts: &[String],
        abandoned: &CancellationToken,
    ) -> Result<Vec<Scores>, PredictError> {
        let Some(whole_texts) = &self.whole_texts else {
            let truncates = self.description().is_none_or(|said| said.limit.is_some());
            return if truncates {
                Err(predictor::cannot_refuse())
            } else {
                self.score(texts, abandoned)
            };
        };
        self.called(async || {
            let make = async |store: &mut Store<State>| whole_texts.instantiate(store).await;
            let mut instance = self.instance(Some(abandoned.clone()), make).await?;
            instance.predict(texts).await
        })
    }
}

impl Guest {
    /// Runs a call of it on this thread, and records it.
    fn called(
        &self,
        call: impl AsyncFnOnce() -> Result<Vec<Scores>, CallError>,
    ) -> Result<Vec<Scores>, PredictError> {
        thread_local! {
            // Each thread that calls guests runs their futures itself, so no call waits
            // for a thread that serves sockets.
            static EXECUTOR: std::io::Result<Executor> = executor();
        }
        EXECUTOR.with(|executor| match executor {
            Ok(executor) => {
                let begun = Instant::now();
                let answer = executor.block_on(call());
                // Includes returning the instance to the pool.
                self.runtime.metrics.record(begun.elapsed(), &answer);
                Ok(answer.inspect_err(|error| self.output.log_error(error.guest_text()))?)
            }
            Err(error) => Err(CallError::NoRoom(error.to_string()).into()),
        })
    }
}

/// Runs the futures of one call at a time.
pub(super) type Executor = tokio::runtime::Runtime;

pub(super) fn executor() -> std::io::Result<Executor> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
}
