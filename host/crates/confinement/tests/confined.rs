//! What a confined process can still do, and what it cannot, as this machine's kernel has it.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot continue fails, and one that shows less says so"
)]

use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::thread;

use fastsentiment_confinement::{Confined, FORBIDDEN_CALL, compiler, server};

/// The version of this kernel's Landlock; `None` if it has none. A compiler can no longer ask.
fn landlock() -> Option<i64> {
    static ASKED: OnceLock<Option<i64>> = OnceLock::new();
    *ASKED.get_or_init(ask_for_landlock)
}

fn ask_for_landlock() -> Option<i64> {
    const VERSION: u32 = 1;
    // SAFETY: with this flag, the call takes no memory and makes nothing.
    #[expect(unsafe_code, reason = "asks without the crate that is tested")]
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            VERSION,
        )
    };
    let version = Some(version).filter(|version| *version > 0);
    if version.is_none() {
        eprintln!("*** this kernel has no Landlock: it must leave a server as it was");
    }
    version
}

/// Whether something was denied. Nothing else may have failed.
fn is_denied<T>(result: std::io::Result<T>) -> bool {
    match result {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            true
        }
    }
}

/// Rights are those of a thread, and a thread's own children have them too.
fn in_a_thread<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(act).join().unwrap()
}

#[test]
fn a_server_writes_below_its_directories_and_runs_only_itself() {
    let (mine, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mine, other) = (mine.path().to_owned(), other.path().to_owned());
    for dir in [&mine, &other] {
        fs::create_dir_all(dir.join("below")).unwrap();
        fs::write(dir.join("before"), "before").unwrap();
    }
    in_a_thread(move || {
        let sockets = other.join("below");
        let writable = [&*mine, Path::new("/nowhere/to/be/found")];
        let confined = server(writable, [&*sockets]).unwrap();
        let is_confined = landlock().is_some();
        assert_eq!(confined != Confined::Not, is_confined, "{confined:?}");
        // Version 3 is the first that can do all of it.
        assert_eq!(confined == Confined::Fully, landlock() >= Some(3));

        for dir in [&mine, &mine.join("below")] {
            fs::write(dir.join("new"), "new").unwrap();
            fs::rename(dir.join("new"), dir.join("renamed")).unwrap();
            fs::remove_file(dir.join("renamed")).unwrap();
        }
        let denied = [
            is_denied(fs::write(other.join("new"), "new")),
            is_denied(fs::write(other.join("before"), "changed")),
            is_denied(fs::create_dir(other.join("dir"))),
            is_denied(fs::remove_file(other.join("before"))),
            is_denied(Command::new("/bin/true").output()),
            is_denied(Command::new("/bin/sh").arg("-c").arg(":").output()),
        ];
        assert_eq!(denied, [is_confined; 6]);
        // The files of sockets, and nothing else.
        UnixListener::bind(sockets.join("socket")).unwrap();
        fs::remove_file(sockets.join("socket")).unwrap();
        let denied = is_denied(fs::write(sockets.join("file"), "new"));
        assert_eq!(denied, is_confined);
        let before = fs::read_to_string(other.join("before"));
        assert_eq!(before.is_ok_and(|text| text == "before"), is_confined);

        // Itself, as it runs a compiler; and that is confined as well.
        let me = Command::new("/proc/self/exe").arg("--list").output();
        assert!(me.unwrap().status.success());
        assert_eq!(
            in_a_thread(move || is_denied(File::create(other.join("later")))),
            is_confined
        );
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    });
}

/// Which of the acts a process that this test starts is to do.
const ACT: &str = "FASTSENTIMENT_TEST_ACT";

/// An act, and the signal that ends a process which tries it.
type Act = (&'static str, fn(), Option<i32>);

/// What a compiler does, and how a process ends that tries it.
const ACTS: [Act; 10] = [
    ("compute", compute, None),
    ("read", read, None),
    ("panic", panic_and_go_on, None),
    ("socket", socket, Some(FORBIDDEN_CALL)),
    ("create", create, Some(FORBIDDEN_CALL)),
    ("change", change, Some(FORBIDDEN_CALL)),
    ("delete", delete, Some(FORBIDDEN_CALL)),
    ("run", run, Some(FORBIDDEN_CALL)),
    ("kill", kill, Some(FORBIDDEN_CALL)),
    ("limit", limit, Some(FORBIDDEN_CALL)),
];

fn compute() {
    // Large blocks are mapped, and threads need stacks.
    let sum = in_a_thread(|| {
        vec![1_u8; 64 << 20]
            .iter()
            .map(|byte| u64::from(*byte))
            .sum::<u64>()
    });
    assert_eq!(sum, 64_u64 << 20);
    assert!(thread::available_parallelism().is_ok());
    thread::sleep(std::time::Duration::from_millis(1));
}

fn read() {
    assert!(fs::read_to_string("/proc/self/status").is_ok());
    assert_eq!(File::open("/etc/passwd").is_err(), landlock().is_some());
}

fn panic_and_go_on() {
    assert!(thread::spawn(|| panic!("as it was told")).join().is_err());
}

fn socket() {
    let _ = TcpListener::bind("127.0.0.1:0");
}

fn create() {
    let _ = File::create(env::temp_dir().join("fastsentiment-must-not-exist"));
}

fn change() {
    let _ = File::options().append(true).open("/dev/null");
}

fn delete() {
    let _ = fs::remove_file("/nowhere/to/be/found");
}

fn run() {
    // Without pipes, which would be refused before.
    let _ = Command::new("/bin/true").status();
}

fn kill() {
    let init = rustix::process::Pid::INIT;
    let _ = rustix::process::test_kill_process(init);
}

fn limit() {
    let init = Some(rustix::process::Pid::INIT);
    let unlimited = rustix::process::Rlimit {
        current: None,
        maximum: None,
    };
    let _ = rustix::process::prlimit(init, rustix::process::Resource::Core, unlimited);
}

/// Does one of the acts as a compiler, in a process of its own.
fn outcome(act: &str) -> Output {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_compiler_that_does_what_it_must_not_is_ended"])
        .args(["--test-threads", "1", "--nocapture"])
        .env(ACT, act)
        .output()
        .unwrap()
}

#[test]
fn a_compiler_that_does_what_it_must_not_is_ended() {
    if let Ok(name) = env::var(ACT) {
        let (_, act, _) = ACTS.iter().find(|(act, ..)| *act == name).unwrap();
        landlock();
        compiler().unwrap();
        act();
        return;
    }
    for (act, _, signal) in ACTS {
        let output = outcome(act);
        let (status, stderr) = (output.status, String::from_utf8_lossy(&output.stderr));
        assert_eq!(status.signal(), signal, "{act}: {status}: {stderr}");
        assert_eq!(status.success(), signal.is_none(), "{act}: {stderr}");
    }
}
