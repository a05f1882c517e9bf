//! Where a server listens: for `serve` and `check`, and for `health`, which asks
//! there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;

use super::values::{OptionalAddress, address, optional_address};

/// Where to listen.
#[derive(Args)]
#[command(next_help_heading = "Listeners")]
pub(super) struct ListenOptions {
    /// The address for clients
    ///
    /// 0.0.0.0 and [::] stand for all addresses of this machine; with the port 0, a
    /// free one is taken.
    #[arg(
        long,
        env = "FASTSENTIMENT_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8000",
        value_parser = address
    )]
    pub(super) listen: SocketAddr,

    /// The address for metrics, health and versions; empty for none
    ///
    /// It is for the operator and not for clients. An empty value switches it off.
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
    /// Both listeners, each with the option that names it.
    pub(super) fn each(&self) -> Vec<(&'static str, SocketAddr)> {
        let admin = self.admin_listen.0.map(|admin| ("--admin-listen", admin));
        [("--listen", self.listen)]
            .into_iter()
            .chain(admin)
            .collect()
    }

    /// What can not be listened on, since both listeners want it.
    pub(super) fn contradiction(&self) -> Option<String> {
        let same = self.admin_listen.0 == Some(self.listen) && self.listen.port() != 0;
        same.then(|| {
            format!(
                "--listen and --admin-listen are both {}: two listeners need two ports",
                self.listen
            )
        })
    }
}

/// Takes an address, which the option names.
pub(super) async fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("can not listen on {address}; {option} says where to listen, such as 127.0.0.1:0")
    })
}

/// The address by which this machine itself finds what listens on another: one that
/// stands for all of them is none to connect to.
pub(super) fn reachable(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_all_is_reached_on_this_machine() {
        for (listens, reached) in [
            ("127.0.0.1:8001", "127.0.0.1:8001"),
            ("0.0.0.0:8001", "127.0.0.1:8001"),
            ("[::]:8001", "[::1]:8001"),
            ("10.1.2.3:8080", "10.1.2.3:8080"),
        ] {
            let listens = listens.parse().expect("an address");
            assert_eq!(reachable(listens).to_string(), reached);
        }
    }

    #[test]
    fn two_listeners_need_two_ports() {
        let options = |listen: &str, admin| ListenOptions {
            listen: listen.parse().expect("an address"),
            admin_listen: optional_address(admin).expect("an address"),
        };
        let same = "127.0.0.1:80";
        let told = options(same, same).contradiction().expect("a fault");
        assert!(told.contains(same), "{told}");
        for (listen, admin) in [("127.0.0.1:0", "127.0.0.1:0"), (same, "")] {
            assert_eq!(options(listen, admin).contradiction(), None);
        }
    }
}
