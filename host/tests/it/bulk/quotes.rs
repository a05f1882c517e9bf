//! Quotes that are not closed, in CSV and TSV, and files without quoting.

use super::files::{Case, assert_refused, ids, predict};
use crate::server_process::{run, run_with_input};

/// The name and content of a file with a quote that is not closed, or only by that of another
/// row; the line of the quote, the rows before it, and all rows that can be read.
type Open = (
    &'static str,
    &'static str,
    u64,
    &'static [&'static str],
    &'static [&'static str],
);

const OPEN: [Open; 7] = [
    (
        "a.csv",
        "id,text\n1,good\n2,\"bad\n3,good\n4,fine\n5,awful\n",
        3,
        &["1"],
        &["1", "3", "4", "5"],
    ),
    (
        "a.tsv",
        "id\ttext\n1\tgood\n2\t\"Inception\" style, but weaker\n3\t\"worst of the year\n4\tfine\n",
        4,
        &["1", "2"],
        &["1", "2", "4"],
    ),
    // At the very end, and in a row that has begun on an earlier line.
    ("a.csv", "id,text\n1,good\n2,\"bad", 3, &["1"], &["1"]),
    (
        "a.csv",
        "id,text,note\r\n1,\"a\r\nb\",c\r\n2,\"d\r\ne\",\"f\r\n3,g,h\r\n",
        5,
        &["1"],
        &["1", "3"],
    ),
    // An escaped quote closes nothing.
    (
        "a.csv",
        "id,text\n1,\"\"\n2,\"bad\"\"\n3,good",
        3,
        &["1"],
        &["1", "3"],
    ),
    // The quote of a later row seems to close it.
    (
        "a.csv",
        "id,text\n1,a\n2,\"b\n3,c\n4,\"d, e\"\n5,f\n",
        3,
        &["1"],
        &["1", "3", "4", "5"],
    ),
    (
        "a.csv",
        "text,id\n\"b,1\nc,2\n\"d\",3\n\"e,4\n",
        2,
        &[],
        &["2", "3"],
    ),
];

#[test]
fn a_quote_that_is_not_closed_names_its_line_and_loses_no_other_row() {
    for (name, content, line, before, all) in OPEN {
        let case = Case::new(name, content);
        let out = case.path("out");
        let mut command = case.command(&out);
        let line = format!("line {line}: the quote that opens here");
        assert_refused(&run(&mut command), &[&line, "--quoting none"]);
        assert!(!out.exists());
        let delimiter = if name == "a.csv" { b',' } else { b'\t' };
        let partial = std::fs::read_to_string(case.path("out.partial")).unwrap();
        assert_eq!(ids(&partial, delimiter), before, "{content:?}");
        let output = run(command.args(["--on-error", "skip"]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(&line), "{said}");
        // The lines of a row that are passed with it are reported.
        assert_eq!(
            said.contains("its row begins at line 4"),
            line.contains("line 5")
        );
        let scored = std::fs::read_to_string(out).unwrap();
        assert_eq!(ids(&scored, delimiter), all, "{content:?}");
        // The same on a pipe, which cannot be read twice.
        let mut command = predict();
        command.args(["--file", "-", "--format", &name[2..]]);
        command.args(["--on-error", "skip"]);
        let output = run_with_input(&mut command, content);
        assert_eq!(output.status.code(), Some(3));
        assert!(output.stdout == scored.as_bytes(), "{content:?}");
    }
}

#[test]
fn a_quote_in_the_header_that_is_not_closed_is_an_error() {
    for options in [&[][..], &["--on-error", "skip"]] {
        let case = Case::new("a.csv", "id,note,\"text\n1,2,3\n");
        let output = run(case.command(&case.path("out")).args(options));
        assert_refused(&output, &["a.csv", "line 1: the quote that opens here"]);
    }
}

#[test]
fn a_row_that_a_quote_makes_too_wide_says_where_it_ends() {
    let case = Case::new("a.csv", "id,text\n1,\"a\n2,b\n3,c\",d\n4,e\n");
    let output = run(&mut case.command(&case.path("out")));
    assert_refused(
        &output,
        &["line 2", "3 fields", "reaches to line 4", "quote"],
    );
}

#[test]
fn without_quoting_quotes_are_characters() {
    let rows = "1\t\"Inception\" style\n2\t\"worst\n3\tsaid \"\"so\"\"\n4\t\"\n5\t\"fine\"\n";
    for (name, delimiter) in [("a.tsv", "\t"), ("a.csv", ",")] {
        let content = format!("id\ttext\n{rows}").replace('\t', delimiter);
        let case = Case::new(name, &content);
        let scored = case.scored(&["--quoting", "none"]);
        assert_eq!(scored.lines().count(), 6);
        // Nor does the output have quoting.
        for (line, scored) in content.lines().zip(scored.lines()) {
            assert!(
                scored.starts_with(&format!("{line}{delimiter}")),
                "{scored}"
            );
        }
        let text = case.scored(&["--quoting", "none", "--column", "id", "--restart"]);
        assert_eq!(text.lines().count(), 6);
    }
}
