//! `fastsentiment rollout`: checks a rollout file, and tells what it would change.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use http::admin::document::{Declared, Role, Status, shown};
use reqwest::Method;
use revisions::{Desired, DesiredError, Parts};
use rollout::TrialKind;

use super::admin_client::{Call, Client, ClientOptions};
use super::output;
use super::versions::{describe_settings, percent};

const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 the file cannot be followed or the server is
unreachable, 2 usage error in the command line";

/// Works with a rollout file.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct RolloutCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a rollout file, without a server or a registry.
    Check(CheckCommand),
    /// Tell what a rollout file would change at a running server.
    Plan(Box<PlanCommand>),
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
struct CheckCommand {
    /// Rollout file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
struct PlanCommand {
    /// Rollout file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    client: ClientOptions,
}

impl RolloutCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Check(command) => {
                let desired = read(&command.file)?;
                let mut text = format!("generation {}\n", desired.generation);
                for wanted in wanted(&desired) {
                    let _ = writeln!(text, "{}: {}", name(wanted.role), describe(&wanted));
                }
                output::print(&text)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Plan(command) => {
                let desired = read(&command.file)?;
                let client = Client::new(command.client)?;
                client.run(Call::new(Method::GET, &["status"]), |status| {
                    plan(&desired, status)
                })
            }
        }
    }
}

/// Reads a file, and refuses what no server would follow.
pub(super) fn read(file: &Path) -> anyhow::Result<Desired> {
    let refused = || format!("{} cannot be followed", file.display());
    let desired = Desired::read(file).with_context(refused)?;
    match desired.not_pinned() {
        None => Ok(desired),
        Some(reference) => Err(DesiredError::NotPinned(reference.clone())).with_context(refused),
    }
}

/// What a file declares, in the terms of a server's status.
fn wanted(desired: &Desired) -> Vec<Declared> {
    let declared = |role, parts: &Parts, share| Declared {
        role,
        guest: parts.guest.as_ref().map(ToString::to_string),
        model: parts.model.as_ref().map(ToString::to_string),
        settings: parts.configuration.as_ref().map(shown),
        share,
        revision: None,
        signed_by: Vec::new(),
    };
    let trial = desired.trial.as_ref().map(|trial| {
        let role = match trial.kind {
            TrialKind::Canary => Role::Canary,
            TrialKind::Shadow => Role::Shadow,
        };
        declared(role, &trial.parts, Some(trial.share.get()))
    });
    let trusted = desired.trusted.as_ref();
    std::iter::once(declared(Role::Live, &desired.live, None))
        .chain(trial)
        .chain(trusted.map(|parts| declared(Role::Trusted, parts, None)))
        .collect()
}

/// What would change, role by role.
fn plan(desired: &Desired, status: &Status) -> String {
    let Some(now) = &status.rollout else {
        return "this server has no rollout file: start it with `--rollout FILE`".to_owned();
    };
    let before = now
        .generation
        .map_or("none".to_owned(), |number| number.to_string());
    let mut text = format!("generation: {before} -> {}\n", desired.generation);
    let wanted = wanted(desired);
    for role in [Role::Live, Role::Canary, Role::Shadow, Role::Trusted] {
        let of = |all: &[Declared]| all.iter().find(|one| one.role == role).map(describe);
        let change = match (of(&now.declared), of(&wanted)) {
            (None, None) => continue,
            (before, after) if before == after => "unchanged".to_owned(),
            (None, Some(after)) => format!("begins: {after}"),
            (Some(before), None) => format!("ends: {before}"),
            (Some(before), Some(after)) => format!("{before} -> {after}"),
        };
        let _ = writeln!(text, "{}: {change}", name(role));
    }
    if now.overridden_since.is_some() {
        text.push_str("the override ends\n");
    }
    text
}

fn name(role: Role) -> &'static str {
    match role {
        Role::Live => "live",
        Role::Canary => "canary",
        Role::Shadow => "shadow",
        Role::Trusted => "trusted",
    }
}

fn describe(declared: &Declared) -> String {
    let configured = |source: &Option<String>, option: &str| match source {
        Some(source) => source.clone(),
        None => format!("that of {option}"),
    };
    let mut text = format!(
        "guest {}, model {}",
        configured(&declared.guest, "--guest"),
        configured(&declared.model, "--model")
    );
    if let Some(settings) = &declared.settings {
        let _ = write!(text, ", configuration {}", describe_settings(settings));
    }
    if let Some(share) = declared.share {
        let _ = write!(text, ", {} of texts", percent(share));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_says_what_changes_for_each_role() {
        let text = b"generation = 2\n[live]\nguest = \"/b.wasm\"\n\
            [shadow]\nshare = 0.5\nguest = \"/c.wasm\"";
        let desired = Desired::parse(text, Path::new("/rollout.toml")).unwrap();
        let declared = |role: &str, guest: &str, share: Option<f64>| {
            json!({"role": role, "guest": guest, "model": null, "share": share,
                   "revision": null, "signed_by": []})
        };
        let status = json!({
            "in_sync": true, "live": null, "trial": null, "conditions": [],
            "rollout": {
                "file": "rollout.toml", "file_digest": null, "file_fault": null,
                "generation": 1, "step": null, "errors": [], "retry_at": null,
                "overridden_since": null, "last_fetch": null,
                "declared": [declared("live", "/a.wasm", None),
                             declared("canary", "/b.wasm", Some(0.1))],
            },
        });
        let status: Status = serde_json::from_value(status).unwrap();
        assert_eq!(
            plan(&desired, &status),
            "generation: 1 -> 2\n\
             live: guest /a.wasm, model that of --model -> guest /b.wasm, model that of --model\n\
             canary: ends: guest /b.wasm, model that of --model, 10 % of texts\n\
             shadow: begins: guest /c.wasm, model that of --model, 50 % of texts\n"
        );
    }
}
