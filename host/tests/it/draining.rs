//! A server that stops while clients keep sending requests loses none of them.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use crate::harness::{PATIENCE, fixture};
use crate::server_process::ServerProcess;

/// The number of clients, each with one connection.
const CLIENTS: usize = 32;

/// How many requests of a client are answered, on average, before the server is stopped.
const BEFORE: usize = 20;

/// Why a client stopped.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It could no longer connect. A load balancer would send it to another server.
    Refused,
    /// A request was not answered.
    Lost(String),
}

/// Sends requests until it cannot connect. A connection is used until the server closes it.
fn send_requests(address: &str, id: usize, answered: &AtomicUsize, begun: &Barrier) -> End {
    for connection in 0.. {
        let socket = match TcpStream::connect(address) {
            Ok(socket) => socket,
            Err(error)
                if [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset]
                    .contains(&error.kind()) =>
            {
                return End::Refused;
            }
            Err(error) => return End::Lost(format!("connecting: {error}")),
        };
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(socket);
        for request in 0.. {
            let text = format!("{{\"text\":[\"{id} {connection} {request}\"]}}");
            match exchange(&mut reader, &text) {
                Ok(is_last) => {
                    if answered.fetch_add(1, Ordering::SeqCst) + 1 == CLIENTS * BEFORE {
                        begun.wait();
                    }
                    if is_last {
                        break;
                    }
                }
                Err(error) => return End::Lost(format!("request {request}: {error}")),
            }
        }
    }
    unreachable!("there is no end to connections")
}

/// Sends a request, and reads the response. Returns whether the connection is to be closed.
fn exchange(reader: &mut BufReader<TcpStream>, body: &str) -> std::io::Result<bool> {
    let length = body.len();
    let request = format!(
        "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    reader.get_mut().write_all(request.as_bytes())?;
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let line = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = head[line..].strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    Ok(head.contains("\r\nconnection: close\r\n"))
}

#[test]
fn no_request_of_a_busy_client_is_lost_when_the_server_stops() {
    for delay in ["0", "300"] {
        let options = ["--drain-delay-ms", delay, "--cache-mib", "0"];
        let mut server = ServerProcess::with(&fixture("tiny-bert"), &options);
        let answered = Arc::<AtomicUsize>::default();
        let begun = Arc::new(Barrier::new(2));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|id| {
                let (answered, begun) = (Arc::clone(&answered), Arc::clone(&begun));
                let address = server.address().to_owned();
                std::thread::spawn(move || send_requests(&address, id, &answered, &begun))
            })
            .collect();
        begun.wait();
        server.terminate();
        let ends: Vec<_> = clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect();
        assert!(server.ended().success(), "{}", server.log());
        let lost: Vec<_> = ends.iter().filter(|end| **end != End::Refused).collect();
        assert!(lost.is_empty(), "with a delay of {delay} ms: {lost:?}");
    }
}
