//! A server over TLS, and commands that ask it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use testing::Authority;

use crate::admin::swapping::{Said, command};
use crate::harness::{PATIENCE, fixture};
use crate::server_process::{ServerProcess, answer, bare};

/// An authority.
struct Certificates(Authority<TempDir>);

impl Certificates {
    fn new() -> Self {
        Self(Authority::new(tempfile::tempdir().unwrap()))
    }

    fn path(&self, name: &str) -> String {
        self.0.file(name).to_str().unwrap().to_owned()
    }

    /// Makes `NAME.crt` and `NAME.key` for a host.
    fn sign(&self, name: &str, host: &str) {
        self.0.sign(name, &[host]);
    }

    fn client(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(self.0.pem().as_bytes()).unwrap();
        // A connection of its own for each request, so that each sees the newest certificate.
        let client = testing::client()
            .tls_certs_only([ca])
            .pool_max_idle_per_host(0);
        client.timeout(PATIENCE).build().unwrap()
    }
}

/// Runs a command, which asks for the admin listener of a server.
fn asked(server: &ServerProcess, arguments: &[&str]) -> Said {
    let url = server.admin_url("/");
    let mut command = command(&[arguments, &["--admin", &url]].concat());
    command.output().unwrap().into()
}

#[tokio::test]
async fn the_main_listener_speaks_http_2_over_tls_with_the_newest_certificate() {
    let authority = Certificates::new();
    authority.sign("pair", "127.0.0.1");
    let (cert, key) = (authority.path("pair.crt"), authority.path("pair.key"));
    let options = ["--tls-cert", &cert, "--tls-key", &key];
    let server = ServerProcess::with(&fixture("tiny-bert"), &options);
    let predict = server.url("/predict");
    assert!(predict.starts_with("https://127.0.0.1:"), "{predict}");
    let ask = async || {
        let request = authority.client().post(&predict);
        request.json(&json!({"text": ["Loved it."]})).send().await
    };
    let response = ask().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.version(), reqwest::Version::HTTP_2);

    // A new pair for another host is used without a restart.
    authority.sign("pair", "localhost");
    let begun = Instant::now();
    while ask().await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let by_name = predict.replace("127.0.0.1", "localhost");
    let get = authority
        .client()
        .get(by_name.replace("/predict", "/health"));
    assert_eq!(answer(get).await.status, 200);

    // A broken one is not, and is logged once.
    std::fs::write(&cert, "nothing").unwrap();
    let has_warned = || server.log().matches("cannot be used, so that").count();
    while has_warned() == 0 {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(has_warned(), 1, "{}", server.log());
    assert!(
        server.log().contains("pair.crt: it has no certificate"),
        "{}",
        server.log()
    );
    let get = authority
        .client()
        .get(by_name.replace("/predict", "/health"));
    assert_eq!(answer(get).await.status, 200);

    // The failed handshakes above are counted, and not logged.
    let failures =
        "fastsentiment_tls_handshake_failures_total{listener=\"main\",reason=\"refused\"}";
    assert!(server.metric(failures).await > 0.0);
    assert!(!server.log().contains("handshake"), "{}", server.log());
}

#[tokio::test]
async fn commands_ask_an_admin_listener_over_tls() {
    let authority = Certificates::new();
    authority.sign("admin", "localhost");
    authority.sign("operator", "operator");
    let (cert, key, ca) = (
        authority.path("admin.crt"),
        authority.path("admin.key"),
        authority.path("ca.pem"),
    );
    let tls = ["--admin-tls-cert", &cert, "--admin-tls-key", &key];
    let server = ServerProcess::with(&fixture("tiny-bert"), &tls);
    let at = server.admin_url("/").replace("127.0.0.1", "localhost");
    let run = |arguments: &[&str]| -> Said {
        command(&[arguments, &["--admin", &at]].concat())
            .output()
            .unwrap()
            .into()
    };
    let trusted = run(&["versions", "--ca", &ca]);
    assert_eq!(trusted.code, Some(0), "{trusted:?}");
    assert!(trusted.stdout.contains("live"), "{trusted:?}");
    let name = at.replace("https://", "dns+https://");
    let fleet = command(&["status", "--fleet", name.trim_end_matches('/'), "--ca", &ca]);
    let fleet = Said::from({ fleet }.output().unwrap());
    assert_eq!(fleet.code, Some(0), "{fleet:?}");
    // The certificate is for another name.
    for refused in [
        asked(&server, &["versions", "--ca", &ca]),
        run(&["versions", "--ca", &cert]),
    ] {
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused.stderr.contains("no response from https://"),
            "{refused:?}"
        );
        assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    }
    let wrong = run(&["versions", "--ca", &key]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(
        wrong.stderr.contains("admin.key: it has no certificate"),
        "{wrong:?}"
    );
    assert_eq!(health(&server, &tls, &[]).code, Some(0));

    // With an authority for clients, only those who have a certificate of it are served.
    let strict = [&tls[..], &["--admin-client-ca", &ca]].concat();
    let server = ServerProcess::with(&fixture("tiny-bert"), &strict);
    let at = server.admin_url("/").replace("127.0.0.1", "localhost");
    let run = |arguments: &[&str]| -> Said {
        let all = [&["versions", "--ca", &ca, "--admin", &at], arguments].concat();
        command(&all).output().unwrap().into()
    };
    let (operator, operator_key) = (
        authority.path("operator.crt"),
        authority.path("operator.key"),
    );
    let mine = ["--client-cert", &operator, "--client-key", &operator_key];
    let known = run(&mine);
    assert_eq!(known.code, Some(0), "{known:?}");
    let nobody = run(&[]);
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    let keyless = run(&mine[..2]);
    assert_eq!(keyless.code, Some(2), "{keyless:?}");
    assert!(
        keyless.stderr.contains("and its private key"),
        "{keyless:?}"
    );
    // The health check asks the main listener then.
    assert_eq!(health(&server, &strict, &[]).code, Some(0));
    let url = format!("{at}health/ready");
    assert_eq!(
        health(&server, &strict, &["--url", &url, "--ca", &ca]).code,
        Some(1)
    );
    let with = [&["--url", &url, "--ca", &ca], &mine[..]].concat();
    assert_eq!(health(&server, &strict, &with).code, Some(0));
}

/// `fastsentiment health` with the settings of a server.
fn health(server: &ServerProcess, options: &[&str], more: &[&str]) -> Said {
    let admin = server.admin_url("").replace("https://", "");
    let mut command = command(&[&["health"], options, more].concat());
    command.env("FASTSENTIMENT_ADMIN_LISTEN", admin);
    command.env("FASTSENTIMENT_LISTEN", server.address());
    command.output().unwrap().into()
}

fn serve(options: &[&str]) -> Command {
    let mut command = bare();
    // Never read: the options are wrong before that.
    command.args(["serve", "--model", "/nowhere"]).args(options);
    command
}

#[test]
fn certificates_that_cannot_be_used_keep_a_server_from_starting() {
    let authority = Certificates::new();
    authority.sign("a", "a.example");
    authority.sign("b", "b.example");
    let (a, a_key, b_key) = (
        authority.path("a.crt"),
        authority.path("a.key"),
        authority.path("b.key"),
    );
    for (options, code, words) in [
        (
            &["--tls-cert", "/nowhere.pem"][..],
            1,
            "/nowhere.pem cannot be read",
        ),
        (&["--tls-cert", &a], 1, "a.crt has no private key"),
        (
            &["--tls-cert", &a_key],
            1,
            "a.key: it has no certificate in PEM",
        ),
        (
            &["--tls-cert", &a, "--tls-key", &b_key],
            1,
            "b.key does not belong to",
        ),
        (
            &["--admin-tls-cert", &a, "--admin-tls-key", &b_key],
            1,
            "b.key does not belong to",
        ),
        (&["--tls-key", &a_key], 2, "--tls-key needs --tls-cert"),
        (
            &["--admin-client-ca", &a],
            2,
            "--admin-client-ca needs --admin-tls-cert",
        ),
    ] {
        let said = Said::from(serve(options).output().unwrap());
        assert_eq!(said.code, Some(code), "{options:?}: {said:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        assert!(said.stderr.contains(words), "{words}: {said:?}");
        let mut check = bare();
        let check = check.args(["check", "--no-load"]).args(options);
        let checked = Said::from(check.output().unwrap());
        assert_eq!(checked.code, Some(code), "{options:?}: {checked:?}");
        assert!(checked.stderr.contains(words), "{words}: {checked:?}");
    }
    assert!(Path::new(&a).exists());
}
