//! A server that does to requests whatever a test says: it passes them on to a registry, or
//! breaks their answers in some way.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request, as far as tests look at it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path, with the query.
    pub(crate) path: String,
    /// In lower case: name, colon, space, value.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter();
        values.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    pub(crate) fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }
}

/// What becomes of a request.
pub(crate) enum Action {
    /// The registry answers it.
    Forward,
    /// The registry answers it, and the connection breaks after so many bytes of the body.
    Cut(usize),
    /// The registry answers it, and after so many bytes of the body nothing more comes.
    Stall(usize),
    /// This is the answer.
    Answer(Vec<u8>),
    /// This, and then zeros for as long as the client takes them.
    Endless(Vec<u8>),
    /// This, and then a byte again and again.
    Drip(Vec<u8>),
}

/// An answer with a status, headers and a body.
pub(crate) fn answer(status: &str, headers: &[&str], body: &[u8]) -> Action {
    let mut answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for header in headers {
        write!(answer, "{header}\r\n").unwrap();
    }
    if !headers
        .iter()
        .any(|header| header.starts_with("Content-Length"))
    {
        write!(answer, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    answer += "\r\n";
    Action::Answer([answer.as_bytes(), body].concat())
}

pub(crate) struct Faulty {
    /// Its host and port.
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Request>>>,
    sent: Arc<Mutex<u64>>,
}

impl Faulty {
    /// Starts a server. `upstream` is the address of a registry.
    pub(crate) fn start(
        upstream: &str,
        script: impl Fn(&Request) -> Action + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let faulty = Self {
            address: listener.local_addr().unwrap().to_string(),
            seen: Arc::default(),
            sent: Arc::default(),
        };
        let (seen, sent) = (Arc::clone(&faulty.seen), Arc::clone(&faulty.sent));
        let (script, upstream) = (Arc::new(script), upstream.to_owned());
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (seen, sent, script) =
                    (Arc::clone(&seen), Arc::clone(&sent), Arc::clone(&script));
                let upstream = upstream.clone();
                thread::spawn(move || {
                    let Ok(request) = read(&socket) else { return };
                    seen.lock().unwrap().push(request.clone());
                    // What the client does not take is its own affair.
                    let _ = act(script(&request), &request, &upstream, socket, &sent);
                });
            }
        });
        faulty
    }

    /// One that answers everything itself.
    pub(crate) fn alone(script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> Self {
        Self::start("", script)
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests for blobs so far.
    pub(crate) fn blobs(&self) -> Vec<Request> {
        let mut seen = self.seen();
        seen.retain(Request::is_blob);
        seen
    }

    /// How many bytes of endless answers were taken so far.
    pub(crate) fn sent(&self) -> u64 {
        *self.sent.lock().unwrap()
    }
}

/// Reads a request.
fn read(socket: &TcpStream) -> io::Result<Request> {
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let mut word = || {
        words
            .next()
            .map(str::to_owned)
            .ok_or(io::ErrorKind::InvalidData)
    };
    let (method, path) = (word()?, word()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push(format!("{}: {value}", name.to_lowercase()));
    }
    let mut request = Request {
        method,
        path,
        headers,
        body: Vec::new(),
    };
    let length = request
        .header("content-length")
        .and_then(|length| length.parse().ok());
    request.body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut request.body)?;
    Ok(request)
}

fn act(
    action: Action,
    request: &Request,
    upstream: &str,
    mut socket: TcpStream,
    sent: &Mutex<u64>,
) -> io::Result<()> {
    match action {
        Action::Forward => {
            io::copy(&mut forward(request, upstream)?, &mut socket)?;
        }
        Action::Cut(most) => {
            pass(request, upstream, &mut socket, most)?;
            socket.shutdown(Shutdown::Both)?;
        }
        Action::Stall(most) => {
            pass(request, upstream, &mut socket, most)?;
            // Until the client goes away.
            let _ = socket.read(&mut [0]);
        }
        Action::Answer(answer) => socket.write_all(&answer)?,
        Action::Endless(head) => {
            socket.write_all(&head)?;
            let zeros = vec![0; 64 << 10];
            loop {
                socket.write_all(&zeros)?;
                *sent.lock().unwrap() += zeros.len() as u64;
            }
        }
        Action::Drip(head) => {
            socket.write_all(&head)?;
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
            // Until the client goes away.
            while socket.read(&mut [0]).is_err() {
                socket.write_all(&[0])?;
            }
        }
    }
    Ok(())
}

/// Sends a request to the registry; its answer can be read.
fn forward(request: &Request, upstream: &str) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(upstream)?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for header in &request.headers {
        if !header.starts_with("connection: ") {
            write!(head, "{header}\r\n").unwrap();
        }
    }
    head += "connection: close\r\n\r\n";
    socket.write_all(head.as_bytes())?;
    socket.write_all(&request.body)?;
    Ok(socket)
}

/// Passes on the head of an answer, and the first bytes of its body.
fn pass(request: &Request, upstream: &str, socket: &mut TcpStream, most: usize) -> io::Result<()> {
    let mut answer = BufReader::new(forward(request, upstream)?);
    loop {
        let mut line = Vec::new();
        answer.read_until(b'\n', &mut line)?;
        socket.write_all(&line)?;
        if line.len() <= 2 {
            break;
        }
    }
    let mut body = vec![0; most];
    answer.read_exact(&mut body)?;
    socket.write_all(&body)
}
