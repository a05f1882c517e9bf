//! The pages for people: `/` to try the server, `/docs` to read its OpenAPI document, and
//! the files that both are made of. All are part of the binary.

use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::assets::{self, BUILD};
use crate::coding::members;
use crate::openapi::problems;
use crate::problem::Problem;
use crate::public::not_found;

/// A file has another path in the next version of the server.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// A page has the same path in the next version, so that clients must revalidate it.
const REVALIDATE: &str = "no-cache";

/// The version of the pages. It is a weak tag, since compression keeps it.
const TAG: &str = concat!("W/\"", env!("FASTSENTIMENT_ASSETS"), "\"");

const PAGE: &str = include_str!(concat!(env!("OUT_DIR"), "/page.html"));

/// Scripts come from this server only, and markup is never made of text.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const DOCS: &str = include_str!(concat!(env!("OUT_DIR"), "/docs.html"));

/// Scripts come from this server only. Swagger UI has images in its style sheet.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Serves `/docs` and the files of both pages; `/` is routed with `POST /`.
pub(crate) fn router() -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(docs))
        .routes(routes!(asset))
}

/// A page to try the server in a browser
#[utoipa::path(
    get,
    path = "/",
    tag = "Pages",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of a page that the client has.")),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html; charset=utf-8",
            headers(
                ("Cache-Control" = String, description = "That the page must be revalidated."),
                ("Content-Security-Policy" = String, description = "What the page may do."),
                ("ETag" = String, description = "The version of the page."),
            )),
        (status = 304, description = "The client has this version of the page"),
    )
)]
pub(crate) async fn page(headers: HeaderMap) -> Response {
    html(PAGE, PAGE_POLICY, &headers)
}

/// A page that shows this document
#[utoipa::path(
    get,
    path = "/docs",
    tag = "Documentation",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of a page that the client has.")),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html; charset=utf-8",
            headers(
                ("Cache-Control" = String, description = "That the page must be revalidated."),
                ("Content-Security-Policy" = String, description = "What the page may do."),
                ("ETag" = String, description = "The version of the page."),
            )),
        (status = 304, description = "The client has this version of the page"),
    )
)]
async fn docs(headers: HeaderMap) -> Response {
    html(DOCS, DOCS_POLICY, &headers)
}

problems!(AssetProblems, [not_found()]);

/// A file of the pages
#[utoipa::path(
    get,
    path = "/assets/{build}/{file}",
    tag = "Pages",
    params(
        ("build" = String, Path, description = "The version of all files."),
        ("file" = String, Path, description = "The name of a file."),
    ),
    responses(
        (status = 200, description = "The file",
            content((String = "text/javascript; charset=utf-8"), (String = "text/css; charset=utf-8"), (String = "image/svg+xml")),
            headers(("Cache-Control" = String, description = "That the file may be kept forever."))),
        AssetProblems,
    )
)]
async fn asset(Path((build, file)): Path<(String, String)>) -> Result<Response, Problem> {
    let file = assets::find(&file)
        .filter(|_| build == BUILD)
        .ok_or_else(not_found)?;
    let headers = [
        (CONTENT_TYPE, file.content_type),
        (CACHE_CONTROL, FOREVER),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, file.bytes()?).into_response())
}

/// A page, unless the client has it already (RFC 9110, section 13.1.2).
fn html(html: &'static str, policy: &'static str, headers: &HeaderMap) -> Response {
    let strong = TAG.trim_start_matches("W/");
    let is_known = members(headers, &IF_NONE_MATCH)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == strong);
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, REVALIDATE),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (ETAG, TAG),
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer"),
    ];
    if is_known {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, html).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_page_is_not_sent_again() {
        let with = |value: &str| HeaderMap::from_iter([(IF_NONE_MATCH, value.parse().unwrap())]);
        let status = |value| html("<!doctype html>", "default-src 'none'", &with(value)).status();
        let strong = TAG.trim_start_matches("W/");
        for known in [TAG, strong, "*"] {
            assert_eq!(status(known), 304, "{known}");
        }
        assert_eq!(status(r#""x", W/"y""#), 200);
        assert_eq!(status(BUILD), 200);
        let listed = format!("\"x\" , {TAG}");
        assert_eq!(status(&listed), 304);
    }
}
