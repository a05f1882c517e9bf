//! `fastsentiment health`: asks a running server whether it is ready, for
//! container engines whose image holds no other HTTP client.
//!
//! This module must not know a runtime or an HTTP library: a probe is run every
//! few seconds and reads one line.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;

/// The path that says whether the server takes requests.
const READY: &str = "/health/ready";

/// The most of an answer that is read; a health document is far shorter.
const MAX_ANSWER: u64 = 16 * 1024;

/// Asks a running server whether it is ready. Exits with 0 if it is, and with 1
/// if it is not, or if nobody answers.
#[derive(Args)]
pub(super) struct HealthCommand {
    /// What to ask, such as `http://127.0.0.1:8001/health/live` [default:
    /// /health/ready where `serve` listens with the same environment, on the
    /// admin listener if there is one]
    #[arg(long, env = "FASTSENTIMENT_HEALTH_URL", value_name = "URL")]
    url: Option<String>,

    /// The longest that the answer may take, in milliseconds
    #[arg(
        long,
        env = "FASTSENTIMENT_HEALTH_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 2000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    timeout_ms: u64,

    /// As in `serve`
    #[arg(
        long,
        env = "FASTSENTIMENT_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8000"
    )]
    listen: SocketAddr,

    /// As in `serve`
    #[arg(
        long,
        env = "FASTSENTIMENT_ADMIN_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8001"
    )]
    admin_listen: super::serve::OptionalAddress,
}

impl HealthCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let target = match self.url.filter(|url| !url.is_empty()) {
            Some(url) => Target::parse(&url)?,
            None => Target::of(self.admin_listen.0.unwrap_or(self.listen)),
        };
        let answer = target.ask(Duration::from_millis(self.timeout_ms))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = status(head).with_context(|| {
            format!(
                "http://{}{} does not speak HTTP/1",
                target.host, target.path
            )
        })?;
        ensure!(status == 200, "status {status}: {}", body.trim());
        writeln!(std::io::stdout(), "{}", body.trim())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whom to ask for what.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// The host, with a port.
    host: String,
    path: String,
}

impl Target {
    /// The readiness of a server by the address that it listens on.
    fn of(listens: SocketAddr) -> Self {
        // An address that stands for all of them is none to connect to.
        let ip = match listens.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self {
            host: SocketAddr::new(ip, listens.port()).to_string(),
            path: READY.to_owned(),
        }
    }

    fn parse(url: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").with_context(|| {
            format!("--url {url:?} is not an http:// address; the server speaks no TLS")
        })?;
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, READY),
        };
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        ensure!(
            !host.is_empty() && plain(rest) && !host.contains('@'),
            "--url {url:?} is not of the form http://HOST[:PORT][/PATH]"
        );
        let name_ends = host.rfind(']').map_or(0, |at| at + 1);
        let port = if host[name_ends..].contains(':') {
            ""
        } else {
            ":80"
        };
        Ok(Self {
            host: format!("{host}{port}"),
            path: path.to_owned(),
        })
    }

    /// The whole answer, as text, within a time.
    fn ask(&self, patience: Duration) -> anyhow::Result<String> {
        let end = Instant::now() + patience;
        let failed = || format!("http://{}{} does not answer", self.host, self.path);
        let mut stream = self.connect(end).with_context(failed)?;
        stream
            .set_write_timeout(Some(left(end)))
            .with_context(failed)?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.path, self.host
        );
        stream.write_all(request.as_bytes()).with_context(failed)?;
        let mut answer = Vec::new();
        let mut piece = [0; 1024];
        while (answer.len() as u64) < MAX_ANSWER {
            // A server that sends a byte now and then must not hold the probe.
            stream
                .set_read_timeout(Some(left(end)))
                .with_context(failed)?;
            match stream.read(&mut piece).with_context(failed)? {
                0 => break,
                length => answer.extend_from_slice(&piece[..length]),
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// A connection to the first address of the host that takes one.
    fn connect(&self, end: Instant) -> std::io::Result<TcpStream> {
        let mut error = std::io::Error::other("the host has no address");
        for address in self.host.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(end)) {
                Ok(stream) => return Ok(stream),
                Err(reason) => error = reason,
            }
        }
        Err(error)
    }
}

/// The time until `end`; never none, which would mean to wait for ever.
fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

/// The status code in the head of an answer.
fn status(head: &str) -> Option<u16> {
    let rest = head.strip_prefix("HTTP/1.")?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, path: &str) -> Target {
        Target {
            host: host.to_owned(),
            path: path.to_owned(),
        }
    }

    #[test]
    fn a_server_is_asked_where_it_listens() {
        for (listens, host) in [
            ("127.0.0.1:8001", "127.0.0.1:8001"),
            ("0.0.0.0:8001", "127.0.0.1:8001"),
            ("[::]:8001", "[::1]:8001"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            let listens = listens.parse().expect("an address");
            assert_eq!(Target::of(listens), target(host, READY));
        }
    }

    #[test]
    fn a_url_is_taken_apart() {
        for (url, host, path) in [
            ("http://a:1", "a:1", READY),
            ("http://a", "a:80", READY),
            ("http://a:1/health/live", "a:1", "/health/live"),
            ("http://[::1]/", "[::1]:80", "/"),
            ("http://[::1]:5/x?y", "[::1]:5", "/x?y"),
        ] {
            assert_eq!(Target::parse(url).expect(url), target(host, path));
        }
        for url in [
            "",
            "a:1",
            "https://a:1",
            "http://",
            "http:///health",
            "http://a:1/\r\nHost: b",
            "http://user@a:1",
        ] {
            let error = Target::parse(url).expect_err(url).to_string();
            assert!(error.contains("--url"), "{error}");
        }
    }

    #[test]
    fn the_status_is_read_from_the_first_line() {
        assert_eq!(status("HTTP/1.1 200 OK\r\nA: b"), Some(200));
        assert_eq!(status("HTTP/1.0 503 Service Unavailable"), Some(503));
        assert_eq!(status("HTTP/1.1 "), None);
        assert_eq!(status("SSH-2.0-OpenSSH"), None);
        assert_eq!(status(""), None);
    }
}
