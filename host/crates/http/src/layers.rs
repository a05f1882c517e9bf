//! The layers that both listeners stack around their routes.

use std::any::Any;

use axum::Router;
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

use crate::observe::{Observer, observe};
use crate::problem::Problem;

/// Shorter answers, in bytes, fit into a packet or two as they are.
const COMPRESS_ABOVE: u16 = 1024;

/// At this level compression takes about as long as sending would.
const LEVEL: CompressionLevel = CompressionLevel::Precise(4);

/// Wraps routes in what every request passes: it is observed, it gets an answer after a
/// panic and where there is no route, and answers are compressed if that is worth it.
pub(crate) fn stack(
    router: Router,
    not_found: fn() -> Problem,
    cors: Option<CorsLayer>,
    observer: Observer,
) -> Router {
    let worth_it = SizeAbove::new(COMPRESS_ABOVE)
        // Lines are sent as they are made.
        .and(NotForContentType::const_new("application/x-ndjson"));
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn_with_state(observer, observe))
        .layer(option_layer(cors))
        .layer(
            CompressionLayer::new()
                .quality(LEVEL)
                .compress_when(worth_it),
        )
        .layer(CatchPanicLayer::custom(panicked));
    router
        .fallback(async move || not_found().into_response())
        .method_not_allowed_fallback(other_method)
        .layer(layers)
}

/// Answers the methods that a path has no handler for. Axum adds `Allow`.
pub(crate) async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Problem::method_not_allowed().into_response()
    }
}

/// What the panic says stays with the process's panic hook: it may hold a text.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request panicked");
    Problem::failed().into_response()
}
