//! `fastsentiment completions`: what shells need to complete command lines.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};

/// How a shell is told.
const HOW: &str = "\
For example:
    bash  source <(fastsentiment completions bash)
    zsh   source <(fastsentiment completions zsh)
    fish  fastsentiment completions fish | source";

/// For which shell.
#[derive(Args)]
#[command(after_long_help = HOW)]
pub(super) struct CompletionsCommand {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl CompletionsCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        let mut command = visible(&Cli::command());
        clap_complete::generate(self.shell, &mut command, "fastsentiment", &mut script);
        output::stdout().write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The command without what is hidden, which shells would offer as well.
fn visible(command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let commands = command.get_subcommands().filter(|one| !one.is_hide_set());
    let mut shown = Command::new(command.get_name().to_owned())
        .args(arguments.cloned())
        .subcommands(commands.map(visible));
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    shown
}
