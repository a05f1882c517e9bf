//! A file as gzip packs it, for those who take it so and for others.
//!
//! This module must not know what the file says.

use std::sync::OnceLock;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};
use hyper::{HeaderMap, Response};
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::{FOR_EVER, members, response};
use crate::http::problem::Problem;

/// More than a file takes as it was, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

/// A file as gzip packs it, and as it was once a client has wanted that.
pub(super) struct Packed {
    gzip: &'static [u8],
    plain: OnceLock<Option<Bytes>>,
}

/// The head and the end of a file of gzip, which `build.rs` has written.
const FRAME: (usize, usize) = (10, 8);

impl Packed {
    pub(super) const fn new(gzip: &'static [u8]) -> Self {
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

    /// The file as a client takes it.
    pub(super) fn answer(
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
        let mut response = response(content_type, FOR_EVER, body);
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if is_packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(response)
    }
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
    use super::super::{Content, FILES};
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
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(takes_gzip(&headers), taken, "{headers:?}");
        }
    }

    #[test]
    fn what_is_packed_can_be_unpacked() {
        for (name, words) in [
            ("swagger-ui-bundle.js", "SwaggerUIBundle"),
            ("swagger-ui.css", ".swagger-ui"),
        ] {
            let file = FILES.iter().find(|file| file.name == name).unwrap();
            let Content::Packed(packed) = &file.content else {
                panic!("{name} is not packed");
            };
            let plain = packed.plain().unwrap();
            let length = packed.gzip.last_chunk().copied().map(u32::from_le_bytes);
            assert_eq!(length.unwrap() as usize, plain.len());
            assert!(str::from_utf8(&plain).unwrap().contains(words));
        }
    }
}
