//! Runs that are interrupted and resumed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::files::Case;
use super::sources::gzip;
use crate::harness::{PATIENCE, fixture, loading, onnxruntime};
use crate::limits::hostile_path;
use crate::server_process::{run, signal, subcommand_with};

/// With 4 ms per row, two workers need six seconds for these rows. Progress is saved every
/// second.
const ROWS: usize = 3_000;

fn many() -> Case {
    let row = |row| {
        let number = row * 7;
        format!("{row},\"do take time: film {row}, \n{number}\",\"a \"\"note\"\"\"\r\n")
    };
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    let file = format!("id,text,note\n{}", rows.concat());
    Case::new("many.csv", file)
}

/// The number of rows that are recorded as done.
fn done(case: &Case) -> Option<u64> {
    let progress = std::fs::read(case.path("out.csv.progress")).ok()?;
    let progress: Value = serde_json::from_slice(&progress).unwrap();
    progress["rows"].as_u64()
}

fn start(command: &mut Command) -> Child {
    // Another test may be compiling the same guest.
    let _loading = loading();
    let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until more than `before` rows are done.
fn until_more_than(case: &Case, before: u64, child: &mut Child) -> u64 {
    let begin = Instant::now();
    loop {
        if let Some(done) = done(case).filter(|done| *done > before) {
            return done;
        }
        assert!(child.try_wait().unwrap().is_none(), "the run has ended");
        assert!(begin.elapsed() < PATIENCE, "there is no progress");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn stderr(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// The command, without a cache.
fn command(case: &Case, out: &Path) -> Command {
    let (model, guest) = (fixture("tiny-bert"), hostile_path());
    let mut command = subcommand_with("predict", &model, guest, &onnxruntime());
    command.args(["--cache-mib", "0"]);
    command.arg("--file").arg(&case.file).arg("--out").arg(out);
    command
}

#[test]
fn a_resumed_run_writes_the_same_file() {
    let case = many();
    let whole = case.path("whole.csv");
    assert!(run(&mut command(&case, &whole)).status.success());

    let out = case.path("out.csv");
    let partial = case.path("out.csv.partial");
    // Killed, without a chance to save its progress.
    let mut child = start(&mut command(&case, &out));
    let killed_after = until_more_than(&case, 0, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!out.exists(), "it exists before it is complete");
    // As if half of another row had been written.
    let mut torn = std::fs::read(&partial).unwrap();
    torn.extend_from_slice(b"17,\"film 17, \n11");
    std::fs::write(&partial, torn).unwrap();

    // Interrupted, which saves the progress.
    let mut child = start(&mut command(&case, &out));
    let after = until_more_than(&case, killed_after, &mut child);
    signal(&child, "INT");
    let (code, said) = stderr(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("resuming after "), "{said}");
    assert!(said.contains("interrupted after "), "{said}");
    let noted = done(&case).unwrap();
    assert!(noted >= after);
    assert!(!out.exists());

    // A second run at the same time is rejected.
    let mut child = start(&mut command(&case, &out));
    until_more_than(&case, noted, &mut child);
    // The first would otherwise be done before the second has loaded a model.
    signal(&child, "STOP");
    let second = run(&mut command(&case, &out));
    signal(&child, "CONT");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another run"), "{said}");
    let (code, said) = stderr(child);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("scored {ROWS} rows")), "{said}");
    assert!(!partial.exists() && done(&case).is_none());
    let (whole, out) = (std::fs::read(whole).unwrap(), std::fs::read(out).unwrap());
    assert!(whole == out, "they differ");
}

/// Rows that begin with what a file, a comment or a quoted field may begin with, a row that
/// cannot be scored, and what is before all of them.
const BEGINNINGS: [(&str, &str, &[&str], &str); 4] = [
    (
        "a.csv",
        "\u{feff}sep=;\r\nid;text\r\n",
        &[
            "\u{feff}1;a\r\n",
            "\r\n\r\n 2; a\r\n",
            "#3;#\r\n",
            "\"\u{feff}4\";\"\r\n\"\r\n",
            "sep=;\"\"\r\n",
            "\n\n;\u{feff}\n",
            "id;text\n",
            "\"\"\"7\";\"\"\"a\"\"\"\r",
            "\t8;\"\"",
        ],
        "bad\r\n",
    ),
    (
        "a.tsv",
        "text\n",
        &["\u{feff}a\n", "\"\"\n", "# a\n", " \n", "\"\n\"\n"],
        "bad\tbad\n",
    ),
    (
        "a.jsonl",
        "\u{feff}",
        &[" {\"text\": \"a\"}\r\n", "\n\"# a\"\n", "\"\u{feff}\" \n"],
        "{}\n",
    ),
    (
        "a.txt",
        "",
        &["\n", "\u{feff}a\n", " \"a\r\n", "\r\n", "# a\n", "\"last"],
        "longer than twenty bytes\n",
    ),
];

/// A run stops at a bad row, wherever that is, and resumes after it.
#[test]
fn a_run_resumes_whatever_rows_begin_with() {
    for (name, header, rows, bad) in BEGINNINGS {
        let mut straight: Option<Vec<u8>> = None;
        for at in 0..rows.len() {
            let content = [header, &rows[..at].concat(), bad, &rows[at..].concat()].concat();
            // Compressed or not, it resumes at the same row.
            let content = match at % 2 {
                0 => content.into_bytes(),
                _ => gzip(content.as_bytes()),
            };
            let case = Case::new(name, content);
            let out = case.path("out");
            let run = |out: &Path, options: &[&str], code: i32| {
                let mut command = case.command(out);
                command.args(["--max-text-bytes", "20"]).args(options);
                let output = run(&mut command);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(code), "{said}");
                said
            };
            let said = run(&out, &[], 1);
            assert!(said.contains(&format!("{at} rows are done")), "{said}");
            let said = run(&out, &["--on-error", "skip"], 3);
            assert!(
                said.contains(&format!("resuming after {at} rows")),
                "{said}"
            );
            // Wherever the bad row is, the others are the same.
            let straight = straight.get_or_insert_with(|| {
                let straight = case.path("straight");
                run(&straight, &["--on-error", "skip"], 3);
                std::fs::read(straight).unwrap()
            });
            let resumed = std::fs::read(out).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&resumed),
                String::from_utf8_lossy(straight),
            );
        }
    }
}

#[test]
fn a_different_run_is_not_resumed() {
    let case = Case::new("few.csv", "text,other\na,b\nc\n");
    let out = case.path("out.csv");
    let refused = |options: &[&str], words: &[&str]| {
        let output = run(case.command(&out).args(options));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    };
    refused(&[], &["line 3", "1 rows are done"]);
    refused(&["--column", "other"], &["--column", "--restart"]);
    refused(&["--quoting", "none"], &["--quoting", "--restart"]);
    std::fs::write(&case.file, "text,other\na,b\nc,d\n").unwrap();
    refused(&[], &["has changed", "--restart"]);
    std::fs::write(case.path("out.csv.progress"), "{\"rows\":").unwrap();
    refused(&[], &["out.csv.progress", "--restart"]);
    let output = run(case.command(&out).arg("--restart"));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 3);
    assert!(done(&case).is_none());
}
