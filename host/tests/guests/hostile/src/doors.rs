//! Orders that try to leave the sandbox: files, sockets, clocks, streams.

use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use wasip2::cli::{stderr, stdin, stdout};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::random::{insecure, random};

const HOUR: u64 = 3_600_000_000_000;

/// Carries out an order, and returns the finding; `None` if there is no such order.
pub(crate) fn obey(order: &str) -> Option<String> {
    Some(match order {
        "read a file" => outcome(std::fs::read("/etc/passwd")),
        "read the model" => outcome(std::fs::read("/model/config.json")),
        "write a file" => outcome(std::fs::write("/model/made", "x")),
        "list directories" => outcome(std::fs::read_dir("/").map(Iterator::count)),
        "read the environment" => format!("{} variables", std::env::vars().count()),
        "read arguments" => format!("{} arguments", std::env::args().count()),
        "connect" => outcome(TcpStream::connect("127.0.0.1:80")),
        "listen" => outcome(TcpListener::bind("127.0.0.1:0")),
        "bind udp" => outcome(UdpSocket::bind("127.0.0.1:0")),
        "look a name up" => outcome("localhost:80".to_socket_addrs().map(Iterator::count)),
        "sleep" => {
            std::thread::sleep(Duration::from_secs(3600));
            "awake".to_owned()
        }
        "wait for ever" => {
            subscribe_duration(u64::MAX).block();
            "awake".to_owned()
        }
        "keep timers" => flood(|| subscribe_duration(HOUR)),
        "keep streams" => flood(stdout::get_stdout),
        "print for ever" => print_for_ever(&stdout::get_stdout()),
        "print errors for ever" => print_for_ever(&stderr::get_stderr()),
        "print lines for ever" => loop {
            println!("line");
        },
        "print zeroes" => outcome(stdout::get_stdout().write_zeroes(u64::MAX)),
        "print much at once" => {
            outcome(stdout::get_stdout().blocking_write_and_flush(&vec![b'x'; 1 << 20]))
        }
        "read much" => outcome(stdin::get_stdin().read(u64::MAX)),
        "skip much" => outcome(stdin::get_stdin().blocking_skip(u64::MAX)),
        "random bytes" => format!("{} bytes", random::get_random_bytes(1 << 16).len()),
        "many random bytes" => format!("{} bytes", random::get_random_bytes(u64::MAX).len()),
        "many insecure bytes" => {
            format!(
                "{} bytes",
                insecure::get_insecure_random_bytes(1 << 26).len()
            )
        }
        _ => return None,
    })
}

fn outcome<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) => format!("refused: {error}"),
    }
}

/// Creates as many of something as possible, and keeps them.
pub(crate) fn flood<T>(make: impl Fn() -> T) -> String {
    let mut kept = Vec::new();
    while kept.len() < 1_000_000 {
        kept.push(std::hint::black_box(make()));
    }
    format!("kept {}", kept.len())
}

fn print_for_ever(stream: &wasip2::io::streams::OutputStream) -> ! {
    let much = vec![b'x'; 64 << 10];
    loop {
        let _ = stream.write(&much);
    }
}
