//! What a hostile server answers reaches neither the terminal nor all of the memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::swapping::{Said, command};

/// Makes a terminal do or show something: an escape sequence, the same in one character, the
/// beginning of the line, a new line, text from right to left, and invisible characters.
const HOSTILE: &str = "\u{1b}]0;title\u{7}\u{9b}2J\u{7f}a\rb\nlive: c\td\u{202e}e\u{2066}f\u{200b}g\u{2028}h\u{e0041}";

/// Every document of the admin API in one, with hostile text wherever there may be text.
fn document() -> Value {
    let name = json!({
        "guest": HOSTILE, "short": HOSTILE, "model": HOSTILE, "model_short": HOSTILE,
        "revision": HOSTILE, "revision_short": HOSTILE, "configuration": HOSTILE, "name": HOSTILE,
    });
    let comparison = json!({
        "texts": 2, "agreed": 1, "agreement": 0.5, "mean_difference": 0.1,
        "largest_difference": 0.2, "failed": 0, "skipped": 0,
    });
    let entry = with(
        &name,
        &json!({
            "standing": "quarantined", "share": null, "comparison": comparison,
            "quarantine": {"reason": HOSTILE, "since": HOSTILE},
            "origin": {"kind": "file", "path": HOSTILE},
            "model_origin": {"kind": "file", "path": HOSTILE}, "size_bytes": 1,
            "added": HOSTILE, "activated": HOSTILE, "texts": 1, "failures": 0,
            "settings": {HOSTILE: HOSTILE, "secret": null},
        }),
    );
    let trial = json!({"standing": "shadow", "share": 1.0, "comparison": comparison});
    let more = json!({
        "live": name, "before": name, "version": name, "changed": true, "known": false,
        "compiled": true, "took_ms": 1, "change": null, "trial": with(&name, &trial),
        "probation": {"left_s": 1.0, "fallback": name}, "configured_fault": HOSTILE,
        "versions": [entry], "detail": HOSTILE,
    });
    with(&entry, &more)
}

fn with(object: &Value, more: &Value) -> Value {
    let mut all = object.as_object().unwrap().clone();
    all.extend(more.as_object().unwrap().clone());
    all.into()
}

/// Starts a server that responds to each request with `respond`.
fn server(respond: impl Fn(&mut TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_request(&mut stream);
            respond(&mut stream);
        }
    });
    address
}

fn read_request(stream: &mut TcpStream) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "half a request");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    stream.read_exact(&mut vec![0; length]).unwrap();
}

/// Starts a server that responds to everything with this.
fn answering(status: u16, body: String) -> SocketAddr {
    server(move |stream| {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).unwrap();
    })
}

/// Starts a server whose responses do not end. Gives how many bytes were taken of each.
fn endless() -> (SocketAddr, Receiver<usize>) {
    let (sender, taken) = channel();
    let address = server(move |stream| {
        let piece = vec![b'x'; 1 << 16];
        let head = b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n";
        let mut all = stream.write_all(head).map_or(0, |()| head.len());
        while stream.write_all(&piece).is_ok() {
            all += piece.len();
        }
        sender.send(all).unwrap();
    });
    (address, taken)
}

fn run(server: SocketAddr, arguments: &[&str]) -> Said {
    let mut command = command(arguments);
    command.env("FASTSENTIMENT_ADMIN_URL", format!("http://{server}"));
    command.env("FASTSENTIMENT_HEALTH_URL", format!("http://{server}"));
    command.output().unwrap().into()
}

/// Every command that asks a server, with the number of lines that it prints.
fn commands(component: &str) -> [(Vec<&str>, usize); 11] {
    [
        (vec!["versions"], 8),
        (vec!["versions", "abcd"], 15),
        (vec!["swap", component], 1),
        (vec!["activate", "abcd"], 1),
        (vec!["rollback"], 1),
        (vec!["rollback", "--from", "abcd"], 1),
        (vec!["promote"], 1),
        (vec!["end-trial"], 1),
        (vec!["remove", "abcd"], 1),
        (vec!["reload"], 1),
        (vec!["health"], 1),
    ]
}

#[track_caller]
fn assert_harmless(said: &Said) {
    let all = said.stdout.clone() + &said.stderr;
    let harmful = all.chars().find(|character| {
        (character.is_control() && *character != '\n')
            || matches!(
                character,
                '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2066}' | '\u{e0041}'
            )
    });
    assert_eq!(harmful, None, "{said:?}");
}

#[test]
fn text_of_a_server_reaches_no_terminal_as_it_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "a component").unwrap();
    let component = file.path().to_str().unwrap();
    let document = document();
    let succeeds = answering(200, document.to_string());
    let broken = [
        answering(409, document.to_string()),
        answering(503, document.to_string()),
        // No JSON at all, and none of ours.
        answering(500, HOSTILE.to_owned()),
        answering(200, json!({ "live": HOSTILE }).to_string()),
    ];
    for (arguments, lines) in commands(component) {
        let said = run(succeeds, &arguments);
        assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{arguments:?}");
        assert_harmless(&said);
        assert_eq!(said.stdout.lines().count(), lines, "{said:?}");
        // Health has no such option, and shows whatever it gets.
        if arguments == ["health"] {
            continue;
        }
        let said = run(succeeds, &[&arguments[..], &["--json"]].concat());
        assert_harmless(&said);
        let printed: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(printed, document);
        for server in broken {
            let said = run(server, &arguments);
            assert!([Some(1), Some(3)].contains(&said.code), "{said:?}");
            assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
            assert_harmless(&said);
        }
    }
    let said = run(answering(503, HOSTILE.to_owned()), &["health"]);
    assert_eq!(said.code, Some(1));
    assert_harmless(&said);
}

#[test]
fn a_response_that_does_not_end_is_not_read_to_the_end() {
    let (address, taken) = endless();
    for (arguments, limit) in [
        (vec!["versions"], 4 << 20),
        (vec!["versions", "--json"], 4 << 20),
        (vec!["health"], 16 << 10),
    ] {
        let said = run(address, &arguments);
        assert_eq!(said.code, Some(1), "{said:?}");
        let words = format!("larger than {limit} bytes");
        assert!(said.stderr.contains(&words), "{said:?}");
        // Beside what was read, some of it is in the buffers of the connection.
        assert!(taken.recv().unwrap() < limit + (24 << 20));
    }
}
