//! A real OCI registry: Debian's `docker-registry`, on a free port.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::PATIENCE;

/// A registry that runs until this is dropped.
pub struct RegistryServer {
    process: Child,
    /// Its host and port.
    pub address: String,
}

impl RegistryServer {
    /// Starts a registry that keeps everything in a directory. `more` is added to its
    /// configuration, below the key `http`.
    pub fn start(dir: &Path, more: &str) -> Self {
        let data = dir.join("data");
        let data = data.display();
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: \
             {data}\nhttp:\n  addr: 127.0.0.1:0\n  secret: x\n{more}"
        );
        let path = dir.join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry (Debian's package) can be started");
        let log = BufReader::new(process.stderr.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        // Its log is read to the end, so that it never waits for that.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let address = loop {
            let line = receiver.recv_timeout(PATIENCE);
            let line = line.expect("docker-registry says where it listens");
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find([',', '"', ' ']).unwrap_or(rest.len());
                break rest[..end].to_owned();
            }
        };
        Self { process, address }
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
