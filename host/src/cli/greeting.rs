//! What a server says when it is ready: where it is, and what it is made of.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use fastsentiment::app::{App, Config};
use revisions::Origin;

use super::listen::reachable;
use super::loaded;

/// All that is said. The line with `config` is the last one, for whoever reads it.
pub(super) struct Greeting<'a> {
    pub(super) app: &'a App,
    pub(super) config: &'a Config,
    pub(super) main: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
    /// How Redis is, if there is one and it is known.
    pub(super) redis: &'a str,
    pub(super) file: Option<&'a Path>,
}

impl fmt::Display for Greeting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "FastSentiment {} serves", env!("CARGO_PKG_VERSION"))?;
        let main = Listener(self.main);
        line(f, "page", main.path("/") + main.elsewhere())?;
        line(f, "predict", main.path("/predict"))?;
        line(f, "docs", main.path("/docs"))?;
        match self.admin {
            Some(admin) => line(f, "metrics", Listener(admin).path("/metrics"))?,
            None => line(f, "metrics", "off")?,
        }
        let revision = self.app.revision();
        let (guest, model) = (revision.guest().short(), revision.model().short());
        let compiled = loaded(self.app.compiled());
        let dir = self.config.model.display();
        let origin = match self.app.origin() {
            Origin::File(path) => path.display().to_string(),
            Origin::Upload => "an upload".to_owned(),
        };
        line(f, "guest", format_args!("{guest}, {compiled}: {origin}"))?;
        if self.app.revisions().configured_fault().is_some() {
            let configured = self.config.guest.display();
            line(f, "", format_args!("NOT {configured}: the log says why"))?;
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

fn line(f: &mut fmt::Formatter<'_>, name: &str, what: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<13}{what}")
}

/// A listener, as it can be reached from this machine.
struct Listener(SocketAddr);

impl Listener {
    fn path(&self, path: &str) -> String {
        format!("http://{}{path}", reachable(self.0))
    }

    fn elsewhere(&self) -> &'static str {
        if self.0.ip().is_unspecified() {
            " (and at all other addresses of this machine)"
        } else {
            ""
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_opened() {
        for (listens, url, everywhere) in [
            ("10.1.2.3:80", "http://10.1.2.3:80/docs", false),
            ("0.0.0.0:8000", "http://127.0.0.1:8000/docs", true),
            ("[::]:8000", "http://[::1]:8000/docs", true),
        ] {
            let listener = Listener(listens.parse().unwrap());
            assert_eq!(listener.path("/docs"), url);
            assert_eq!(listener.elsewhere().contains("all other"), everywhere);
        }
    }
}
