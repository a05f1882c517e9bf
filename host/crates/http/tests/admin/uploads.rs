//! Components on their way in: bounded, and all or nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fake::{FIRST, Server, digest, problem};
use testing::PATIENCE;
use testing::answer;

/// A request to `/versions?activate=true` with these header lines, and what is
/// sent of its body.
async fn begin(server: &Server, headers: &str, body: impl AsRef<[u8]>) -> TcpStream {
    let mut connection = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST /versions?activate=true HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    // The server may have refused it by now.
    let _ = connection.write_all(body.as_ref()).await;
    connection
}

/// The status of the answer on a connection.
async fn status(connection: &mut TcpStream) -> u16 {
    let mut head = [0; "HTTP/1.1 200".len()];
    let read = timeout(PATIENCE, connection.read_exact(&mut head)).await;
    read.expect("no answer").unwrap();
    str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_component_may_be_as_large_as_the_limit_and_no_larger() {
    let server = Server::with(|settings| settings.max_bytes = 4096).await;
    let largest = format!("good {}", "x".repeat(4091));
    let larger = format!("{largest}x");
    problem(
        &server.upload("?activate=true", &larger).await,
        413,
        "body-too-large",
    );
    // It is refused by its announcement, without being asked for.
    let headers = "content-length: 4097\r\nexpect: 100-continue\r\n";
    assert_eq!(status(&mut begin(&server, headers, "").await).await, 413);
    // Without an announcement, as soon as it is too large: the end never comes.
    let chunk = format!("1001\r\n{larger}\r\n");
    let headers = "transfer-encoding: chunked\r\n";
    assert_eq!(status(&mut begin(&server, headers, chunk).await).await, 413);
    server.assert_live(FIRST).await;
    assert_eq!(server.known(), [digest(FIRST)]);

    assert_eq!(server.upload("?activate=true", &largest).await.status, 201);
    server.assert_live(&largest).await;
    let chunks = "4\r\ngood\r\n8\r\n chunked\r\n0\r\n\r\n";
    assert_eq!(
        status(&mut begin(&server, headers, chunks).await).await,
        201
    );
    server.assert_live("good chunked").await;
}

#[tokio::test]
async fn a_component_that_does_not_come_is_not_waited_for() {
    let server = Server::with(|settings| settings.patience = Duration::from_millis(200)).await;
    let mut slow = begin(&server, "content-length: 6\r\n", "good").await;
    assert_eq!(status(&mut slow).await, 408);
    assert_eq!(server.known(), [digest(FIRST)]);
    server.assert_live(FIRST).await;
}

#[tokio::test]
async fn a_component_that_breaks_off_is_none() {
    let server = Server::start().await;
    for (headers, sent) in [
        ("content-length: 7\r\n", "good 2"),
        ("transfer-encoding: chunked\r\n", "6\r\ngood 2\r\n"),
        ("transfer-encoding: chunked\r\n", "7\r\ngood 2"),
        ("transfer-encoding: chunked\r\n", "6\r\ngood 2\r\nnonsense"),
    ] {
        let mut connection = begin(&server, headers, sent).await;
        connection.shutdown().await.unwrap();
        let mut rest = String::new();
        let read = timeout(PATIENCE, connection.read_to_string(&mut rest)).await;
        // It may be reset as well.
        let _ = read.expect("the connection was not closed");
        assert!(
            rest.is_empty() || rest.starts_with("HTTP/1.1 400 "),
            "{rest}"
        );
        assert_eq!(server.known(), [digest(FIRST)], "{headers}{sent}");
        server.assert_live(FIRST).await;
    }
    assert_eq!(server.upload("?activate=true", "good 2").await.status, 201);
}

#[tokio::test]
async fn what_is_no_component_by_its_type_is_refused() {
    let server = Server::start().await;
    let upload = async |headers: &[(&str, &str)]| {
        let mut request = server.request(reqwest::Method::POST, "/versions");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.body("good 2")).await
    };
    for headers in [
        &[("content-type", "application/json")][..],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "multipart/form-data; boundary=x")],
        &[("content-type", "text/plain")],
        &[("content-type", "")],
        &[("content-encoding", "gzip")],
    ] {
        problem(&upload(headers).await, 415, "unsupported-media-type");
    }
    assert_eq!(server.known(), [digest(FIRST)]);
    for headers in [
        &[][..],
        &[("content-type", "application/wasm")],
        &[("content-type", "Application/Octet-Stream; x=y")],
        &[("content-encoding", "identity")],
    ] {
        let status = upload(headers).await.status;
        assert!([200, 201].contains(&status), "{headers:?}: {status}");
    }
}

/// While loads are slow, components wait for their turn; how many, is bounded.
#[tokio::test]
async fn components_that_wait_have_only_so_much_room() {
    let size = 1 << 20;
    let server = Server::with(|settings| settings.max_bytes = size).await;
    let component = |number: usize| format!("hold {number} {}", "x".repeat(size - 7));
    let begin = |number| {
        let request = server.request(reqwest::Method::POST, "/versions?activate=true");
        tokio::spawn(answer(request.body(component(number))))
    };
    // The first is loaded, and three wait for it.
    let uploads: Vec<_> = (0..4).map(begin).collect();
    server.held().await;
    let no_room = async {
        loop {
            let headers = format!("content-length: {size}\r\nexpect: 100-continue\r\n");
            match status(&mut super::uploads::begin(&server, &headers, "").await).await {
                // Not all of them have come whole.
                100 => tokio::time::sleep(Duration::from_millis(10)).await,
                status => return status,
            }
        }
    };
    assert_eq!(timeout(PATIENCE, no_room).await.unwrap(), 503);
    let refused = server.upload("?activate=true", &component(9)).await;
    problem(&refused, 503, "overloaded");
    assert!(refused.headers.contains_key("retry-after"));
    // What brings no component is answered all the same.
    assert_eq!(server.get("/versions").await.status, 200);
    server.assert_live(FIRST).await;

    server.words.release.add_permits(uploads.len());
    for upload in uploads {
        assert_eq!(upload.await.unwrap().status, 201);
    }
    assert_eq!(server.upload("?activate=true", "good 2").await.status, 201);
}

/// Who breaks a swap off does not want it to happen later; but the load that has
/// begun is not thrown away.
#[tokio::test]
async fn a_swap_whose_client_leaves_is_not_made() {
    let server = Server::start().await;
    let headers = "content-length: 6\r\n";
    server.get("/versions").await;
    let others = server.connections();
    let connection = begin(&server, headers, "hold 2").await;
    server.held().await;
    // A reset, so that the server need not wonder whether the client still reads.
    connection.set_zero_linger().unwrap();
    drop(connection);
    let noticed = async {
        while server.connections() > others {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, noticed).await.unwrap();
    server.words.release.add_permits(1);
    // Loads are serial: once the next one is there, so is the first.
    assert_eq!(server.upload("", "good 3").await.status, 201);
    assert_eq!(
        server.known(),
        [digest("good 3"), digest("hold 2"), digest(FIRST)]
    );
    server.assert_live(FIRST).await;
}
