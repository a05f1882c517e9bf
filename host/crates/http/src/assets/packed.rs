//! A file as gzip packs it, for those who take it so and for others.
//!
//! This module must not know what the file says.

use std::sync::OnceLock;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_ENCODING, HeaderValue, VARY};
use hyper::{HeaderMap, Response};
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::{FOR_EVER, response};
use crate::coding::{self, Coding};
use crate::problem::Problem;

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
        let is_packed = coding::is_taken(Coding::Gzip, headers);
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

#[cfg(test)]
mod tests {
    use super::super::{Content, FILES};

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
