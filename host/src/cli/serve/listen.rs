//! The listeners of a server: for `serve` and `check`, which bind them, and for `health`, which
//! connects to them.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::Context;
use clap::Args;
use connection::{Listener, SocketFile, Tls};
use listeners::{Listener as Open, Process, Protocol, SocketState};
use listenfd::ListenFd;

use crate::cli::endpoint::{Endpoint, OptionalEndpoint, endpoint, optional_endpoint};
use crate::cli::exit::UsageError;

/// The permissions of the main listener's socket: as with a port, every user of this machine can
/// connect to it, unless its directory keeps them out.
const MAIN_MODE: u32 = 0o666;

/// Those of the admin listener's: whoever can connect to it can change versions.
const ADMIN_MODE: u32 = 0o600;

/// The addresses of a server's listeners.
#[derive(Args)]
#[command(next_help_heading = "Listeners")]
pub(in crate::cli) struct ListenOptions {
    /// Address of the main listener, for clients; or `unix:` and the path of a socket
    ///
    /// 0.0.0.0 and [::] mean all addresses of this machine. Port 0 picks a free port. A socket
    /// that systemd passes comes before this.
    #[arg(
        long,
        env = "FASTSENTIMENT_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8000",
        value_parser = endpoint
    )]
    pub(in crate::cli) listen: Endpoint,

    /// Address of the admin listener; empty to disable it
    ///
    /// It serves metrics, health and the management of versions. It is for operators, not
    /// for clients. A Unix socket (`unix:` and its path) is for the server's user only. The
    /// second socket that systemd passes comes before this.
    #[arg(
        long,
        env = "FASTSENTIMENT_ADMIN_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8001",
        value_parser = optional_endpoint
    )]
    pub(in crate::cli) admin_listen: OptionalEndpoint,
}

impl ListenOptions {
    /// The endpoint of each listener, with the option that sets it.
    pub(in crate::cli) fn each(&self) -> Vec<(&'static str, &Endpoint)> {
        let admin = self.admin_listen.0.as_ref();
        let admin = admin.map(|admin| ("--admin-listen", admin));
        [("--listen", &self.listen)]
            .into_iter()
            .chain(admin)
            .collect()
    }

    /// The endpoints that are bound, since no socket was passed for them.
    fn bound(&self, passed: &Passed) -> impl Iterator<Item = (&'static str, &Endpoint)> {
        self.each().into_iter().skip(passed.count())
    }

    /// Checks that the addresses are free. A process that is confined cannot see who uses
    /// them.
    pub(in crate::cli) fn check_free(&self, passed: &Passed) -> anyhow::Result<()> {
        for (option, endpoint) in self.bound(passed) {
            match endpoint {
                Endpoint::Tcp(address) => {
                    let listener = TcpListener::bind(address);
                    listener.with_context(|| cannot_listen(*address, option))?;
                }
                Endpoint::Unix(path) => {
                    let checked = SocketFile::check(path);
                    checked.with_context(|| cannot_listen_at(path, option))?;
                }
            }
        }
        Ok(())
    }

    /// The directories in which the files of Unix sockets are made and removed.
    pub(in crate::cli) fn socket_dirs(&self, passed: &Passed) -> Vec<&Path> {
        let dirs = self
            .bound(passed)
            .filter_map(|(_, endpoint)| match endpoint {
                Endpoint::Tcp(_) => None,
                Endpoint::Unix(path) => path.parent(),
            });
        dirs.collect()
    }

    /// An error if both listeners are to have the same address.
    pub(in crate::cli) fn conflict(&self) -> Option<String> {
        let is_shared = match &self.listen {
            Endpoint::Tcp(address) => address.port() != 0,
            Endpoint::Unix(_) => true,
        };
        let same = is_shared && self.admin_listen.0.as_ref() == Some(&self.listen);
        same.then(|| {
            format!(
                "--listen and --admin-listen are both {}: each listener needs its own address",
                self.listen
            )
        })
    }
}

/// The sockets that systemd, or another program that starts this one, has opened for it
/// (`LISTEN_FDS`): that of the main listener, and that of the admin listener.
#[derive(Default)]
pub(in crate::cli) struct Passed {
    main: Option<Socket>,
    admin: Option<Socket>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Passed {
    /// Takes the sockets, and the variables that name them out of the environment. The process
    /// must have one thread.
    pub(in crate::cli) fn take() -> anyhow::Result<Self> {
        let mut sockets = ListenFd::from_env();
        anyhow::ensure!(
            sockets.len() <= 2,
            UsageError(format!(
                "{} sockets are passed (LISTEN_FDS); there can be two: one for the main listener \
                 and one for the admin listener",
                sockets.len()
            ))
        );
        Ok(Self {
            main: Socket::take(&mut sockets, 0)?,
            admin: Socket::take(&mut sockets, 1)?,
        })
    }

    fn count(&self) -> usize {
        usize::from(self.main.is_some()) + usize::from(self.admin.is_some())
    }

    /// Whether the admin listener has a port.
    pub(in crate::cli) fn has_admin_port(&self, options: &ListenOptions) -> bool {
        match &self.admin {
            Some(socket) => matches!(socket, Socket::Tcp(_)),
            None => matches!(options.admin_listen.0, Some(Endpoint::Tcp(_))),
        }
    }

    /// The main listener: the socket that was passed, or else the one of the options.
    pub(in crate::cli) async fn main(
        &mut self,
        options: &ListenOptions,
        tls: Option<Tls>,
    ) -> anyhow::Result<Bound> {
        match self.main.take() {
            Some(socket) => socket.listen(tls),
            None => bind(&options.listen, "--listen", MAIN_MODE, tls).await,
        }
    }

    /// The admin listener, if there is one.
    pub(in crate::cli) async fn admin(
        &mut self,
        options: &ListenOptions,
        tls: Option<Tls>,
    ) -> anyhow::Result<Option<Bound>> {
        match (self.admin.take(), &options.admin_listen.0) {
            (Some(socket), _) => socket.listen(tls).map(Some),
            (None, Some(at)) => bind(at, "--admin-listen", ADMIN_MODE, tls).await.map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl Socket {
    fn take(sockets: &mut ListenFd, index: usize) -> anyhow::Result<Option<Self>> {
        if let Ok(socket) = sockets.take_tcp_listener(index) {
            return Ok(socket.map(Self::Tcp));
        }
        let socket = sockets.take_unix_listener(index);
        let socket = socket.context(
            "a socket that was passed (LISTEN_FDS) is neither a TCP nor a Unix stream socket",
        )?;
        Ok(socket.map(Self::Unix))
    }

    fn listen(self, tls: Option<Tls>) -> anyhow::Result<Bound> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                of_tcp(tokio::net::TcpListener::from_std(socket)?, tls)
            }
            Self::Unix(socket) => {
                refuse_tls(tls.as_ref())?;
                let address = socket.local_addr()?;
                let path = address.as_pathname().unwrap_or(Path::new("")).to_owned();
                socket.set_nonblocking(true)?;
                Ok(Bound {
                    listener: tokio::net::UnixListener::from_std(socket)?.into(),
                    place: Place::without_tls(Endpoint::Unix(path)),
                })
            }
        }
    }
}

/// A listener, and where it is.
pub(in crate::cli) struct Bound {
    pub(in crate::cli) listener: Listener,
    pub(in crate::cli) place: Place,
}

/// Where a listener is.
pub(in crate::cli) struct Place {
    pub(in crate::cli) at: Endpoint,
    pub(in crate::cli) is_tls: bool,
}

impl Place {
    fn without_tls(at: Endpoint) -> Self {
        let is_tls = false;
        Self { at, is_tls }
    }
}

/// Listens; `option` is the option that sets where.
async fn bind(at: &Endpoint, option: &str, mode: u32, tls: Option<Tls>) -> anyhow::Result<Bound> {
    match at {
        Endpoint::Tcp(address) => {
            let socket = tokio::net::TcpListener::bind(address).await;
            of_tcp(
                socket.with_context(|| cannot_listen(*address, option))?,
                tls,
            )
        }
        Endpoint::Unix(path) => {
            refuse_tls(tls.as_ref())?;
            let listening = SocketFile::listen(path, mode);
            let (socket, file) = listening.with_context(|| cannot_listen_at(path, option))?;
            Ok(Bound {
                listener: Listener::unix(socket, file),
                place: Place::without_tls(at.clone()),
            })
        }
    }
}

fn of_tcp(socket: tokio::net::TcpListener, tls: Option<Tls>) -> anyhow::Result<Bound> {
    let at = Endpoint::Tcp(socket.local_addr()?);
    let place = Place {
        at,
        is_tls: tls.is_some(),
    };
    let listener = match tls {
        Some(tls) => Listener::tls(socket, tls),
        None => socket.into(),
    };
    Ok(Bound { listener, place })
}

fn refuse_tls(tls: Option<&Tls>) -> Result<(), UsageError> {
    match tls {
        Some(_) => Err(UsageError("there is no TLS on Unix sockets".to_owned())),
        None => Ok(()),
    }
}

/// The permissions of a socket's file, if they let others connect than this user.
pub(in crate::cli) fn permissions_for_others(path: &Path) -> io::Result<Option<u32>> {
    let mode = std::fs::metadata(path)?.mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

fn cannot_listen(address: SocketAddr, option: &str) -> String {
    let user = user_of(address)
        .map(|user| format!(", which {user} uses"))
        .unwrap_or_default();
    format!("cannot listen on {address}{user}; set another address with {option}")
}

fn cannot_listen_at(path: &Path, option: &str) -> String {
    format!(
        "cannot listen on unix:{}; set another address with {option}",
        path.display()
    )
}

/// The process that listens on an address, for a person, if it can be known: processes of
/// other users cannot be looked into.
pub(in crate::cli) fn user_of(address: SocketAddr) -> Option<String> {
    let is_same =
        |ip: IpAddr| ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
    let listener = listeners::get_all().ok()?.into_iter().find(|listener| {
        let Open {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_on_one_address_are_rejected() {
        let options = |listen: &str, admin| ListenOptions {
            listen: endpoint(listen).expect("an endpoint"),
            admin_listen: optional_endpoint(admin).expect("an endpoint"),
        };
        for same in ["127.0.0.1:80", "unix:/run/socket"] {
            let error = options(same, same).conflict().expect("an error");
            assert!(error.contains(same), "{error}");
            assert_eq!(options(same, "").conflict(), None);
        }
        assert_eq!(options("127.0.0.1:0", "127.0.0.1:0").conflict(), None);
    }
}
