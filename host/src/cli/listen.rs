//! The addresses a server listens on: for `serve` and `check`, which bind them, and for
//! `health`, which connects to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use clap::Args;
use listeners::{Listener, Process, Protocol, SocketState};
use tokio::net::TcpListener;

use super::values::{OptionalAddress, address, optional_address};

/// The addresses of a server's listeners.
#[derive(Args)]
#[command(next_help_heading = "Listeners")]
pub(super) struct ListenOptions {
    /// Address of the main listener, for clients
    ///
    /// 0.0.0.0 and [::] mean all addresses of this machine. Port 0 picks a free port.
    #[arg(
        long,
        env = "FASTSENTIMENT_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8000",
        value_parser = address
    )]
    pub(super) listen: SocketAddr,

    /// Address of the admin listener; empty to disable it
    ///
    /// It serves metrics, health and the management of versions. It is for operators, not
    /// for clients.
    #[arg(
        long,
        env = "FASTSENTIMENT_ADMIN_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8001",
        value_parser = optional_address
    )]
    pub(super) admin_listen: OptionalAddress,
}

impl ListenOptions {
    /// The address of each listener, with the option that sets it.
    pub(super) fn each(&self) -> Vec<(&'static str, SocketAddr)> {
        let admin = self.admin_listen.0.map(|admin| ("--admin-listen", admin));
        [("--listen", self.listen)]
            .into_iter()
            .chain(admin)
            .collect()
    }

    /// Checks that the addresses are free. A process that is confined cannot see who uses
    /// them.
    pub(super) fn check_free(&self) -> anyhow::Result<()> {
        for (option, address) in self.each() {
            let listener = std::net::TcpListener::bind(address);
            listener.with_context(|| cannot_listen(address, option))?;
        }
        Ok(())
    }

    /// An error if both listeners are to have the same address.
    pub(super) fn conflict(&self) -> Option<String> {
        let same = self.admin_listen.0 == Some(self.listen) && self.listen.port() != 0;
        same.then(|| {
            format!(
                "--listen and --admin-listen are both {}: each listener needs its own port",
                self.listen
            )
        })
    }
}

/// Listens on an address; `option` is the option that sets it.
pub(super) async fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| cannot_listen(address, option))
}

fn cannot_listen(address: SocketAddr, option: &str) -> String {
    let user = user_of(address)
        .map(|user| format!(", which {user} uses"))
        .unwrap_or_default();
    format!("cannot listen on {address}{user}; set another address with {option}")
}

/// The process that listens on an address, for a person, if it can be known: processes of
/// other users cannot be looked into.
pub(super) fn user_of(address: SocketAddr) -> Option<String> {
    let is_same =
        |ip: IpAddr| ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
    let listener = listeners::get_all().ok()?.into_iter().find(|listener| {
        let Listener {
            socket,
            protocol,
            state,
            ..
        } = listener;
        *protocol == Protocol::TCP
            && *state == SocketState::Listen
            && socket.port() == address.port()
            && is_same(socket.ip())
    })?;
    let Process { pid, name, .. } = listener.process;
    Some(format!("process {pid} (`{}`)", name.escape_debug()))
}

/// The address at which this machine can connect to a listener: the loopback address if it
/// listens on all addresses.
pub(super) fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
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
        ] {
            let listener = listener.parse().expect("an address");
            assert_eq!(reachable(listener).to_string(), reached);
        }
    }

    #[test]
    fn listeners_on_one_address_are_rejected() {
        let options = |listen: &str, admin| ListenOptions {
            listen: listen.parse().expect("an address"),
            admin_listen: optional_address(admin).expect("an address"),
        };
        let same = "127.0.0.1:80";
        let error = options(same, same).conflict().expect("an error");
        assert!(error.contains(same), "{error}");
        for (listen, admin) in [("127.0.0.1:0", "127.0.0.1:0"), (same, "")] {
            assert_eq!(options(listen, admin).conflict(), None);
        }
    }
}
