//! A client that sends bytes.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{PATIENCE, SHORT};

/// A client that sends what it likes.
pub(super) struct Raw(pub(super) TcpStream);

/// What came back: the status, the head in lower case, and the body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Raw {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends `POST /predict` with further header lines and a body.
    pub(super) async fn post(&mut self, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let length = body.len();
        self.send(format!(
            "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{headers}\r\n"
        ))
        .await;
        self.send(body).await;
    }

    /// The head of an answer, in lower case.
    pub(super) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(PATIENCE, self.0.read_u8()).await.unwrap();
            head.push(byte.expect("the connection ended before the answer"));
        }
        String::from_utf8(head).unwrap().to_lowercase()
    }

    pub(super) async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        let read = timeout(PATIENCE, self.0.read_exact(&mut body)).await;
        read.unwrap().unwrap();
        let body = String::from_utf8(body).unwrap();
        Answer { status, head, body }
    }

    /// The next byte that comes.
    pub(super) async fn byte(&mut self) -> u8 {
        timeout(PATIENCE, self.0.read_u8()).await.unwrap().unwrap()
    }

    /// Waits until the server has closed the connection, whatever it still
    /// sends before it does.
    pub(super) async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest))
            .await
            .expect("the connection was not closed");
    }

    /// Repeats a byte until the server has closed the connection.
    pub(super) async fn drip(&mut self, byte: &[u8]) {
        let dripping = async {
            let mut rest = [0; 1024];
            loop {
                tokio::select! {
                    read = self.0.read(&mut rest) => match read {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    },
                    () = tokio::time::sleep(SHORT / 10) => {}
                }
                if self.0.write_all(byte).await.is_err() {
                    return;
                }
            }
        };
        let closed = timeout(PATIENCE, dripping).await;
        closed.expect("the connection was not closed");
    }
}
