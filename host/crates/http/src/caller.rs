//! Who asks for predictions: an address, or the holder of an API key, which has quotas.

use std::sync::Arc;
use std::time::Duration;

use api_keys::{ApiKeys, Denied, Exceeded, Key, Standing, Unit};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use connection::Session;
use predictor::Client;
use tokio::time::{Instant, sleep_until};
use tracing::Span;

use crate::authorization::bearer;
use crate::problem::{Kind, Problem};
use crate::request_id;

/// What is left of the quota that is nearest to its end
/// (draft-ietf-httpapi-ratelimit-headers-06).
pub(crate) const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
pub(crate) const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
pub(crate) const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// All quotas.
pub(crate) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The window of quotas.
const WINDOW: Duration = Duration::from_secs(60);

/// Who sent a request.
pub(crate) struct Caller {
    client: Client,
    key: Option<Arc<Key>>,
    /// What was left of each quota when something was last taken from it.
    standings: Vec<Standing>,
}

impl Caller {
    /// Finds out who sends a request. Without `keys` everybody may.
    pub(crate) fn of(
        keys: Option<&ApiKeys>,
        headers: &HeaderMap,
        session: &Session,
    ) -> Result<Self, Problem> {
        let Some(keys) = keys else {
            return Ok(Self {
                client: session.peer().into(),
                key: None,
                standings: Vec::new(),
            });
        };
        let key = keys.find(bearer(headers));
        let key = key.map_err(|denied| refusal(&denied, headers.contains_key(AUTHORIZATION)))?;
        Span::current().record(request_id::CLIENT, key.name().as_str());
        Ok(Self {
            client: key.client(),
            key: Some(key),
            standings: Vec::new(),
        })
    }

    pub(crate) fn client(&self) -> Client {
        self.client
    }

    /// Whether the tokens of texts are counted.
    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Counts the request.
    pub(crate) fn count_request(&mut self) -> Result<(), Problem> {
        self.count(Key::count_request)
    }

    /// Counts the estimated tokens of the texts.
    pub(crate) fn count_tokens(&mut self, tokens: u64) -> Result<(), Problem> {
        self.count(|key| key.count_tokens(tokens))
    }

    fn count(
        &mut self,
        count: impl FnOnce(&Key) -> Result<Option<Standing>, Exceeded>,
    ) -> Result<(), Problem> {
        let Some(key) = &self.key else {
            return Ok(());
        };
        let counted = count(key);
        self.standings.extend(match &counted {
            Ok(standing) => *standing,
            Err(exceeded) => Some(Standing {
                unit: exceeded.unit,
                limit: exceeded.limit,
                left: 0,
                full_after: exceeded.retry_after.unwrap_or(WINDOW),
            }),
        });
        counted.map(drop).map_err(Problem::from)
    }

    /// What a bulk request of this caller may read.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance {
            key: self.key.clone(),
            owed: 0,
            again: None,
        }
    }

    /// Says in an answer what is left.
    pub(crate) fn describe(&self, headers: &mut HeaderMap) {
        let share = |standing: &&Standing| {
            let left = u64::from(standing.left) << 32;
            left / u64::from(standing.limit.max(1))
        };
        let Some(nearest) = self.standings.iter().min_by_key(share) else {
            return;
        };
        let full_after = nearest.full_after;
        let reset = full_after.as_secs() + u64::from(full_after.subsec_nanos() > 0);
        headers.insert(LIMIT, nearest.limit.into());
        headers.insert(REMAINING, nearest.left.into());
        headers.insert(RESET, reset.into());
        let policies = self.standings.iter().map(|standing| {
            let Standing { limit, unit, .. } = standing;
            let window = WINDOW.as_secs();
            format!("{limit};w={window};comment=\"{}\"", unit.name())
        });
        let policy = policies.collect::<Vec<_>>().join(", ");
        headers.extend(HeaderValue::try_from(policy).map(|policy| (POLICY, policy)));
    }
}

/// What a bulk request may read: lines whose tokens a quota has, and one that it must wait for.
pub(crate) struct Allowance {
    key: Option<Arc<Key>>,
    /// Tokens that were read and are not counted yet.
    owed: u64,
    /// When the quota will have them.
    again: Option<Instant>,
}

impl Allowance {
    /// A line was read with this text.
    pub(crate) fn owe(&mut self, text: &str) {
        if let Some(key) = &self.key {
            // A longer one would wait forever.
            let tokens = u64::from(predictor::estimated_tokens(text)).min(key.most_tokens());
            self.owed = tokens;
        }
    }

    /// Whether the quota is what is waited for.
    pub(crate) fn is_owing(&self) -> bool {
        self.owed > 0
    }

    /// Waits until the quota allows what was read. Dropping the future loses nothing.
    pub(crate) async fn settle(&mut self) {
        while let Some(key) = self.key.as_ref().filter(|_| self.owed > 0) {
            if let Some(again) = self.again {
                sleep_until(again).await;
            }
            match key.count_tokens(self.owed) {
                Ok(_) => (self.owed, self.again) = (0, None),
                Err(exceeded) => {
                    self.again = Some(Instant::now() + exceeded.retry_after.unwrap_or(WINDOW));
                }
            }
        }
    }
}

impl From<Exceeded> for Problem {
    fn from(exceeded: Exceeded) -> Self {
        let Exceeded {
            unit,
            limit,
            retry_after,
        } = exceeded;
        let unit = unit.name();
        let detail = match retry_after {
            Some(_) => format!("your API key allows {limit} {unit} a minute; try again later"),
            None => format!(
                "the texts of the request have more than the {limit} {unit} that your API key \
                 allows in a minute; send fewer at a time"
            ),
        };
        let problem = Self::new(Kind::RateLimited, detail);
        match retry_after {
            Some(wait) => problem.retry_after(wait),
            None => problem,
        }
    }
}

/// The refusal of a request without a key that may be used.
pub(crate) fn refusal(denied: &Denied, has_header: bool) -> Problem {
    const HOW: &str = "send one of this server's API keys: `Authorization: Bearer KEY`";
    match denied {
        Denied::Missing if has_header => Problem::new(
            Kind::Unauthorized,
            format!("the `Authorization` header has no API key: {HOW}"),
        ),
        Denied::Missing => Problem::new(Kind::Unauthorized, HOW),
        Denied::Unknown => Problem::new(Kind::Unauthorized, format!("the API key is wrong: {HOW}")),
        Denied::Revoked(_) => Problem::new(Kind::Forbidden, denied.to_string()),
    }
}

/// The problems that API keys add, for documentation.
pub(crate) fn problems() -> Vec<Problem> {
    let exceeded = Exceeded {
        unit: Unit::Requests,
        limit: 600,
        retry_after: Some(Duration::from_secs(1)),
    };
    let revoked = "web".parse().ok().map(Denied::Revoked);
    let denied = [Some(Denied::Missing), Some(Denied::Unknown), revoked];
    let refused = denied.iter().flatten().map(|denied| refusal(denied, false));
    refused.chain([exceeded.into()]).collect()
}
