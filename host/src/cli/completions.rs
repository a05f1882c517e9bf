//! `fastsentiment completions`: prints shell completion scripts.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};

/// The end of the command's help.
const EXAMPLES: &str = "\
Examples:
    bash  source <(fastsentiment completions bash)
    zsh   source <(fastsentiment completions zsh)
    fish  fastsentiment completions fish | source";

/// The shell to complete command lines in.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CompletionsCommand {
    /// Shell to print the script for
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

/// The command without its hidden options and subcommands, which shells would offer too.
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
