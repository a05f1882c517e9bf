//! `/docs`: Swagger UI over the document of this API.
//!
//! This module must not know what the document says.

use super::assets::Page;

/// Shows what this server has sent, and asks this server. The images are Swagger UI's
/// own, which has them in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The page.
pub(crate) static PAGE: Page =
    Page::new(include_str!(concat!(env!("OUT_DIR"), "/docs.html")), POLICY);
