//! `fastsentiment new`: makes a project for a guest, from a template in this binary.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use include_dir::{Dir, DirEntry, include_dir};

use super::exit::UsageError;
use super::output;

/// The templates, each in a directory, and what all of them share.
static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// The contract.
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../wit");

/// The bindings of the contract for C.
static BINDINGS_FOR_C: Dir<'_> = include_dir!("$OUT_DIR/c");

/// The same for Go, and an adapter for its components.
static BINDINGS_FOR_GO: Dir<'_> = include_dir!("$OUT_DIR/go");

/// What a file of a template has behind its name if its own name would mean something here.
const SUFFIX: &str = ".template";

/// What stands for the project's name in a template.
const NAME: &str = "{{name}}";

/// The end of the command's help.
const HELP: &str = "\
The project has a guest that works, the contract (wit/), a script that builds it
with pinned tools, test cases, and a README. No directory may have its name yet.

Exit codes: 0 success, 1 failure, 2 usage error in the command line";

/// What to make.
#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct NewCommand {
    /// Name of the project and of its directory, such as `my-guest`
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,

    /// Language of the guest
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,

    /// What the guest does
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Kind::Words)]
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Built by cargo, with wit-bindgen
    Rust,
    /// JavaScript (TypeScript once it is compiled), with an engine, built by componentize-qjs
    #[value(alias = "javascript")]
    Js,
    /// Built by componentize-py
    Python,
    /// Built by clang
    C,
    /// Built by Go and wasm-tools
    Go,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Looks words up in two lists; needs no model
    Words,
    /// Calls the model through wasi:nn (Rust only)
    Model,
}

/// Parses the name of a project, which becomes the name of a package in any language.
fn name(text: &str) -> Result<String, &'static str> {
    const LONGEST: usize = 64;
    let mut bytes = text.bytes();
    let is_name = bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && text.len() <= LONGEST;
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(
            "must begin with a lower-case letter, followed by lower-case letters, digits and \
             hyphens, at most 64 together",
        )
    }
}

impl NewCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let template = self.template()?;
        let project = Path::new(&self.name);
        match fs::create_dir(project) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(UsageError(format!(
                    "{} exists already; choose another name, or remove it",
                    self.name
                ))
                .into());
            }
            made => made.with_context(|| format!("{} cannot be made", self.name))?,
        }
        self.write(template, project)
            .with_context(|| format!("{} cannot be written", self.name))?;
        let name = &self.name;
        output::print(&format!(
            "made {name}/ from the template {template}. Build it, test it, and make it live in a \
             server:\n\n\
             \u{20}   cd {name} && ./build.sh\n\
             \u{20}   fastsentiment test guest.wasm cases.jsonl\n\
             \u{20}   fastsentiment swap guest.wasm\n"
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    /// The directory of the template.
    fn template(&self) -> Result<&'static str, UsageError> {
        match (self.kind, self.lang) {
            (Kind::Words, Language::Rust) => Ok("rust"),
            (Kind::Words, Language::Js) => Ok("js"),
            (Kind::Words, Language::Python) => Ok("python"),
            (Kind::Words, Language::C) => Ok("c"),
            (Kind::Words, Language::Go) => Ok("go"),
            (Kind::Model, Language::Rust) => Ok("rust-model"),
            (Kind::Model, _) => Err(UsageError(
                "there is a template of the kind `model` for Rust alone: use `--lang rust`, or \
                 leave out `--kind model` and call `wasi:nn` as wit/ describes it"
                    .to_owned(),
            )),
        }
    }

    fn write(&self, template: &str, project: &Path) -> io::Result<()> {
        let part = |name: &str| {
            let part = TEMPLATES.get_dir(name);
            part.ok_or_else(|| io::Error::other(format!("the template {name} is missing")))
        };
        self.copy(part("common")?, project)?;
        self.copy(part(template)?, project)?;
        self.copy(&WIT, &project.join("wit"))?;
        match self.lang {
            Language::C => self.copy(&BINDINGS_FOR_C, project),
            Language::Go => self.copy(&BINDINGS_FOR_GO, project),
            Language::Rust | Language::Js | Language::Python => Ok(()),
        }
    }

    /// Copies what is in an embedded directory.
    fn copy(&self, from: &Dir<'_>, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in from.entries() {
            let name = entry.path().file_name().unwrap_or_default();
            let name = name.to_string_lossy();
            let target = to.join(name.strip_suffix(SUFFIX).unwrap_or(&name));
            match entry {
                DirEntry::Dir(dir) => self.copy(dir, &target)?,
                DirEntry::File(file) => {
                    match file.contents_utf8() {
                        Some(text) => fs::write(&target, text.replace(NAME, &self.name))?,
                        None => fs::write(&target, file.contents())?,
                    }
                    if name.ends_with(".sh") {
                        fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_any_language() {
        for good in ["a", "my-guest", "guest2", &"a".repeat(64)] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "-a",
            "2a",
            "A",
            "my_guest",
            "a b",
            "../a",
            "a/b",
            ".",
            "\u{e9}t\u{e9}",
            "a\n",
            &"a".repeat(65),
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
