//! What a server prints when it is ready: its addresses, and what it has loaded.

use std::fmt;
use std::path::{Path, PathBuf};

use fastsentiment::app::{App, Config};
use revisions::Origin;

use super::listen::Place;
use crate::cli::compilation;
use crate::cli::endpoint::Endpoint;
use crate::cli::terminal::escape;

/// The startup banner. Its last line is the one that starts with `config`: programs that
/// read it rely on that.
pub(in crate::cli) struct Banner<'a> {
    pub(in crate::cli) app: &'a App,
    pub(in crate::cli) config: &'a Config,
    pub(in crate::cli) main: &'a Place,
    pub(in crate::cli) admin: Option<&'a Place>,
    /// The file of the admin token that the server has made.
    pub(in crate::cli) token: Option<PathBuf>,
    /// The state of Redis, in words.
    pub(in crate::cli) redis: &'a str,
    /// The configuration file.
    pub(in crate::cli) file: Option<&'a Path>,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "FastSentiment {} is ready", env!("CARGO_PKG_VERSION"))?;
        let main = self.main;
        line(f, "page", main.url("/") + main.other_addresses())?;
        line(f, "predict", main.url("/predict"))?;
        line(f, "docs", main.url("/docs"))?;
        match &self.admin {
            Some(admin) => line(f, "metrics", admin.url("/metrics"))?,
            None => line(f, "metrics", "off")?,
        }
        if let Some(token) = &self.token {
            line(f, "admin token", token.display())?;
        }
        let revision = self.app.revision();
        let (guest, model) = (revision.guest().short(), revision.model().short());
        let compiled = compilation(self.app.compiled());
        let dir = self.config.model.display();
        let origin = match self.app.origin() {
            Origin::File(path) => path.display().to_string(),
            Origin::Upload => "an upload".to_owned(),
            Origin::Artifact(reference) => reference.to_string(),
        };
        line(f, "guest", format_args!("{guest}, {compiled}: {origin}"))?;
        if self.app.revisions().configured_fault().is_some() {
            let configured = self.config.guest.display();
            line(f, "", format_args!("NOT {configured}: see the log"))?;
        }
        line(f, "model", format_args!("{model}: {dir}"))?;
        let (number, library) = (self.app.onnxruntime_version(), self.app.onnxruntime());
        line(
            f,
            "onnxruntime",
            format_args!("{number}: {}", library.display()),
        )?;
        line(f, "wasmtime", sandbox::WASMTIME_VERSION)?;
        let memory = match self.config.cache.memory_bytes >> 20 {
            0 => "nothing in memory".to_owned(),
            mib => format!("{mib} MiB in memory"),
        };
        line(f, "cache", format_args!("{memory}; Redis: {}", self.redis))?;
        match self.file {
            Some(path) => line(f, "config", path.display()),
            None => line(f, "config", "no file"),
        }
    }
}

/// The value may come from a Redis, or from the state that an earlier server has left.
fn line(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    let value = value.to_string();
    writeln!(f, "  {name:<13}{}", escape(&value))
}

impl Place {
    /// The URL of a path, as it can be reached from this machine; or the socket and the path.
    pub(in crate::cli) fn url(&self, path: &str) -> String {
        match (self.at.reachable(), self.is_tls) {
            (at @ Endpoint::Unix(_), _) => format!("{at} {path}"),
            (at, false) => format!("http://{at}{path}"),
            (at, true) => format!("https://{at}{path}"),
        }
    }

    fn other_addresses(&self) -> &'static str {
        match &self.at {
            Endpoint::Tcp(address) if address.ip().is_unspecified() => {
                " (and on all other addresses of this machine)"
            }
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::endpoint::endpoint;
    use crate::cli::terminal::tests::{HOSTILE, harmful};

    struct Line;

    impl fmt::Display for Line {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            line(f, "guest", HOSTILE)
        }
    }

    #[test]
    fn no_value_begins_another_line() {
        assert_eq!(harmful(&Line.to_string()), ['\n']);
    }

    #[test]
    fn printed_urls_can_be_opened() {
        for (address, is_tls, url, everywhere) in [
            ("10.1.2.3:80", false, "http://10.1.2.3:80/docs", false),
            ("0.0.0.0:8000", false, "http://127.0.0.1:8000/docs", true),
            ("[::]:8000", true, "https://[::1]:8000/docs", true),
            ("unix:/run/s", false, "unix:/run/s /docs", false),
        ] {
            let at = endpoint(address).unwrap();
            let listener = Place { at, is_tls };
            assert_eq!(listener.url("/docs"), url);
            assert_eq!(listener.other_addresses().contains("all other"), everywhere);
        }
    }
}
