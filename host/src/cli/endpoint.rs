//! Where a server listens: an address with a port, or a Unix socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The start of a Unix socket's name.
pub(super) const UNIX: &str = "unix:";

/// An address with a port, or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// An endpoint, or `None` if the value is empty.
#[derive(Clone, Debug)]
pub(super) struct OptionalEndpoint(pub(super) Option<Endpoint>);

/// Parses an endpoint to listen on.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    if let Some(path) = socket_path(text) {
        return Ok(Endpoint::Unix(path?));
    }
    text.parse().map(Endpoint::Tcp).map_err(|_| {
        "must be an IP address and a port, such as 127.0.0.1:8000 or [::]:8000 (0.0.0.0 and [::] \
         mean all addresses), or `unix:` and the path of a socket"
            .to_owned()
    })
}

/// Parses an endpoint to listen on, or an empty value.
pub(super) fn optional_endpoint(text: &str) -> Result<OptionalEndpoint, String> {
    if text.is_empty() {
        return Ok(OptionalEndpoint(None));
    }
    let endpoint =
        endpoint(text).map_err(|wrong| format!("{wrong}, or empty to disable the listener"))?;
    Ok(OptionalEndpoint(Some(endpoint)))
}

/// The path of a Unix socket, if the text names one.
pub(super) fn socket_path(text: &str) -> Option<Result<PathBuf, String>> {
    let path = PathBuf::from(text.strip_prefix(UNIX)?);
    let is_absolute = path.is_absolute();
    Some(
        is_absolute
            .then_some(path)
            .ok_or_else(|| "the path after `unix:` must begin with a slash".to_owned()),
    )
}

impl Endpoint {
    /// The endpoint at which this machine can connect to a listener: the loopback address if it
    /// listens on all addresses.
    pub(super) fn reachable(&self) -> Self {
        let Self::Tcp(address) = self else {
            return self.clone();
        };
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self::Tcp(SocketAddr::new(ip, address.port()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_over_loopback() {
        for (listener, reached) in [
            ("127.0.0.1:8001", "127.0.0.1:8001"),
            ("0.0.0.0:8001", "127.0.0.1:8001"),
            ("[::]:8001", "[::1]:8001"),
            ("10.1.2.3:8080", "10.1.2.3:8080"),
            ("unix:/run/a b.sock", "unix:/run/a b.sock"),
        ] {
            let listener = endpoint(listener).expect("an endpoint");
            assert_eq!(listener.reachable().to_string(), reached);
        }
    }

    #[test]
    fn what_is_no_endpoint_says_what_is_allowed() {
        for wrong in [
            "localhost:80",
            "127.0.0.1",
            ":80",
            "",
            "unix",
            "/run/socket",
        ] {
            let error = endpoint(wrong).expect_err(wrong);
            assert!(
                error.contains("127.0.0.1:8000") && error.contains("`unix:`"),
                "{error}"
            );
        }
        for wrong in ["unix:", "unix:socket", "unix:./socket"] {
            assert!(endpoint(wrong).expect_err(wrong).contains("a slash"));
        }
        assert!(optional_endpoint("").expect("none").0.is_none());
        assert!(
            optional_endpoint("off")
                .expect_err("no")
                .contains("to disable")
        );
    }
}
