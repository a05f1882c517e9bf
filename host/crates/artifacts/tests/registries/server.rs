//! A real registry: Debian's `docker-registry`, with a directory of its own on a free port.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::PATIENCE;

/// The user of a registry that asks for one. The password has a colon in it.
pub(crate) const USER: &str = "ci";
pub(crate) const PASSWORD: &str = "pa:ss";

/// bcrypt of [`PASSWORD`], with the lowest cost.
const HTPASSWD: &str = "ci:$2b$04$h.PZ53SdIDtcy1EZFN.12.RzWmtFAXH6PmqvYLK.DQW2aoFNYxJF.\n";

pub(crate) struct Server {
    process: Child,
    dir: TempDir,
    /// Its host and port.
    pub(crate) address: String,
}

impl Server {
    /// Plain HTTP, for everybody.
    pub(crate) fn plain() -> Self {
        Self::start(TempDir::new().unwrap(), "")
    }

    /// TLS by a private authority, for one user.
    pub(crate) fn private() -> Self {
        let dir = TempDir::new().unwrap();
        let path = |name: &str| dir.path().join(name);
        let authority = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&authority).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf
            .signed_by(&key, &Issuer::new(params, authority))
            .unwrap();
        std::fs::write(path("ca.pem"), ca.pem()).unwrap();
        std::fs::write(path("leaf.pem"), leaf.pem()).unwrap();
        std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(path("htpasswd"), HTPASSWD).unwrap();
        let more = format!(
            "  tls:\n    certificate: {}\n    key: {}\nauth:\n  htpasswd:\n    realm: tests\n    \
             path: {}\n",
            path("leaf.pem").display(),
            path("key.pem").display(),
            path("htpasswd").display(),
        );
        Self::start(dir, &more)
    }

    /// The certificate of the private authority.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A directory that lives as long as the server.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn start(dir: TempDir, more: &str) -> Self {
        let mut config = "version: 0.1\nlog:\n  level: info\nstorage:\n".to_owned();
        let data = dir.path().join("data");
        let data = data.display();
        write!(config, "  filesystem:\n    rootdirectory: {data}\n").unwrap();
        write!(config, "http:\n  addr: 127.0.0.1:0\n  secret: x\n{more}").unwrap();
        let path = dir.path().join("config.yml");
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
        Self {
            process,
            dir,
            address,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
