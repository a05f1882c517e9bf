//! Connections: TCP, through a proxy if one is set, and TLS above it.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::error::ArtifactError;
use crate::options::{Options, Proxies};
use crate::small_file;

pub(super) type Connector = HttpsConnector<Dial>;

/// The largest file of certificates that is read, in bytes.
const MOST_FILE: u64 = 4 << 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the connector that the options describe.
pub(super) fn connector(options: &Options) -> Result<Connector, ArtifactError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(options.times.connect));
    let proxies = match &options.proxies {
        Proxies::Environment => Matcher::from_env(),
        Proxies::Explicit { proxy, except } => Matcher::builder()
            .https(proxy.as_str())
            .no(except.as_str())
            .build(),
    };
    let dial = Dial {
        http,
        proxies: Arc::new(proxies),
    };
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls(options.ca.as_deref())?);
    Ok(connector
        .https_or_http()
        .enable_http1()
        .wrap_connector(dial))
}

/// The settings of TLS: the system's certificates are trusted, and those in the file.
fn tls(ca: Option<&Path>) -> Result<ClientConfig, ArtifactError> {
    // A system without any, or with one that cannot be read, may need none of them.
    let (mut roots, _) = tls::system_roots();
    if let Some(path) = ca {
        let error = |reason: String| ArtifactError::File {
            path: path.to_owned(),
            reason,
        };
        let pem = small_file::read(path, MOST_FILE).map_err(|reason| error(reason.to_string()))?;
        roots = tls::roots(&pem, roots).map_err(|reason| error(reason.to_string()))?;
    }
    tls::client(roots).map_err(|reason| ArtifactError::Certificate {
        host: "this machine".to_owned(),
        reason: reason.to_string(),
    })
}

/// Opens TCP connections, and tunnels through proxies.
#[derive(Clone)]
pub(super) struct Dial {
    http: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let is_tls = uri.scheme_str() == Some("https");
        let proxy = self.proxies.intercept(&uri).filter(|_| is_tls);
        let Some(proxy) = proxy else {
            let connecting = self.http.call(uri);
            return Box::pin(async { Ok(connecting.await?) });
        };
        if proxy.uri().scheme_str() != Some("http") {
            let error = io::Error::other("its proxy has no `http://` URL");
            return Box::pin(async { Err(error.into()) });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.http.clone());
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let connecting = tunnel.call(uri);
        Box::pin(async { Ok(connecting.await?) })
    }
}
