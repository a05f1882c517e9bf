use std::collections::BTreeMap;

use clap::Parser;

use super::file::parsed;
use super::option::{Kind, Known, of_command};
use super::*;

fn keys() -> Vec<Known> {
    let all = of_command(Cli::command(), SERVE).into_iter();
    all.filter(|option| option.name() != CONFIG.0).collect()
}

/// A command with an option of every type.
#[derive(Parser)]
#[command(name = "any")]
struct Any {
    #[command(subcommand)]
    command: Sub,
}

#[derive(clap::Subcommand)]
enum Sub {
    Serve(Every),
}

#[derive(clap::Args, Debug)]
struct Every {
    #[arg(long, env = "ANY_ORIGIN", value_delimiter = ',')]
    origin: Vec<String>,
    #[arg(long, env = "ANY_PORTS", requires = "origin")]
    ports: Vec<u16>,
    #[arg(long, env = "ANY_QUIET")]
    quiet: bool,
    #[arg(long, env = "ANY_SHARE", default_value_t = 0.5)]
    share: f64,
    #[arg(long, env = "ANY_FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

/// The values of the options, given a file and flags.
fn every(text: &str, flags: &[&str]) -> (Every, Resolved, Vec<String>) {
    let (file, faults) = parsed(text, &of_command(Any::command(), SERVE));
    let arguments = [&["any", "serve"], flags].concat();
    let given = as_text(Any::command()).get_matches_from(&arguments);
    let given = given.subcommand_matches(SERVE).unwrap();
    let options = of_command(Any::command(), SERVE);
    let resolved = Resolved::of(options, &file, given, |_| None, true, &mut Vec::new());
    let command = resolved.as_defaults_from_file(Any::command(), SERVE);
    let matches = command.try_get_matches_from(&arguments).unwrap();
    let Sub::Serve(every) = Any::from_arg_matches(&matches).unwrap().command;
    (every, resolved, faults)
}

#[test]
fn options_of_every_type_are_keys_of_the_file() {
    let text =
        "origin = [\"a\", \"b\"]\nports = [1, 2]\nquiet = true\nshare = 0.25\nformat = \"json\"";
    let (every, resolved, faults) = self::every(text, &[]);
    assert_eq!(faults, [""; 0]);
    assert_eq!(every.origin, ["a", "b"]);
    assert_eq!(every.ports, [1, 2]);
    assert!(every.quiet);
    assert!((every.share - 0.25).abs() < 1e-9);
    assert_eq!(every.format, "json");
    // The resulting configuration file has the same values.
    let again = resolved.toml();
    let (same, _, faults) = self::every(&again, &[]);
    assert_eq!(faults, [""; 0], "{again}");
    assert_eq!(format!("{same:?}"), format!("{every:?}"));
    // Flags replace the values of the file.
    let (flagged, ..) = self::every(text, &["--origin", "c", "--share", "1"]);
    assert_eq!(flagged.origin, ["c"]);
    assert!((flagged.share - 1.0).abs() < 1e-9);
    assert_eq!(flagged.ports, [1, 2]);
    // A single value is a list of one, and an empty list sets nothing.
    let (one, _, faults) = self::every("origin = \"a,b\"\nports = []", &[]);
    assert_eq!(faults, [""; 0]);
    assert_eq!(one.origin, ["a", "b"]);
    assert_eq!(one.ports, [0; 0]);
    let (nothing, _, faults) = self::every("", &[]);
    assert_eq!((nothing.quiet, faults.len()), (false, 0));
}

#[test]
fn a_value_of_the_wrong_type_is_reported_with_what_is_allowed() {
    for (text, words) in [
        ("quiet = 1", &["c.toml:1: quiet = 1", "true, false"][..]),
        ("\nports = [1, 70000]", &["c.toml:2: ports = 70000"]),
        ("share = true", &["share = true", "float"]),
        ("share = [0.1]", &["share = [0.1]", "not a list"]),
        ("format = \"xml\"", &["format = \"xml\"", "text, json"]),
        ("format = 3", &["format = 3", "text, json"]),
        ("origin = [1]", &["origin = 1", "in quotes"]),
        ("origin = [[\"a\"]]", &["origin = [\"a\"]", "in quotes"]),
        (
            "origins = \"a\"",
            &["unknown key `origins`", "did you mean `origin`?"],
        ),
        ("zzz = 1", &["unknown key `zzz`", "serve --help"]),
        ("[origin]\na = 1", &["c.toml:1:", "without tables"]),
        ("any.origin = 1", &["`any`", "without tables"]),
        ("quiet = 2026-01-01", &["quiet = 2026-01-01", "true, false"]),
    ] {
        let (_, _, faults) = every(text, &[]);
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        for word in words {
            assert!(faults[0].contains(word), "{text}: {}", faults[0]);
        }
    }
}

#[test]
fn invalid_toml_is_reported_by_line() {
    let (_, _, faults) = every(
        "quiet = true\nshare = = 1\nquiet\n\nformat = \"json\"\n",
        &[],
    );
    assert!(faults.len() >= 2, "{faults:?}");
    for (fault, line) in faults.iter().zip(["c.toml:2: ", "c.toml:3: "]) {
        assert!(fault.starts_with(line), "{fault}");
        assert!(fault.contains("invalid TOML"), "{fault}");
    }
    let (_, _, faults) = every("quiet = true\nquiet = true", &[]);
    assert!(faults[0].starts_with("c.toml:2: "), "{faults:?}");
}

/// A valid value for an option that is not its default, as TOML and as text.
fn another(option: &Known) -> (String, String) {
    let number = |number: u64| (number.to_string(), number.to_string());
    let text = |text: &str| (super::file::quoted(text), text.to_owned());
    match (option.kind(), option.name()) {
        (Kind::Boolean, _) => {
            let is = option.default().as_deref() != Some("true");
            (is.to_string(), is.to_string())
        }
        (Kind::Number, _) => number(7),
        (Kind::Text, "log") => text("warn"),
        (Kind::Text, name) if name.ends_with("listen") => text("127.0.0.1:7"),
        (Kind::Text, _) => {
            let words = [
                "seven",
                "https://seven.example",
                "json",
                "text",
                "key=7",
                "refuse",
            ];
            let taken = words
                .into_iter()
                .find(|word| option.check((*word).as_ref()).is_ok());
            text(taken.unwrap_or_else(|| panic!("{}: which value?", option.name())))
        }
    }
}

#[test]
fn every_option_of_serve_has_the_same_value_from_every_source() {
    for option in keys() {
        let (toml, text) = another(&option);
        let name = option.name();
        let (file, faults) = parsed(&format!("{name} = {toml}"), &keys());
        assert_eq!(faults, [""; 0], "{name}");
        let of = |file: &File, flags: &[String], variables: &BTreeMap<&str, &str>| {
            let arguments = ["fastsentiment", "serve"].map(str::to_owned);
            let arguments = [&arguments[..], flags].concat();
            let given = as_text(Cli::command()).get_matches_from(&arguments);
            let given = given.subcommand_matches(SERVE).unwrap();
            let variable = |name: &str| variables.get(name).map(OsString::from);
            let mut faults = Vec::new();
            let resolved = Resolved::of(keys(), file, given, variable, true, &mut faults);
            assert!(faults.is_empty(), "{name}: {faults:?}");
            let line = |line: &&str| line.contains(&format!("{name} = "));
            let all = resolved.toml();
            all.lines().find(line).unwrap_or_default().to_owned()
        };
        let none = BTreeMap::new();
        let by_file = of(&file, &[], &none);
        let variable = option.variable().expect(name);
        let by_variable = of(&File::default(), &[], &[(variable, text.as_str())].into());
        let value = |line: &str| line.split("  # ").next().unwrap().to_owned();
        assert!(by_file.contains("c.toml:1"), "{name}: {by_file}");
        assert!(by_variable.contains(variable), "{name}: {by_variable}");
        assert_eq!(value(&by_file), value(&by_variable));
        if option.is_hidden() {
            continue;
        }
        let flag = if option.takes_values() {
            format!("--{name}={text}")
        } else {
            format!("--{name}")
        };
        let by_flag = of(&file, &[flag], &[(variable, "an invalid value")].into());
        assert!(by_flag.contains(&format!("# --{name}")), "{by_flag}");
        assert_eq!(value(&by_file), value(&by_flag));
    }
}

#[test]
fn check_takes_every_option_of_serve() {
    let of_check = of_command(Cli::command(), CHECK);
    for option in keys() {
        let found = of_check.iter().any(|own| own.name() == option.name());
        assert!(found, "{}", option.name());
    }
}
