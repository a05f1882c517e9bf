//! Failures of Redis, in the terms on which this cache acts.
//!
//! This module must not know what was asked of Redis.

use std::fmt;
use std::time::Duration;

use redis::{ErrorKind, RedisError};

use super::stream::TOO_LONG;

/// A failure of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// For the log: one line of bounded length, without passwords.
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// No answer in time.
    TimedOut,
    /// No connection, a broken one, or certificates that are not trusted.
    Unreachable,
    /// The password is wrong, or the user may not do this.
    NotAllowed,
    /// The reply does not fit the command.
    Protocol,
    /// It is full, and evicts nothing.
    OutOfMemory,
    /// It is a replica.
    ReadOnly,
    /// Any other error reply.
    Server,
}

/// The longest reason, in bytes.
const MAX_REASON: usize = 200;

impl Fault {
    pub(super) fn timed_out(after: Duration) -> Self {
        Self {
            kind: FaultKind::TimedOut,
            reason: format!("no answer within {after:?}"),
        }
    }

    pub(super) fn protocol(reason: &str) -> Self {
        Self {
            kind: FaultKind::Protocol,
            reason: reason.to_owned(),
        }
    }

    /// Whether one such fault opens the breaker. A time-out may have its cause on this
    /// machine or in the network, and pass with it.
    pub(super) fn is_certain(&self) -> bool {
        self.kind != FaultKind::TimedOut
    }

    /// Whether this is worth a log line after the other.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let class = |kind| match kind {
            // A server that goes away is slow at first, and then gone.
            FaultKind::TimedOut => FaultKind::Unreachable,
            other => other,
        };
        class(self.kind) != class(other.kind)
    }
}

impl FaultKind {
    pub(super) const ALL: [Self; 7] = [
        Self::TimedOut,
        Self::Unreachable,
        Self::NotAllowed,
        Self::Protocol,
        Self::OutOfMemory,
        Self::ReadOnly,
        Self::Server,
    ];

    /// Its name in the metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::NotAllowed => "not_allowed",
            Self::Protocol => "protocol",
            Self::OutOfMemory => "out_of_memory",
            Self::ReadOnly => "read_only",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let text = error.to_string();
        let kind = match (error.kind(), error.code()) {
            _ if text.contains(TOO_LONG) => FaultKind::Protocol,
            (ErrorKind::Io, _) if error.is_timeout() => FaultKind::TimedOut,
            (ErrorKind::Io | ErrorKind::ClusterConnectionNotFound, _) => FaultKind::Unreachable,
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => {
                FaultKind::NotAllowed
            }
            // The reply to a long command before authentication.
            _ if text.contains("unauthenticated") => FaultKind::NotAllowed,
            (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => FaultKind::Protocol,
            (_, Some("OOM")) => FaultKind::OutOfMemory,
            (_, Some("READONLY")) => FaultKind::ReadOnly,
            _ => FaultKind::Server,
        };
        // Something else than Redis may reply anything.
        let mut reason = String::new();
        for c in text.chars() {
            if reason.len() >= MAX_REASON {
                reason.push('…');
                break;
            }
            reason.push(if c.is_control() { ' ' } else { c });
        }
        Self { kind, reason }
    }
}
