//! How much a key may use in a minute.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as Rate, RateLimiter};

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Requests, whatever becomes of them.
    Requests,
    /// Estimated tokens of texts.
    Tokens,
}

impl Unit {
    /// Its name, as in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

/// What is left of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it counts.
    pub unit: Unit,
    /// How many are allowed in a minute.
    pub limit: u32,
    /// How many are allowed now.
    pub left: u32,
    /// When as many as `limit` are allowed again.
    pub full_after: Duration,
}

/// A quota does not allow so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// What it counts.
    pub unit: Unit,
    /// How many are allowed in a minute.
    pub limit: u32,
    /// When so much will be allowed; `None` for never, since it is more than `limit`.
    pub retry_after: Option<Duration>,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// A quota and what is left of it.
pub(crate) struct Quota {
    limiter: Limiter,
    limit: NonZeroU32,
    unit: Unit,
}

impl Quota {
    /// So many in a minute, of which none are used yet.
    pub(crate) fn new(limit: NonZeroU32, unit: Unit) -> Self {
        let limiter = RateLimiter::direct(Rate::per_minute(limit)).with_middleware();
        Self {
            limiter,
            limit,
            unit,
        }
    }

    pub(crate) fn limit(&self) -> NonZeroU32 {
        self.limit
    }

    /// Takes an amount of at least one. Nothing is taken on a failure.
    pub(crate) fn spend(&self, amount: u64) -> Result<Standing, Exceeded> {
        let exceeded = |retry_after| Exceeded {
            unit: self.unit,
            limit: self.limit.get(),
            retry_after,
        };
        let amount = u32::try_from(amount).ok().and_then(NonZeroU32::new);
        let amount = amount.ok_or_else(|| exceeded(None))?;
        match self.limiter.check_n(amount) {
            Ok(Ok(state)) => Ok(self.standing(state.remaining_burst_capacity())),
            Ok(Err(until)) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Err(exceeded(Some(wait)))
            }
            Err(_) => Err(exceeded(None)),
        }
    }

    fn standing(&self, left: u32) -> Standing {
        let each = Rate::per_minute(self.limit).replenish_interval();
        Standing {
            unit: self.unit,
            limit: self.limit.get(),
            left,
            full_after: each.saturating_mul(self.limit.get().saturating_sub(left)),
        }
    }
}
