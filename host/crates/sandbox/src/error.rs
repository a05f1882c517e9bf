//! The errors of loading and of calling a guest.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;
use wasmtime::PoolConcurrencyLimitError;

use super::output::one_line;
use predictor::{ErrorKind, PredictError};

/// Why a component could not be loaded. [`LoadError::step`] names the failed step.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The component is larger, or declares more, than a guest may.
    #[error("the guest is too large: {0}")]
    Size(String),
    /// The bytes are not a valid component.
    #[error("the guest is not a valid WebAssembly component: {0}")]
    Compile(String),
    /// The compiler crashed, or compiling exceeds a limit on time, memory or code.
    #[error("the guest could not be compiled: {0}")]
    Compiler(String),
    /// The component does not fit the contract.
    #[error("the guest does not fit the contract `fastsentiment:predict@0.1.0`: {0}")]
    Contract(String),
    /// `prepare` refused the model, trapped, or exceeded its limits on time or memory.
    #[error("the guest could not be prepared: {0}")]
    Prepare(String),
    /// The component has an import that the host does not provide.
    #[error("the guest cannot be linked: {0}")]
    Link(String),
    /// The guest failed to describe itself.
    #[error("the guest could not describe itself: {0}")]
    Describe(CallError),
    /// A call of the self-test failed.
    #[error("the guest failed its self-test: {0}")]
    SelfTest(CallError),
    /// The guest's answers differ from the model's golden answers.
    #[error("the guest failed its self-test: {0}")]
    WrongAnswers(String),
    /// The model's golden answers cannot be read.
    #[error("the guest cannot be tested: {path} cannot be read: {reason}")]
    Golden {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        reason: String,
    },
    /// The host is to blame, not the guest: for example, it is out of threads or
    /// memory. The same guest may load later.
    #[error("the guest could not be loaded: {0}")]
    Host(String),
}

/// A step of loading a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Checking the size of the component and of what it declares.
    Size,
    /// Checking the component against the contract.
    Contract,
    /// Compiling it.
    Compile,
    /// Running `prepare`, and taking the snapshot.
    Prepare,
    /// Linking its imports.
    Link,
    /// Scoring some texts.
    SelfTest,
    /// The host's own part in all of them.
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

/// The longest message of an error, in bytes.
const MAX_MESSAGE: usize = 4096;

impl LoadError {
    /// The message as one line without control characters, which a guest may have put
    /// into it.
    pub fn in_a_line(&self) -> String {
        one_line(self.to_string(), MAX_MESSAGE)
    }

    /// The step that failed.
    pub fn step(&self) -> Step {
        match self {
            Self::Size(_) => Step::Size,
            Self::Contract(_) => Step::Contract,
            Self::Compile(_) | Self::Compiler(_) => Step::Compile,
            Self::Prepare(_) => Step::Prepare,
            Self::Link(_) => Step::Link,
            Self::Describe(_) | Self::SelfTest(_) | Self::WrongAnswers(_) | Self::Golden { .. } => {
                Step::SelfTest
            }
            Self::Host(_) => Step::Host,
        }
    }
}

/// Why a call of a guest failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The component's start function trapped.
    #[error("the guest could not be instantiated: {0}")]
    Instantiate(String),
    /// The host has no memory for an instance, or for its memory to grow. The guest is
    /// not to blame.
    #[error("the host had no room for the guest: {0}")]
    NoRoom(String),
    /// The guest trapped: it panicked, ran out of stack or broke a rule.
    #[error("the guest trapped: {}", with_stderr(why, stderr))]
    Trapped {
        /// The kind of trap, and the functions that were running.
        why: String,
        /// The end of the guest's standard error; may be empty.
        stderr: String,
    },
    /// The guest called `exit`.
    #[error("the guest exited with code {0}")]
    Exited(i32),
    /// The guest trapped after it was refused memory beyond its limit.
    #[error("the guest ran out of memory: the limit is {limit} bytes")]
    OutOfMemory {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The guest did not answer in time.
    #[error("the guest did not answer within {0:?}")]
    TimedOut(Duration),
    /// Every client that waited for the answer left, so the call was cancelled.
    #[error("the call was cancelled because no client waited for it any more")]
    Abandoned,
    /// The answer breaks the contract.
    #[error("the guest's answer breaks the contract: {0}")]
    BadAnswer(String),
    /// The guest refuses a text.
    #[error("text {index} cannot be scored: {reason}")]
    InvalidText {
        /// The text's position in the call, from 0.
        index: usize,
        /// The guest's explanation, for the client.
        reason: String,
    },
    /// The guest reports that the model is missing or unsuitable.
    #[error("the guest cannot use the model: {0}")]
    Model(String),
    /// The guest reports that the inference failed.
    #[error("the inference failed: {0}")]
    Inference(String),
    /// The guest reports a failure of its own.
    #[error("the guest failed: {0}")]
    Internal(String),
}

/// Replaces the text of a guest where it must not be logged.
const WITHHELD: &str = "its message may contain a client's text, so it is logged only with \
     `fastsentiment::guest::output=trace`";

impl CallError {
    /// The message without the text of the guest, which may contain a client's text.
    fn without_guest_text(&self) -> String {
        match self {
            Self::Trapped { why, stderr } if stderr.is_empty() => {
                format!("the guest trapped: {why}")
            }
            Self::Trapped { why, .. } => format!("the guest trapped: {why}; {WITHHELD}"),
            Self::InvalidText { index, .. } => format!("text {index} cannot be scored"),
            Self::Model(_) => format!("the guest cannot use the model; {WITHHELD}"),
            Self::Inference(_) => format!("the inference failed; {WITHHELD}"),
            Self::Internal(_) => format!("the guest failed; {WITHHELD}"),
            // A start function has not been given any text yet.
            Self::Instantiate(_)
            | Self::NoRoom(_)
            | Self::Exited(_)
            | Self::OutOfMemory { .. }
            | Self::TimedOut(_)
            | Self::Abandoned
            | Self::BadAnswer(_) => self.to_string(),
        }
    }

    /// The guest's own text about the error.
    pub(super) fn guest_text(&self) -> Option<&str> {
        match self {
            Self::Trapped { stderr, .. } => Some(stderr).filter(|stderr| !stderr.is_empty()),
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

/// For a call in the self-test.
impl From<CallError> for LoadError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NoRoom(_) => Self::Host(error.to_string()),
            error => Self::SelfTest(error),
        }
    }
}

/// Whether the system, or the pool of instances, has nothing left. That is
/// transient, and no guest is to blame.
pub(super) fn is_exhausted(error: &wasmtime::Error) -> bool {
    error.is::<PoolConcurrencyLimitError>()
        || error.chain().any(|cause| {
            let system = cause.downcast_ref().and_then(io::Error::raw_os_error);
            let errno = cause
                .downcast_ref::<Errno>()
                .map(|errno| errno.raw_os_error());
            let transient = [Errno::NOMEM, Errno::AGAIN, Errno::MFILE, Errno::NFILE];
            let transient = transient.map(Errno::raw_os_error);
            system
                .or(errno)
                .is_some_and(|code| transient.contains(&code))
        })
}

/// A description of a trap, with the end of the guest's standard error if there is any.
pub(super) fn with_stderr(why: &str, stderr: &str) -> String {
    if stderr.is_empty() {
        return why.to_owned();
    }
    format!("{why}; its standard error: {stderr}")
}

impl From<CallError> for PredictError {
    /// The detail is for the log, so it holds no text of the guest.
    fn from(error: CallError) -> Self {
        let (kind, message) = match error {
            CallError::InvalidText { index, reason } => {
                return Self::new(ErrorKind::InvalidText { index }, reason);
            }
            CallError::TimedOut(_) => (
                ErrorKind::TimedOut,
                "the prediction exceeded its time limit",
            ),
            CallError::NoRoom(_) => (
                ErrorKind::Unavailable,
                "the server is out of memory for a prediction at the moment",
            ),
            CallError::Abandoned
            | CallError::Instantiate(_)
            | CallError::Trapped { .. }
            | CallError::Exited(_)
            | CallError::OutOfMemory { .. }
            | CallError::BadAnswer(_)
            | CallError::Model(_)
            | CallError::Inference(_)
            | CallError::Internal(_) => (ErrorKind::Failed, "the prediction failed"),
        };
        Self::new(kind, message)
            .with_detail(error.without_guest_text())
            .with_full_detail(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exhausted_resources_are_transient() {
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
