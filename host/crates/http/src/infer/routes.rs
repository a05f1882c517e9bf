//! The routes of the Open Inference Protocol.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::response::Response;
use connection::Session;
use predictor::{Digest, Revision};
use serde::Serialize;
use service::Service;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::InferResponse;
use super::request::InferRequest;
use super::{ALIAS, Output, Target, header_length};
use crate::openapi::problems;
use crate::predict::Predict;
use crate::problem::{Kind, Problem};
use crate::protocol::Protocol;
use crate::{Readiness, Served, health};

/// What the handlers work with.
#[derive(Clone)]
pub(crate) struct Inference {
    pub(crate) predict: Predict,
    pub(crate) service: Arc<Service>,
    pub(crate) served: Served,
    pub(crate) readiness: Readiness,
}

/// Serves the protocol.
pub(crate) fn router(inference: Inference) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(server))
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(model))
        .routes(routes!(model_ready))
        .routes(routes!(version))
        .routes(routes!(version_ready))
        .routes(routes!(infer))
        .routes(routes!(infer_by_version))
        .with_state(inference)
}

impl Inference {
    /// The problem of a name that is not the model's.
    fn require(&self, name: &str) -> Result<(), Problem> {
        let (model, _) = (self.served.live)();
        if name == ALIAS || name == model.name {
            return Ok(());
        }
        Err(unknown_model(&model.name))
    }

    /// The revision that answers and has this name, which is its digest or the first digits
    /// of it.
    fn find(&self, version: &str) -> Result<Digest, Problem> {
        let answering = self.service.answering();
        let mut digests = answering.iter().map(|revision| revision.digest());
        let found =
            digests.find(|digest| *digest.short() == *version || digest.to_string() == version);
        found.ok_or_else(|| unknown_version(&answering))
    }

    fn metadata(&self, name: String) -> InferModel {
        let tensor = |name, datatype, shape: &[i64]| InferTensor {
            name,
            datatype,
            shape: shape.to_vec(),
        };
        let answering = self.service.answering();
        let output = |output: Output| tensor(output.name(), output.datatype(), &[-1, -1]);
        InferModel {
            name,
            versions: answering.iter().map(|revision| revision.short()).collect(),
            platform: "fastsentiment_wasm",
            inputs: vec![tensor("text", "BYTES", &[-1])],
            outputs: vec![output(Output::Labels), output(Output::Scores)],
        }
    }

    fn readiness(&self, name: String) -> Result<Json<InferModelReady>, Problem> {
        self.readiness.check()?;
        Ok(Json(InferModelReady { name, ready: true }))
    }
}

/// There is no model of this name; there is one of that `name`.
pub(crate) fn unknown_model(name: &str) -> Problem {
    let detail =
        format!("there is no model of this name: it is `{name}`, or `{ALIAS}` whatever is live");
    Problem::new(Kind::UnknownModel, detail)
}

fn unknown_version(answering: &[Arc<Revision>]) -> Problem {
    let names: Vec<_> = answering.iter().map(|revision| revision.short()).collect();
    let names = names.join(", ");
    let detail = format!(
        "this version answers no texts: only the live one does, and a canary while there is \
         one; now {names}"
    );
    Problem::new(Kind::UnknownVersion, detail)
}

/// What cannot be decoded names nothing.
type InPath<T> = Result<Path<T>, PathRejection>;

fn one(path: InPath<String>) -> String {
    path.map(|Path(name)| name).unwrap_or_default()
}

fn two(path: InPath<(String, String)>) -> (String, String) {
    path.map(|Path(names)| names).unwrap_or_default()
}

/// The server, as the Open Inference Protocol describes it.
#[derive(Serialize, ToSchema)]
struct InferServer {
    /// The name of the program.
    #[schema(value_type = String)]
    name: &'static str,
    /// The version of the program.
    #[schema(value_type = String)]
    version: &'static str,
    /// The extensions of the protocol.
    #[schema(value_type = Vec<String>)]
    extensions: [&'static str; 1],
}

/// A process that lives.
#[derive(Serialize, ToSchema)]
struct InferLive {
    /// `true`
    live: bool,
}

/// A server that accepts requests.
#[derive(Serialize, ToSchema)]
struct InferReady {
    /// `true`
    ready: bool,
}

/// A model that answers.
#[derive(Serialize, ToSchema)]
struct InferModelReady {
    /// The name that was asked for.
    name: String,
    /// `true`
    ready: bool,
}

/// The model, as the Open Inference Protocol describes it.
#[derive(Serialize, ToSchema)]
struct InferModel {
    /// The name that was asked for.
    name: String,
    /// The first 12 digits of the digests of the revisions that answer: the live one, and a
    /// canary while there is one.
    #[schema(pattern = "^[0-9a-f]{12}$", min_items = 1)]
    versions: Vec<String>,
    /// What answers.
    #[schema(value_type = String)]
    platform: &'static str,
    /// The input, `text`. Its shape may be [n, 1] as well.
    inputs: Vec<InferTensor>,
    /// The outputs: `labels`, and their `scores`, highest first.
    outputs: Vec<InferTensor>,
}

/// A tensor of a model; -1 stands for any size.
#[derive(Serialize, ToSchema)]
struct InferTensor {
    #[schema(value_type = String)]
    name: &'static str,
    #[schema(value_type = String)]
    datatype: &'static str,
    shape: Vec<i64>,
}

/// The server and its extensions
#[utoipa::path(
    get,
    path = "/v2",
    operation_id = "inferServer",
    tag = "Open Inference Protocol",
    responses((status = 200, description = "The server", body = InferServer))
)]
async fn server() -> Json<InferServer> {
    Json(InferServer {
        name: ALIAS,
        version: env!("CARGO_PKG_VERSION"),
        extensions: ["binary_tensor_data"],
    })
}

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/v2/health/live",
    operation_id = "inferLive",
    tag = "Open Inference Protocol",
    responses((status = 200, description = "It lives", body = InferLive))
)]
async fn live() -> Json<InferLive> {
    Json(InferLive { live: true })
}

/// Whether the server accepts requests
#[utoipa::path(
    get,
    path = "/v2/health/ready",
    operation_id = "inferReady",
    tag = "Open Inference Protocol",
    responses((status = 200, description = "It does", body = InferReady), health::ReadyProblems)
)]
async fn ready(State(inference): State<Inference>) -> Result<Json<InferReady>, Problem> {
    inference.readiness.check()?;
    Ok(Json(InferReady { ready: true }))
}

problems!(ModelProblems, [unknown_model("default")]);
problems!(
    VersionProblems,
    [unknown_model("default"), unknown_version(&[])]
);

/// The tensors of the model
#[utoipa::path(
    get,
    path = "/v2/models/{name}",
    operation_id = "inferModel",
    tag = "Open Inference Protocol",
    params(("name" = String, Path, description = "The name of the model.")),
    responses((status = 200, description = "The model", body = InferModel), ModelProblems)
)]
async fn model(
    State(inference): State<Inference>,
    path: InPath<String>,
) -> Result<Json<InferModel>, Problem> {
    let name = one(path);
    inference.require(&name)?;
    Ok(Json(inference.metadata(name)))
}

/// Whether the model answers
#[utoipa::path(
    get,
    path = "/v2/models/{name}/ready",
    operation_id = "inferModelReady",
    tag = "Open Inference Protocol",
    params(("name" = String, Path, description = "The name of the model.")),
    responses(
        (status = 200, description = "It does", body = InferModelReady),
        ModelProblems,
        health::ReadyProblems,
    )
)]
async fn model_ready(
    State(inference): State<Inference>,
    path: InPath<String>,
) -> Result<Json<InferModelReady>, Problem> {
    let name = one(path);
    inference.require(&name)?;
    inference.readiness(name)
}

/// The tensors of a version of the model
#[utoipa::path(
    get,
    path = "/v2/models/{name}/versions/{version}",
    operation_id = "inferVersion",
    tag = "Open Inference Protocol",
    params(
        ("name" = String, Path, description = "The name of the model."),
        ("version" = String, Path, description = "The version."),
    ),
    responses((status = 200, description = "The model", body = InferModel), VersionProblems)
)]
async fn version(
    State(inference): State<Inference>,
    path: InPath<(String, String)>,
) -> Result<Json<InferModel>, Problem> {
    let (name, version) = two(path);
    inference.require(&name)?;
    inference.find(&version)?;
    Ok(Json(inference.metadata(name)))
}

/// Whether a version of the model answers
#[utoipa::path(
    get,
    path = "/v2/models/{name}/versions/{version}/ready",
    operation_id = "inferVersionReady",
    tag = "Open Inference Protocol",
    params(
        ("name" = String, Path, description = "The name of the model."),
        ("version" = String, Path, description = "The version."),
    ),
    responses(
        (status = 200, description = "It does", body = InferModelReady),
        VersionProblems,
        health::ReadyProblems,
    )
)]
async fn version_ready(
    State(inference): State<Inference>,
    path: InPath<(String, String)>,
) -> Result<Json<InferModelReady>, Problem> {
    let (name, version) = two(path);
    inference.require(&name)?;
    inference.find(&version)?;
    inference.readiness(name)
}

/// Score texts
#[utoipa::path(
    post,
    path = "/v2/models/{name}/infer",
    operation_id = "infer",
    tag = "Open Inference Protocol",
    params(("name" = String, Path, description = "The name of the model.")),
    request_body(content(
        (InferRequest = "application/json"),
        (String = "application/octet-stream"),
    )),
    responses((
        status = 200,
        description = "The labels and scores of all texts",
        content(
            (InferResponse<'static> = "application/json"),
            (String = "application/octet-stream"),
        ),
    ), ModelProblems),
)]
async fn infer(
    State(inference): State<Inference>,
    path: InPath<String>,
    session: Extension<Session>,
    request: Request,
) -> Result<Response, Problem> {
    inference.answer(one(path), None, session, request).await
}

/// Score texts by a version of the model
///
/// The same as `POST /v2/models/{name}/infer`, but no other version answers, not even for a
/// share of the texts or where this one fails.
#[utoipa::path(
    post,
    path = "/v2/models/{name}/versions/{version}/infer",
    operation_id = "inferByVersion",
    tag = "Open Inference Protocol",
    params(
        ("name" = String, Path, description = "The name of the model."),
        ("version" = String, Path, description = "The version."),
    ),
    responses((status = 200, description = "As without a version"), VersionProblems),
)]
async fn infer_by_version(
    State(inference): State<Inference>,
    path: InPath<(String, String)>,
    session: Extension<Session>,
    request: Request,
) -> Result<Response, Problem> {
    let (name, version) = two(path);
    let answer = inference.answer(name, Some(version), session, request);
    answer.await
}

impl Inference {
    async fn answer(
        &self,
        model: String,
        version: Option<String>,
        Extension(session): Extension<Session>,
        request: Request,
    ) -> Result<Response, Problem> {
        self.require(&model)?;
        let revision = version.map(|version| self.find(&version)).transpose()?;
        let header = header_length(request.headers())?;
        let target = Target {
            model,
            revision,
            header,
        };
        let protocol = Protocol::Infer(target);
        self.predict.respond(request, session, protocol).await
    }
}
