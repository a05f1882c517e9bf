//! A client of bulk requests, over a bare socket.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::PATIENCE;

/// For what must not happen, or must be over soon.
const SHORT: Duration = Duration::from_millis(500);

/// A bulk request over a connection of its own, and the answer to it.
pub struct Exchange {
    pub to: Body,
    pub from: Answer,
}

/// The body of a request that is being sent.
pub struct Body(pub WriteHalf<TcpStream>);

/// The answer to it.
pub struct Answer {
    reader: BufReader<ReadHalf<TcpStream>>,
    /// What is left of the last piece.
    piece: Vec<u8>,
}

/// How an answer goes on.
#[derive(Debug, PartialEq)]
pub enum Next {
    Line(Value),
    /// It has ended as it should.
    End,
    /// The connection has ended in the middle of it.
    Cut,
}

impl Exchange {
    /// Opens a connection to an address, and sends a head with further lines.
    pub async fn open(address: &str, headers: &str) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let (reader, mut writer) = tokio::io::split(socket);
        let head = format!(
            "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n\
             transfer-encoding: chunked\r\n{headers}\r\n"
        );
        writer.write_all(head.as_bytes()).await.unwrap();
        Self {
            to: Body(writer),
            from: Answer {
                reader: BufReader::new(reader),
                piece: Vec::new(),
            },
        }
    }

    pub async fn send(&mut self, part: &str) {
        self.to.send(part).await.unwrap();
    }

    pub async fn finish(&mut self) {
        self.to.finish().await;
    }

    pub async fn started(&mut self) {
        self.from.started().await;
    }

    pub async fn next(&mut self) -> Next {
        self.from.next().await
    }

    pub async fn line(&mut self) -> Value {
        self.from.line().await
    }
}

impl Body {
    /// Sends a part of the body.
    pub async fn send(&mut self, part: &str) -> std::io::Result<()> {
        let chunk = format!("{:x}\r\n{part}\r\n", part.len());
        self.0.write_all(chunk.as_bytes()).await
    }

    /// Sends the same part again and again until the server reads no more. Gives
    /// how often it was sent as a whole. No more can be sent after that.
    pub async fn fill(&mut self, part: &str) -> usize {
        let mut sent = 0;
        while let Ok(sending) = timeout(SHORT * 2, self.send(part)).await {
            sending.unwrap();
            sent += 1;
            assert!(sent * part.len() < 64 << 20, "it reads without end");
        }
        sent
    }

    /// Says that the body is complete.
    pub async fn finish(&mut self) {
        self.0.write_all(b"0\r\n\r\n").await.unwrap();
    }
}

impl Answer {
    /// The status of the answer, and its head in lower case.
    pub async fn head(&mut self) -> (u16, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = timeout(PATIENCE, self.reader.read_line(&mut head)).await;
            assert!(read.unwrap().unwrap() > 0, "no answer: {head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase())
    }

    pub async fn started(&mut self) {
        let (status, head) = self.head().await;
        assert_eq!(status, 200, "{head}");
        assert!(head.contains("content-type: application/x-ndjson\r\n"));
        assert!(head.contains("transfer-encoding: chunked\r\n"));
    }

    pub async fn next(&mut self) -> Next {
        timeout(PATIENCE, self.read()).await.expect("no line came")
    }

    pub async fn read(&mut self) -> Next {
        loop {
            if let Some(at) = self.piece.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.piece.drain(..=at).collect();
                return Next::Line(serde_json::from_slice(&line).unwrap());
            }
            let mut size = String::new();
            if self.reader.read_line(&mut size).await.unwrap_or(0) == 0 {
                return Next::Cut;
            }
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            if self.reader.read_exact(&mut chunk).await.is_err() {
                return Next::Cut;
            }
            chunk.truncate(size);
            self.piece.extend(chunk);
            if size == 0 {
                assert_eq!(self.piece, b"", "it ends in the middle of a line");
                return Next::End;
            }
        }
    }

    /// The next line, which must be there.
    pub async fn line(&mut self) -> Value {
        match self.next().await {
            Next::Line(line) => line,
            other => panic!("{other:?}"),
        }
    }

    /// The document of a refusal.
    pub async fn refused(&mut self, expected: u16) -> (String, Value) {
        let (status, head) = self.head().await;
        assert_eq!(status, expected, "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        self.reader.read_exact(&mut body).await.unwrap();
        (head, serde_json::from_slice(&body).unwrap())
    }
}
