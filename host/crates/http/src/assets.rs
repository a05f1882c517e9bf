//! The files that pages are made of.
//!
//! Their path holds a digest of all of them (`build.rs`). So a browser may keep them
//! forever, and a page never gets a file of another version of the server.

use std::sync::OnceLock;

use bytes::Bytes;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use crate::problem::Problem;

/// A digest of all files and pages, which is part of the files' path.
pub(crate) const BUILD: &str = env!("FASTSENTIMENT_ASSETS");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// The largest file, in bytes.
const MAX_FILE: usize = 16 * 1024 * 1024;

/// The head and the end of a gzip file as `build.rs` writes them, in bytes.
const GZIP_FRAME: (usize, usize) = (10, 8);

/// A file that pages are made of.
pub(crate) struct File {
    name: &'static str,
    pub(crate) content_type: &'static str,
    content: Content,
}

enum Content {
    Plain(&'static [u8]),
    /// Swagger UI's files stay compressed in the binary, which would be a megabyte
    /// larger. They are decompressed at most once.
    Gzip(&'static [u8], OnceLock<Option<Bytes>>),
}

macro_rules! plain {
    ($path:literal) => {
        Content::Plain(include_bytes!($path))
    };
}

macro_rules! gzip {
    ($name:literal) => {
        Content::Gzip(
            include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
            OnceLock::new(),
        )
    };
}

static FILES: [File; 16] = [
    file("icon.svg", IMAGE, plain!("page/icon.svg")),
    file("page.css", STYLE, plain!("page/page.css")),
    file("results.css", STYLE, plain!("page/results.css")),
    file("api.mjs", SCRIPT, plain!("page/api.mjs")),
    file("bulk.mjs", SCRIPT, plain!("page/bulk.mjs")),
    file("csv.mjs", SCRIPT, plain!("page/csv.mjs")),
    file("dom.mjs", SCRIPT, plain!("page/dom.mjs")),
    file("file.mjs", SCRIPT, plain!("page/file.mjs")),
    file("format.mjs", SCRIPT, plain!("page/format.mjs")),
    file("lines.mjs", SCRIPT, plain!("page/lines.mjs")),
    file("main.mjs", SCRIPT, plain!("page/main.mjs")),
    file("scored.mjs", SCRIPT, plain!("page/scored.mjs")),
    file("source.mjs", SCRIPT, plain!("page/source.mjs")),
    file("initializer.js", SCRIPT, plain!("docs/initializer.js")),
    file(
        "swagger-ui-bundle.js",
        SCRIPT,
        gzip!("swagger-ui-bundle.js"),
    ),
    file("swagger-ui.css", STYLE, gzip!("swagger-ui.css")),
];

const fn file(name: &'static str, content_type: &'static str, content: Content) -> File {
    File {
        name,
        content_type,
        content,
    }
}

/// The names of all files.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.name)
}

/// The file of this name.
pub(crate) fn find(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

impl File {
    /// The content of the file.
    pub(crate) fn bytes(&self) -> Result<Bytes, Problem> {
        let (gzip, plain) = match &self.content {
            Content::Plain(bytes) => return Ok(Bytes::from_static(bytes)),
            Content::Gzip(gzip, plain) => (gzip, plain),
        };
        let inflate = || {
            let (head, end) = GZIP_FRAME;
            let deflated = gzip.get(head..gzip.len().checked_sub(end)?)?;
            let bytes = decompress_to_vec_with_limit(deflated, MAX_FILE).ok()?;
            Some(Bytes::from(bytes))
        };
        plain.get_or_init(inflate).clone().ok_or_else(|| {
            tracing::error!(name = self.name, "an embedded file cannot be decompressed");
            Problem::failed()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_files_are_whole() {
        for (name, words) in [
            ("swagger-ui-bundle.js", "SwaggerUIBundle"),
            ("swagger-ui.css", ".swagger-ui"),
        ] {
            let file = find(name).unwrap();
            let Content::Gzip(gzip, _) = &file.content else {
                panic!("{name} is not compressed");
            };
            let bytes = file.bytes().unwrap();
            let length = gzip.last_chunk().copied().map(u32::from_le_bytes);
            assert_eq!(length.unwrap() as usize, bytes.len());
            assert!(str::from_utf8(&bytes).unwrap().contains(words));
        }
    }

    #[test]
    fn every_imported_module_is_there() {
        let known: Vec<_> = names().collect();
        let mut imports = 0;
        for File { name, content, .. } in &FILES {
            let Content::Plain(bytes) = content else {
                continue;
            };
            let text = str::from_utf8(bytes).unwrap();
            for rest in text.split("from \"./").skip(1) {
                let wanted = rest.split('"').next().unwrap();
                assert!(known.contains(&wanted), "{name} imports {wanted}");
                imports += 1;
            }
        }
        assert!(imports > 10);
    }
}
