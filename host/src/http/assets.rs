//! Pages, and the files that they are made of: all of them are in the binary.
//!
//! What pages are made of lies in a folder that is named after the content of all of it
//! (`build.rs`). So a browser may keep the files for ever, and a page never gets one that
//! belongs to the page of another version of the server: it asks for its own, which are
//! there or are not.
//!
//! This module must not know what the files say.

use std::sync::OnceLock;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Response, StatusCode};
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::problem::{Kind, Problem};

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

/// More than a file takes as it was, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

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

/// All files, by their names.
static FILES: [(&str, &str, Content); 16] = [
    ("icon.svg", IMAGE, page!("icon.svg")),
    ("page.css", STYLE, page!("page.css")),
    ("results.css", STYLE, page!("results.css")),
    ("api.mjs", SCRIPT, page!("api.mjs")),
    ("bulk.mjs", SCRIPT, page!("bulk.mjs")),
    ("csv.mjs", SCRIPT, page!("csv.mjs")),
    ("dom.mjs", SCRIPT, page!("dom.mjs")),
    ("file.mjs", SCRIPT, page!("file.mjs")),
    ("format.mjs", SCRIPT, page!("format.mjs")),
    ("lines.mjs", SCRIPT, page!("lines.mjs")),
    ("main.mjs", SCRIPT, page!("main.mjs")),
    ("scored.mjs", SCRIPT, page!("scored.mjs")),
    ("source.mjs", SCRIPT, page!("source.mjs")),
    (
        "initializer.js",
        SCRIPT,
        Content::Plain(include_bytes!("docs/initializer.js")),
    ),
    (
        "swagger-ui-bundle.js",
        SCRIPT,
        packed!("swagger-ui-bundle.js"),
    ),
    ("swagger-ui.css", STYLE, packed!("swagger-ui.css")),
];

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

/// A file as gzip packs it, and as it was once a client has wanted that.
struct Packed {
    gzip: &'static [u8],
    plain: OnceLock<Option<Bytes>>,
}

/// The head and the end of a file of gzip, which `build.rs` has written.
const FRAME: (usize, usize) = (10, 8);

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
        let mut response = file("text/html; charset=utf-8", ASKED_FOR, html);
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
    FILES.iter().map(|(name, ..)| *name)
}

/// Answers the paths below [`ROOT`].
pub(crate) fn answer(path: &str, headers: &HeaderMap) -> Result<Response<Full<Bytes>>, Problem> {
    let name = path
        .strip_prefix(ROOT)
        .and_then(|path| path.strip_prefix(BUILD))
        .and_then(|path| path.strip_prefix('/'));
    let found = name.and_then(|name| FILES.iter().find(|(known, ..)| *known == name));
    let (_, content_type, content) = found.ok_or_else(not_found)?;
    match content {
        Content::Plain(bytes) => Ok(file(content_type, FOR_EVER, Bytes::from_static(bytes))),
        Content::Packed(packed) => packed.answer(content_type, headers),
    }
}

/// The problem of a file that there is not.
pub(crate) fn not_found() -> Problem {
    Problem::new(
        Kind::NotFound,
        "there is no such file in this version of the server; load the page again",
    )
}

impl Packed {
    const fn new(gzip: &'static [u8]) -> Self {
        Self {
            gzip,
            plain: OnceLock::new(),
        }
    }

    /// The file as it was. It is unpacked once, and the same bytes are then sent to
    /// everybody: slow clients take no memory each.
    fn plain(&self) -> Option<Bytes> {
        let unpack = || {
            let (head, end) = FRAME;
            let deflated = self.gzip.get(head..self.gzip.len().checked_sub(end)?)?;
            decompress_to_vec_with_limit(deflated, LARGEST)
                .ok()
                .map(Bytes::from)
        };
        self.plain.get_or_init(unpack).clone()
    }

    fn answer(
        &self,
        content_type: &'static str,
        headers: &HeaderMap,
    ) -> Result<Response<Full<Bytes>>, Problem> {
        let is_packed = takes_gzip(headers);
        let body = if is_packed {
            Bytes::from_static(self.gzip)
        } else {
            self.plain().ok_or_else(|| {
                tracing::error!("a file in the binary can not be unpacked");
                Problem::failed()
            })?
        };
        let mut response = file(content_type, FOR_EVER, body);
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if is_packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(response)
    }
}

fn file(content_type: &'static str, kept: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The members of all headers of a name that are lists.
fn members(headers: &HeaderMap, name: hyper::header::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    let lists = values.filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// Whether a client has this version of the pages (RFC 9110, section 13.1.2).
fn has_tag(headers: &HeaderMap) -> bool {
    let strong = TAG.trim_start_matches("W/");
    members(headers, IF_NONE_MATCH)
        .any(|member| member == "*" || member.trim_start_matches("W/") == strong)
}

/// Whether a client takes gzip (RFC 9110, section 12.5.3). One that does not say gets
/// what it can read in any case.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for member in members(headers, ACCEPT_ENCODING) {
        let (coding, weight) = member.split_once(';').unwrap_or((member, ""));
        let weight = weight.trim().trim_start_matches(['q', 'Q']).trim_start();
        let weight = weight.strip_prefix('=').map(|weight| weight.trim().parse());
        let is_wanted = !matches!(weight, Some(Ok(0.0_f32) | Err(_)));
        match coding.trim() {
            coding if coding.eq_ignore_ascii_case("gzip") => return is_wanted,
            "*" => any = is_wanted,
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderName;

    fn with(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn gzip_is_for_those_who_ask_for_it() {
        for (values, taken) in [
            (&[][..], false),
            (&["gzip, deflate, br, zstd"], true),
            (&["br;q=1.0, GZIP;q=0.8, *;q=0.1"], true),
            (&["br", "gzip"], true),
            (&["*"], true),
            (&["gzip;q=0, *"], false),
            (&["gzip;q=0.000"], false),
            (&["*;q=0"], false),
            (&["gzip;q=x"], false),
            (&["identity, br, xgzip"], false),
            (&[""], false),
        ] {
            let headers = with(&ACCEPT_ENCODING, values);
            assert_eq!(takes_gzip(&headers), taken, "{headers:?}");
        }
    }

    #[test]
    fn a_page_that_is_known_is_not_sent_again() {
        let page = Page::new("<!doctype html>", "default-src 'none'");
        let status = |value| page.answer(&with(&IF_NONE_MATCH, &[value])).status();
        let strong = TAG.trim_start_matches("W/");
        for known in [TAG, strong, "*"] {
            assert_eq!(status(known), 304, "{known}");
        }
        assert_eq!(status(r#""x", W/"y""#), 200);
        assert_eq!(status(BUILD), 200);
        let listed = format!("\"x\" , {TAG}");
        let listed = HeaderMap::from_iter([(IF_NONE_MATCH, listed.parse().unwrap())]);
        assert_eq!(page.answer(&listed).status(), 304);
        assert_eq!(page.answer(&HeaderMap::new()).headers()[ETAG], TAG);
    }

    #[test]
    fn a_file_is_found_in_its_folder_only() {
        let status = |path: &str| match answer(path, &HeaderMap::new()) {
            Ok(response) => response.status(),
            Err(problem) => problem.into_response().status(),
        };
        for name in names() {
            assert_eq!(status(&format!("{ROOT}{BUILD}/{name}")), 200, "{name}");
            assert_eq!(status(&format!("{ROOT}0{BUILD}/{name}")), 404, "{name}");
            assert_eq!(status(&format!("{ROOT}{BUILD}/x/{name}")), 404, "{name}");
            assert_eq!(status(&format!("{ROOT}{name}")), 404, "{name}");
        }
        assert_eq!(status(&format!("{ROOT}{BUILD}/")), 404);
    }

    #[test]
    fn what_is_packed_can_be_unpacked() {
        for (name, words) in [
            ("swagger-ui-bundle.js", "SwaggerUIBundle"),
            ("swagger-ui.css", ".swagger-ui"),
        ] {
            let found = FILES.iter().find(|(known, ..)| *known == name);
            let Some((.., Content::Packed(packed))) = found else {
                panic!("{name} is not packed");
            };
            let plain = packed.plain().unwrap();
            let length = packed.gzip.last_chunk().copied().map(u32::from_le_bytes);
            assert_eq!(length.unwrap() as usize, plain.len());
            assert!(str::from_utf8(&plain).unwrap().contains(words));
        }
    }

    #[test]
    fn what_files_ask_for_is_there() {
        let known: Vec<_> = names().collect();
        let mut asked = 0;
        for (name, _, content) in &FILES {
            let Content::Plain(bytes) = content else {
                continue;
            };
            let text = str::from_utf8(bytes).unwrap();
            for (_, rest) in text
                .match_indices("from \"./")
                .map(|(at, it)| text.split_at(at + it.len()))
            {
                let wanted = rest.split('"').next().unwrap();
                assert!(known.contains(&wanted), "{name} asks for {wanted}");
                asked += 1;
            }
        }
        assert!(asked > 10);
    }
}
