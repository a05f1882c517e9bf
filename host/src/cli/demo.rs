//! `fastsentiment demo`: a tour of a server that is started for it, and leaves nothing behind.
//!
//! What it shows are commands that a user could type, with what they really print.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use super::children::{Process, own};
use super::options::beside_binary;
use super::signals::Termination;
use super::{exit, output, remote};

/// The guests that it swaps in, beside the default one.
const LEXICON: &str = "fastsentiment_lexicon.wasm";
const FRAGILE: &str = "fastsentiment_fragile.wasm";

const TEXTS: [&str; 2] = ["A warm, funny film.", "The plot makes no sense."];

/// How many texts are shared between the live guest and the canary.
const SHARED: usize = 40;

/// A guest falls after fewer crashes.
const MOST_CRASHES: usize = 50;

/// How often a server that is being started is asked whether it is ready.
const TICK: Duration = Duration::from_millis(100);

/// Variables that would change what the server does.
const OURS: [&str; 2] = ["FASTSENTIMENT_", "REDIS_URL"];

/// How the tour is shown.
#[derive(Args)]
#[command(after_help = exit::LOCAL)]
pub(super) struct DemoCommand {
    /// Do not wait for Enter between the steps
    #[arg(long)]
    no_pause: bool,

    /// Directory with the guests that it swaps in: `fastsentiment_lexicon.wasm`,
    /// `fastsentiment_fragile.wasm` [default: that of this binary]
    #[arg(long, value_name = "DIR")]
    guests: Option<PathBuf>,

    /// Model directory [default: that of `serve`]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
}

impl DemoCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = super::runtime()?;
        let ended = runtime.block_on(async {
            let mut termination = Termination::handle()?;
            // Dropping the tour ends the server, and removes its files.
            tokio::select! {
                _ = termination.received() => Ok(ExitCode::SUCCESS),
                toured = self.tour() => toured.map(|()| ExitCode::SUCCESS),
            }
        });
        // Somebody may still be asked to press Enter.
        runtime.shutdown_background();
        ended
    }

    async fn tour(&self) -> anyhow::Result<()> {
        let guests = match &self.guests {
            Some(dir) => dir.clone(),
            None => beside_binary()?,
        };
        let guest = |name: &str| guests.join(name);
        for name in [LEXICON, FRAGILE] {
            let path = guest(name);
            anyhow::ensure!(
                path.is_file(),
                "the demo needs {}, which `make demo` builds",
                path.display()
            );
        }
        say(
            "Starting a server of its own. It compiles the default guest, which takes some \
             seconds.\n",
        )?;
        let server = Demo::start(self.model.as_deref()).await?;
        say(&format!(
            "It is at {url}: a page to try, and {url}/docs. To type commands yourself, in another \
             terminal:\n\n  export FASTSENTIMENT_ADMIN_URL={admin}\n",
            url = server.url,
            admin = server.admin
        ))?;

        self.step(
            "1 of 5: predict",
            "The default guest tokenises texts and runs the model.",
        )
        .await?;
        server.show_prediction(&TEXTS).await?;

        self.step(
            "2 of 5: a canary",
            "Another guest, a list of words that needs no model, is compiled, tested, and given \
             half of the texts. The server goes on meanwhile.",
        )
        .await?;
        let lexicon = guest(LEXICON);
        server.command(&["swap", &text(&lexicon), "--canary", "0.5"])?;
        server.share().await?;
        server.command(&["versions"])?;

        self.step(
            "3 of 5: promote",
            "The canary becomes live, by the change of one pointer. The same texts, by words:",
        )
        .await?;
        server.command(&["promote"])?;
        server.show_prediction(&TEXTS).await?;

        self.step(
            "4 of 5: roll back",
            "The guest before is still there, so that going back takes no time.",
        )
        .await?;
        server.command(&["rollback"])?;
        server.show_prediction(&TEXTS[..1]).await?;

        self.step(
            "5 of 5: a guest that crashes",
            "It passes all tests, is made live, and crashes at texts with a certain word.",
        )
        .await?;
        server.command(&["swap", &text(&guest(FRAGILE))])?;
        server.crash().await?;
        server.command(&["versions"])?;
        say("\nThat was all. The server ends, and its files are removed.\n")
    }

    /// Begins a step, once Enter was pressed.
    async fn step(&self, title: &str, about: &str) -> anyhow::Result<()> {
        if !self.no_pause && io::stdin().is_terminal() {
            say("\nPress Enter to go on, or Ctrl C to leave.")?;
            let line = tokio::task::spawn_blocking(|| io::stdin().read_line(&mut String::new()));
            line.await??;
        }
        say(&format!("\n== {title}\n\n{about}\n"))
    }
}

/// A server, which ends with its files when this is dropped.
struct Demo {
    url: String,
    admin: String,
    client: reqwest::Client,
    /// Before its directory.
    _process: Process,
    _dir: TempDir,
}

/// An answer to texts.
struct Answer {
    status: StatusCode,
    /// The digits of the guests that made it.
    guest: String,
    body: Value,
}

impl Demo {
    async fn start(model: Option<&Path>) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let url = format!("http://{port}");
        let admin = format!("unix:{}", text(&dir.path().join("admin")));
        let log = dir.path().join("log");
        let mut serve = own("serve")?;
        for (name, _) in std::env::vars_os() {
            if OURS
                .iter()
                .any(|ours| name.to_string_lossy().starts_with(ours))
            {
                serve.env_remove(name);
            }
        }
        serve.args(["--listen", &port.to_string(), "--admin-listen", &admin]);
        serve.arg("--artifacts").arg(dir.path().join("artifacts"));
        if let Some(model) = model {
            serve.arg("--model").arg(model);
        }
        serve.stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut process = Process::start(&mut serve)?;
        let server = remote::server(&url).map_err(anyhow::Error::msg)?;
        let client = server.client(&remote::TrustOptions::default())?.build()?;
        let ready = format!("{url}/health/ready");
        while !matches!(client.get(&ready).send().await, Ok(answer) if answer.status().is_success())
        {
            if process.0.try_wait()?.is_some() {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                anyhow::bail!("the server has ended: {}", log.trim_end());
            }
            sleep(TICK).await;
        }
        Ok(Self {
            url,
            admin,
            client,
            _process: process,
            _dir: dir,
        })
    }

    async fn predict(&self, texts: &[&str]) -> anyhow::Result<Answer> {
        let request = self.client.post(format!("{}/predict", self.url));
        let answer = request.json(&json!({ "text": texts })).send().await?;
        let guest = answer.headers().get("x-fastsentiment-guest");
        Ok(Answer {
            status: answer.status(),
            guest: guest.map_or(String::new(), |guest| {
                String::from_utf8_lossy(guest.as_bytes()).into_owned()
            }),
            body: answer.json().await?,
        })
    }

    /// Predicts texts, and shows the answer and who made it.
    async fn show_prediction(&self, texts: &[&str]) -> anyhow::Result<()> {
        let body = json!({ "text": texts });
        say(&format!(
            "\n$ curl -s {}/predict -H 'Content-Type: application/json' -d '{body}'",
            self.url
        ))?;
        let answer = self.predict(texts).await?;
        say(&format!(
            "{}\n\n(by the guest {})",
            answer.body, answer.guest
        ))
    }

    /// Predicts texts one by one, and shows how many each guest has answered.
    async fn share(&self) -> anyhow::Result<()> {
        let mut counts: Vec<(String, usize)> = Vec::new();
        for number in 0..SHARED {
            let text = format!("{} ({number})", TEXTS[number % TEXTS.len()]);
            let guest = self.predict(&[&text]).await?.guest;
            match counts.iter_mut().find(|(known, _)| *known == guest) {
                Some((_, count)) => *count += 1,
                None => counts.push((guest, 1)),
            }
        }
        let counts = counts
            .iter()
            .map(|(guest, count)| format!("{count} by {guest}"));
        let counts = counts.collect::<Vec<_>>().join(", ");
        say(&format!("\nOf {SHARED} texts were answered: {counts}.\n"))
    }

    /// Predicts texts at which the live guest crashes, until it has fallen.
    async fn crash(&self) -> anyhow::Result<()> {
        let before = self.predict(&["All is well."]).await?.guest;
        say(&format!(
            "\n\"All is well.\" is answered by {before}. While it is new, the guest before answers \
             where it fails:\n"
        ))?;
        for number in 1..=MOST_CRASHES {
            let text = format!("A car crash, {number}.");
            let answer = self.predict(&[&text]).await?;
            say(&format!("  {text}  {} by {}", answer.status, answer.guest))?;
            let now = self.predict(&[&format!("All is well, {number}.")]).await?;
            if now.guest != before {
                return say(&format!(
                    "\nIt has failed too often: it is in quarantine, and {} is live again.",
                    now.guest
                ));
            }
        }
        anyhow::bail!("the guest is still live after {MOST_CRASHES} crashes")
    }

    /// Runs a command of this binary for the server, and shows what it prints.
    fn command(&self, arguments: &[&str]) -> anyhow::Result<()> {
        say(&format!("\n$ fastsentiment {}", arguments.join(" ")))?;
        let mut command = own(arguments[0])?;
        command.args(&arguments[1..]).args(["--admin", &self.admin]);
        let status = command.stdin(Stdio::null()).status();
        let status = status.context("the command cannot be run")?;
        anyhow::ensure!(status.success(), "the command has failed");
        Ok(())
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn say(line: &str) -> anyhow::Result<()> {
    output::print(&format!("{line}\n"))
}
