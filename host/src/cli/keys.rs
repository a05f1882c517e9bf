//! `fastsentiment keys`: makes, lists and revokes the API keys of a server's clients.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::api_keys::{Entry, EntryError, KeyName, MAX_KEYS, entries};
use anyhow::Context;
use clap::{Args, Subcommand};
use predictor::{Digest, Weight};
use tempfile::NamedTempFile;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::serve::api_keys::read;
use super::versions::table;
use super::{exit, log, output, random_bytes};

/// What a secret begins with, so that programs that look for secrets in code find it.
const PREFIX: &str = "fsk_";

/// Who may read a new file: its owner.
const MODE: u32 = 0o600;

/// The name of the tables in the file.
const KEY: &str = "key";

/// Works with a file of API keys.
#[derive(Args)]
#[command(after_help = exit::LOCAL)]
pub(super) struct KeysCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key, and print it.
    ///
    /// The file gets its SHA-256 only, so that it cannot be shown again.
    Add(AddCommand),
    /// List the keys of a file.
    List(ListCommand),
    /// Revoke a key: its holder is told so from then on.
    Revoke(RevokeCommand),
}

#[derive(Args)]
#[command(after_help = exit::LOCAL)]
struct AddCommand {
    /// File of keys for `serve --api-keys`; made if it is missing
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Name of the key, in metrics and the log
    #[arg(value_name = "NAME")]
    name: KeyName,

    /// How many requests its holder may send in a minute [default: no limit]
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<NonZeroU32>,

    /// How many tokens, as the server estimates them, the texts may have in a minute [default:
    /// no limit]
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<NonZeroU32>,

    /// `low`, `normal` or `high`: each has four times as many turns as the one before, while
    /// they wait for the same workers
    #[arg(long, value_name = "PRIORITY", default_value = Weight::default().name())]
    priority: Weight,
}

#[derive(Args)]
#[command(after_help = exit::LOCAL)]
struct ListCommand {
    /// File of keys
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
#[command(after_help = exit::LOCAL)]
struct RevokeCommand {
    /// File of keys
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Name of the key
    #[arg(value_name = "NAME")]
    name: KeyName,
}

impl KeysCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Add(command) => command.run()?,
            Command::List(command) => {
                let (keys, _) = open(&command.file)?;
                output::print(&list(&keys))?;
            }
            Command::Revoke(command) => command.run()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl AddCommand {
    fn run(&self) -> anyhow::Result<()> {
        let (file, name) = (self.file.display(), &self.name);
        let (keys, mut document) = if self.file.exists() {
            open(&self.file)?
        } else {
            Default::default()
        };
        anyhow::ensure!(
            keys.iter().all(|key| key.name != *name),
            "{file} has a key `{name}` already; names are not used again, so that what metrics and \
             logs say of them stays true"
        );
        anyhow::ensure!(
            keys.len() < MAX_KEYS,
            "{file} has {MAX_KEYS} keys, which is as many as are allowed"
        );
        let secret = format!("{PREFIX}{}", Digest(random_bytes()?));
        let mut key = Table::new();
        key.insert("name", value(name.as_str()));
        key.insert("sha256", value(Digest::of(secret.as_bytes()).to_string()));
        if self.priority != Weight::default() {
            key.insert("priority", value(self.priority.name()));
        }
        for (field, limit) in [
            ("requests-per-minute", self.requests_per_minute),
            ("tokens-per-minute", self.tokens_per_minute),
        ] {
            if let Some(limit) = limit {
                key.insert(field, value(i64::from(limit.get())));
            }
        }
        tables(&mut document, &self.file)?.push(key);
        write(&self.file, &document)?;
        output::print(&format!("{secret}\n"))?;
        log::print(&format!(
            "`{name}` is in {file} now. Its key is shown only here; clients send it as \
             `Authorization: Bearer KEY`.\n"
        ));
        Ok(())
    }
}

impl RevokeCommand {
    fn run(&self) -> anyhow::Result<()> {
        let (file, name) = (self.file.display(), &self.name);
        let (_, mut document) = open(&self.file)?;
        let tables = tables(&mut document, &self.file)?;
        let of_name =
            |key: &&mut Table| key.get("name").and_then(Item::as_str) == Some(name.as_str());
        let key = tables.iter_mut().find(of_name);
        let key = key.with_context(|| format!("{file} has no key `{name}`"))?;
        key.insert("revoked", value(true));
        write(&self.file, &document)?;
        log::print(&format!(
            "`{name}` is revoked as soon as its servers read {file} again\n"
        ));
        Ok(())
    }
}

/// Reads a file of keys. One may have none yet.
fn open(path: &Path) -> anyhow::Result<(Vec<Entry>, DocumentMut)> {
    let named = || path.display().to_string();
    let content = read(path).map_err(anyhow::Error::msg).with_context(named)?;
    let keys = match entries(&content) {
        Err(EntryError::Empty) => Vec::new(),
        other => other.with_context(named)?,
    };
    let document = String::from_utf8_lossy(&content).parse();
    Ok((keys, document.with_context(named)?))
}

/// The tables of a document, which may have none yet.
fn tables<'a>(document: &'a mut DocumentMut, path: &Path) -> anyhow::Result<&'a mut ArrayOfTables> {
    let item = document.entry(KEY);
    let item = item.or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    item.as_array_of_tables_mut().with_context(|| {
        let path = path.display();
        format!("{path} has its keys in one line; write each as a table `[[{KEY}]]`")
    })
}

/// Replaces a file at once, with the same permissions.
fn write(path: &Path, document: &DocumentMut) -> anyhow::Result<()> {
    let named = || format!("{} cannot be written", path.display());
    let replace = || {
        // Of a symbolic link, what it leads to is replaced.
        let (path, permissions) = match fs::canonicalize(path) {
            Ok(path) => (path.clone(), fs::metadata(path)?.permissions()),
            Err(_) => (path.to_owned(), Permissions::from_mode(MODE)),
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(dir.unwrap_or(Path::new(".")))?;
        file.write_all(document.to_string().as_bytes())?;
        file.as_file().set_permissions(permissions)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        anyhow::Ok(())
    };
    replace().with_context(named)
}

fn list(keys: &[Entry]) -> String {
    let limit = |limit: Option<NonZeroU32>| limit.map_or("-".to_owned(), |limit| limit.to_string());
    let head = ["NAME", "PRIORITY", "REQUESTS/MIN", "TOKENS/MIN", "STATE"].map(str::to_owned);
    let rows = keys.iter().map(|key| {
        [
            key.name.to_string(),
            key.priority.name().to_owned(),
            limit(key.requests_per_minute),
            limit(key.tokens_per_minute),
            if key.revoked { "revoked" } else { "valid" }.to_owned(),
        ]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}
