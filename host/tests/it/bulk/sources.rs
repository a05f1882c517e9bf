//! Inputs that are compressed, in UTF-16, marked, cut off, or no text at all.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::files::{Case, assert_refused, ids, predict};
use crate::server_process::{run, run_with_input};

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn utf_16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

const MARK: &str = "\u{feff}";

const FILES: [(&str, &str); 4] = [
    (
        "a.csv",
        "id,text\r\n1,tr\u{e8}s bien \u{1f600}\r\n2,\"a\nb\"\r\n3,\u{feff}c\r\n",
    ),
    ("a.tsv", "id\ttext\n1\t\u{feff}\u{e9}\n2\t \n"),
    ("a.jsonl", "{\"text\": \"\u{e9}\"}\n\"\u{1f600}\""),
    ("a.txt", "\u{e9}\n\n\u{feff}last"),
];

/// However a file is encoded, its rows are the same; a byte order mark is kept.
#[test]
fn encodings_and_compression_change_no_row() {
    for (name, text) in FILES {
        let plain = Case::new(name, text).scored(&[]);
        assert!(!plain.starts_with(MARK));
        let marked = format!("{MARK}{text}");
        let (little, big) = (u16::to_le_bytes, u16::to_be_bytes);
        let two = [gzip(&text.as_bytes()[..9]), gzip(&text.as_bytes()[9..])];
        let encoded = [
            (marked.clone().into_bytes(), true, ""),
            (utf_16(&marked, little), true, "UTF-16"),
            (utf_16(&marked, big), true, "UTF-16"),
            (gzip(text.as_bytes()), false, "gzip"),
            (two.concat(), false, "gzip"),
            (gzip(&utf_16(&marked, little)), true, "UTF-16"),
        ];
        for (content, has_mark, note) in encoded {
            let case = Case::new(name, &content);
            let output = run(&mut case.command(&case.path("out")));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.contains(note), "{said}");
            let scored = std::fs::read_to_string(case.path("out")).unwrap();
            let rows = if has_mark {
                scored.strip_prefix(MARK)
            } else {
                Some(&*scored)
            };
            assert_eq!(rows, Some(&*plain));
            let format = match name {
                "a.txt" => "text",
                _ => &name[2..],
            };
            let mut command = predict();
            command.args(["--file", "-", "--format", format]);
            let output = run_with_input(&mut command, &content);
            assert!(output.status.success());
            assert!(output.stdout == scored.as_bytes(), "{name}");
        }
    }
    // By its name, too.
    let case = Case::new("a.csv.gz", gzip(FILES[0].1.as_bytes()));
    assert_eq!(ids(&case.scored(&[]), b','), ["1", "2", "3"]);
}

#[test]
fn what_is_not_text_is_refused_and_not_shown() {
    let escape = "\x1b[31m";
    let sheet = [b"PK\x03\x04\x14\0\x06\0".as_slice(), escape.as_bytes()].concat();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("a.xlsx", sheet.clone(), "Excel"),
        ("a.csv", sheet.clone(), "save the sheet as CSV"),
        (
            "a.xls",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec(),
            "Excel",
        ),
        ("a.txt", b"PAR1\x15\x04\x15\x10".to_vec(), "Parquet"),
        ("a.jsonl", b"\x28\xb5\x2f\xfd\x24".to_vec(), "Zstandard"),
        ("a.csv", gzip(&gzip(b"text\na\n")), "twice"),
        ("a.tsv", gzip(&sheet), "Excel"),
        ("a.csv", b"text\nabc\0\x1b[31mdef\n".to_vec(), "NUL"),
        // UTF-16 without a byte order mark.
        ("a.csv", utf_16("text\na\n", u16::to_le_bytes), "NUL"),
    ];
    for (name, content, words) in cases {
        let case = Case::new(name, &content);
        let output = run(&mut case.command(&case.path("out")));
        assert_refused(&output, &[name, "not a text file", words]);
        assert!(!case.path("out.partial").exists());
        let mut command = predict();
        command.args(["--file", "-", "--format", "text"]);
        let output = run_with_input(&mut command, &content);
        assert_refused(&output, &["not a text file"]);
        assert!(!output.stderr.contains(&0x1b) && output.stdout.is_empty());
    }
}

#[test]
fn control_characters_of_a_file_are_escaped_in_messages() {
    for (name, content) in [
        ("a.csv", "\x1b[31mid\x07,b\n1,2\n"),
        ("a.jsonl", "{\"\\u001b[31mid\": \"\\u0007\"}\n"),
    ] {
        let case = Case::new(name, content);
        for options in [&[][..], &["--on-error", "skip"]] {
            let output = run(case.command(&case.path("out")).args(options));
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("\\u{1b}[31mid"), "{said}");
            let is_raw = |character: char| character.is_control() && character != '\n';
            assert!(!said.contains(is_raw), "{said:?}");
        }
    }
}

/// The rows before the damage are kept, and the end is no success.
#[test]
fn an_input_that_is_cut_off_is_an_error() {
    let rows: Vec<String> = (0..5000).map(|row| format!("{row},film {row}\n")).collect();
    let whole = gzip(format!("id,text\n{}", rows.concat()).as_bytes());
    let mut damaged = whole.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    for (content, words) in [
        (&whole[..whole.len() / 2], "gzip data is cut off"),
        (&whole[..whole.len() - 4], "gzip data is cut off"),
        (&damaged[..], "gzip data is damaged"),
    ] {
        let case = Case::new("a.csv", content);
        for options in [&[][..], &["--on-error", "skip"]] {
            let output = run(case.command(&case.path("out")).args(options));
            assert_refused(&output, &["a.csv", words]);
            assert!(!case.path("out").exists());
            let partial = std::fs::read_to_string(case.path("out.partial")).unwrap();
            let kept = ids(&partial, b',').len();
            assert!(kept > 1000 && partial.ends_with('\n'), "{kept}");
        }
    }
    for line in ["{\"text\": \"a", "{\"text\":", "{\"text\": \"a\"", "\"a"] {
        let case = Case::new("a.jsonl", format!("{{\"text\": \"a\"}}\n{line}"));
        let mut command = case.command(&case.path("out"));
        assert_refused(
            &run(&mut command),
            &["line 2", "cut off", "1 rows are done"],
        );
    }
}
