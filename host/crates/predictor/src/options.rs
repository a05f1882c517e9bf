//! What a request asks for beside answers to its texts.

use std::net::IpAddr;

use crate::Digest;

/// How a request may use the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caching {
    /// Cached answers are used, and new ones are cached.
    #[default]
    Use,
    /// Every text is computed again, and the answers are cached.
    Renew,
    /// The cache is neither read nor written.
    Bypass,
}

/// What becomes of a text that is too long for the model. It decides answers, so they are
/// cached under it, and a batch has one of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongTexts {
    /// What the revision does with it; by default it is truncated.
    #[default]
    AsConfigured,
    /// It is refused, unless the revision scores it as a whole.
    Refuse,
}

/// How urgent a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for the answers.
    #[default]
    Live,
    /// Nobody waits: the work is done when the machine is otherwise idle, and dropped as
    /// soon as it is not.
    Background,
}

/// Who asks. Turns are fair between clients.
///
/// The default is this process itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(u128);

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        })
    }
}

/// Options of a request that every layer passes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestOptions {
    /// How the request may use the cache.
    pub caching: Caching,
    /// Who asks.
    pub client: Client,
    /// The only revision that may answer; `None` leaves the choice to the rollout.
    pub revision: Option<Digest>,
    /// What becomes of texts that are too long. The rollout chooses scorers that do it.
    pub long_texts: LongTexts,
}

impl From<Caching> for RequestOptions {
    fn from(caching: Caching) -> Self {
        Self {
            caching,
            ..Self::default()
        }
    }
}
