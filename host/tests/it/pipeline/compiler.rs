//! The compiler process: its code, its limits, and its exit.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use predictor::Configuration;
use sandbox::{CompileLimits, Compiler, Graphs, LoadError, LoadedFrom, Step, load, load_aside};

use super::artifacts::Store;
use crate::harness::{BINARY, GENEROUS, fixture, graphs, guest, loading, runtime_with, wait};
use crate::hostile::{component, files, hostile, hundredths, load_text, prepared, some_files};

/// Limits for guests that are not bombs.
fn limits() -> CompileLimits {
    CompileLimits::default()
}

/// The error of loading a guest with `program` as the compiler.
fn refusal(program: &Path, limits: CompileLimits, guest: &[u8]) -> LoadError {
    let compiler = Compiler::child(program.to_owned(), limits);
    let runtime = runtime_with(GENEROUS, compiler, Graphs::default());
    let loaded = load(&runtime, None, guest, &some_files(), &Configuration::NONE);
    loaded.err().expect("it is refused")
}

/// Asserts that the guest is to blame, in a message with all of `words`.
fn assert_refused(program: &Path, limits: CompileLimits, guest: &[u8], words: &[&str]) {
    let error = refusal(program, limits, guest);
    assert!(matches!(error, LoadError::Compiler(_)), "{error:?}");
    assert_eq!(error.step(), Step::Compile);
    assert_says(&error, words);
}

/// Asserts that the host is to blame, in a message with all of `words`.
fn assert_not_tried(program: &Path, limits: CompileLimits, guest: &[u8], words: &[&str]) {
    let error = refusal(program, limits, guest);
    assert_eq!(error.step(), Step::Host, "{error:?}");
    assert_says(&error, words);
}

fn assert_says(error: &LoadError, words: &[&str]) {
    for word in words {
        assert!(
            error.to_string().contains(word),
            "{word:?} is not in: {error}"
        );
    }
}

/// A guest that brings `count` functions of `instructions` additions each.
fn bulky(count: usize, instructions: usize) -> Vec<u8> {
    let leb = |mut value: usize| {
        let mut bytes = Vec::new();
        loop {
            let more = value > 0x7f;
            bytes.push(u8::try_from(value & 0x7f).unwrap() | u8::from(more) << 7);
            value >>= 7;
            if !more {
                return bytes;
            }
        }
    };
    let section = |id: u8, content: Vec<u8>| [vec![id], leb(content.len()), content].concat();
    // No locals; take the parameter, multiply it with itself, and so on.
    let body = [
        &[0, 0x20, 0][..],
        &[0x20, 0, 0x6c].repeat(instructions),
        &[0x0b],
    ]
    .concat();
    let bodies = [leb(body.len()), body].concat().repeat(count);
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, [leb(count), vec![0; count]].concat()),
        section(10, [leb(count), bodies].concat()),
    ]
    .concat();
    [component(&hostile()), section(1, module)].concat()
}

/// A guest with components that each hold the one before twice.
fn doubling(times: usize) -> Vec<u8> {
    let mut text = hostile();
    text += "(component $c0 (core module $m) (core instance (instantiate $m)))";
    for n in 1..=times {
        write!(
            text,
            "(component $c{n} (alias outer 1 $c{} (component $c))
               (instance (instantiate $c)) (instance (instantiate $c)))",
            n - 1
        )
        .unwrap();
    }
    component(&(text + &format!("(instance (instantiate $c{times}))")))
}

/// A program that writes its process's number and environment into a directory,
/// and then does as `script` says.
fn program(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("program");
    let text = format!(
        "#!/bin/sh\necho $$ > {0}/pid\ncat /proc/$$/environ > {0}/environ\n{script}\n",
        dir.display()
    );
    // Written by another process: this one starts others, which could have the
    // file open, and what is open cannot be run.
    let status = Command::new("sh")
        .args(["-c", r#"printf '%s' "$1" > "$2" && chmod +x "$2""#, "sh"])
        .args([Path::new(&text), &path])
        .status();
    assert!(status.unwrap().success());
    path
}

#[test]
fn a_child_compiles_as_this_process_does() {
    let dir = fixture("tiny-bert");
    let (graphs, files) = (graphs(&dir), files(&dir));
    let texts: Vec<String> = ["", "Loved it.", "a b c"].map(str::to_owned).into();
    let _loading = loading();
    let answers = [
        Compiler::in_process(limits()),
        Compiler::child(BINARY.into(), limits()),
    ]
    .map(|compiler| {
        let runtime = runtime_with(GENEROUS, compiler, graphs.clone());
        let guest = load(&runtime, None, guest(), &files, &Configuration::NONE).unwrap();
        assert_eq!(guest.loaded_from(), LoadedFrom::Source);
        wait(guest.predict(&texts)).unwrap()
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].len(), texts.len());
}

#[test]
fn either_finds_what_the_other_has_kept() {
    let (store, files) = (Store::new(), some_files());
    let load = |compiler| {
        let runtime = runtime_with(GENEROUS, compiler, Graphs::default());
        store.load(&runtime, &prepared(""), &files).loaded_from()
    };
    let child = load(Compiler::child(BINARY.into(), limits()));
    assert_eq!(child, LoadedFrom::Source);
    assert_eq!(
        load(Compiler::in_process(limits())),
        LoadedFrom::Artifact,
        "the fingerprints of the engines differ"
    );
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let nowhere = Path::new("/nowhere/to/be/found");
    assert_not_tried(
        nowhere,
        limits(),
        &component(&hostile()),
        &["/nowhere/to/be/found", "No such file"],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn the_output_of_another_program_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    for (script, words) in [
        ("echo broken >&2; exit 1", ["broken", "compiled"]),
        ("printf 'a\\n\\033b' >&2; exit 1", ["a ?b", "compiled"]),
        ("exit 7", ["the compiler failed", "7"]),
        ("kill -6 $$", ["the compiler failed", "signal: 6"]),
        (
            "kill -31 $$",
            ["a system call that it must not make", "signal: 31"],
        ),
    ] {
        let program = program(dir.path(), script);
        assert_refused(&program, limits(), &component(&hostile()), &words);
    }
    // The machine is to blame.
    let no_threads = "Os { code: 11, message: \"Resource temporarily unavailable\" }";
    for (script, words) in [
        ("exit 0", ["code that does not fit", "another version"]),
        ("exec cat", ["code that does not fit", "another version"]),
        ("kill -9 $$", ["was killed", "signal: 9"]),
        (
            "echo 'out of files' >&2; exit 5",
            ["out of files", "loaded"],
        ),
        (
            &format!("echo 'panicked: {no_threads}' >&2; exit 101"),
            ["temporarily unavailable", "panicked"],
        ),
    ] {
        let program = program(dir.path(), script);
        assert_not_tried(&program, limits(), &component(&hostile()), &words);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_does_not_end_is_killed_and_gone() {
    let dir = tempfile::tempdir().unwrap();
    let brief = CompileLimits {
        wall: Duration::from_millis(300),
        ..limits()
    };
    for script in [
        "exec sleep 1000",
        "exec >&- 2>&-; exec sleep 1000",
        "echo; exec cat /dev/zero",
    ] {
        let program = program(dir.path(), script);
        let guest = component(&hostile());
        match script {
            // It may be stopped at the bound before the time is up.
            "echo; exec cat /dev/zero" => drop(refusal(&program, brief, &guest)),
            _ => assert_not_tried(&program, brief, &guest, &["did not finish within 300ms"]),
        }
        let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
        let process = Path::new("/proc").join(pid.trim());
        assert!(!process.exists(), "{script}: {}", process.display());
        let environ = std::fs::read(dir.path().join("environ")).unwrap();
        assert_eq!(String::from_utf8_lossy(&environ), "", "{script}");
    }
}

#[test]
fn a_bomb_ends_its_own_process_only() {
    let binary = Path::new(BINARY);
    let base = limits();
    let megabytes = bulky(1000, 1500);
    let brief = CompileLimits {
        wall: Duration::from_millis(200),
        ..base
    };
    assert_not_tried(binary, brief, &megabytes, &["did not finish within 200ms"]);
    let little_time = CompileLimits {
        cpu: Duration::from_secs(1),
        ..base
    };
    let little_memory = CompileLimits {
        memory: 64 << 20,
        ..base
    };
    let little_code = CompileLimits {
        code: 1 << 20,
        ..base
    };
    #[cfg(target_os = "linux")]
    {
        assert_refused(binary, little_time, &megabytes, &["1s of processor time"]);
        assert_refused(
            binary,
            little_memory,
            &megabytes,
            &["67108864 bytes of memory"],
        );
        // Two to the power of thirty instances, out of a kilobyte.
        let doubled = refusal(binary, little_time, &doubling(30));
        assert!(matches!(doubled, LoadError::Compiler(_)), "{doubled:?}");
    }
    assert_refused(
        binary,
        little_code,
        &megabytes,
        &["more than 1048576 bytes"],
    );
    // Two bytes of initial memory that are far apart.
    let sparse = hostile()
        + r#"(core module (memory 100) (data (i32.const 0) "a") (data (i32.const 6000000) "b"))"#;
    let sparse = component(&sparse);
    assert_refused(binary, little_code, &sparse, &["more than 1048576 bytes"]);

    // This process is not affected, and other guests stay within the limits.
    let small = CompileLimits {
        memory: 256 << 20,
        ..little_time
    };
    let compiler = Compiler::child(binary.to_owned(), small);
    let runtime = runtime_with(GENEROUS, compiler, Graphs::default());
    load(
        &runtime,
        None,
        &doubling(3),
        &some_files(),
        &Configuration::NONE,
    )
    .unwrap();
    let guest = load_text(&runtime, &prepared("")).unwrap();
    assert_eq!(
        hundredths(&wait(guest.predict(&["count".to_owned()])).unwrap()),
        41
    );
}

#[tokio::test]
async fn loads_beside_live_traffic_can_be_awaited_and_share_their_work() {
    let compiler = Compiler::child(BINARY.into(), limits());
    let runtime = runtime_with(GENEROUS, compiler, Graphs::default());
    let (store, files) = (Store::new(), some_files());
    let bytes: Bytes = component(&prepared("")).into();
    let load = || {
        load_aside(
            &runtime,
            Some(store.store()),
            bytes.clone(),
            &files,
            &Configuration::NONE,
        )
    };
    let loaded = tokio::join!(load(), load(), load(), load());
    let mut sources = 0;
    for guest in [loaded.0, loaded.1, loaded.2, loaded.3] {
        let guest = guest.unwrap();
        sources += u32::from(guest.loaded_from() == LoadedFrom::Source);
        let answer = guest.predict(&["count".to_owned()]).await.unwrap();
        assert_eq!(hundredths(&answer), 41);
    }
    assert_eq!(sources, 1, "one compiles, and the others find it");
    let error = load_aside(
        &runtime,
        None,
        Bytes::from_static(b"\0asm"),
        &files,
        &Configuration::NONE,
    )
    .await;
    assert_eq!(error.err().unwrap().step(), Step::Compile);
    // The priority of this thread is unchanged.
    #[cfg(target_os = "linux")]
    assert_eq!(nice(Path::new("/proc/thread-self/stat")), 0);
}

/// The priority of a thread: the 17th field after its name, which is in brackets.
#[cfg(target_os = "linux")]
fn nice(stat: &Path) -> i32 {
    let stat = std::fs::read_to_string(stat).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(16).unwrap().parse().unwrap()
}

/// The compiler of a load beside live traffic has less priority than that; the
/// one of a start has not.
#[cfg(target_os = "linux")]
#[test]
fn only_a_load_beside_live_traffic_has_low_priority() {
    let dir = tempfile::tempdir().unwrap();
    let stat = dir.path().join("stat");
    let script = format!("cat /proc/$$/stat > {}", stat.display());
    let compiler = Compiler::child(program(dir.path(), &script), limits());
    let runtime = runtime_with(GENEROUS, compiler, Graphs::default());
    let (bytes, files) = (component(&hostile()), some_files());
    load(&runtime, None, &bytes, &files, &Configuration::NONE)
        .err()
        .unwrap();
    let before = nice(&stat);
    let aside = load_aside(&runtime, None, bytes.into(), &files, &Configuration::NONE);
    wait(aside).err().unwrap();
    assert!(nice(&stat) > before, "{before}");
}
