//! A proxy before a real Redis that does to its answers what a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answers {
    /// They pass.
    Pass,
    /// They come late.
    Late(Duration),
    /// Something else comes instead.
    Replaced(Vec<u8>),
    /// Something else comes instead, and then more and more.
    Endless(Vec<u8>),
    /// The connection is closed instead.
    Cut,
}

pub(crate) struct Proxy {
    answers: Arc<watch::Sender<Answers>>,
    connections: Arc<AtomicUsize>,
    /// How many bytes of endless answers were taken.
    taken: Arc<AtomicUsize>,
    port: u16,
}

/// The most bytes of an answer without end, for a client that takes them all.
const ENDLESS: usize = 256 << 20;

impl Proxy {
    /// A proxy before the server on a port; or before none, if every answer
    /// is replaced.
    pub(crate) async fn start(server: u16, answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = Arc::new(watch::Sender::new(answers));
        let connections = Arc::<AtomicUsize>::default();
        let (given, counted) = (Arc::clone(&answers), Arc::clone(&connections));
        let taken = Arc::<AtomicUsize>::default();
        let sent = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let answers = given.subscribe();
                tokio::spawn(pass(client, server, answers, Arc::clone(&sent)));
            }
        });
        Self {
            answers,
            connections,
            taken,
            port,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on.
    pub(crate) fn answer(&self, answers: Answers) {
        self.answers.send_replace(answers);
    }

    /// How many bytes of endless answers were taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn pass(
    client: TcpStream,
    server: u16,
    answers: watch::Receiver<Answers>,
    taken: Arc<AtomicUsize>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        // Only what replaces answers can come.
        let mut buffer = vec![0; 1 << 16];
        while from_client
            .read(&mut buffer)
            .await
            .is_ok_and(|read| read > 0)
        {
            if let Answers::Replaced(bytes) = answers.borrow().clone() {
                let _ = to_client.try_write(&bytes);
            }
        }
        return;
    };
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        let now = answers.borrow().clone();
        let written = match now {
            Answers::Pass => to_client.write_all(&buffer[..read]).await,
            Answers::Late(delay) => {
                tokio::time::sleep(delay).await;
                to_client.write_all(&buffer[..read]).await
            }
            Answers::Replaced(bytes) => to_client.write_all(&bytes).await,
            Answers::Endless(begin) => {
                let mut piece = begin;
                let mut sent = 0;
                while sent < ENDLESS && to_client.write_all(&piece).await.is_ok() {
                    sent += piece.len();
                    taken.fetch_add(piece.len(), Ordering::SeqCst);
                    piece = vec![b'x'; 1 << 16];
                }
                break;
            }
            Answers::Cut => break,
        };
        if written.is_err() {
            break;
        }
    }
    requests.abort();
}
