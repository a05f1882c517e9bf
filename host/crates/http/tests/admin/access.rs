//! Who may see and change versions, over HTTP.

use reqwest::Method;

use super::fake::{FIRST, Server, digest, problem};
use testing::PATIENCE;
use testing::{Answer, answer};

const TOKEN: &str = "0123456789abcdef";

/// What every path of the versions API answers to a request with these headers.
async fn everywhere(server: &Server, headers: &[(&str, &str)]) -> Vec<Answer> {
    let one = format!("/versions/{}", digest(FIRST));
    let mut answers = Vec::new();
    for (method, path) in [
        (Method::GET, "/versions".to_owned()),
        (Method::POST, "/versions?activate=true".to_owned()),
        (Method::GET, one.clone()),
        (Method::DELETE, one.clone()),
        (Method::POST, format!("{one}/activate")),
        (Method::POST, format!("{one}/canary?share=0.1")),
        (Method::POST, format!("{one}/shadow")),
        (Method::DELETE, "/trial".to_owned()),
        (Method::POST, "/trial/promote".to_owned()),
        (Method::POST, "/rollback".to_owned()),
        (Method::POST, "/reload".to_owned()),
        // What there is not is not told to strangers either.
        (Method::PUT, "/versions".to_owned()),
    ] {
        let mut request = server.request(method, &path).body("good 2");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answers.push(answer(request).await);
    }
    answers
}

/// What is open to everyone, whatever a request shows.
async fn assert_open(server: &Server) {
    for path in ["/metrics", "/health", "/health/live", "/version"] {
        let request = server.request(Method::GET, path);
        let request = request.header("host", "a.example");
        let request = request.header("origin", "http://a.example");
        assert_eq!(answer(request).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_token_is_demanded_also_on_this_machine() {
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let server = Server::with(|settings| {
            settings.listen = listen;
            settings.token = Some(TOKEN);
        })
        .await;
        let wrong = format!("Bearer {TOKEN}0");
        for headers in [&[][..], &[("authorization", wrong.as_str())]] {
            for refused in everywhere(&server, headers).await {
                problem(&refused, 401, "unauthorized");
                assert_eq!(refused.headers["www-authenticate"], "Bearer");
                assert!(!refused.body.contains(TOKEN));
            }
        }
        let right = format!("Bearer {TOKEN}");
        let origin = [
            ("authorization", right.as_str()),
            ("origin", "http://127.0.0.1"),
        ];
        for refused in everywhere(&server, &origin).await {
            problem(&refused, 403, "forbidden");
        }
        assert_eq!(server.known(), [digest(FIRST)]);
        server.assert_live(FIRST).await;
        assert_open(&server).await;

        // Whatever its name is where the request comes from.
        let named = [("authorization", right.as_str()), ("host", "admin.example")];
        for allowed in everywhere(&server, &named).await {
            assert!(![401, 403].contains(&allowed.status), "{}", allowed.body);
        }
    }
}

#[tokio::test]
async fn without_a_token_nobody_elsewhere_can_change_anything() {
    let server = Server::with(|settings| settings.listen = "0.0.0.0:0").await;
    for refused in everywhere(&server, &[("authorization", "Bearer 0123456789abcdef")]).await {
        let detail = problem(&refused, 403, "forbidden")["detail"].take();
        assert!(
            detail.as_str().unwrap().contains("--admin-token-file"),
            "{detail}"
        );
    }
    assert_eq!(server.known(), [digest(FIRST)]);
    server.assert_live(FIRST).await;
    assert_open(&server).await;
}

#[tokio::test]
async fn without_a_token_no_page_can_change_anything() {
    let server = Server::start().await;
    for headers in [
        [("origin", "http://a.example")],
        [("origin", "null")],
        [("host", "rebound.example:8001")],
        [("host", "127.0.0.1.rebound.example")],
    ] {
        for refused in everywhere(&server, &headers).await {
            problem(&refused, 403, "forbidden");
        }
    }
    assert_eq!(server.known(), [digest(FIRST)]);
    server.assert_live(FIRST).await;
    assert_open(&server).await;
    for host in ["localhost:8001", "[::1]:8001", "127.0.0.1"] {
        let request = server
            .request(Method::GET, "/versions")
            .header("host", host);
        assert_eq!(answer(request).await.status, 200, "{host}");
    }
}

/// Its requests have no `Host`, but the same in another place.
#[tokio::test]
async fn http2_is_held_to_the_same() {
    let server = Server::start().await;
    let port = server.address.port();
    let client = testing::client().timeout(PATIENCE);
    let client = client
        .http2_prior_knowledge()
        .resolve("rebound.example", server.address)
        .build()
        .unwrap();
    for (host, status) in [("127.0.0.1", 200), ("rebound.example", 403)] {
        let url = format!("http://{host}:{port}/versions");
        assert_eq!(answer(client.get(url)).await.status, status, "{host}");
    }
}
