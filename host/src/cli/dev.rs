//! `fastsentiment dev`: builds and tests a guest whenever its project changes, and makes it live
//! in a local server.
//!
//! Each step is a command that a user could run: `./build.sh`, and `test`, `serve` and `swap` of
//! this binary.

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::Args;
use tempfile::TempDir;

use super::children::{Process, own};
use super::signals::Termination;
use super::{output, remote};

/// The end of the command's help.
const HELP: &str = "\
A project has build.sh, which makes guest.wasm, and cases.jsonl: `fastsentiment
new` makes one. What the guest prints while it serves is in the server's log.
The model is that of --model or FASTSENTIMENT_MODEL, or the default one.

Exit codes: 0 interrupted, 1 failure, 2 usage error in the command line";

/// A project, and where its guest is made live.
#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct DevCommand {
    /// Directory of the project
    #[arg(value_name = "DIR", default_value = ".")]
    project: PathBuf,

    /// URL of a server's admin listener, or `unix:` and the path of its socket [default: a
    /// server of its own, on free ports]
    #[arg(long, value_name = "URL", value_parser = remote::server)]
    admin: Option<remote::Server>,

    /// Model directory, for tests and the server of its own
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
}

/// How often the project is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often a command is asked whether it has ended.
const TICK: Duration = Duration::from_millis(50);

/// What builds write, beside files whose names begin with a dot.
const WRITTEN: [&str; 6] = [
    "Cargo.lock",
    "__pycache__",
    "core.wasm",
    "guest.wasm",
    "node_modules",
    "target",
];

/// The log of the server: warnings, and what the guest prints.
const LOG: &str = "warn,fastsentiment::guest::output=trace";

impl DevCommand {
    /// Runs until it is interrupted, or the server ends.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        for file in ["build.sh", "cases.jsonl"] {
            if !self.project.join(file).is_file() {
                anyhow::bail!(
                    "{} has no {file}; `fastsentiment new` makes a project",
                    self.project.display()
                );
            }
        }
        super::runtime()?.block_on(async {
            let mut termination = Termination::handle()?;
            // Dropping the other branch ends what it has started.
            tokio::select! {
                _ = termination.received() => Ok(ExitCode::SUCCESS),
                Err(error) = self.follow() => Err(error),
            }
        })
    }

    /// Returns only if something fails for good.
    async fn follow(&self) -> anyhow::Result<()> {
        let mut server: Option<Server> = None;
        let mut seen = Vec::new();
        loop {
            let found = contents(&self.project).context("the project cannot be read")?;
            if found != seen {
                seen = found;
                if self.build().await? {
                    self.publish(&mut server).await?;
                }
                output::print("waiting for changes\n")?;
            }
            if let Some(server) = &mut server
                && server.process.0.try_wait()?.is_some()
            {
                anyhow::bail!("the server has ended");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Builds and tests the guest. Returns whether it is as it should be.
    async fn build(&self) -> anyhow::Result<bool> {
        output::print("building\n")?;
        let mut build = Command::new("./build.sh");
        if !succeeds(build.current_dir(&self.project)).await? {
            output::print("the build has failed\n")?;
            return Ok(false);
        }
        let mut test = self.own("test")?;
        test.args(["guest.wasm", "cases.jsonl"].map(|file| self.project.join(file)));
        succeeds(&mut test).await
    }

    /// Makes the guest live: in a server that runs, or else in one that is started with it.
    async fn publish(&self, server: &mut Option<Server>) -> anyhow::Result<()> {
        let guest = self.project.join("guest.wasm");
        let admin = match (&self.admin, &*server) {
            (Some(admin), _) => admin.to_string(),
            (None, Some(server)) => server.admin.clone(),
            (None, None) => {
                *server = Some(self.serve(&guest)?);
                return Ok(());
            }
        };
        let mut swap = self.own("swap")?;
        swap.arg(guest).args(["--admin", &admin]);
        // Its error says why.
        succeeds(&mut swap).await.map(drop)
    }

    /// Starts a server. Its banner says when it is ready.
    fn serve(&self, guest: &Path) -> anyhow::Result<Server> {
        // A copy, since the server would load each build by itself, tested or not.
        let dir = tempfile::tempdir()?;
        let copy = dir.path().join("guest.wasm");
        std::fs::copy(guest, &copy)?;
        let (main, admin) = free_addresses()?;
        let mut serve = self.own("serve")?;
        serve.arg("--guest").arg(copy);
        serve.args(["--listen", &main.to_string()]);
        serve.args(["--admin-listen", &admin.to_string()]);
        if std::env::var_os("FASTSENTIMENT_LOG").is_none() {
            serve.args(["--log", LOG]);
        }
        Ok(Server {
            process: Process::start(&mut serve)?,
            admin: format!("http://{admin}"),
            _dir: dir,
        })
    }

    /// A command of this binary.
    fn own(&self, name: &str) -> io::Result<Command> {
        let mut command = own(name)?;
        if let (Some(model), "test" | "serve") = (&self.model, name) {
            command.arg("--model").arg(model);
        }
        Ok(command)
    }
}

/// The server of its own.
struct Server {
    process: Process,
    /// The URL of its admin listener.
    admin: String,
    /// Holds the guest that it was started with.
    _dir: TempDir,
}

/// Runs a command to its end. Returns whether it has succeeded.
async fn succeeds(command: &mut Command) -> anyhow::Result<bool> {
    let mut process = Process::start(command)?;
    loop {
        if let Some(status) = process.0.try_wait()? {
            return Ok(status.success());
        }
        tokio::time::sleep(TICK).await;
    }
}

/// The files of a project that its author writes, with their times and sizes.
fn contents(dir: &Path) -> io::Result<Vec<(PathBuf, SystemTime, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_written = WRITTEN.iter().any(|written| name == OsStr::new(written));
        if is_written || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(contents(&entry.path())?);
        } else if let Ok(metadata) = entry.metadata() {
            // Editors remove and rename files while this looks.
            found.push((entry.path(), metadata.modified()?, metadata.len()));
        }
    }
    found.sort();
    Ok(found)
}

/// Two addresses of this machine that nobody listens on.
fn free_addresses() -> io::Result<(SocketAddr, SocketAddr)> {
    let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok((one.local_addr()?, other.local_addr()?))
}
