//! A client that costs little: HTTP/1.1 over one blocking socket, with one
//! request in flight.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than the server's own deadline, so that its 504 is seen as such.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Servers close connections that nobody uses; ours waits longer than this.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// How texts are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// As this server has it, and the peers of the repository.
    Ours,
    /// As Text Embeddings Inference has it.
    Tei,
}

impl Api {
    /// The whole request of some texts, ready to be sent.
    pub(crate) fn request(self, texts: &[String]) -> Vec<u8> {
        let body = match self {
            Self::Ours => serde_json::json!({ "text": texts }),
            // A list of two strings would be a pair.
            Self::Tei => {
                let inputs: Vec<[&String; 1]> = texts.iter().map(|text| [text]).collect();
                serde_json::json!({ "inputs": inputs })
            }
        };
        let body = body.to_string();
        format!(
            "POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// The scores of all texts, in an answer's document.
    pub(crate) fn scores(self, document: &Value) -> &Vec<Value> {
        let scores = match self {
            Self::Ours => &document["predictions"],
            Self::Tei => document,
        };
        scores.as_array().unwrap()
    }
}

/// The request of some texts to this server.
pub(crate) fn request(texts: &[String]) -> Vec<u8> {
    Api::Ours.request(texts)
}

/// A request of the admin listener, with a component if it is not empty.
pub(crate) fn admin_request(path: &str, component: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/wasm\r\n\
         content-length: {}\r\n\r\n",
        component.len()
    );
    [head.as_bytes(), component].concat()
}

/// What answers call a guest: the first digits of its digest.
pub(crate) type GuestName = [u8; 12];

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How many texts have a prediction.
    pub(crate) predictions: usize,
    /// How many of them came from the cache, if the server says so.
    pub(crate) hits: Option<usize>,
    /// Which guest made them, if the server says so.
    pub(crate) guest: Option<GuestName>,
    /// Whether a label is `NEUTRAL`.
    pub(crate) neutral: bool,
    /// Where the body lies in the connection's buffer.
    body: Range<usize>,
}

pub(crate) struct Connection {
    address: SocketAddr,
    timeout: Duration,
    /// `None` before the first request, and after a failure.
    stream: Option<TcpStream>,
    last_used: Instant,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects with the first request, unless it is told to before.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self::patient(address, TIMEOUT)
    }

    /// The same, for what may take longer.
    pub(crate) fn patient(address: SocketAddr, timeout: Duration) -> Self {
        Self {
            address,
            timeout,
            stream: None,
            last_used: Instant::now(),
            buffer: vec![0; 16 << 10],
        }
    }

    /// Makes sure that there is a connection.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        if self.stream.is_none() || self.last_used.elapsed() > MAX_IDLE {
            self.stream = Some(connect(self.address, self.timeout)?);
            self.last_used = Instant::now();
        }
        Ok(())
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address, self.timeout)?,
        };
        stream.write_all(request)?;
        let (answer, keep) = read(&mut stream, &mut self.buffer)?;
        if keep {
            self.stream = Some(stream);
            self.last_used = Instant::now();
        }
        Ok(answer)
    }

    /// The body of the answer that was read last.
    pub(crate) fn body(&self, answer: &Answer) -> &[u8] {
        &self.buffer[answer.body.clone()]
    }
}

fn connect(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

/// Gives the answer, and whether the connection may be used again.
fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<(Answer, bool)> {
    let mut filled = 0;
    let head = loop {
        filled += more(stream, buffer, filled)?;
        if let Some(at) = find(&buffer[..filled], b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = std::str::from_utf8(&buffer[..head]).map_err(|_| nonsense())?;
    let mut lines = text.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or_else(nonsense)?;
    let (mut length, mut hits, mut guest, mut keep) = (None, None, None, true);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse::<usize>().ok(),
            "x-fastsentiment-cache-hits" => hits = value.parse().ok(),
            "x-fastsentiment-guest" => guest = value.as_bytes().try_into().ok(),
            "connection" => keep = value != "close",
            _ => {}
        }
    }
    let bytes = length.ok_or_else(nonsense)?;
    while filled < head + bytes {
        filled += more(stream, buffer, filled)?;
    }
    let body = &buffer[head..filled];
    let answer = Answer {
        status,
        predictions: predictions(body),
        hits,
        guest,
        neutral: find(body, b"NEUTRAL").is_some(),
        body: head..filled,
    };
    Ok((answer, keep))
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>, filled: usize) -> io::Result<usize> {
    if filled == buffer.len() {
        buffer.resize(buffer.len() * 2, 0);
    }
    match stream.read(&mut buffer[filled..])? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        read => Ok(read),
    }
}

/// How many texts have scores: each text's are a list of objects. Parsing the
/// JSON would cost the client more than all else; a list cannot begin otherwise,
/// and labels of the bench's models hold no brackets.
fn predictions(body: &[u8]) -> usize {
    body.windows(3).filter(|at| at == br#"[{""#).count()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|at| at == what)
}

fn nonsense() -> io::Error {
    ErrorKind::InvalidData.into()
}
