//! A client's socket that reports the end of what the client sends at the right time.
//!
//! A client that has sent its request may close its side of the connection and still
//! wait for the answer. TCP cannot tell it from a client that has gone. So a request
//! whose client has closed its side goes on for a while and no longer: a client that
//! waits gets its answer unless that takes long, and one that has gone costs little.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::activity::Activity;
use crate::socket::Socket;

/// A socket that withholds the end of what the client sends while a request is in
/// flight.
pub(crate) struct Stream {
    socket: Socket,
    activity: Arc<Activity>,
    /// How long requests may go on after that end.
    half_close: Duration,
    /// Set once the client has closed its side.
    ended: Option<Pin<Box<Sleep>>>,
    /// Whether the reader waits to hear of it.
    is_held_back: bool,
    /// Whether a part of an answer waits for the client to read.
    is_blocked: bool,
    /// Whether it has waited since the client was last seen to read.
    was_blocked: bool,
}

impl Stream {
    pub(crate) fn new(socket: Socket, activity: Arc<Activity>, half_close: Duration) -> Self {
        Self {
            socket,
            activity,
            half_close,
            ended: None,
            is_held_back: false,
            is_blocked: false,
            was_blocked: false,
        }
    }

    fn wrote<T>(&mut self, wrote: Poll<T>) -> Poll<T> {
        self.is_blocked = wrote.is_pending();
        // After a wait, the client has read something. Other writes belong to a request
        // that ends about now, and need no second look at the clock.
        if !self.is_blocked && std::mem::take(&mut self.was_blocked) {
            self.activity.touch();
        }
        self.was_blocked |= self.is_blocked;
        wrote
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = match &mut this.ended {
            Some(ended) => ended,
            None => {
                let before = buffer.remaining();
                ready!(Pin::new(&mut this.socket).poll_read(context, buffer))?;
                if buffer.remaining() < before || before == 0 {
                    return Poll::Ready(Ok(()));
                }
                this.ended.insert(Box::pin(sleep(this.half_close)))
            }
        };
        // An answer that is being sent is bounded as any other.
        let tell = !this.is_blocked
            && (!this.activity.is_busy() || ended.as_mut().poll(context).is_ready());
        this.is_held_back = !tell;
        if tell {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.socket).poll_write(context, bytes);
        this.wrote(wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.socket).poll_write_vectored(context, slices);
        this.wrote(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The last answer is sent: nothing else would wake the reader.
        if this.is_held_back && !this.activity.is_busy() {
            this.is_held_back = false;
            context.waker().wake_by_ref();
        }
        // TLS keeps a part of what was written until the client has read more.
        let flushed = Pin::new(&mut this.socket).poll_flush(context);
        this.wrote(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}
