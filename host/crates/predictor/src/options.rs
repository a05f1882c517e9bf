//! What a request asks for beside answers to its texts.

use std::net::IpAddr;
use std::str::FromStr;

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

/// Who asks. Turns are fair between clients, by their weights.
///
/// The default is this process itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    id: Id,
    weight: Weight,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    #[default]
    Process,
    Address(u128),
    /// The digest of a name.
    Key(Digest),
}

/// How a client's turns compare with those of others: while they wait for the same workers, one
/// with a higher weight has four times as many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// A quarter of those of most clients.
    Low,
    /// Those of most clients.
    #[default]
    Normal,
    /// Four times those of most clients.
    High,
}

/// Not the name of a [`Weight`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the priority must be `low`, `normal` or `high`")]
pub struct WeightError;

impl FromStr for Weight {
    type Err = WeightError;

    fn from_str(name: &str) -> Result<Self, WeightError> {
        let mut all = Self::ALL.into_iter();
        all.find(|weight| weight.name() == name).ok_or(WeightError)
    }
}

impl Weight {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

impl Client {
    /// The holder of the API key with this name.
    pub fn of_key(name: &str, weight: Weight) -> Self {
        let id = Id::Key(Digest::of(name.as_bytes()));
        Self { id, weight }
    }

    /// How its turns compare with those of others.
    pub fn weight(self) -> Weight {
        self.weight
    }
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        let id = Id::Address(match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        });
        let weight = Weight::default();
        Self { id, weight }
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
