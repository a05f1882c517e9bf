//! The public API: predictions, health, documentation and the page.

use std::sync::Arc;

use api_keys::ApiKeys;
use axum::Router;
use prometheus::Registry;
use service::Service;
use tower_http::normalize_path::NormalizePath;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::observe::Observer;
use crate::openapi::{self, public as document};
use crate::predict::{self, Predict};
use crate::problem::{Kind, Problem};
use crate::{
    HttpConfig, Metrics, Readiness, Served, classify, cors, health, infer, info, layers, pages,
    prometheus_text, version,
};

/// What the public API is made of.
pub struct Public {
    /// Predicts.
    pub service: Arc<Service>,
    /// Describes the model, for `GET /info`.
    pub served: Served,
    /// The server's state, for probes.
    pub readiness: Readiness,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// The registry to publish at `/metrics`, if clients may see it.
    pub published: Option<Registry>,
    /// The keys that clients need to have texts scored, unless they need none.
    pub api_keys: Option<Arc<ApiKeys>>,
    /// Limits on requests.
    pub config: HttpConfig,
}

impl Public {
    /// The routes, with the layers that every request passes.
    pub fn router(self) -> NormalizePath<Router> {
        let Self {
            service,
            served,
            readiness,
            metrics,
            published,
            api_keys,
            config,
        } = self;
        let needs_key = api_keys.is_some();
        let predict = Predict::new(Arc::clone(&service), served.clone(), &config, api_keys);
        let live = {
            let service = Arc::clone(&service);
            Arc::new(move || Ok(service.revision()))
        };
        let facts = document::Facts {
            limits: service.limits().clone(),
            config: config.clone(),
            live: service.revision(),
            allowed: served.allowed(),
            model: (served.live)().0.name.clone(),
            needs_key,
        };
        let openapi = openapi::Document::default();
        let mut api = OpenApiRouter::new()
            .routes(routes!(predict::predict))
            .routes(routes!(pages::page, predict::predict_at_root))
            .routes(routes!(predict::predict_as_tei))
            .with_state(predict.clone())
            .merge(infer::router(infer::Inference {
                predict: predict.clone(),
                service: Arc::clone(&service),
                served: served.clone(),
                readiness: readiness.clone(),
            }))
            .merge(classify::router(classify::Classifier {
                predict,
                served: served.clone(),
            }))
            .merge(health::router(readiness))
            .merge(version::router(live))
            .merge(info::router(info::Info {
                service,
                served: Arc::new(served.clone()),
                config: Arc::new(config.clone()),
            }))
            .merge(openapi::router(Arc::clone(&openapi)))
            .merge(pages::router());
        if let Some(registry) = published {
            api = api.merge(prometheus_text::router(registry));
        }
        let (router, described) = api.split_for_parts();
        let router = layers::answer_other_methods(router, &described);
        let _ = openapi.set(Box::new(document::following(described, facts, served)));
        let observer = Observer {
            metrics: Some(metrics),
            log_requests: config.log_requests,
        };
        layers::stack(
            router,
            not_found,
            cors::layer(&config.cors_origins),
            observer,
        )
    }
}

/// There is nothing at a path.
pub(crate) fn not_found() -> Problem {
    Problem::new(
        Kind::NotFound,
        "there is nothing at this path; see `POST /predict`, `GET /health` and \
         `GET /version`, or all paths at `GET /docs` and `GET /openapi.json`",
    )
}
