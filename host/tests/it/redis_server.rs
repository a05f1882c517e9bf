//! Real Redis servers, each on a port of its own, that end with their test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testing::Authority;

use crate::harness::PATIENCE;

/// A Redis server; dropped, it is killed.
pub(crate) struct RedisServer {
    child: Child,
    options: Vec<String>,
    /// What `redis-cli` needs to be let in.
    client_options: Vec<String>,
    pub(crate) port: u16,
    files: TempDir,
}

/// How it is reached.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Tcp,
    Tls,
    Socket,
}

impl RedisServer {
    /// A server that lets everybody in.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// A server with further options, such as `--maxmemory 1mb`.
    pub(crate) fn with(options: &[&str]) -> Self {
        Self::of(Way::Tcp, options, &[])
    }

    /// A server with a user and a password.
    pub(crate) fn with_user(user: &str, password: &str) -> Self {
        let password_rule = format!(">{password}");
        let rules = ["on", &password_rule, "~*", "&*", "+@all"];
        let mut options = vec!["--requirepass", "of-nobody", "--user", user];
        options.extend(rules);
        Self::of(Way::Tcp, &options, &["--user", user, "--pass", password])
    }

    /// A server with TLS; [`Self::authority`] is what it is to be trusted by.
    pub(crate) fn with_tls() -> Self {
        Self::of(Way::Tls, &[], &[])
    }

    /// A server on a socket of the file system, [`Self::socket`].
    pub(crate) fn on_socket() -> Self {
        Self::of(Way::Socket, &[], &[])
    }

    fn of(way: Way, further: &[&str], client_options: &[&str]) -> Self {
        // Another process may take the port before the server does.
        for _ in 0..10 {
            let files = tempfile::tempdir().unwrap();
            let port = free_port();
            let mut options = options(way, port, files.path());
            options.extend(further.iter().map(ToString::to_string));
            let mut client_options: Vec<String> =
                client_options.iter().map(ToString::to_string).collect();
            client_options.extend(reaching(way, port, files.path()));
            let mut server = Self {
                child: spawn(&options, files.path()),
                options,
                client_options,
                port,
                files,
            };
            if server.comes_up() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// Its address as a URL.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The certificate of the authority that it was certified by.
    pub(crate) fn authority(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    /// The socket that it listens on.
    pub(crate) fn socket(&self) -> PathBuf {
        self.files.path().join("socket")
    }

    /// Has `redis-cli` do a command.
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(&self.client_options).arg("--no-auth-warning");
        let output = command.args(arguments).output();
        let output = output.expect("redis-cli, which comes with redis-server");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A number of `INFO`.
    pub(crate) fn info(&self, section: &str, field: &str) -> u64 {
        let info = self.command(&["INFO", section]);
        let mut values = info
            .lines()
            .filter_map(|line| line.trim().strip_prefix(field));
        let value = values.find_map(|rest| rest.strip_prefix(':'));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// How often a command was called.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let info = self.command(&["INFO", "commandstats"]);
        let prefix = format!("cmdstat_{command}:calls=");
        let calls = info.lines().find_map(|line| line.strip_prefix(&prefix));
        calls.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, on the same port and without what it kept.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            self.child = spawn(&self.options, self.files.path());
            if self.comes_up() {
                return;
            }
        }
        panic!("redis-server does not start again");
    }

    /// Stops it where it stands: it accepts connections, and never answers.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it answers; or it has ended.
    fn comes_up(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            // Not one of another test that was quicker to take the port.
            if self.info("server", "process_id") == u64::from(self.child.id()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not answer");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three servers that share the keys among them.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub(crate) fn start() -> Self {
        let node = |_| {
            let bus = free_port().to_string();
            let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            (RedisServer::with(&options), bus)
        };
        let (nodes, buses): (Vec<_>, Vec<_>) = (0..3).map(node).unzip();
        let slots = ["0 5460", "5461 10922", "10923 16383"];
        for (node, slots) in nodes.iter().zip(slots) {
            let (first, last) = slots.split_once(' ').unwrap();
            assert_eq!(
                node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]),
                "OK"
            );
        }
        for (node, bus) in nodes.iter().zip(&buses).skip(1) {
            let port = node.port.to_string();
            let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, bus];
            assert_eq!(nodes[0].command(&meet), "OK");
        }
        let begin = Instant::now();
        let joined = |node: &RedisServer| {
            let info = node.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        while !nodes.iter().all(joined) {
            assert!(begin.elapsed() < PATIENCE, "the nodes form no cluster");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { nodes }
    }

    /// Its address as a URL: the nodes that are asked for the others.
    pub(crate) fn url(&self) -> String {
        let host = |node: &RedisServer| format!("127.0.0.1:{}", node.port);
        let hosts: Vec<String> = self.nodes.iter().take(2).map(host).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }
}

/// A port on which nobody listens.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn(options: &[String], dir: &Path) -> Child {
    let mut command = Command::new("redis-server");
    command.args(options).current_dir(dir);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap_or_else(|error| {
        panic!(
            "redis-server can not be run ({error}). The tests of the cache need \
             Redis 7 or newer, with TLS: install it, on Debian with \
             `apt-get install redis-server`"
        )
    })
}

fn options(way: Way, port: u16, dir: &Path) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    let port = port.to_string();
    let own: Vec<(&str, String)> = match way {
        Way::Tcp => vec![("--port", port)],
        Way::Socket => vec![("--port", "0".to_owned()), ("--unixsocket", file("socket"))],
        Way::Tls => {
            Authority::new(dir).sign("server", &["localhost", "127.0.0.1"]);
            vec![
                ("--port", "0".to_owned()),
                ("--tls-port", port),
                ("--tls-auth-clients", "no".to_owned()),
                ("--tls-ca-cert-file", file("ca.pem")),
                ("--tls-cert-file", file("server.crt")),
                ("--tls-key-file", file("server.key")),
            ]
        }
    };
    let common = [
        ("--bind", "127.0.0.1"),
        ("--save", ""),
        ("--appendonly", "no"),
        ("--repl-diskless-sync-delay", "0"),
    ];
    let common = common.map(|(name, value)| (name, value.to_owned()));
    let all = own.into_iter().chain(common);
    all.flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
}

/// What `redis-cli` needs to reach it.
fn reaching(way: Way, port: u16, dir: &Path) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    let port = port.to_string();
    match way {
        Way::Socket => vec!["-s".to_owned(), file("socket")],
        Way::Tcp => vec!["-p".to_owned(), port],
        Way::Tls => {
            let tls = ["-p", &port, "--tls", "--cacert"].map(str::to_owned);
            tls.into_iter().chain([file("ca.pem")]).collect()
        }
    }
}
