//! The address of Redis, as an operator writes it.
//!
//! The URL may hold a password. No error or other text that is made here repeats it.
//!
//! This module must not know what Redis is used for.

use std::fmt;
use std::sync::Arc;

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};
use rustls::RootCertStore;

/// The address of a Redis, and the credentials for it.
#[derive(Clone)]
pub struct Address {
    kind: Arc<Kind>,
    /// For the log, without secrets.
    name: String,
    secrets: Vec<String>,
}

pub(super) enum Kind {
    Single {
        info: Box<ConnectionInfo>,
        /// The authorities that are trusted instead of the system's.
        roots: Option<RootCertStore>,
    },
    /// Builds the client's builder, to which time-outs are added.
    Cluster(Box<dyn Fn() -> ClusterClientBuilder + Send + Sync>),
}

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The URL cannot be parsed.
    #[error(
        "the URL of Redis is not understood: {0}. It is redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], \
         rediss://... for TLS, redis-cluster://... or rediss-cluster://... with HOST[:PORT],HOST[:PORT]... \
         for a cluster, or unix:///PATH[?db=DATABASE&user=USER&pass=PASSWORD]; \
         characters with a meaning in URLs have to be percent-encoded in passwords"
    )]
    Malformed(String),
    /// A password was given beside one in the URL.
    #[error("the URL of Redis has a password, and another one is given; give only one")]
    TwoPasswords,
    /// Certificates were given for a connection without TLS.
    #[error(
        "certificates are given for Redis, but its URL is not one of rediss:// or rediss-cluster://"
    )]
    NoTls,
    /// The certificates cannot be used.
    #[error("the file of certificates for Redis cannot be used: {0}")]
    Certificates(String),
}

/// The schemes of a single server; and those of a cluster, with the scheme of each node.
const SINGLE: [&str; 3] = ["redis", "rediss", "unix"];
const CLUSTER: [(&str, &str); 2] = [("redis-cluster", "redis"), ("rediss-cluster", "rediss")];

impl Address {
    /// Parses a URL. `password` is for a URL without one, and need not be percent-encoded.
    /// `certificates`, in PEM, are trusted instead of the system's.
    ///
    /// # Errors
    ///
    /// If the URL, the password or the certificates cannot be used.
    pub fn parse(
        url: &str,
        password: Option<&str>,
        certificates: Option<Vec<u8>>,
    ) -> Result<Self, AddressError> {
        let malformed = |why: &str| AddressError::Malformed(why.to_owned());
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| malformed("it does not begin with a scheme such as redis://"))?;
        if rest.contains('#') {
            return Err(malformed("it has a fragment (#)"));
        }
        let cluster = CLUSTER.iter().find(|(name, _)| *name == scheme);
        let nodes = match cluster {
            Some((_, of_a_node)) => nodes(of_a_node, rest),
            None if SINGLE.contains(&scheme) => vec![url.to_owned()],
            None => return Err(malformed("its scheme is not known")),
        };
        let mut infos = Vec::new();
        for node in nodes {
            infos.push(with_password(info(&node)?, password)?);
        }
        let is_tls = scheme.starts_with("rediss");
        if certificates.is_some() && !is_tls {
            return Err(AddressError::NoTls);
        }
        if is_tls {
            tls::install_default();
        }
        let certificates = certificates.map(checked).transpose()?;
        let name = name(scheme, &infos);
        let mut secrets: Vec<String> = infos
            .iter()
            .filter_map(|info| info.redis_settings().password().map(str::to_owned))
            .filter(|secret| !secret.is_empty())
            .collect();
        secrets.dedup();
        let kind = match cluster {
            Some(_) => of_cluster(infos, certificates.map(|(pem, _)| pem))?,
            None => of_single(infos, certificates.map(|(_, roots)| roots))?,
        };
        Ok(Self {
            kind: Arc::new(kind),
            name,
            secrets,
        })
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// A text from a server or from the client, without the password.
    pub(super) fn redacted(&self, text: &str) -> String {
        let hide = |text: String, secret: &String| text.replace(secret.as_str(), "***");
        self.secrets.iter().fold(text.to_owned(), hide)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// The URL of each node of a cluster. The parts before and after the hosts apply to all.
fn nodes(scheme: &str, rest: &str) -> Vec<String> {
    let (authority, path) = rest
        .find(['/', '?'])
        .map_or((rest, ""), |at| rest.split_at(at));
    let (user, hosts) = authority
        .rfind('@')
        .map_or(("", authority), |at| authority.split_at(at + 1));
    let node = |host| format!("{scheme}://{user}{host}{path}");
    hosts.split(',').map(node).collect()
}

fn info(url: &str) -> Result<ConnectionInfo, AddressError> {
    url.into_connection_info().map_err(|error| {
        // Only the part before the dash never repeats the URL.
        let text = error.to_string();
        let why = text.split(" - ").next().unwrap_or_default();
        let why = match why {
            "" | "Redis URL did not parse" => {
                "its host, port or password is not a valid part of a URL"
            }
            why => why,
        };
        AddressError::Malformed(why.to_owned())
    })
}

fn with_password(
    info: ConnectionInfo,
    password: Option<&str>,
) -> Result<ConnectionInfo, AddressError> {
    let Some(password) = password else {
        return Ok(info);
    };
    let settings = info.redis_settings().clone();
    if settings.password().is_some() {
        return Err(AddressError::TwoPasswords);
    }
    Ok(info.set_redis_settings(settings.set_password(password)))
}

fn of_single(
    infos: Vec<ConnectionInfo>,
    roots: Option<RootCertStore>,
) -> Result<Kind, AddressError> {
    let first = infos.into_iter().next();
    let info = first.ok_or_else(|| AddressError::Malformed("it names no host".to_owned()))?;
    Ok(Kind::Single {
        info: Box::new(info),
        roots,
    })
}

fn of_cluster(
    infos: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
) -> Result<Kind, AddressError> {
    let builder = move || {
        let builder = ClusterClient::builder(infos.clone());
        match &certificates {
            Some(certificates) => builder.certs(certificates.clone()),
            None => builder,
        }
    };
    // Built once here, to find errors at the start.
    let malformed = |_| AddressError::Malformed("its parts do not fit each other".to_owned());
    builder().build().map_err(malformed)?;
    Ok(Kind::Cluster(Box::new(builder)))
}

/// Checks that there is at least one certificate in PEM. Returns them in the forms that the
/// Cluster client and the others take.
fn checked(pem: Vec<u8>) -> Result<(TlsCertificates, RootCertStore), AddressError> {
    let roots = tls::roots(&pem, RootCertStore::empty())
        .map_err(|error| AddressError::Certificates(error.to_string()))?;
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(pem),
    };
    Ok((certificates, roots))
}

/// The address in the form of a URL, without secrets.
fn name(scheme: &str, infos: &[ConnectionInfo]) -> String {
    let hosts: Vec<String> = infos
        .iter()
        .map(|info| match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                format!("{host}:{port}")
            }
            other => other.to_string(),
        })
        .collect();
    let database = infos.first().map_or(0, |info| info.redis_settings().db());
    let name = format!("{scheme}://{}", hosts.join(","));
    if database == 0 {
        name
    } else {
        format!("{name}, database {database}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_understood_and_named_without_secrets() {
        for (url, name) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://u:s3cret@[::1]:7/2", "redis://::1:7, database 2"),
            ("rediss://:s3cret@h", "rediss://h:6379"),
            (
                "unix:///run/r.sock?pass=s3cret&db=1",
                "unix:///run/r.sock, database 1",
            ),
            (
                "redis-cluster://u:s3cret@a:1,b:2,c",
                "redis-cluster://a:1,b:2,c:6379",
            ),
            ("rediss-cluster://:s3cret@a:1/", "rediss-cluster://a:1"),
        ] {
            let address = Address::parse(url, None, None).unwrap();
            assert_eq!(address.to_string(), name);
            assert!(!format!("{address:?}").contains("s3cret"));
            assert_eq!(
                address.redacted("it says s3cret").contains("s3cret"),
                !url.contains("s3cret")
            );
        }
    }

    #[test]
    fn a_password_is_taken_as_it_is_if_the_url_has_none() {
        let parse = |url, password| Address::parse(url, Some(password), None);
        for (url, name) in [
            ("redis://h", "redis://h:6379"),
            ("redis://user@h/2", "redis://h:6379, database 2"),
            ("unix:///run/r.sock?user=u", "unix:///run/r.sock"),
            ("redis-cluster://a:1,b:2", "redis-cluster://a:1,b:2"),
        ] {
            // Characters that would mean something in a URL.
            let address = parse(url, "s3:c/r@e%t").unwrap();
            assert_eq!(address.to_string(), name);
            assert!(!format!("{address:?}").contains("s3:c"));
            assert_eq!(address.redacted("it says s3:c/r@e%t"), "it says ***");
        }
        for url in [
            "redis://:s3cret@h",
            "redis://u:s3cret@h",
            "unix:///run/r.sock?pass=s3cret",
            "redis-cluster://:s3cret@a,b",
        ] {
            let error = parse(url, "another").unwrap_err();
            assert!(
                matches!(error, AddressError::TwoPasswords),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_without_repeating_it() {
        for url in [
            "",
            "s3cret",
            "s3cret@localhost:6379",
            "http://:s3cret@localhost",
            "redis://:s3cret@",
            "redis://:s3cret@localhost:port",
            "redis://:s3cret@localhost:123456",
            "redis://:s3/cret@localhost",
            "redis://:s3#cret@localhost",
            "redis://:s3cret@localhost/database",
            "redis://:s3cret@localhost?protocol=s3cret",
            "rediss://:s3cret@localhost/#insecure",
            "redis-cluster://:s3cret@",
            "redis-cluster://:s3cret@a:1,",
            "redis-cluster+unix:///s3cret",
            "unix://",
            "unix://s3cret@host/path",
        ] {
            let error = Address::parse(url, None, None).unwrap_err().to_string();
            assert!(error.contains("is not understood"), "{url}: {error}");
            assert!(
                !error.contains("s3cret") && !error.contains("cret@"),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn certificates_are_checked() {
        let parse = |url, pem: &str| Address::parse(url, None, Some(pem.into())).unwrap_err();
        let none = parse("rediss://h", "nothing");
        assert!(none.to_string().contains("no certificate in PEM"), "{none}");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let broken = parse("rediss://h", broken);
        assert!(matches!(broken, AddressError::Certificates(_)), "{broken}");
        assert!(matches!(parse("redis://h", ""), AddressError::NoTls));
    }
}
