//! Query parameters of the admin API.
//!
//! A parameter that is misspelt is refused: with `?actvate=true` ignored, something else
//! would happen than is wanted.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use predictor::RevisionName;
use rollout::Share;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use utoipa::IntoParams;

use super::id::digits;
use crate::problem::{Kind, Problem};

/// The query of a request; its rejection is a problem.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::read(head)
    }
}

impl<T: DeserializeOwned> Query<T> {
    fn read(head: &Parts) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&head.uri) {
            Ok(axum::extract::Query(found)) => Ok(Self(found)),
            Err(rejection) => Err(invalid(rejection.body_text())),
        }
    }

    /// The problem of an unknown parameter.
    pub(super) fn unknown_parameter() -> Vec<Problem> {
        let request = axum::http::Request::builder().uri("/?other=1").body(());
        let read = request.map(|request| Self::read(&request.into_parts().0).err());
        read.ok().flatten().into_iter().collect()
    }
}

/// A query that is invalid.
pub(super) fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Kind::InvalidQuery, detail)
}

/// No parameters.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// What to do with a version that is uploaded: at most one of these.
#[derive(serde::Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AddParameters {
    /// Make it live.
    #[serde(default)]
    #[param(default = false)]
    pub(super) activate: bool,
    /// Let it answer this share of the texts.
    #[serde(default, deserialize_with = "some_share")]
    #[param(value_type = Option<f64>, exclusive_minimum = 0, maximum = 1, example = 0.1)]
    pub(super) canary: Option<Share>,
    /// Give it copies of this share of the texts, and compare its answers.
    #[serde(default, deserialize_with = "some_share")]
    #[param(value_type = Option<f64>, exclusive_minimum = 0, maximum = 1, example = 0.1)]
    pub(super) shadow: Option<Share>,
    /// Use the guest of a known version, named like a version, instead of one in the body.
    #[serde(default, deserialize_with = "some_digits")]
    #[param(value_type = Option<String>, pattern = "^[0-9a-fA-F]{4,64}$")]
    pub(super) guest: Option<String>,
    /// Use a known model, named by its digest or by digits with which it alone begins; that
    /// of the live version by default.
    #[serde(default, deserialize_with = "some_digits")]
    #[param(value_type = Option<String>, pattern = "^[0-9a-fA-F]{4,64}$")]
    pub(super) model: Option<String>,
    /// Let the guest read a known configuration, named by its digest or by digits with which it
    /// alone begins; that of the live version by default.
    #[serde(default, deserialize_with = "some_digits")]
    #[param(value_type = Option<String>, pattern = "^[0-9a-fA-F]{4,64}$")]
    pub(super) configuration: Option<String>,
    /// What to call it; by default what the component calls itself.
    #[serde(default, deserialize_with = "some_name")]
    #[param(value_type = Option<String>, pattern = "^[!-~]{1,100}$", example = "neutral@1.2.0")]
    pub(super) name: Option<RevisionName>,
    /// Do this though a rollout file decides what is used.
    #[serde(default, rename = "override")]
    #[param(default = false)]
    pub(super) overriding: bool,
}

/// What a configuration begins with.
#[derive(serde::Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConfigurationParameters {
    /// Begin with the configuration of this version; with no keys by default.
    #[serde(default, deserialize_with = "some_digits")]
    #[param(value_type = Option<String>, pattern = "^[0-9a-fA-F]{4,64}$")]
    pub(super) base: Option<String>,
}

/// How to activate a version.
#[derive(serde::Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ActivateParameters {
    /// Activate it even if it is quarantined.
    #[serde(default)]
    #[param(default = false)]
    pub(super) force: bool,
    /// Do this though a rollout file decides what is used.
    #[serde(default, rename = "override")]
    #[param(default = false)]
    pub(super) overriding: bool,
}

/// How a version is tried as a canary.
#[derive(serde::Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CanaryParameters {
    /// The share of the texts that it answers.
    #[serde(deserialize_with = "share")]
    #[param(value_type = f64, exclusive_minimum = 0, maximum = 1, example = 0.1)]
    pub(super) share: Share,
    /// Do this though a rollout file decides what is used.
    #[serde(default, rename = "override")]
    #[param(default = false)]
    pub(super) overriding: bool,
}

/// How a version is tried as a shadow.
#[derive(serde::Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ShadowParameters {
    /// The share of the texts that it gets copies of; all by default.
    #[serde(default, deserialize_with = "some_share")]
    #[param(value_type = Option<f64>, exclusive_minimum = 0, maximum = 1, example = 0.1)]
    pub(super) share: Option<Share>,
    /// Do this though a rollout file decides what is used.
    #[serde(default, rename = "override")]
    #[param(default = false)]
    pub(super) overriding: bool,
}

/// How to roll back.
#[derive(serde::Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RollbackParameters {
    /// Only if this version is live.
    #[param(pattern = "^[0-9a-fA-F]{4,64}$")]
    pub(super) from: Option<String>,
    /// Do this though a rollout file decides what is used.
    #[serde(default, rename = "override")]
    #[param(default = false)]
    pub(super) overriding: bool,
}

/// How a trial ends.
#[derive(serde::Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EndParameters {
    /// Do this though a rollout file decides what is used.
    #[serde(default, rename = "override")]
    #[param(default = false)]
    pub(super) overriding: bool,
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Share, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    let share = text.parse().ok().and_then(Share::new);
    share.ok_or_else(|| {
        D::Error::custom("a share must be a number greater than 0 and at most 1, such as 0.1")
    })
}

fn some_digits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    digits(&text)
        .map(Some)
        .ok_or_else(|| D::Error::custom("it is named by 4 to 64 hexadecimal digits of its digest"))
}

fn some_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RevisionName>, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

fn some_share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Share>, D::Error> {
    share(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
        let request = axum::http::Request::builder().uri(format!("/path{query}"));
        let head = request.body(()).unwrap().into_parts().0;
        Query::read(&head).map(|Query(found)| found)
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        let added: AddParameters = read("?canary=%30.5&activate=true").unwrap();
        assert!(added.activate);
        assert_eq!(added.canary.map(Share::get), Some(0.5));
        assert!(read::<AddParameters>("").is_ok());
        assert!(read::<NoParameters>("?").is_ok());
        for wrong in ["?other=1", "?activate=true&activate=true", "?Activate=true"] {
            let problem = read::<AddParameters>(wrong).err().unwrap();
            assert_eq!(problem.kind, Kind::InvalidQuery, "{wrong}");
        }
        assert!(read::<NoParameters>("?a=1").is_err());
    }

    #[test]
    fn a_share_is_some_of_the_texts() {
        let share = |value| {
            let read = read::<CanaryParameters>(&format!("?share={value}"));
            read.ok().map(|found| found.share.get())
        };
        assert_eq!(share("0.1"), Some(0.1));
        assert_eq!(share("1"), Some(1.0));
        for wrong in ["", "0", "-0.1", "1.1", "NaN", "inf", "10%25", "all"] {
            assert_eq!(share(wrong), None, "{wrong}");
        }
        assert!(read::<CanaryParameters>("").is_err());
    }

    #[test]
    fn a_flag_is_true_or_false() {
        for (query, expected) in [
            ("?force=true", Some(true)),
            ("?force=false", Some(false)),
            ("", Some(false)),
            ("?force=", None),
            ("?force=1", None),
        ] {
            let found = read::<ActivateParameters>(query).ok();
            assert_eq!(found.map(|found| found.force), expected, "{query}");
        }
    }
}
