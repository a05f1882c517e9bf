//! `POST /predict`: texts in, scores out. Other protocols differ only in how a request is
//! read and its answer written (`protocol`).

use std::sync::Arc;
use std::time::Instant;

use api_keys::ApiKeys;
use arc_swap::ArcSwapOption;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use connection::body::Whole;
use connection::{Memory, Reservation, Session};
use predictor::{Digest, ErrorKind, PredictError, Revision, RevisionName, estimated_tokens};
use service::{Options, Service};
use tracing::Span;

use crate::bulk;
use crate::caller::Caller;
use crate::infer::Infer;
use crate::observe::Outcome;
use crate::options::options;
use crate::problem::Problem;
use crate::protocol::{self, Protocol};
use crate::request::{self, Form, Read};
use crate::scores::Document;
use crate::server_timing::Stages;
use crate::{HttpConfig, Served, coding, media_type};

/// The first digits of the digests of the guests that made the answer: one, unless
/// another one is on trial with a share of the texts.
pub(crate) const GUEST: HeaderName = HeaderName::from_static("x-fastsentiment-guest");

/// The same for the models.
pub(crate) const MODEL: HeaderName = HeaderName::from_static("x-fastsentiment-model");

/// The same for the revisions, which guest and model are parts of.
pub(crate) const REVISION: HeaderName = HeaderName::from_static("x-fastsentiment-revision");

/// What people call the revisions, if they have names.
pub(crate) const NAME: HeaderName = HeaderName::from_static("x-fastsentiment-name");

/// How many of the texts were answered from the cache.
pub(crate) const CACHE_HITS: HeaderName = HeaderName::from_static("x-fastsentiment-cache-hits");

/// Bodies of up to this many bytes are parsed on the thread that serves the connection: that
/// costs not much more than a change of threads. 8 MiB would hold up every other connection
/// of the thread for tens of milliseconds.
const IN_PLACE: usize = 64 * 1024;

/// Answers with up to this many scores, of some 40 bytes each, are written there.
const SCORES_IN_PLACE: usize = IN_PLACE / 40;

/// What `POST /predict` works with.
#[derive(Clone)]
pub(crate) struct Predict(Arc<Shared>);

struct Shared {
    service: Arc<Service>,
    served: Served,
    memory: Memory,
    config: HttpConfig,
    bulk: bulk::Route,
    /// The headers of the last answer, which are nearly always those of the next.
    named: ArcSwapOption<Named>,
    api_keys: Option<Arc<ApiKeys>>,
}

/// The revisions of an answer and their headers.
struct Named {
    revisions: Vec<Arc<Revision>>,
    guest: HeaderValue,
    model: HeaderValue,
    revision: HeaderValue,
    name: Option<HeaderValue>,
}

/// Score texts
#[utoipa::path(
    post,
    path = "/predict",
    tag = "Predictions",
    request_body(content(
        (request::PredictRequest = "application/json"),
        (String = "application/x-ndjson"),
    )),
    responses((
        status = 200,
        description = "The scores of all texts, in the form of the request",
        content((Document<'static> = "application/json"), (String = "application/x-ndjson")),
        headers(
            ("x-fastsentiment-guest" = String, description = "The first 12 digits of the SHA-256 of the guest that made the answer; of each, if another version is on trial with a share of the texts."),
            ("x-fastsentiment-model" = String, description = "The same for the model."),
            ("x-fastsentiment-revision" = String, description = "The same for the revision: guest, model and configuration."),
            ("x-fastsentiment-name" = String, description = "What people call these revisions, if they have names."),
            ("x-fastsentiment-cache-hits" = u64, description = "How many of the texts were answered from the cache."),
            ("Server-Timing" = String, description = "Where the time went, in milliseconds (W3C Server Timing): `read`, from the head of the request to the end of its body; `parse`; `cache`, until all texts were found or queued; of those that were computed the longest wait in the `queue`, and the longest `predict`, a batch in the guest and the model; `total`, to the answer."),
        ),
    )),
)]
pub(crate) async fn predict(
    State(predict): State<Predict>,
    Extension(session): Extension<Session>,
    request: Request,
) -> Result<Response, Problem> {
    predict.respond(request, session, Protocol::Own).await
}

/// The same as `POST /predict`
///
/// For clients that are given the server's address alone, as those of Hugging Face may
/// be.
#[utoipa::path(
    post,
    path = "/",
    tag = "Predictions",
    operation_id = "predictAtRoot",
    responses((status = 200, description = "As for `POST /predict`")),
)]
pub(crate) async fn predict_at_root(
    state: State<Predict>,
    session: Extension<Session>,
    request: Request,
) -> Result<Response, Problem> {
    predict(state, session, request).await
}

/// Score texts as Text Embeddings Inference does
///
/// The same as `POST /predict`, but one text in `inputs` gets a list of its scores, not a
/// list of one list.
#[utoipa::path(
    post,
    path = "/tei/predict",
    tag = "Predictions",
    operation_id = "predictAsTei",
    responses((status = 200, description = "As for `POST /predict`, but for one text in `inputs`")),
)]
pub(crate) async fn predict_as_tei(
    State(predict): State<Predict>,
    Extension(session): Extension<Session>,
    request: Request,
) -> Result<Response, Problem> {
    predict.respond(request, session, Protocol::Tei).await
}

impl Predict {
    pub(crate) fn new(
        service: Arc<Service>,
        served: Served,
        config: &HttpConfig,
        api_keys: Option<Arc<ApiKeys>>,
    ) -> Self {
        let memory = Memory::new(config.body_memory);
        Self(Arc::new(Shared {
            bulk: bulk::Route::new(Arc::clone(&service), memory.clone(), config),
            service,
            served,
            memory,
            config: config.clone(),
            named: ArcSwapOption::empty(),
            api_keys,
        }))
    }

    /// Answers a request of this protocol.
    pub(crate) async fn respond(
        &self,
        request: Request,
        session: Session,
        protocol: Protocol,
    ) -> Result<Response, Problem> {
        let (head, body) = request.into_parts();
        let keys = self.0.api_keys.as_deref();
        let mut caller = Caller::of(keys, &head.headers, &session)?;
        let answer = self.0.answer(&head, body, session, protocol, &mut caller);
        let mut response = answer.await.into_response();
        caller.describe(response.headers_mut());
        Ok(response)
    }
}

impl Shared {
    async fn answer(
        &self,
        head: &Parts,
        body: Body,
        session: Session,
        protocol: Protocol,
        caller: &mut Caller,
    ) -> Result<Response, Problem> {
        let refuse = |_: &Problem| session.refuse();
        caller.count_request().inspect_err(refuse)?;
        if protocol.has_lines() && media_type::is_ndjson(&head.headers) {
            return self.bulk.answer(head, body, session, caller).await;
        }
        protocol.require_media_type(&head.headers)?;
        let coding = coding::of_request(&head.headers)?;
        let mut options = options(&head.headers, caller.client())?;
        options.request.revision = protocol.revision();
        let (limit, timeout) = (self.config.max_body_bytes, self.config.body_timeout);
        let whole = session.read_body(body, coding, limit, timeout, &self.memory);
        let whole = whole.await?;
        let received = Instant::now();
        // The memory is released with the answer: until then the texts use it.
        let parsed = self.parse(whole, protocol, caller.has_key()).await?;
        let (read, tokens, _reservation) = parsed;
        let Read { texts, form, .. } = read;
        caller.count_tokens(tokens).inspect_err(refuse)?;
        options.request.long_texts = read.long_texts;
        if let Form::Infer(Infer {
            timeout: Some(asked),
            ..
        }) = form
        {
            options.timeout = Some(options.timeout.map_or(asked, |other| other.min(asked)));
        }
        let parsing = received.elapsed();
        let predictions = if texts.given > texts.kept.len() {
            Err(self.service.too_many(texts.given))
        } else {
            self.service.predict(texts.kept, options).await
        };
        let predictions = predictions.map_err(|error| {
            if matches!(error.kind, ErrorKind::Overloaded { .. }) {
                session.refuse();
            }
            log(&error, options);
            form.problem(error)
        })?;
        let named = self.named(&predictions.revisions)?;
        let outcome = Outcome {
            texts: predictions.scores.len() as u64,
            hits: predictions.hits as u64,
            stages: Stages {
                received,
                parsing,
                lookup: predictions.lookup,
                work: predictions.work,
            },
        };
        let hits = HeaderValue::from(predictions.hits);
        let version = named.revision.clone();
        let scores: usize = predictions.scores.iter().map(|scores| scores.len()).sum();
        let write = move || protocol::write(&predictions, &form, &version);
        let written = in_place_if(scores <= SCORES_IN_PLACE, write).await?;
        let mut response = written.into_response();
        let headers = response.headers_mut();
        headers.insert(GUEST, named.guest.clone());
        headers.insert(MODEL, named.model.clone());
        headers.insert(REVISION, named.revision.clone());
        if let Some(name) = &named.name {
            headers.insert(NAME, name.clone());
        }
        headers.insert(CACHE_HITS, hits);
        response.extensions_mut().insert(outcome);
        Ok(response)
    }

    /// Reads a request, and estimates the tokens of its texts if they count.
    async fn parse(
        &self,
        body: Whole,
        protocol: Protocol,
        counts_tokens: bool,
    ) -> Result<(Read, u64, Reservation), Problem> {
        let (max_texts, served) = (self.service.max_texts(), self.served.clone());
        let is_short = body.bytes.len() <= IN_PLACE;
        let parse = move || {
            let read = protocol.read(&body.bytes, max_texts, &served)?;
            let tokens = |text: &String| u64::from(estimated_tokens(text));
            let tokens = if counts_tokens {
                read.texts.kept.iter().map(tokens).sum()
            } else {
                0
            };
            Ok((read, tokens, body.reservation))
        };
        in_place_if(is_short, parse).await
    }

    /// The headers of revisions.
    fn named(&self, revisions: &[Arc<Revision>]) -> Result<Arc<Named>, Problem> {
        if let Some(named) = &*self.named.load()
            && named.revisions == revisions
            // One that was forgotten can come back under another name.
            && names(&named.revisions).eq(names(revisions))
        {
            return Ok(Arc::clone(named));
        }
        let called: Vec<_> = names(revisions)
            .flatten()
            .map(RevisionName::as_str)
            .collect();
        let named = Arc::new(Named {
            revisions: revisions.to_vec(),
            guest: short(revisions.iter().map(|revision| revision.guest()))?,
            model: short(revisions.iter().map(|revision| revision.model()))?,
            revision: short(revisions.iter().map(|revision| revision.digest()))?,
            name: (!called.is_empty())
                .then(|| HeaderValue::try_from(called.join(", ")).map_err(|_| Problem::failed()))
                .transpose()?,
        });
        self.named.store(Some(Arc::clone(&named)));
        Ok(named)
    }
}

/// What people call revisions.
fn names(revisions: &[Arc<Revision>]) -> impl Iterator<Item = Option<&RevisionName>> {
    revisions.iter().map(|revision| revision.name())
}

/// Runs `work` here if it is short, and else on a thread that serves no connections.
async fn in_place_if<T: Send + 'static>(
    is_short: bool,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if is_short {
        return work();
    }
    let span = Span::current();
    let done = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "a large request could not be handled");
        Err(Problem::failed())
    })
}

/// The texts of a document that `POST /predict` takes, for use without HTTP.
///
/// # Errors
///
/// If the document is not one: what is wrong with it, for a person.
pub fn texts_of(document: &[u8]) -> Result<Vec<String>, String> {
    request::texts(document).map_err(|problem| problem.detail.into_owned())
}

/// The first digits of digests, each once.
fn short(digests: impl Iterator<Item = Digest>) -> Result<HeaderValue, Problem> {
    let mut names: Vec<String> = Vec::new();
    for name in digests.map(|digest| digest.short()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    HeaderValue::try_from(names.join(", ")).map_err(|error| {
        tracing::error!(%error, "digests cannot be a header");
        Problem::failed()
    })
}

/// Logs a failure. Clients' mistakes are not logged by default, and refusals under load
/// must not add the load of a log line each. Nothing of a text is logged.
pub(crate) fn log(error: &PredictError, options: Options) {
    let PredictError {
        kind,
        message,
        detail,
        // It may contain a client's text.
        full_detail: _,
    } = error;
    let detail = detail.as_deref();
    match kind {
        ErrorKind::Failed => tracing::error!(reason = message, detail, "a prediction failed"),
        ErrorKind::TimedOut if options.timeout.is_some() => {
            tracing::debug!(
                reason = message,
                detail,
                "a prediction took longer than its client allows"
            );
        }
        ErrorKind::TimedOut | ErrorKind::Unavailable => {
            tracing::warn!(reason = message, detail, "a prediction was not made");
        }
        // The guest may have put anything of the text into its reason.
        ErrorKind::InvalidText { index } => tracing::debug!(index, "a guest refused a text"),
        ErrorKind::Overloaded { .. }
        | ErrorKind::TooManyTexts { .. }
        | ErrorKind::TextTooLong { .. }
        | ErrorKind::UnknownRevision => {
            tracing::debug!(reason = message, detail, "a request was refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_revisions_share_is_named_once() {
        let [one, two] = [b"1", b"2"].map(|bytes| Digest::of(bytes));
        let header = short([one, two, one].into_iter()).unwrap();
        assert_eq!(header, format!("{}, {}", one.short(), two.short()));
    }
}
