//! `fastsentiment test`: tests a guest with cases from a file, without a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use fastsentiment::app::alone::{Alone, AloneError, Called};
use fastsentiment::app::{AppError, Config};
use predictor::{Activation, Description, Limit, Side};
use sandbox::CallError;

use super::cases::{self, Case};
use super::exit::UsageError;
use super::options::LoadOptions;
use super::settings::ConfigOption;
use super::terminal::escape;
use super::versions::size;
use super::{hints, output};

/// The end of the command's help.
const HELP: &str = "\
A case is a line of JSON with a text, and either the label that comes first, or a
part of an error's message:

    {\"text\": \"Loved it.\", \"label\": \"POSITIVE\"}
    {\"text\": \"So-so.\", \"label\": \"POSITIVE\", \"score\": 0.5, \"within\": 0.05}
    {\"text\": \"...\", \"error\": \"no words\"}

`score` is the score of the label, and may differ by `within` (0.01).

Exit codes: 0 all cases passed, 1 a case failed or the guest was refused, 2 usage
error in the command line, environment, configuration file or file of cases";

/// A guest, and the file with its cases.
#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct TestCommand {
    /// Guest component to test, whatever --guest says
    #[arg(value_name = "GUEST")]
    component: PathBuf,

    /// Cases, as JSON Lines
    #[arg(value_name = "CASES")]
    cases: PathBuf,

    #[command(flatten)]
    config: ConfigOption,

    #[command(flatten)]
    load: LoadOptions,
}

impl TestCommand {
    /// Loads the guest as a server does, calls it with each text in a fresh instance, and
    /// prints what came out. A guest is tested without a model if there is none.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let cases = read(&self.cases)?;
        let mut config = self.load.without_cache()?;
        config.guest = self.component;
        let has_model = self.load.has_model(&config);
        let begun = Instant::now();
        let guest = Alone::load(&config, has_model).map_err(|error| match error {
            // It is no option here.
            AloneError::App(error @ AppError::ReadGuest { .. }) => error.into(),
            AloneError::App(error) => hints::explain(&config, error),
            AloneError::Load(_) if !has_model => anyhow::anyhow!("{error} ({NO_MODEL})"),
            AloneError::Configuration(_) | AloneError::Load(_) => error.into(),
        })?;
        let took = begun.elapsed().as_secs_f64();
        output::print(&heading(&config, has_model, &guest, took))?;
        let runtime = super::runtime()?;
        let mut failed = 0;
        for case in &cases {
            let called = runtime.block_on(guest.call(case.text.clone()));
            let fault = case.fault(&called.answer);
            let fault = fault.or_else(|| other_labels(guest.description(), &called));
            failed += usize::from(fault.is_some());
            output::print(&report(case, &called, fault.as_deref(), has_model))?;
        }
        let passed = cases.len() - failed;
        output::print(&format!("{passed} passed, {failed} failed\n"))?;
        Ok(match failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

/// What is wrong with an answer whose labels are not those that the guest says it has.
fn other_labels(said: Option<&Description>, called: &Called) -> Option<String> {
    let (said, given) = (said?, called.answer.as_ref().ok()?);
    if said.has_labels_of(given) {
        return None;
    }
    let given: Vec<&str> = given.iter().map(|score| &*score.label).collect();
    let (said, given) = (said.labels.join(", "), given.join(", "));
    Some(format!(
        "it describes itself with {said}, and answers with {given}"
    ))
}

/// Why a guest that calls the model fails.
const NO_MODEL: &str = "there is no model: set one with --model";

/// Reads the cases.
fn read(path: &Path) -> anyhow::Result<Vec<Case>> {
    let file = std::fs::read_to_string(path)
        .with_context(|| format!("the cases {} cannot be read", path.display()))?;
    let cases = cases::parse(&file);
    let cases = cases.map_err(|error| UsageError(format!("{}: {error}", path.display())));
    Ok(cases?)
}

/// The lines about the guest.
fn heading(config: &Config, has_model: bool, guest: &Alone, seconds: f64) -> String {
    let line = format!(
        "{}: {}{}, {} in {seconds:.1} s, {}",
        config.guest.display(),
        guest
            .name()
            .map_or_else(String::new, |name| format!("{name}, ")),
        size(guest.size()),
        if guest.compiled() {
            "compiled"
        } else {
            "compiled before, ready"
        },
        if has_model {
            format!("with the model {}", config.model.display())
        } else {
            "without a model".to_owned()
        }
    );
    let said = match guest.description() {
        Some(description) => describe(description),
        None => "does not describe itself".to_owned(),
    };
    format!("{}\n{}\n", escape(&line), escape(&said))
}

/// What a guest says of itself, in a line.
fn describe(description: &Description) -> String {
    let mut parts = vec![format!("labels {}", description.labels.join(", "))];
    parts.extend(description.activation.map(|activation| {
        let name = match activation {
            Activation::Softmax => "softmax",
            Activation::Sigmoid => "sigmoid",
        };
        name.to_owned()
    }));
    parts.extend(description.limit.map(|Limit { tokens, cut }| {
        let end = match cut {
            Side::Left => "beginning",
            Side::Right => "end",
        };
        format!("longer texts than {tokens} tokens lose their {end}")
    }));
    let how = if description.batches {
        "together"
    } else {
        "one by one"
    };
    parts.push(format!("texts are computed {how}"));
    parts.join("; ")
}

/// The lines about a case: what came out, the time, the memory and the text; what was
/// expected instead; and what the guest has printed.
fn report(case: &Case, called: &Called, fault: Option<&str>, has_model: bool) -> String {
    let verdict = if fault.is_some() { "FAIL" } else { "ok" };
    let outcome = match &called.answer {
        Ok(scores) => match scores.first() {
            Some(first) => format!("{} {:.4}", first.label, first.score),
            None => "no labels".to_owned(),
        },
        Err(_) => "error".to_owned(),
    };
    let milliseconds = called.time.as_secs_f64() * 1e3;
    let memory = size(called.memory);
    let text = shortened(&case.text);
    let line = format!(
        "{verdict:<5}{:>4}  {outcome:<16} {milliseconds:>8.2} ms {memory:>10}  {text:?}",
        case.line
    );
    let error = match &called.answer {
        Err(error @ CallError::Model(_)) if !has_model => Some(format!("{error} ({NO_MODEL})")),
        // Its standard error has a line of its own.
        Err(CallError::Trapped { why, .. }) => Some(format!("the guest trapped: {why}")),
        Err(error) => Some(error.to_string()),
        Ok(_) => None,
    };
    let stream = |name: &str, text: &str| match text {
        "" => None,
        text => Some(format!("{name}: {text}")),
    };
    let more = [
        fault.map(str::to_owned),
        error,
        stream("stdout", &called.printed.stdout),
        stream("stderr", &called.printed.stderr),
    ];
    let line = format!("{}\n", escape(line.trim_end()));
    let more = more.iter().flatten();
    let more = more.map(|line| format!("           {}\n", escape(line)));
    [line].into_iter().chain(more).collect()
}

/// The beginning of a text.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
