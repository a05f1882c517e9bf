//! Servers over TLS and over Unix sockets, with real clients of both.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fastsentiment_connection::{
    Config, HandshakeFailure, Listener, RequestBody, Session, SocketFile, Tls, serve,
};
use http_body_util::Full;
use hyper::{Request, Response};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use testing::{Authority, PATIENCE};
use tls::ServerFiles;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Answers with the address of the peer.
#[derive(Clone)]
struct Peer;

impl tower_service::Service<Request<RequestBody>> for Peer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let session = request.extensions().get::<Session>().unwrap();
        let peer = session.peer().to_string();
        ready(Ok(Response::new(Full::from(peer))))
    }
}

/// A running server.
struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    fn start(listener: Listener, config: Config) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, Peer, config, |_| {}, stopped));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.unwrap().unwrap();
    }
}

/// An authority.
struct Certificates(Authority<TempDir>);

impl Certificates {
    fn new() -> Self {
        Self(Authority::new(tempfile::tempdir().unwrap()))
    }

    /// Makes the certificate of a name; its file, and that of its key.
    fn sign(&self, name: &str) -> [PathBuf; 2] {
        self.0.sign(name, &[name]);
        ["crt", "key"].map(|kind| self.0.file(&format!("{name}.{kind}")))
    }

    fn settings(&self, name: &str, asks_clients: bool) -> rustls::ServerConfig {
        let [certificate, key] = self.sign(name);
        let files = ServerFiles {
            certificate,
            key,
            client_authorities: asks_clients.then(|| self.0.file("ca.pem")),
        };
        files.settings(&files.read().unwrap()).unwrap()
    }

    /// A client that trusts this authority, and shows a certificate of it if there is a `name`.
    fn client(&self, name: Option<&str>, protocols: &[&[u8]]) -> TlsConnector {
        tls::install_default();
        let roots = tls::roots(self.0.pem().as_bytes(), RootCertStore::empty()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match name.map(|name| self.sign(name)) {
            Some([certificate, key]) => {
                let chain = CertificateDer::pem_file_iter(&certificate).unwrap();
                let chain = chain.map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_file(&key).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// A server over TLS, and the handshakes that have failed.
struct OverTls {
    server: Server,
    address: SocketAddr,
    tls: Tls,
    failures: Arc<Mutex<Vec<HandshakeFailure>>>,
}

impl OverTls {
    async fn start(settings: rustls::ServerConfig, config: Config) -> Self {
        let failures = Arc::<Mutex<Vec<_>>>::default();
        let tls = Tls::new(settings, {
            let failures = Arc::clone(&failures);
            move |failure| failures.lock().unwrap().push(failure)
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::tls(listener, tls.clone());
        Self {
            server: Server::start(listener, config),
            address,
            tls,
            failures,
        }
    }

    async fn connect(
        &self,
        client: &TlsConnector,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        client.connect(name, socket).await
    }

    /// The failures, once there are so many.
    async fn failures(&self, count: usize) -> Vec<HandshakeFailure> {
        let found = async {
            loop {
                let failures = self.failures.lock().unwrap().clone();
                if failures.len() >= count {
                    return failures;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }
}

/// Sends a request over HTTP/1.1. Returns the answer, after which the connection closes.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn clients_over_tls_choose_between_http_1_and_2() {
    let authority = Certificates::new();
    let server = OverTls::start(authority.settings("a.example", false), Config::default()).await;
    for (offered, chosen) in [
        (&[&b"http/1.1"[..]][..], Some(&b"http/1.1"[..])),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[], None),
    ] {
        let client = authority.client(None, offered);
        let stream = server.connect(&client, "a.example").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
        if chosen == Some(b"h2") {
            continue;
        }
        let answer = ask(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n127.0.0.1"), "{answer}");
    }
    assert_eq!(server.failures(0).await, []);
    server.server.stop().await;
}

#[tokio::test]
async fn handshakes_that_fail_are_reported_and_cost_nobody_else() {
    let authority = Certificates::new();
    let config = Config {
        header_timeout: Duration::from_millis(100),
        ..Config::default()
    };
    let server = OverTls::start(authority.settings("a.example", false), config).await;
    // One that says nothing.
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(server.failures(1).await[0], HandshakeFailure::TimedOut);
    // One that leaves.
    drop(TcpStream::connect(server.address).await.unwrap());
    assert_eq!(server.failures(2).await[1], HandshakeFailure::Closed);
    // One that does not know of TLS.
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(server.failures(3).await[2], HandshakeFailure::Refused);
    // One that does not trust the server.
    let stranger = Certificates::new().client(None, &[]);
    server.connect(&stranger, "a.example").await.unwrap_err();
    assert_eq!(server.failures(4).await[3], HandshakeFailure::Refused);
    let client = authority.client(None, &[]);
    let answer = ask(server.connect(&client, "a.example").await.unwrap()).await;
    assert!(answer.contains(" 200 "), "{answer}");
    server.server.stop().await;
}

#[tokio::test]
async fn a_handshake_takes_a_place_and_gives_it_up_to_others() {
    let authority = Certificates::new();
    let config = Config {
        max_connections: 1,
        ..Config::default()
    };
    let server = OverTls::start(authority.settings("a.example", false), config).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let client = authority.client(None, &[]);
    let answer = ask(server.connect(&client, "a.example").await.unwrap()).await;
    assert!(answer.contains(" 200 "), "{answer}");
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    // Nor does one keep the server from stopping.
    let _silent = TcpStream::connect(server.address).await.unwrap();
    server.server.stop().await;
}

#[tokio::test]
async fn new_settings_are_for_new_connections() {
    let authority = Certificates::new();
    let server = OverTls::start(authority.settings("a.example", false), Config::default()).await;
    let client = authority.client(None, &[]);
    let before = server.connect(&client, "a.example").await.unwrap();
    server.tls.replace(authority.settings("b.example", false));
    server.connect(&client, "a.example").await.unwrap_err();
    let after = server.connect(&client, "b.example").await.unwrap();
    for stream in [before, after] {
        assert!(ask(stream).await.contains(" 200 "));
    }
    server.server.stop().await;
}

#[tokio::test]
async fn where_clients_need_a_certificate_others_are_not_served() {
    let authority = Certificates::new();
    let server = OverTls::start(authority.settings("a.example", true), Config::default()).await;
    let known = authority.client(Some("client"), &[]);
    let answer = ask(server.connect(&known, "a.example").await.unwrap()).await;
    assert!(answer.contains(" 200 "), "{answer}");
    // With TLS 1.3, a client hears of it only when it reads.
    let nobody = authority.client(None, &[]);
    let mut stream = server.connect(&nobody, "a.example").await.unwrap();
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let error = stream.read(&mut [0]).await.unwrap_err().to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
    assert_eq!(server.failures(1).await, [HandshakeFailure::Refused]);
    server.server.stop().await;
}

fn listen(path: &Path) -> Listener {
    let (socket, file) = SocketFile::listen(path, 0o600).unwrap();
    Listener::unix(socket, file)
}

#[tokio::test]
async fn clients_of_a_unix_socket_are_one_peer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let server = Server::start(listen(&path), Config::default());
    for _ in 0..2 {
        let answer = ask(UnixStream::connect(&path).await.unwrap()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST).to_string();
        assert!(answer.ends_with(&format!("\r\n\r\n{peer}")), "{answer}");
    }
    server.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_request_that_waits_at_a_unix_socket_is_answered_before_the_server_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let server = Server::start(listen(&path), Config::default());
    // The server runs on this thread, and so not before the first `await`.
    let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    client.set_nonblocking(true).unwrap();
    let client = UnixStream::from_std(client).unwrap();
    let mut asked = pin!(ask(client));
    let stopped = server.stop();
    let (answer, ()) = tokio::join!(&mut asked, stopped);
    assert!(answer.contains(" 200 "), "{answer}");
}
