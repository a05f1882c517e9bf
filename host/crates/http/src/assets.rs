//! Pages, and the files that they are made of: all of them are in the binary.
//!
//! What pages are made of lies in a folder that is named after the content of all of it
//! (`build.rs`). So a browser may keep the files for ever, and a page never gets one that
//! belongs to the page of another version of the server: it asks for its own, which are
//! there or are not.
//!
//! This module must not know what the files say.

mod packed;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::coding::members;
use super::problem::Problem;
use packed::Packed;

/// Where the files are, with what stands for their folder and for their names.
pub(crate) const PATH: &str = "/assets/{build}/{file}";

/// What the paths of all files begin with.
pub(crate) const ROOT: &str = "/assets/";

/// The folder: a digest of all files and pages.
pub(crate) const BUILD: &str = env!("FASTSENTIMENT_ASSETS");

/// A file has another name in the next version of the server.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// A page has the same name in the next version, so that it has to be asked for.
const ASKED_FOR: &str = "no-cache";

/// The version of a page. It is a weak one, since compression on the way keeps it.
const TAG: &str = concat!("W/\"", env!("FASTSENTIMENT_ASSETS"), "\"");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// All types of content that files have.
pub(crate) const TYPES: [&str; 3] = [SCRIPT, STYLE, IMAGE];

macro_rules! page {
    ($name:literal) => {
        Content::Plain(include_bytes!(concat!("page/", $name)))
    };
}

macro_rules! packed {
    ($name:literal) => {
        Content::Packed(Packed::new(include_bytes!(concat!(
            env!("OUT_DIR"),
            "/",
            $name,
            ".gz"
        ))))
    };
}

/// All files.
static FILES: [File; 16] = [
    file("icon.svg", IMAGE, page!("icon.svg")),
    file("page.css", STYLE, page!("page.css")),
    file("results.css", STYLE, page!("results.css")),
    file("api.mjs", SCRIPT, page!("api.mjs")),
    file("bulk.mjs", SCRIPT, page!("bulk.mjs")),
    file("csv.mjs", SCRIPT, page!("csv.mjs")),
    file("dom.mjs", SCRIPT, page!("dom.mjs")),
    file("file.mjs", SCRIPT, page!("file.mjs")),
    file("format.mjs", SCRIPT, page!("format.mjs")),
    file("lines.mjs", SCRIPT, page!("lines.mjs")),
    file("main.mjs", SCRIPT, page!("main.mjs")),
    file("scored.mjs", SCRIPT, page!("scored.mjs")),
    file("source.mjs", SCRIPT, page!("source.mjs")),
    file(
        "initializer.js",
        SCRIPT,
        Content::Plain(include_bytes!("docs/initializer.js")),
    ),
    file(
        "swagger-ui-bundle.js",
        SCRIPT,
        packed!("swagger-ui-bundle.js"),
    ),
    file("swagger-ui.css", STYLE, packed!("swagger-ui.css")),
];

/// A file that pages are made of.
pub(crate) struct File {
    name: &'static str,
    content_type: &'static str,
    content: Content,
}

const fn file(name: &'static str, content_type: &'static str, content: Content) -> File {
    File {
        name,
        content_type,
        content,
    }
}

/// A page.
pub(crate) struct Page {
    html: &'static str,
    /// What it may do.
    policy: &'static str,
}

enum Content {
    Plain(&'static [u8]),
    Packed(Packed),
}

impl Page {
    /// A page of this HTML, which may do what a Content Security Policy says.
    pub(crate) const fn new(html: &'static str, policy: &'static str) -> Self {
        Self { html, policy }
    }

    /// The page, unless the client has it already.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let is_known = has_tag(headers);
        let html = if is_known { "" } else { self.html };
        let html = Bytes::from_static(html.as_bytes());
        let mut response = response("text/html; charset=utf-8", ASKED_FOR, html);
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(ETAG, HeaderValue::from_static(TAG));
        let policy = HeaderValue::from_static(self.policy);
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

/// The names of all files.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.name)
}

/// The file at a path, if there is one.
pub(crate) fn find(path: &str) -> Option<&'static File> {
    let path = path.strip_prefix(ROOT)?.strip_prefix(BUILD)?;
    let name = path.strip_prefix('/')?;
    FILES.iter().find(|file| file.name == name)
}

impl File {
    /// The file, packed if the client takes it so.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Result<Response<Full<Bytes>>, Problem> {
        match &self.content {
            Content::Plain(bytes) => {
                let bytes = Bytes::from_static(bytes);
                Ok(response(self.content_type, FOR_EVER, bytes))
            }
            Content::Packed(packed) => packed.answer(self.content_type, headers),
        }
    }
}

fn response(content_type: &'static str, kept: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether a client has this version of the pages (RFC 9110, section 13.1.2).
fn has_tag(headers: &HeaderMap) -> bool {
    let strong = TAG.trim_start_matches("W/");
    members(headers, &IF_NONE_MATCH)
        .any(|member| member == "*" || member.trim_start_matches("W/") == strong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_known_is_not_sent_again() {
        let page = Page::new("<!doctype html>", "default-src 'none'");
        let with = |value: &str| HeaderMap::from_iter([(IF_NONE_MATCH, value.parse().unwrap())]);
        let status = |value| page.answer(&with(value)).status();
        let strong = TAG.trim_start_matches("W/");
        for known in [TAG, strong, "*"] {
            assert_eq!(status(known), 304, "{known}");
        }
        assert_eq!(status(r#""x", W/"y""#), 200);
        assert_eq!(status(BUILD), 200);
        let listed = format!("\"x\" , {TAG}");
        assert_eq!(status(&listed), 304);
        assert_eq!(page.answer(&HeaderMap::new()).headers()[ETAG], TAG);
    }

    #[test]
    fn a_file_is_found_in_its_folder_only() {
        let is_there = |path: &str| find(path).is_some();
        for name in names() {
            assert!(is_there(&format!("{ROOT}{BUILD}/{name}")), "{name}");
            assert!(!is_there(&format!("{ROOT}0{BUILD}/{name}")), "{name}");
            assert!(!is_there(&format!("{ROOT}{BUILD}/x/{name}")), "{name}");
            assert!(!is_there(&format!("{ROOT}{BUILD}/{name}/")), "{name}");
            assert!(!is_there(&format!("{ROOT}{name}")), "{name}");
        }
        assert!(!is_there(&format!("{ROOT}{BUILD}/")));
        assert!(!is_there(PATH));
    }

    #[test]
    fn what_files_ask_for_is_there() {
        let known: Vec<_> = names().collect();
        let mut asked = 0;
        for File { name, content, .. } in &FILES {
            let Content::Plain(bytes) = content else {
                continue;
            };
            let text = str::from_utf8(bytes).unwrap();
            for rest in text.split("from \"./").skip(1) {
                let wanted = rest.split('"').next().unwrap();
                assert!(known.contains(&wanted), "{name} asks for {wanted}");
                asked += 1;
            }
        }
        assert!(asked > 10);
    }
}
