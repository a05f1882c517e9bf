//! Credentials of registries, from a file in the format of Docker's `config.json`.
//!
//! The file is read for each call, since a pull secret can change while the server runs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::ArtifactError;
use crate::reference::Place;
use crate::small_file::read;

/// The largest file that is read, in bytes.
const MOST_FILE: u64 = 1 << 20;

/// Docker Hub's name in references, and its key in Docker's configuration.
const DOCKER_HUB: [&str; 2] = ["docker.io", "index.docker.io"];

/// How to log in to a registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Anonymous,
    Basic {
        user: String,
        password: String,
    },
    /// A refresh token, which the token endpoint takes.
    Identity(String),
    /// A token for the registry itself.
    Registry(String),
}

// Secrets do not belong into a log.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic",
            Self::Identity(_) => "Identity",
            Self::Registry(_) => "Registry",
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// The login for a repository: that of the entry whose name covers most of its own.
///
/// # Errors
///
/// If the file cannot be used, or leaves the credentials of the registry to a program.
pub(crate) fn find(path: Option<&Path>, place: &Place) -> Result<Login, ArtifactError> {
    let Some(path) = path else {
        return Ok(Login::Anonymous);
    };
    let error = |reason: String| ArtifactError::File {
        path: path.to_owned(),
        reason,
    };
    let bytes = read(path, MOST_FILE).map_err(|reason| error(reason.to_string()))?;
    // Not the parser's words: they may quote a secret.
    let config: Config = serde_json::from_slice(&bytes).map_err(|reason| {
        let (line, column) = (reason.line(), reason.column());
        error(format!(
            "it is not a Docker configuration (line {line}, column {column})"
        ))
    })?;
    let covers = |key: &str| covered(key, place);
    let helper = || ArtifactError::CredentialHelper(place.registry.clone());
    if config.cred_helpers.keys().any(|key| covers(key).is_some()) {
        return Err(helper());
    }
    let entries = config.auths.into_iter();
    let entries = entries.filter_map(|(key, entry)| Some((covers(&key)?, key, entry)));
    let Some((_, key, entry)) = entries.max_by_key(|(length, ..)| *length) else {
        return Ok(Login::Anonymous);
    };
    match entry.login() {
        // Docker leaves an empty entry for what is in the store.
        Some(Login::Anonymous) if config.creds_store.is_some() => Err(helper()),
        Some(login) => Ok(login),
        None => Err(error(format!(
            "`auth` of `{key}` is not a user and a password in base64"
        ))),
    }
}

impl Entry {
    fn login(self) -> Option<Login> {
        if !self.identitytoken.is_empty() {
            return Some(Login::Identity(self.identitytoken));
        }
        if !self.registrytoken.is_empty() {
            return Some(Login::Registry(self.registrytoken));
        }
        if self.auth.is_empty() {
            return Some(if self.username.is_empty() {
                Login::Anonymous
            } else {
                Login::Basic {
                    user: self.username,
                    password: self.password,
                }
            });
        }
        let decoded = BASE64_STANDARD.decode(self.auth.trim_ascii()).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Login::Basic {
            user: user.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

/// How much of a repository's name a key of the file covers, if it does: keys are hosts,
/// hosts with a path in front of some repositories, or old URLs of an API.
fn covered(key: &str, place: &Place) -> Option<usize> {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key
        .strip_suffix("/v1")
        .or_else(|| key.strip_suffix("/v2"))
        .unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let is_hub = [host, &place.registry]
        .iter()
        .all(|host| DOCKER_HUB.contains(host));
    if host != place.registry && !is_hub {
        return None;
    }
    let rest = place.repository.strip_prefix(path)?;
    (path.is_empty() || rest.is_empty() || rest.starts_with('/')).then_some(path.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(config: &str, registry: &str, repository: &str) -> Result<Login, ArtifactError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        let place = Place {
            registry: registry.into(),
            repository: repository.into(),
        };
        find(Some(&path), &place)
    }

    fn basic(user: &str, password: &str) -> Login {
        Login::Basic {
            user: user.into(),
            password: password.into(),
        }
    }

    #[test]
    fn every_form_of_an_entry_is_read() {
        // `auth` is "user:pass:word" and "old:secret".
        let config = r#"{"auths": {
            "registry.example": {"auth": "dXNlcjpwYXNzOndvcmQ="},
            "https://index.docker.io/v1/": {"auth": "b2xkOnNlY3JldA=="},
            "127.0.0.1:5000": {"username": "u", "password": "p"},
            "azure.example": {"auth": "dXNlcjpwYXNzOndvcmQ=", "identitytoken": "refresh"},
            "token.example": {"registrytoken": "bearer"},
            "shared.example": {"username": "all", "password": "1"},
            "shared.example/team": {"username": "team", "password": "2"}
        }, "credsStore": "desktop"}"#;
        for (registry, repository, login) in [
            ("registry.example", "a/b", basic("user", "pass:word")),
            ("docker.io", "a/b", basic("old", "secret")),
            ("127.0.0.1:5000", "x", basic("u", "p")),
            ("127.0.0.1:5001", "x", Login::Anonymous),
            ("azure.example", "x", Login::Identity("refresh".into())),
            ("token.example", "x", Login::Registry("bearer".into())),
            ("shared.example", "other", basic("all", "1")),
            ("shared.example", "team/x", basic("team", "2")),
            ("shared.example", "teammate/x", basic("all", "1")),
            ("registry.example.evil.example", "a/b", Login::Anonymous),
        ] {
            assert_eq!(
                find_in(config, registry, repository).unwrap(),
                login,
                "{registry}"
            );
        }
    }

    #[test]
    fn credential_helpers_are_refused_only_where_they_are_needed() {
        let config = r#"{"auths": {"stored.example": {}}, "credsStore": "desktop",
            "credHelpers": {"gcr.example": "gcloud"}}"#;
        for registry in ["gcr.example", "stored.example"] {
            let error = find_in(config, registry, "x").unwrap_err();
            assert!(
                matches!(error, ArtifactError::CredentialHelper(_)),
                "{error}"
            );
        }
        assert_eq!(
            find_in(config, "other.example", "x").unwrap(),
            Login::Anonymous
        );
    }

    #[test]
    fn errors_and_debug_output_hold_no_secret() {
        let login = basic("user", "hush");
        assert!(!format!("{login:?}").contains("hush"));
        for config in [
            r#"{"auths": {"h": {"auth": 7, "password": "hush"}}}"#,
            r#"{"auths": {"h": {"auth": "hush!"}}}"#,
            r#"{"auths": "hush"}"#,
        ] {
            let error = find_in(config, "h", "x").unwrap_err();
            assert!(matches!(error, ArtifactError::File { .. }));
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}
