//! A model directory as a tar archive, made while it is sent.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// How many pieces wait to be sent.
const PIECES: usize = 16;

/// The size of a piece, in bytes.
const PIECE: usize = 64 * 1024;

/// The body of a request.
pub(super) struct Archive(mpsc::Receiver<io::Result<Bytes>>);

/// Begins to archive a directory: its files, those in its directories and those that links
/// lead to, except where names begin with a dot, since these do not belong to a model.
///
/// # Errors
///
/// If no thread can be started. If a file cannot be read, the body fails.
pub(super) fn of(dir: &Path) -> io::Result<Archive> {
    let (sender, receiver) = mpsc::channel(PIECES);
    let dir = dir.to_owned();
    std::thread::Builder::new()
        .name("archive".to_owned())
        .spawn(move || {
            let pieces = io::BufWriter::with_capacity(PIECE, Pieces(sender.clone()));
            let mut builder = tar::Builder::new(pieces);
            let archived = append(&mut builder, &dir, Path::new(""));
            let archived = archived.and_then(|()| builder.into_inner()?.flush());
            if let Err(error) = archived {
                // Fails if the request has ended already.
                let _ = sender.blocking_send(Err(error));
            }
        })?;
    Ok(Archive(receiver))
}

fn append<W: Write>(builder: &mut tar::Builder<W>, dir: &Path, within: &Path) -> io::Result<()> {
    let at = dir.join(within);
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", at.display()));
    for entry in std::fs::read_dir(&at).map_err(named)? {
        let name = entry.map_err(named)?.file_name();
        if is_hidden(&name) {
            continue;
        }
        let (path, within) = (at.join(&name), within.join(&name));
        if path.is_dir() {
            append(builder, dir, &within)?;
        } else {
            builder.append_path_with_name(&path, &within)?;
        }
    }
    Ok(())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Sends what is written.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Ok(Bytes::copy_from_slice(bytes));
        let sent = self.0.blocking_send(piece);
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Body for Archive {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
