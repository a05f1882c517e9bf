//! What can go wrong with a guest, while it is loaded and while it is called.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;
use wasmtime::PoolConcurrencyLimitError;

use super::output::fit;
use predictor::{ErrorKind, PredictError};

/// Why a component can not be served. Each case is a step of the pipeline.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The component is larger than a guest may be, or declares more.
    #[error("the guest is too large: {0}")]
    Size(String),
    /// The bytes are not a component that compiles.
    #[error("the guest is not a valid WebAssembly component: {0}")]
    Compile(String),
    /// The compiler crashed, or would need more time, memory or code than it may.
    #[error("the guest could not be compiled: {0}")]
    Compiler(String),
    /// The component does not fit the contract.
    #[error("the guest does not fit the contract `fastsentiment:predict@0.1.0`: {0}")]
    Contract(String),
    /// `prepare` trapped, ran too long or took too much memory.
    #[error("the guest could not be prepared: {0}")]
    Prepare(String),
    /// The component asks for what the host does not give.
    #[error("the guest can not be linked: {0}")]
    Link(String),
    /// The guest does not predict.
    #[error("the guest failed its self-test: {0}")]
    SelfTest(CallError),
    /// The guest answers otherwise than the model's golden answers say.
    #[error("the guest failed its self-test: {0}")]
    WrongAnswers(String),
    /// The model's golden answers can not be read.
    #[error("the guest can not be tested: {path} can not be used: {reason}")]
    Golden {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The host is to blame, and not the guest: for want of threads or memory, say, it
    /// could not try it. The same guest may load later.
    #[error("the guest could not be loaded: {0}")]
    Host(String),
}

/// A step of loading a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Looking at how large the component is, and what it declares.
    Size,
    /// Holding the component to the contract.
    Contract,
    /// Compiling it.
    Compile,
    /// Running `prepare`, and taking the snapshot.
    Prepare,
    /// Giving it its imports.
    Link,
    /// Trying it.
    SelfTest,
    /// What the host does around all of them.
    Host,
}

impl Step {
    /// Its name, in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Contract => "contract",
            Self::Compile => "compile",
            Self::Prepare => "prepare",
            Self::Link => "link",
            Self::SelfTest => "self_test",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much is told of what is wrong with a guest, in bytes.
const MAX_TOLD: usize = 4096;

impl LoadError {
    /// What is wrong, in one line that is fit to be shown: parts of it may be of
    /// the guest's choosing.
    pub fn in_a_line(&self) -> String {
        fit(self.to_string(), MAX_TOLD)
    }

    /// The step that failed.
    pub fn step(&self) -> Step {
        match self {
            Self::Size(_) => Step::Size,
            Self::Contract(_) => Step::Contract,
            Self::Compile(_) | Self::Compiler(_) => Step::Compile,
            Self::Prepare(_) => Step::Prepare,
            Self::Link(_) => Step::Link,
            Self::SelfTest(_) | Self::WrongAnswers(_) | Self::Golden { .. } => Step::SelfTest,
            Self::Host(_) => Step::Host,
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No instance could be made.
    #[error("the guest could not be instantiated: {0}")]
    Instantiate(String),
    /// The host has no room for an instance, or for its memory to grow. The guest is not
    /// to blame.
    #[error("the host had no room for the guest: {0}")]
    NoRoom(String),
    /// The guest trapped: it panicked, ran out of stack or broke a rule.
    #[error("the guest trapped: {}", in_its_words(why, said))]
    Trapped {
        /// What WebAssembly says of it.
        why: String,
        /// The last that the guest has printed to standard error; empty if that
        /// is nothing.
        said: String,
    },
    /// The guest ended itself, as if it were a program.
    #[error("the guest ended itself (exit {0})")]
    Exited(i32),
    /// The guest asked for more memory than it may have, and then trapped.
    #[error("the guest ran out of memory: it may have {limit} bytes")]
    OutOfMemory {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The guest did not answer in time.
    #[error("the guest did not answer within {0:?}")]
    TimedOut(Duration),
    /// Nobody wanted the answer any more, so the call was ended.
    #[error("the call was ended because nobody waited for it")]
    Abandoned,
    /// The answer breaks the contract.
    #[error("the guest gave an answer that breaks the contract: {0}")]
    BadAnswer(String),
    /// The guest refuses a text.
    #[error("text {index} can not be scored: {reason}")]
    InvalidText {
        /// The text's position in the call, from 0.
        index: usize,
        /// The guest's words, for the client.
        reason: String,
    },
    /// The guest reports that the model is missing or does not suit it.
    #[error("the guest can not use the model: {0}")]
    Model(String),
    /// The guest reports that the inference failed.
    #[error("the inference failed: {0}")]
    Inference(String),
    /// The guest reports a failure of its own.
    #[error("the guest failed: {0}")]
    Internal(String),
}

/// What stands for a guest's own words where they must not be.
const UNSAID: &str = "in words of its own, which may hold a text and so are logged at the level \
     `fastsentiment::guest::output=trace` alone";

impl CallError {
    /// What has happened, but for the guest's own words: those may hold a text that
    /// it was given.
    fn without_words(&self) -> String {
        match self {
            Self::Trapped { why, said } if said.is_empty() => format!("the guest trapped: {why}"),
            Self::Trapped { why, .. } => format!("the guest trapped: {why}; it said why {UNSAID}"),
            Self::InvalidText { index, .. } => format!("text {index} can not be scored"),
            Self::Model(_) => format!("the guest can not use the model; it said why {UNSAID}"),
            Self::Inference(_) => format!("the inference failed; the guest said why {UNSAID}"),
            Self::Internal(_) => format!("the guest failed; it said why {UNSAID}"),
            // Before an instance is there, it has been given nothing.
            Self::Instantiate(_)
            | Self::NoRoom(_)
            | Self::Exited(_)
            | Self::OutOfMemory { .. }
            | Self::TimedOut(_)
            | Self::Abandoned
            | Self::BadAnswer(_) => self.to_string(),
        }
    }

    /// What the guest has to say about it.
    pub(super) fn words(&self) -> Option<&str> {
        match self {
            Self::Trapped { said, .. } => Some(said).filter(|said| !said.is_empty()),
            Self::InvalidText { reason, .. } => Some(reason),
            Self::Model(why) | Self::Inference(why) | Self::Internal(why) => Some(why),
            Self::Instantiate(_)
            | Self::NoRoom(_)
            | Self::Exited(_)
            | Self::OutOfMemory { .. }
            | Self::TimedOut(_)
            | Self::Abandoned
            | Self::BadAnswer(_) => None,
        }
        .map(String::as_str)
    }
}

/// A call in the self-test of a guest.
impl From<CallError> for LoadError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NoRoom(_) => Self::Host(error.to_string()),
            error => Self::SelfTest(error),
        }
    }
}

/// Whether an error of wasmtime says that the system, or the pool of instances, has
/// nothing left: that passes, and no guest is to blame.
pub(super) fn is_exhausted(error: &wasmtime::Error) -> bool {
    error.is::<PoolConcurrencyLimitError>()
        || error.chain().any(|cause| {
            let of_system = cause.downcast_ref().and_then(io::Error::raw_os_error);
            let errno = cause
                .downcast_ref::<Errno>()
                .map(|errno| errno.raw_os_error());
            let passing = [Errno::NOMEM, Errno::AGAIN, Errno::MFILE, Errno::NFILE];
            let passing = passing.map(Errno::raw_os_error);
            of_system
                .or(errno)
                .is_some_and(|code| passing.contains(&code))
        })
}

fn in_its_words(why: &str, said: &str) -> String {
    if said.is_empty() {
        return why.to_owned();
    }
    format!("{why}; it said: {said}")
}

impl From<CallError> for PredictError {
    /// The detail is one for the log: it holds nothing that the guest may have made
    /// of a text.
    fn from(error: CallError) -> Self {
        let detail = error.without_words();
        match error {
            CallError::InvalidText { index, reason } => {
                Self::new(ErrorKind::InvalidText { index }, reason)
            }
            CallError::TimedOut(_) => Self::new(
                ErrorKind::TimedOut,
                "the prediction took longer than a prediction may take",
            )
            .with_detail(detail),
            CallError::NoRoom(_) => Self::new(
                ErrorKind::Unavailable,
                "the server has no room for a prediction at the moment",
            )
            .with_detail(detail),
            CallError::Abandoned
            | CallError::Instantiate(_)
            | CallError::Trapped { .. }
            | CallError::Exited(_)
            | CallError::OutOfMemory { .. }
            | CallError::BadAnswer(_)
            | CallError::Model(_)
            | CallError::Inference(_)
            | CallError::Internal(_) => {
                Self::new(ErrorKind::Failed, "the prediction failed").with_detail(detail)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_system_lacks_passes() {
        let io = |code| wasmtime::Error::from(io::Error::from_raw_os_error(code));
        for code in [Errno::NOMEM, Errno::AGAIN, Errno::MFILE] {
            assert!(is_exhausted(
                &io(code.raw_os_error()).context("mapping memory")
            ));
            assert!(is_exhausted(&wasmtime::Error::from(code)));
        }
        for error in [
            io(Errno::INVAL.raw_os_error()),
            wasmtime::Error::from(wasmtime::Trap::MemoryOutOfBounds),
            wasmtime::format_err!("Cannot allocate memory (os error 12)"),
        ] {
            assert!(!is_exhausted(&error), "{error:#}");
        }
        let of_host = LoadError::from(CallError::NoRoom("full".to_owned()));
        assert_eq!(of_host.step(), Step::Host);
        let of_guest = LoadError::from(CallError::Exited(1));
        assert_eq!(of_guest.step(), Step::SelfTest);
    }
}
