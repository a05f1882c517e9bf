//! Credentials: where they come from, where they go, and where they must not go.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fastsentiment_artifacts::{ArtifactError, Kind, Options, Proxies, Registry};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::faulty::{Action, Faulty, Request, answer};
use crate::server::{PASSWORD, Server, USER};
use crate::{MOST, at, client, component, options, push_guest, reference};

fn basic(user: &str, password: &str) -> String {
    BASE64_STANDARD.encode(format!("{user}:{password}"))
}

/// Options with the credentials of one host.
fn with_login(dir: &Path, host: &str, entry: &Value, plain_http: &[&str]) -> Options {
    let path = dir.join("config.json");
    fs::write(&path, json!({"auths": {host: entry}}).to_string()).unwrap();
    let mut options = options(dir, plain_http);
    options.credentials = Some(path);
    options
}

#[tokio::test]
async fn a_registry_with_a_private_authority_and_a_password_is_pushed_to_and_pulled_from() {
    let server = Server::private();
    let dir = TempDir::new().unwrap();
    let entry = json!({"auth": basic(USER, PASSWORD)});
    let mut options = with_login(dir.path(), &server.address, &entry, &[]);
    options.ca = Some(server.ca());
    let registry = Registry::new(options.clone()).unwrap();
    let file = dir.path().join("guest.wasm");
    let component = component(1 << 20);
    fs::write(&file, &component).unwrap();
    let target = reference(&format!("oci://{}/team/guest:v1", server.address));
    let pushed = registry.push_guest(&target, &file).await.unwrap();
    assert_eq!(registry.resolve(&target).await.unwrap(), pushed);
    let guest = registry.pull_guest(&pushed, None, MOST).await.unwrap();
    assert!(guest.component == component);

    // Without the authority, nothing is sent to it.
    let mut unknown = options.clone();
    unknown.ca = None;
    let error = Registry::new(unknown)
        .unwrap()
        .resolve(&target)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ArtifactError::Certificate { .. }),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Final);

    // Without the password, or with another one, it denies.
    let wrong = json!({"auth": basic(USER, "other")});
    for entry in [json!({}), wrong] {
        let mut options = with_login(dir.path(), &server.address, &entry, &[]);
        options.ca = Some(server.ca());
        let error = Registry::new(options)
            .unwrap()
            .resolve(&target)
            .await
            .unwrap_err();
        assert!(
            matches!(error, ArtifactError::Denied { status: 401, .. }),
            "{error}"
        );
        assert_eq!(error.kind(), Kind::Final);
    }
}

#[tokio::test]
async fn a_file_of_certificates_must_hold_some() {
    let dir = TempDir::new().unwrap();
    for contents in [
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let path = dir.path().join("ca.pem");
        fs::write(&path, contents).unwrap();
        let mut options = options(dir.path(), &[]);
        options.ca = Some(path);
        let error = Registry::new(options).err().unwrap();
        assert!(matches!(error, ArtifactError::File { .. }), "{error}");
    }
}

/// A registry that asks for tokens, before a real one. The endpoint answers with `token`
/// those who come with `login`.
fn with_tokens(upstream: &str, login: String, token: &'static str) -> Faulty {
    // The address is known when the server runs.
    let address = Arc::new(Mutex::new(String::new()));
    let own = Arc::clone(&address);
    let server = Faulty::start(upstream, move |request| {
        if request.path.starts_with("/token") {
            let is_known = request.header("authorization") == Some(&format!("Basic {login}"))
                || String::from_utf8_lossy(&request.body).contains(&login);
            return if is_known {
                answer(
                    "200 OK",
                    &[],
                    json!({"token": token}).to_string().as_bytes(),
                )
            } else {
                answer("401 Unauthorized", &[], b"")
            };
        }
        if request.header("authorization") == Some("Bearer right") {
            return Action::Forward;
        }
        let realm = format!("http://{}/token", own.lock().unwrap());
        let challenge = format!(r#"WWW-Authenticate: Bearer realm="{realm}",service="tests""#);
        answer("401 Unauthorized", &[&challenge], b"")
    });
    address.lock().unwrap().clone_from(&server.address);
    server
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_for_what_is_needed() {
    let server = Server::plain();
    let component = component(1000);
    let pushed = push_guest(&server, "team/guest:v1", &component).await;
    for (entry, login) in [
        (json!({"username": "u", "password": "p"}), basic("u", "p")),
        (
            json!({"identitytoken": "refresh-me"}),
            "refresh_token=refresh-me".to_owned(),
        ),
    ] {
        let proxy = with_tokens(&server.address, login, "right");
        let dir = TempDir::new().unwrap();
        let options = with_login(dir.path(), &proxy.address, &entry, &[&proxy.address]);
        let registry = Registry::new(options).unwrap();
        let pinned = at(&proxy.address, &pushed);
        registry.pull_guest(&pinned, None, MOST).await.unwrap();
        let mut seen = proxy.seen();
        seen.retain(|request| request.path.starts_with("/token"));
        let [request] = seen.try_into().unwrap();
        let asked = format!("{}{}", request.path, String::from_utf8_lossy(&request.body));
        assert!(
            asked.contains("scope=repository%3Ateam%2Fguest%3Apull"),
            "{asked}"
        );
        assert!(asked.contains("service=tests"), "{asked}");
    }
}

#[tokio::test]
async fn a_token_that_the_registry_does_not_take_is_denied() {
    let proxy = with_tokens("", basic("u", "p"), "wrong");
    let dir = TempDir::new().unwrap();
    let entry = json!({"auth": basic("u", "p")});
    let options = with_login(dir.path(), &proxy.address, &entry, &[&proxy.address]);
    let registry = Registry::new(options).unwrap();
    let tagged = reference(&format!("oci://{}/x:v1", proxy.address));
    let error = registry.resolve(&tagged).await.unwrap_err();
    assert!(
        matches!(error, ArtifactError::Denied { status: 401, .. }),
        "{error}"
    );
    // One request, one token, and one more request.
    assert_eq!(proxy.seen().len(), 3);
}

#[tokio::test]
async fn a_token_endpoint_that_lies_gives_no_token() {
    type Script = fn() -> Action;
    type Expected = fn(&ArtifactError) -> bool;
    let denied: Script = || answer("403 Forbidden", &[], b"");
    let cases: [(Script, Expected); 6] = [
        (
            || answer("200 OK", &[], b"<html>"),
            |e| matches!(e, ArtifactError::Malformed { .. }),
        ),
        (
            || answer("200 OK", &[], b"{}"),
            |e| matches!(e, ArtifactError::Malformed { .. }),
        ),
        (
            || answer("200 OK", &[], b"{\"token\":\"a\\r\\nX: y\"}"),
            |e| matches!(e, ArtifactError::Malformed { .. }),
        ),
        (
            || Action::Endless(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec()),
            |e| matches!(e, ArtifactError::TooLarge { .. }),
        ),
        (
            || answer("302 Found", &["Location: https://elsewhere.example/"], b""),
            |e| matches!(e, ArtifactError::Rejected { status: 302, .. }),
        ),
        (denied, |e| {
            matches!(e, ArtifactError::Denied { status: 403, .. })
        }),
    ];
    for (script, is_expected) in cases {
        let endpoint = Faulty::alone(move |_| script());
        let challenge = format!(
            r#"WWW-Authenticate: Bearer realm="http://{}/t""#,
            endpoint.address
        );
        let server = Faulty::alone(move |_| answer("401 Unauthorized", &[&challenge], b""));
        let (_dir, registry) = client(&[&server.address, &endpoint.address]);
        let tagged = reference(&format!("oci://{}/x:v1", server.address));
        let error = registry.resolve(&tagged).await.unwrap_err();
        assert!(is_expected(&error), "{error}");
        assert_eq!(error.kind(), Kind::Final);
        assert!(endpoint.sent() < 32 << 20);
    }
}

#[tokio::test]
async fn credentials_do_not_go_to_a_plain_endpoint_that_was_not_named() {
    let endpoint = Faulty::alone(|_| answer("200 OK", &[], b"{\"token\":\"x\"}"));
    let challenge = format!(
        r#"WWW-Authenticate: Bearer realm="http://{}/t""#,
        endpoint.address
    );
    let server = Faulty::alone(move |_| answer("401 Unauthorized", &[&challenge], b""));
    let dir = TempDir::new().unwrap();
    let entry = json!({"auth": basic("u", "p")});
    let options = with_login(dir.path(), &server.address, &entry, &[&server.address]);
    let registry = Registry::new(options).unwrap();
    let tagged = reference(&format!("oci://{}/x:v1", server.address));
    let error = registry.resolve(&tagged).await.unwrap_err();
    assert!(matches!(error, ArtifactError::PlainHttp(_)), "{error}");
    assert!(endpoint.seen().is_empty());
}

/// Whether a request carries credentials.
fn is_authorized(request: &Request) -> bool {
    request.header("authorization").is_some()
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_elsewhere() {
    // The registry redirects at once, or those who have logged in.
    for (redirects_all, is_basic) in [(true, false), (true, true), (false, false)] {
        // Wherever requests are sent on to asks for credentials too.
        let thief = Faulty::alone(move |request| {
            let host = request.header("host").unwrap();
            let challenge = if is_basic {
                "WWW-Authenticate: Basic realm=\"x\"".to_owned()
            } else {
                format!(r#"WWW-Authenticate: Bearer realm="http://{host}/token""#)
            };
            answer("401 Unauthorized", &[&challenge], b"")
        });
        let target = thief.address.clone();
        let server = Faulty::alone(move |request| {
            if !redirects_all && !is_authorized(request) {
                let challenge = "WWW-Authenticate: Basic realm=\"x\"";
                return answer("401 Unauthorized", &[challenge], b"");
            }
            let location = format!("Location: http://{target}{}", request.path);
            answer("307 Temporary Redirect", &[&location], b"")
        });
        let dir = TempDir::new().unwrap();
        let entry = json!({"auth": basic("u", "p")});
        let plain = [server.address.as_str(), thief.address.as_str()];
        let options = with_login(dir.path(), &server.address, &entry, &plain);
        let registry = Registry::new(options).unwrap();
        let tagged = reference(&format!("oci://{}/x:v1", server.address));
        let error = registry.resolve(&tagged).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Denied { .. }), "{error}");
        assert_eq!(server.seen().iter().any(is_authorized), !redirects_all);
        // Nobody has asked it for a token, either.
        let stolen = thief.seen();
        assert_eq!(stolen.len(), 1, "{stolen:?}");
        assert!(!stolen.iter().any(is_authorized), "{stolen:?}");
    }
}

/// An HTTP proxy that tunnels. Returns its address, and the heads of the requests to it.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.split(' ').nth(1).unwrap().to_owned();
            seen.lock().unwrap().push(head);
            let mut server = TcpStream::connect(target).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let mut back = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
            thread::spawn(move || std::io::copy(&mut client, &mut server));
        }
    });
    (address, heads)
}

#[tokio::test]
async fn a_proxy_tunnels_to_hosts_that_are_not_excepted() {
    let server = Server::private();
    let dir = TempDir::new().unwrap();
    let entry = json!({"auth": basic(USER, PASSWORD)});
    let mut options = with_login(dir.path(), &server.address, &entry, &[]);
    options.ca = Some(server.ca());
    let tagged = reference(&format!("oci://{}/x:v1", server.address));
    let (address, heads) = proxy();
    for (except, through) in [("example.com", true), ("127.0.0.0/8", false)] {
        options.proxies = Proxies::Explicit {
            proxy: format!("http://user:word@{address}"),
            except: except.to_owned(),
        };
        let registry = Registry::new(options.clone()).unwrap();
        let error = registry.resolve(&tagged).await.unwrap_err();
        // The registry has answered.
        assert!(matches!(error, ArtifactError::NotFound { .. }), "{error}");
        let heads: Vec<_> = heads.lock().unwrap().drain(..).collect();
        assert_eq!(!heads.is_empty(), through, "{heads:?}");
        for head in heads {
            assert!(
                head.starts_with(&format!("CONNECT {}", server.address)),
                "{head}"
            );
            let login = format!("Basic {}", basic("user", "word"));
            assert!(head.contains(&login), "{head}");
        }
    }
}
