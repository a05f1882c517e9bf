//! The delimiters of CSV and TSV.

use super::files::{Case, assert_refused, predicted, records_with};
use crate::server_process::run;

const TEXTS: [&str; 3] = ["good, or not; so|so", "it was\n\"awful\"", ""];

/// A table with these texts.
fn table(delimiter: char, line_end: &str) -> String {
    let mut rows = vec![format!("id{delimiter}text{delimiter}note")];
    for (id, text) in TEXTS.iter().enumerate() {
        let text = text.replace('"', "\"\"");
        rows.push(format!("{id}{delimiter}\"{text}\"{delimiter}\"1,5\""));
    }
    rows.join(line_end) + line_end
}

/// Asserts that the rows of a table are scored as its texts are.
fn assert_scored(scored: &str, delimiter: char) {
    let records = records_with(scored, delimiter as u8);
    assert_eq!(records[0][..4], ["id", "text", "note", "label"]);
    for (record, (text, expected)) in records[1..]
        .iter()
        .zip(TEXTS.into_iter().zip(predicted(&TEXTS)))
    {
        assert_eq!(record[1..3], [text, "1,5"]);
        assert_eq!(record[3], expected[0]["label"].as_str().unwrap());
    }
    assert_eq!(records.len(), 1 + TEXTS.len());
}

#[test]
fn delimiters_are_found_or_given_and_kept() {
    for (delimiter, name) in [(';', "`;`"), ('\t', "tabs"), ('|', "`|`")] {
        let case = Case::new("a.csv", table(delimiter, "\r\n"));
        let output = run(&mut case.command(&case.path("found")));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let note = format!("separated by {name}");
        assert!(
            said.contains(&note) && said.contains("--delimiter"),
            "{said}"
        );
        let found = std::fs::read_to_string(case.path("found")).unwrap();
        assert_scored(&found, delimiter);
        let value = if delimiter == '\t' {
            "tab".to_owned()
        } else {
            delimiter.to_string()
        };
        let given = case.scored(&["--delimiter", &value]);
        assert_eq!(given, found);
    }
    // In TSV only tabs are usual, and the comma is not found but the default.
    assert_scored(
        &Case::new("a.tsv", table(';', "\n")).scored(&["--delimiter", ";"]),
        ';',
    );
    let case = Case::new("a.csv", table('^', "\n"));
    assert_scored(&case.scored(&["--delimiter", "^"]), '^');
}

/// A header decides, and not what is frequent in the texts.
#[test]
fn other_delimiters_in_texts_are_texts() {
    for content in [
        "text\na; b\nc; d\n",
        "id,text\n1;2;3,a;b\n2;3;4,c;d\n",
        "a;b,text\n1;2,x\n",
    ] {
        let case = Case::new("a.csv", content);
        let output = run(&mut case.command(&case.path("out")));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("note"), "{said}");
        let scored = std::fs::read_to_string(case.path("out")).unwrap();
        for (line, scored) in content.lines().zip(scored.lines()) {
            assert!(scored.starts_with(&format!("{line},")), "{scored}");
        }
    }
}

#[test]
fn a_line_that_names_the_delimiter_is_kept() {
    for (line, delimiter) in [
        ("sep=;\r\n", ';'),
        ("\"sep=|\"\n", '|'),
        ("SEP=,\n", ','),
        ("sep=\t\n", '\t'),
        ("sep=^\r", '^'),
    ] {
        for name in ["a.csv", "a.tsv"] {
            let content = format!("{line}{}", table(delimiter, "\n"));
            let scored = Case::new(name, content).scored(&[]);
            let rows = scored.strip_prefix(&format!("sep={delimiter}\n"));
            assert_scored(rows.expect("the line"), delimiter);
        }
    }
}

#[test]
fn unusable_delimiters_and_columns_are_reported() {
    let case = Case::new("a.csv", "id;review;x\n1;good;y\n");
    let command = || case.command(&case.path("out"));
    assert_refused(&run(&mut command()), &["`id`, `review`, `x`", "--column"]);
    let output = run(command().args(["--delimiter", ","]));
    assert_refused(&output, &["`id;review;x`"]);
    for value in ["", "a", "7", "\"", "\n", "-", ".", ",,", "\u{e9}"] {
        let output = run(command().args(["--delimiter", value]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{value:?}: {said}");
    }
    let lines = Case::new("a.txt", "a\n");
    for options in [["--delimiter", ";"], ["--quoting", "none"]] {
        let output = run(lines.command(&lines.path("out")).args(options));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("CSV and TSV"), "{said}");
    }
}
