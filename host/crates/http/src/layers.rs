//! The layers that both listeners stack around their routes.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::MatchedPath;
use axum::http::header::ALLOW;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use tower::ServiceBuilder;
use tower::util::option_layer;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};
use tower_http::cors::CorsLayer;
use tower_http::normalize_path::NormalizePath;
use utoipa::openapi::OpenApi;

use crate::host::require_host;
use crate::observe::{Observer, observe};
use crate::problem::Problem;

/// Shorter answers, in bytes, fit into a packet or two as they are.
const COMPRESS_ABOVE: u16 = 1024;

/// At this level compression takes about as long as sending would.
const LEVEL: CompressionLevel = CompressionLevel::Precise(4);

/// Wraps routes in what every request passes: a slash at the end of its path is ignored,
/// it is observed, it has to say which host it is for, it gets an answer after a panic and
/// where there is no route, and answers are compressed if that is worth it.
pub(crate) fn stack(
    router: Router,
    not_found: fn() -> Problem,
    cors: Option<CorsLayer>,
    observer: Observer,
) -> NormalizePath<Router> {
    let worth_it = SizeAbove::new(COMPRESS_ABOVE)
        // Lines are sent as they are made.
        .and(NotForContentType::const_new("application/x-ndjson"));
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn_with_state(observer, observe))
        .layer(middleware::from_fn(require_host))
        .layer(option_layer(cors))
        .layer(
            CompressionLayer::new()
                .quality(LEVEL)
                .compress_when(worth_it),
        )
        .layer(CatchPanicLayer::custom(panicked));
    let router = router
        .fallback(async move || not_found().into_response())
        .layer(layers);
    // Outside of the routes, which are chosen before their layers run.
    NormalizePath::trim_trailing_slash(router)
}

/// Answers the methods that a path has no handler for.
pub(crate) fn answer_other_methods(router: Router, described: &OpenApi) -> Router {
    let methods = Arc::new(methods_of(described));
    router.method_not_allowed_fallback(async move |method: Method, path: MatchedPath| {
        let allow = methods.get(path.as_str()).cloned().unwrap_or_default();
        let answer = if method == Method::OPTIONS {
            StatusCode::NO_CONTENT.into_response()
        } else {
            Problem::method_not_allowed(&allow).into_response()
        };
        ([(ALLOW, allow)], answer)
    })
}

/// The value of `Allow` for each path.
fn methods_of(described: &OpenApi) -> HashMap<String, String> {
    let paths = described.paths.paths.iter();
    let allowed = paths.map(|(path, item)| {
        let methods = [
            ("DELETE", item.delete.is_some()),
            ("GET", item.get.is_some()),
            ("HEAD", item.get.is_some()),
            ("OPTIONS", true),
            ("POST", item.post.is_some()),
        ];
        let methods = methods.iter().filter(|(_, is_taken)| *is_taken);
        let methods: Vec<_> = methods.map(|(name, _)| *name).collect();
        (path.clone(), methods.join(", "))
    });
    allowed.collect()
}

/// What the panic says stays with the process's panic hook: it may hold a text.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request panicked");
    Problem::failed().into_response()
}
