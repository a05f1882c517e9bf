//! A server as a process, or as several: started, measured from outside, stopped.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::client::Api;
use crate::settings::Settings;

/// Linux counts CPU time in hundredths of a second towards user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that serves; dropped, it is killed if it was started here.
pub(crate) struct Server {
    /// Unless others have started it. Its output is held open, since there may be more lines
    /// after the one with the address.
    child: Option<(Child, Lines<BufReader<ChildStdout>>)>,
    /// Whose use of the machine is counted.
    processes: Vec<u32>,
    pub(crate) address: SocketAddr,
    pub(crate) api: Api,
    /// The admin listener, if there is one.
    pub(crate) admin: Option<SocketAddr>,
}

impl Server {
    /// The server, as a user starts it for the second time: the first time it
    /// compiles the guest, and keeps for long what memory that took.
    pub(crate) fn start(settings: &Settings, model: &Path, options: &[&str]) -> Self {
        let mut check = binary("check", settings, model);
        assert!(check.stdout(Stdio::null()).status().unwrap().success());
        let mut command = binary("serve", settings, model);
        command.args(["--listen", "127.0.0.1:0"]);
        command.env("FASTSENTIMENT_ADMIN_LISTEN", "");
        command.env("FASTSENTIMENT_ADMIN_TOKEN_FILE", "none");
        command.args(&settings.server_arguments).args(options);
        Self::spawn(&mut command, options.contains(&"--admin-listen"))
    }

    /// A hyper server that answers every request with `bytes` fixed bytes.
    pub(crate) fn bare(bytes: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["bare", &bytes.to_string()]);
        Self::spawn(&mut command, false)
    }

    /// Another server. Processes that it has started when it says where it serves
    /// are part of it.
    pub(crate) fn other(command: &mut Command) -> Self {
        let mut server = Self::spawn(command, false);
        server.count_children();
        server
    }

    /// A server that others have started. What it uses is counted if its process is known.
    pub(crate) fn running(address: SocketAddr, api: Api, process: Option<u32>) -> Self {
        let mut server = Self {
            child: None,
            processes: process.into_iter().collect(),
            address,
            api,
            admin: None,
        };
        server.count_children();
        server
    }

    fn count_children(&mut self) {
        let mut at = 0;
        while let Some(&process) = self.processes.get(at) {
            self.processes.extend(children(process));
            at += 1;
        }
    }

    /// Whether what it uses is known.
    pub(crate) fn is_counted(&self) -> bool {
        !self.processes.is_empty()
    }

    /// Waits for the lines that say where it serves.
    fn spawn(command: &mut Command, has_admin: bool) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address_after = |words: &[&str]| -> Option<SocketAddr> {
            lines.by_ref().map_while(Result::ok).find_map(|line| {
                let (first, url) = line.split_once(" http://")?;
                let is_it = words.contains(&first.split_whitespace().last()?);
                url.split('/').next().filter(|_| is_it)?.parse().ok()
            })
        };
        // Of this server, and of those that it is compared with.
        let address = address_after(&["predict", "serves"]);
        let admin = has_admin.then(|| address_after(&["metrics"]).unwrap());
        assert!(address.is_some(), "the server did not start");
        Self {
            processes: vec![child.id()],
            child: Some((child, lines)),
            address: address.unwrap(),
            api: Api::Ours,
            admin,
        }
    }

    /// What it has used of the cores so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.processes.iter().map(|&process| cpu(process)).sum()
    }

    /// Its memory: resident, and resident with shared pages divided among their
    /// users, in MiB.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let each = self.processes.iter().map(|&process| memory(process));
        each.fold((0.0, 0.0), |(rss, pss), (more_rss, more_pss)| {
            (rss + more_rss, pss + more_pss)
        })
    }
}

fn cpu(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The second field is the name in brackets, which may hold anything;
    // user and system time are the fields 14 and 15.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: f64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<f64>().unwrap())
        .sum();
    Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
}

fn memory(process: u32) -> (f64, f64) {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let field = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
        let kibibytes = line.split_whitespace().nth(1).unwrap();
        kibibytes.parse::<f64>().unwrap() / 1024.0
    };
    (field("Rss:"), field("Pss:"))
}

/// What any of its threads has started and not yet waited for.
fn children(process: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let lists = threads
        .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
    lists
        .flat_map(|list| {
            let ids = list.split_whitespace().map(|id| id.parse().unwrap());
            ids.collect::<Vec<u32>>()
        })
        .collect()
}

/// A subcommand of the binary that loads a model.
pub(crate) fn binary(subcommand: &str, settings: &Settings, model: &Path) -> Command {
    let mut command = binary_alone(subcommand);
    command.arg("--model").arg(model);
    command.arg("--onnxruntime").arg(&settings.library);
    command
}

/// A subcommand of the binary, with nothing of the developer's own settings.
pub(crate) fn binary_alone(subcommand: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastsentiment"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FASTSENTIMENT_") {
            command.env_remove(name);
        }
    }
    command.arg(subcommand);
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            // It may have ended by itself, which its clients have noticed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What all processes of the machine have used of its cores so far, together
/// with what its hypervisor took away; nothing where it is not told.
pub(crate) fn machine_cpu() -> Duration {
    let Ok(stat) = std::fs::read_to_string("/proc/stat") else {
        return Duration::ZERO;
    };
    // cpu user nice system idle iowait irq softirq steal
    let fields: Vec<f64> = stat
        .split_whitespace()
        .skip(1)
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    if fields.len() < 8 {
        return Duration::ZERO;
    }
    let busy: f64 = [0, 1, 2, 5, 6, 7].map(|at| fields[at]).iter().sum();
    Duration::from_secs_f64(busy / TICKS_PER_SECOND)
}
