//! The tables of options in `host/CONFIGURATION.md`, which are made of what clap knows.

use std::fmt::Write;
use std::path::Path;

use clap::CommandFactory;

use super::option::{Known, of_command};
use crate::cli::Cli;

/// Set, the tables are written rather than compared.
const WRITE: &str = "FASTSENTIMENT_WRITE_REFERENCE";

/// What the tables stand between.
const MARKS: (&str, &str) = (
    "<!-- Made of the code by `make reference`: not to be changed by hand. -->\n",
    "<!-- The end of what is made. -->\n",
);

impl Known {
    /// What its values are, in capitals; nothing of a switch that takes none.
    pub(super) fn value_name(&self) -> Option<String> {
        let names = self.0.get_value_names().filter(|_| self.takes_values())?;
        Some(
            names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
        )
    }

    /// What it is for, in a sentence or two, without its default.
    pub(super) fn summary(&self) -> String {
        let help = self.help();
        let summary = help
            .split_once(" [default: ")
            .map_or(help.as_str(), |(summary, _)| summary);
        summary.to_owned()
    }

    /// All that is said of it beside its summary.
    pub(super) fn details(&self) -> Option<String> {
        let long = self.0.get_long_help()?.to_string();
        let (_, details) = long.split_once("\n\n")?;
        Some(details.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// A table for each heading, and what else there is to say of its options.
fn tables(options: &[Known]) -> String {
    let mut headings: Vec<&str> = Vec::new();
    for option in options {
        if !headings.contains(&option.heading()) {
            headings.push(option.heading());
        }
    }
    let mut text = String::new();
    for heading in headings {
        let _ = writeln!(text, "\n### {heading}\n");
        text.push_str("| option | variable | default | |\n|---|---|---|---|\n");
        for option in options.iter().filter(|option| option.heading() == heading) {
            text.push_str(&row(option));
        }
    }
    text.push('\n');
    text
}

fn row(option: &Known) -> String {
    let name = option.name();
    let flag = match (option.is_hidden(), option.value_name()) {
        (true, _) => format!("`{name}` (no flag)"),
        (false, Some(value)) => format!("`--{name} {value}`"),
        (false, None) => format!("`--{name}`"),
    };
    let several = if option.is_repeatable() {
        ", repeatable"
    } else {
        ""
    };
    let variable = option
        .variable()
        .map_or(String::new(), |name| format!("`{name}`"));
    let default = option.default().map_or(String::new(), |default| {
        // Of clap's own, it is a value; else it is told in words.
        if option.defaults().is_empty() {
            default
        } else {
            format!("`{default}`")
        }
    });
    let mut meaning = option.summary();
    if let Some(details) = option.details() {
        let _ = write!(meaning, ". {details}");
    }
    let meaning = meaning.trim_end_matches('.').replace('|', "\\|");
    format!("| {flag}{several} | {variable} | {default} | {meaning} |\n")
}

#[test]
fn the_reference_lists_every_option_as_it_is() {
    let options = of_command(Cli::command(), super::SERVE);
    assert!(options.len() > 40, "{}", options.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFIGURATION.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(MARKS.0).unwrap();
    let (_, after) = rest.split_once(MARKS.1).unwrap();
    let made = [before, MARKS.0, &tables(&options), MARKS.1, after].concat();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, made).unwrap();
        return;
    }
    assert!(
        made == page,
        "{} is not up to date: `make reference` writes it",
        path.display()
    );
}
