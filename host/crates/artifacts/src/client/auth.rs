//! Log-in to registries: HTTP Basic, or a token from the endpoint that the registry names.
//!
//! Credentials go to that endpoint, which is how registries work: whoever trusts a registry
//! with a password trusts its choice of an endpoint. They never go over plain HTTP to a host
//! that was not named for it, and never to where a request is redirected.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_auth::parser::ChallengeParser;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::{Body, Client};
use crate::credentials::Login;
use crate::error::{ArtifactError, quoted};

/// The largest answer of a token endpoint that is read, in bytes.
const MOST_TOKEN: usize = 64 << 10;

/// What this client calls itself where a name is needed.
const CLIENT_ID: &str = "fastsentiment";

/// How a registry wants its clients to log in.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

/// The answer of a token endpoint, in both of its forms.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Client {
    /// The `Authorization` that a registry asks for with status 401; none if there are no
    /// credentials that could be given.
    ///
    /// # Errors
    ///
    /// If it asks for something else, or the token endpoint gives no token.
    pub(super) async fn authorize(
        &self,
        host: &str,
        headers: &HeaderMap,
        login: Login,
        scope: &str,
    ) -> Result<Option<HeaderValue>, ArtifactError> {
        match (challenge(headers), login) {
            (_, Login::Registry(token)) => bearer(host, &token).map(Some),
            (Some(Challenge::Basic), Login::Basic { user, password }) => {
                basic(host, &user, &password).map(Some)
            }
            (Some(Challenge::Basic), _) => Ok(None),
            (Some(Challenge::Bearer { realm, service }), login) => {
                let token = self.token(host, &realm, service.as_deref(), login, scope);
                token.await.map(Some)
            }
            (None, _) => Err(ArtifactError::Malformed {
                host: host.to_owned(),
                reason: "it asks neither for HTTP Basic nor for a bearer token".to_owned(),
            }),
        }
    }

    /// Gets a token for a scope.
    async fn token(
        &self,
        host: &str,
        realm: &str,
        service: Option<&str>,
        login: Login,
        scope: &str,
    ) -> Result<HeaderValue, ArtifactError> {
        let mut url = Url::parse(realm).map_err(|_| ArtifactError::Malformed {
            host: host.to_owned(),
            reason: format!("its token endpoint is `{}`", quoted(realm)),
        })?;
        let service = service.map(|service| ("service", service));
        let mut headers = HeaderMap::new();
        let answer = if let Login::Identity(token) = login {
            let form = form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "refresh_token")
                .append_pair("client_id", CLIENT_ID)
                .extend_pairs(service)
                .append_pair("scope", scope)
                .append_pair("refresh_token", &token)
                .finish();
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, kind);
            let body = Body::Bytes(form.into());
            self.request(&Method::POST, &url, &headers, &body).await?
        } else {
            url.query_pairs_mut().extend_pairs(service);
            url.query_pairs_mut().append_pair("scope", scope);
            if let Login::Basic { user, password } = login {
                url.query_pairs_mut().append_pair("account", &user);
                headers.insert(AUTHORIZATION, basic(host, &user, &password)?);
            }
            self.request(&Method::GET, &url, &headers, &Body::Empty)
                .await?
        };
        let answer = answer.success("its token endpoint").await?;
        // A redirect would lead the credentials elsewhere.
        if answer.status() != StatusCode::OK {
            return Err(ArtifactError::Malformed {
                host: answer.host().to_owned(),
                reason: "it gives no token".to_owned(),
            });
        }
        let endpoint = answer.host().to_owned();
        let Token {
            token,
            access_token,
        } = answer.json(MOST_TOKEN).await?;
        let token = token.or(access_token).filter(|token| !token.is_empty());
        bearer(&endpoint, token.as_deref().unwrap_or("\0"))
    }
}

/// The first way of those that a registry offers that is supported.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).into_iter();
    let texts = texts.filter_map(|text| text.to_str().ok());
    let mut challenges = texts.flat_map(ChallengeParser::new).map_while(Result::ok);
    challenges.find_map(|challenge| {
        let parameter = |name: &str| {
            let mut all = challenge.params.iter();
            let (_, value) = all.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            Some(value.to_unescaped())
        };
        if challenge.scheme.eq_ignore_ascii_case("basic") {
            Some(Challenge::Basic)
        } else if challenge.scheme.eq_ignore_ascii_case("bearer") {
            Some(Challenge::Bearer {
                realm: parameter("realm")?,
                service: parameter("service"),
            })
        } else {
            None
        }
    })
}

fn basic(host: &str, user: &str, password: &str) -> Result<HeaderValue, ArtifactError> {
    let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
    secret(host, format!("Basic {encoded}"))
}

fn bearer(host: &str, token: &str) -> Result<HeaderValue, ArtifactError> {
    secret(host, format!("Bearer {token}"))
}

fn secret(host: &str, text: String) -> Result<HeaderValue, ArtifactError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| ArtifactError::Malformed {
        host: host.to_owned(),
        reason: "it has no token that can be sent".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        }
        challenge(&headers)
    }

    fn token(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
        }
    }

    #[test]
    fn the_first_supported_challenge_is_met() {
        let full = r#"Bearer realm="https://a/t",service="reg",scope="repository:x:pull""#;
        assert_eq!(of(&[full]), Some(token("https://a/t", Some("reg"))));
        assert_eq!(of(&[r#"bearer REALM="r\"q""#]), Some(token("r\"q", None)));
        assert_eq!(of(&[r#"Basic realm="x""#]), Some(Challenge::Basic));
        let both = r#"Negotiate, Bearer realm="https://a/t""#;
        assert_eq!(of(&[both]), Some(token("https://a/t", None)));
        assert_eq!(
            of(&["Digest realm=\"x\"", "Basic realm=\"y\""]),
            Some(Challenge::Basic)
        );
        for none in [
            &[][..],
            &[""],
            &["Bearer service=\"x\""],
            &["Digest realm=\"x\""],
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
