//! Answers over HTTP/2 that a client does not read: it can ask on, while its window stays
//! closed.

use super::*;
use axum::http::Request;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use tokio::task::JoinHandle;

/// A connection whose window stays closed. The task ends with it.
async fn connect(server: &Server) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let socket = TcpStream::connect(server.address).await.unwrap();
    let mut client = h2::client::Builder::new();
    client.initial_window_size(0);
    let (client, connection) = client.handshake(socket).await.unwrap();
    (client, tokio::spawn(connection))
}

/// Asks for the scores of 1,024 texts, compressed, which counts as 128 KiB.
async fn ask(server: &Server, client: &mut SendRequest<Bytes>) -> ResponseFuture {
    let request = Request::post(server.url("/predict")).header("accept-encoding", "gzip");
    *client = client.clone().ready().await.unwrap();
    let sent = client.send_request(request.body(()).unwrap(), false);
    let (answer, mut upload) = sent.unwrap();
    let many = texts(&["a"; 1024]).to_string();
    upload.send_data(many.into(), true).unwrap();
    answer
}

#[tokio::test]
async fn answers_that_are_not_read_do_not_wait_for_ever() {
    let server = Server::with(|config, _| config.body_timeout(SHORT * 4)).await;
    let (mut client, connection) = connect(&server).await;
    let mut unread = Vec::new();
    for _ in 0..180 {
        unread.push(ask(&server, &mut client).await);
    }
    // Others are answered meanwhile.
    let other = http1().get(server.url("/health")).send().await.unwrap();
    assert_eq!(other.status(), 200);
    // It is cut off, although it has sent requests all the time.
    let asking = async {
        loop {
            let request = Request::get(server.url("/health"));
            let Ok(ready) = client.clone().ready().await else {
                return;
            };
            client = ready;
            match client.send_request(request.body(()).unwrap(), true) {
                Ok((answer, _)) => unread.push(answer),
                Err(_) => return,
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap();
    assert!(timeout(PATIENCE, connection).await.is_ok());
}

/// 64 MiB for all connections: the first ones, which have kept answers waiting for longest,
/// are closed.
#[tokio::test]
async fn the_slowest_of_many_that_do_not_read_is_closed() {
    let server = Server::start().await;
    // A connection ends when its last client is dropped, and an answer when it is.
    let (mut clients, mut connections, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..40 {
        let (mut client, connection) = connect(&server).await;
        for _ in 0..16 {
            let answer = ask(&server, &mut client).await;
            let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
            assert_eq!(answer.headers()["content-encoding"], "gzip");
            answers.push(answer);
        }
        clients.push(client);
        connections.push(connection);
    }
    let first = timeout(PATIENCE, &mut connections[0]).await;
    assert!(first.is_ok());
    assert!(!connections[39].is_finished());
    let other = http1().get(server.url("/health")).send().await.unwrap();
    assert_eq!(other.status(), 200);
}
