//! `fastsentiment predict --file`: its input and output.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::fixture;
use crate::server_process::{run, run_with_input, subcommand};

/// A directory with an input file, and the files that the command makes.
pub(super) struct Case {
    pub(super) dir: TempDir,
    pub(super) file: PathBuf,
}

impl Case {
    pub(super) fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        std::fs::write(&file, content).unwrap();
        Self { dir, file }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn command(&self, out: &Path) -> Command {
        let mut command = predict();
        command.arg("--file").arg(&self.file).arg("--out").arg(out);
        command
    }

    /// Scores the file into another one. Returns the content of that.
    pub(super) fn scored(&self, options: &[&str]) -> String {
        let out = self.path("out");
        let output = run(self.command(&out).args(options));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", output.status);
        assert!(output.stdout.is_empty());
        assert!(!self.path("out.partial").exists() && !self.path("out.progress").exists());
        std::fs::read_to_string(out).unwrap()
    }
}

pub(super) fn predict() -> Command {
    subcommand("predict", &fixture("tiny-bert"))
}

/// The predictions of texts that are given as arguments.
pub(super) fn predicted(texts: &[&str]) -> Vec<Value> {
    let output = run(predict().arg("--").args(texts));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["predictions"].as_array().unwrap().clone()
}

fn records(csv: &str) -> Vec<Vec<String>> {
    records_with(csv, b',')
}

pub(super) fn records_with(csv: &str, delimiter: u8) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new();
    reader.has_headers(false).delimiter(delimiter);
    let mut reader = reader.from_reader(csv.as_bytes());
    let fields = |record: csv::Result<csv::StringRecord>| {
        record.unwrap().iter().map(str::to_owned).collect()
    };
    reader.records().map(fields).collect()
}

/// The fields of the column `id`.
pub(super) fn ids(csv: &str, delimiter: u8) -> Vec<String> {
    let records = records_with(csv, delimiter);
    let column = records[0].iter().position(|name| name == "id").unwrap();
    let rows = records[1..].iter();
    rows.map(|record| record[column].clone()).collect()
}

/// Asserts that a record ends in the label and the scores of a text.
fn assert_scored(record: &[String], header: &[String], expected: &Value) {
    let at = header.len() - expected.as_array().unwrap().len() - 2;
    assert_eq!(record[at], expected[0]["label"].as_str().unwrap());
    let score = |field: &str| field.parse::<f64>().unwrap();
    let is = |field: &str, expected: &Value| {
        assert!((score(field) - expected.as_f64().unwrap()).abs() < 1e-6);
    };
    is(&record[at + 1], &expected[0]["score"]);
    for label in expected.as_array().unwrap() {
        let name = format!("score_{}", label["label"].as_str().unwrap());
        let column = header.iter().position(|column| column.ends_with(&name));
        is(&record[column.unwrap()], &label["score"]);
    }
}

const TEXTS: [&str; 5] = [
    "What a wonderful day.",
    "two\r\nlines, and a \"quote\"",
    "tr\u{e8}s bien, \u{5f88}\u{597d} \u{1f600}",
    "",
    "the last one has no end",
];

#[test]
fn csv_gets_columns_and_keeps_its_own() {
    let file = "\u{feff}id,text,\"a,b\"\r\n1,What a wonderful day.,x\r\n\
        2,\"two\r\nlines, and a \"\"quote\"\"\",\"\"\"\"\r\n\r\n\
        3,\"tr\u{e8}s bien, \u{5f88}\u{597d} \u{1f600}\",\r\n4,,\" \"\r\n\
        5,the last one has no end,z";
    let scored = Case::new("reviews.csv", file).scored(&[]);
    let records = records(&scored);
    let header = &records[0];
    assert_eq!(header[..3], ["id", "text", "a,b"]);
    assert_eq!(header[3..5], ["label", "score"]);
    assert!(header[5..].iter().all(|name| name.starts_with("score_")));
    assert_eq!(records.len(), 1 + TEXTS.len());
    let expected = predicted(&TEXTS);
    let others = ["x", "\"", "", " ", "z"];
    for (at, record) in records[1..].iter().enumerate() {
        assert_eq!(record[..3], [&(at + 1).to_string(), TEXTS[at], others[at]]);
        assert_scored(record, header, &expected[at]);
    }
}

#[test]
fn new_columns_get_a_prefix_if_their_names_are_taken() {
    let file = "label\ttext\tscore\tsentence\ngood\tno\t1\tyes, \"it\" is\n";
    let case = Case::new("reviews.tsv", file);
    let scored = case.scored(&["--column", "sentence"]);
    let header = scored.lines().next().unwrap();
    let begin = "label\ttext\tscore\tsentence\tpredicted_label\tpredicted_score\tpredicted_score_";
    assert!(header.starts_with(begin), "{header}");
    let row = scored.lines().nth(1).unwrap();
    let label = predicted(&["yes, \"it\" is"])[0][0]["label"].clone();
    let row: Vec<&str> = row.split('\t').collect();
    assert_eq!(row[4], label.as_str().unwrap());
}

#[test]
fn lines_of_json_get_a_field_and_are_otherwise_unchanged() {
    let lines = [
        r#"{"z": 1.0, "text": "What a wonderful day.", "a": {"b": [1e3, 12345678901234567890]} }"#,
        r#"{"text":"\u00e9\ud83d\ude00"}"#,
        "",
        r#""a string""#,
    ];
    let case = Case::new("reviews.jsonl", lines.join("\r\n"));
    let scored = case.scored(&[]);
    let expected = predicted(&["What a wonderful day.", "\u{e9}\u{1f600}", "a string"]);
    let scored: Vec<&str> = scored.lines().collect();
    assert_eq!(scored.len(), 3);
    assert!(
        scored[0].starts_with(lines[0].trim_end_matches([' ', '}'])),
        "{}",
        scored[0]
    );
    for (line, expected) in scored.iter().zip(&expected) {
        let line: Value = serde_json::from_str(line).unwrap();
        let prediction = &line["prediction"];
        assert_eq!(prediction["label"], expected[0]["label"]);
        assert_eq!(prediction["score"], expected[0]["score"]);
        for label in expected.as_array().unwrap() {
            let name = label["label"].as_str().unwrap();
            assert_eq!(prediction["scores"][name], label["score"]);
        }
    }
    let line: Value = serde_json::from_str(scored[2]).unwrap();
    assert_eq!(line["text"], "a string");
}

#[test]
fn lines_of_text_become_csv() {
    let texts = ["What, a wonderful day.", "", "\"x\" \u{e9}"];
    let case = Case::new("reviews.txt", format!("\u{feff}{}\r\n", texts.join("\r\n")));
    let records = records(&case.scored(&[]));
    assert_eq!(records[0][..3], ["text", "label", "score"]);
    let expected = predicted(&texts);
    assert_eq!(records.len(), 1 + texts.len());
    for (at, record) in records[1..].iter().enumerate() {
        assert_eq!(record[0], texts[at]);
        assert_scored(record, &records[0], &expected[at]);
    }
}

/// A file of `count` lines.
fn films(count: usize) -> String {
    let lines: Vec<String> = (0..count).map(|row| format!("film {row}\n")).collect();
    lines.concat()
}

/// Thousands of rows keep their order, and get the scores they would get alone.
#[test]
fn many_rows_keep_their_order() {
    let records = records(&Case::new("many.txt", films(5000)).scored(&[]));
    assert_eq!(records.len(), 5001);
    for (at, record) in records[1..].iter().enumerate() {
        assert_eq!(record[0], format!("film {at}"));
    }
    let expected = predicted(&["film 4321"]);
    assert_scored(&records[4322], &records[0], &expected[0]);
}

#[test]
fn a_dash_is_standard_input_and_output() {
    let mut command = predict();
    command.args(["--file", "-", "--format", "jsonl"]);
    let output = run_with_input(&mut command, "\"a\"\n{\"text\": \"b\"}\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // Without a terminal there is no progress bar.
    assert!(
        said.starts_with("scored 2 rows of -") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
}

pub(super) fn assert_refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.lines().last().unwrap().starts_with("error: "),
        "{said}"
    );
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn unreadable_input_is_reported() {
    let cases: [(&str, &str, &[&str]); 5] = [
        (
            "a.csv",
            "review,stars\nx,1\n",
            &["no column `text`", "`review`, `stars`", "--column"],
        ),
        ("a.csv", "", &["a.csv", "empty"]),
        ("a.csv", "text,text\na,b\n", &["several columns `text`"]),
        ("a.xls", "x", &["a.xls", "--format"]),
        (
            "a.jsonl",
            "{\"review\": \"x\"}\n",
            &["line 1", "no field `text`", "`review`"],
        ),
    ];
    for (name, content, words) in cases {
        let case = Case::new(name, content);
        let out = case.path("out");
        assert_refused(&run(&mut case.command(&out)), words);
        assert!(!out.exists());
    }
    let nowhere = ["--file", "/nowhere/to/be/found.csv"];
    assert_refused(&run(predict().args(nowhere)), &["/nowhere/to/be/found.csv"]);
}

/// A row with too few fields, one that is not UTF-8 and one whose text is too long.
const BAD: &[u8] =
    b"id,text\n1,one\n2\n3,\"th\nree\"\n4,\xff\n5,five\n6,longer than ten\n7,seven\n";

#[test]
fn a_bad_row_stops_a_run_and_the_rows_before_it_are_kept() {
    let case = Case::new("bad.csv", BAD);
    let out = case.path("out");
    let mut command = case.command(&out);
    command.args(["--max-text-bytes", "10"]);
    let output = run(&mut command);
    assert_refused(
        &output,
        &[
            "line 3",
            "has 1 fields",
            "header has 2",
            "--on-error skip",
            "1 rows are done",
        ],
    );
    assert!(!out.exists());
    // It stops there each time it is run. With `--on-error skip` it resumes after the row.
    assert_refused(&run(&mut command), &["line 3", "resuming after 1 rows"]);
    let output = run(command.args(["--on-error", "skip"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for words in [
        "line 3: ",
        "line 6: the text is not UTF-8",
        "line 8: the text is 15 bytes",
    ] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    assert!(said.contains("skipped 3 bad rows"), "{said}");
    let ids = ids(&std::fs::read_to_string(out).unwrap(), b',');
    assert_eq!(ids, ["1", "3", "5", "7"]);
}

#[test]
fn conflicting_options_are_usage_errors() {
    for options in [
        &["--file", "a.csv", "a text"][..],
        &["--out", "a.csv"],
        &["--column", "a"],
        &["--file", "a.csv", "--format", "xls"],
    ] {
        let output = run(predict().args(options));
        assert_eq!(output.status.code(), Some(2), "{options:?}");
    }
}

/// Python provides a terminal.
#[test]
fn a_terminal_shows_a_progress_bar() {
    let case = Case::new("many.txt", films(3000));
    let command = case.command(&case.path("out"));
    let mut terminal = Command::new("python3");
    let script = "import os, pty, sys\n\
        sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    terminal.args(["-c", script]).arg(command.get_program());
    terminal.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    terminal.env("TERM", "xterm");
    let output = run(&mut terminal);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains('%') && shown.contains(" rows "), "{shown}");
    assert!(shown.contains("scored 3000 rows"), "{shown}");
}
