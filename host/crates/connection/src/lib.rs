//! Accepts HTTP/1.1 and HTTP/2 connections over TCP, TLS and Unix sockets, serves a
//! [`tower_service::Service`] on them, and limits what clients may take: connections, time, and
//! memory for bodies.
//!
//! This crate must not know routes, JSON or statuses.
//!
//! # Time
//!
//! A connection without a request is closed after `header_timeout`, and after
//! `idle_timeout` between requests. A client that reads a large answer slowly but steadily
//! is not idle; one that stops reading for `body_timeout` is cut off, and so is the slowest
//! where unread answers take too much memory. A request whose client has closed its side of
//! the connection goes on for `half_close` and is cancelled after that.
//!
//! A TLS handshake is a part of the time before the first request, and its connection counts as
//! any other.
//!
//! # Bodies
//!
//! A handler reads a [`RequestBody`] through [`decompress::Decompressed`], within limits on
//! size, time and [`Memory`]. Limits apply to decompressed bytes. Where memory is short, the
//! body that arrives most slowly gives way. The rest of a body that a handler does not read is
//! read and discarded, for a limited time, so that the client sees the answer and an HTTP/1
//! connection can go on.
//!
//! # Overload
//!
//! A handler that refuses a request for want of capacity says so. The next requests of a
//! client that goes on to ask are read up to 50 ms later.
//!
//! # Stopping
//!
//! At shutdown, answers over HTTP/1 say `Connection: close` from then on. After
//! `drain_delay` the listener closes, HTTP/2 clients get GOAWAY, HTTP/1 connections are
//! closed once they have been idle for `close_grace`, and requests in flight have `drain` to
//! end. Connections that the kernel has accepted already are served first.

mod activity;
mod answer;
pub mod body;
mod connection;
pub mod decompress;
mod listener;
mod memory;
mod request_body;
mod server;
mod socket;
mod socket_file;
mod stream;
mod tls;

pub use connection::{Phase, Session};
pub use listener::Listener;
pub use memory::{Memory, NoRoom, OVERHEAD, Reservation, Waiting};
pub use request_body::RequestBody;
pub use server::serve;
pub use socket_file::{SocketFile, SocketFileError};
pub use tls::{HandshakeFailure, Tls};

use std::time::Duration;

/// What clients may hold of the server, and how it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a new connection may take to send the head of its first request.
    pub header_timeout: Duration,
    /// How long the rest of a request body is read that its handler does not need, and how
    /// long a client may leave an answer without reading more of it.
    pub body_timeout: Duration,
    /// How long a connection that has had a request may go without one, or without
    /// reading its answer.
    pub idle_timeout: Duration,
    /// How long requests in flight go on after their client has closed its side of the
    /// connection: it may still wait for the answer, or be gone.
    pub half_close: Duration,
    /// How long connections are still accepted after shutdown was requested.
    pub drain_delay: Duration,
    /// How long requests in flight may go on after that.
    pub drain: Duration,
    /// How long an HTTP/1 connection may be idle after that before it is closed. Its
    /// client may just be sending a request.
    pub close_grace: Duration,
    /// The most connections served at a time, at least 1. More wait unaccepted in the
    /// kernel's queue.
    pub max_connections: usize,
}

impl Default for Config {
    /// The idle timeout is longer than the 60 seconds for which common load balancers
    /// keep a connection, so that they close it first. A server that closes first races
    /// with their next request.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            half_close: Duration::from_secs(1),
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(25),
            close_grace: Duration::from_secs(1),
            max_connections: 4096,
        }
    }
}
