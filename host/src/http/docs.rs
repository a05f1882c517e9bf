//! `/docs`: Swagger UI over the document of this API, all of it out of the binary.
//!
//! This module must not know what the document says.

use std::sync::OnceLock;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Response};
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::problem::{Kind, Problem};

/// What the page may do: show what this server has sent, and ask this server. The
/// images are Swagger UI's own, which has them in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The assets change with the server only, but have the same names in the next one.
const FRESH_FOR: &str = "max-age=3600";

/// More than what is embedded takes as it was, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

const PAGE: &str = include_str!("docs/index.html");
const INITIALIZER: &str = include_str!("docs/initializer.js");

/// A file as gzip packs it, and as it was once a client has wanted that.
struct Packed {
    gzip: &'static [u8],
    plain: OnceLock<Option<Bytes>>,
}

/// The head and the end of a file of gzip, which `build.rs` has written.
const FRAME: (usize, usize) = (10, 8);

static BUNDLE: Packed = Packed::new(include_bytes!(concat!(
    env!("OUT_DIR"),
    "/swagger-ui-bundle.js.gz"
)));

static STYLE: Packed = Packed::new(include_bytes!(concat!(
    env!("OUT_DIR"),
    "/swagger-ui.css.gz"
)));

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
                tracing::error!("an asset of the documentation can not be unpacked");
                Problem::failed()
            })?
        };
        let mut response = asset(content_type, body);
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if is_packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(response)
    }
}

/// Answers the paths at and below `/docs`.
pub(crate) fn answer(path: &str, headers: &HeaderMap) -> Result<Response<Full<Bytes>>, Problem> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    match path {
        "/docs" => {
            let mut response = asset(
                "text/html; charset=utf-8",
                Bytes::from_static(PAGE.as_bytes()),
            );
            let headers = response.headers_mut();
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            Ok(response)
        }
        "/docs/initializer.js" => Ok(asset(SCRIPT, Bytes::from_static(INITIALIZER.as_bytes()))),
        "/docs/swagger-ui-bundle.js" => BUNDLE.answer(SCRIPT, headers),
        "/docs/swagger-ui.css" => STYLE.answer("text/css; charset=utf-8", headers),
        _ => Err(Problem::new(Kind::NotFound, "see `GET /docs`")),
    }
}

fn asset(content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(FRESH_FOR));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether a client takes gzip (RFC 9110, section 12.5.3). One that does not say gets
/// what it can read in any case.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    let members = values.filter_map(|value| value.to_str().ok());
    let mut any = false;
    for member in members.flat_map(|list| list.split(',')) {
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
            let values = values.iter().map(|value| HeaderValue::from_static(value));
            let headers: HeaderMap = values.map(|value| (ACCEPT_ENCODING, value)).fold(
                HeaderMap::new(),
                |mut headers, (name, value)| {
                    headers.append(name, value);
                    headers
                },
            );
            assert_eq!(takes_gzip(&headers), taken, "{headers:?}");
        }
    }

    #[test]
    fn what_is_embedded_can_be_unpacked() {
        for (packed, words) in [(&BUNDLE, "SwaggerUIBundle"), (&STYLE, ".swagger-ui")] {
            let plain = packed.plain().unwrap();
            let length = packed.gzip.last_chunk().copied().map(u32::from_le_bytes);
            assert_eq!(length.unwrap() as usize, plain.len());
            assert!(str::from_utf8(&plain).unwrap().contains(words));
        }
    }
}
