//! `/`: the page on which a person tries the server. It is a client of `POST /predict`
//! and `GET /version` like any other (`page/`).
//!
//! This module must not know what the page shows.

use super::assets::Page;

/// Runs what this server has sent, and asks this server; markup is never made of text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The page.
pub(crate) static PAGE: Page =
    Page::new(include_str!(concat!(env!("OUT_DIR"), "/page.html")), POLICY);
