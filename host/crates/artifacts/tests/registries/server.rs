//! A real registry, for everybody or for one user.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testing::Authority;
use testing::registry::RegistryServer;

/// The user of a registry that asks for one. The password has a colon in it.
pub(crate) const USER: &str = "ci";
pub(crate) const PASSWORD: &str = "pa:ss";

/// bcrypt of [`PASSWORD`], with the lowest cost.
const HTPASSWD: &str = "ci:$2b$04$h.PZ53SdIDtcy1EZFN.12.RzWmtFAXH6PmqvYLK.DQW2aoFNYxJF.\n";

pub(crate) struct Server {
    _process: RegistryServer,
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
        Authority::new(dir.path()).sign("leaf", &["127.0.0.1"]);
        std::fs::write(path("htpasswd"), HTPASSWD).unwrap();
        let more = format!(
            "  tls:\n    certificate: {}\n    key: {}\nauth:\n  htpasswd:\n    realm: tests\n    \
             path: {}\n",
            path("leaf.crt").display(),
            path("leaf.key").display(),
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
        let process = RegistryServer::start(dir.path(), more);
        Self {
            address: process.address.clone(),
            _process: process,
            dir,
        }
    }
}
