//! Settings: the values of options come from the command line, the environment, a
//! configuration file, or their defaults, in this order.
//!
//! The keys of the file are derived from clap's description of `serve`: the long name of
//! each option is a key, and the option's own parser checks its value, wherever that comes
//! from. This module must not know any option.

mod fault;
mod file;
mod option;
#[cfg(test)]
mod reference;
mod resolved;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, CommandFactory, FromArgMatches};

use super::Cli;
use super::{exit, output};
pub(super) use fault::Fault;
use fault::Origin;
use file::File;
pub(super) use resolved::Resolved;

/// The option and the environment variable that set the configuration file.
const CONFIG: (&str, &str) = ("config", "FASTSENTIMENT_CONFIG");

/// The command whose options are the keys of the file.
const SERVE: &str = "serve";

/// The command that runs in spite of errors, to find the others.
const CHECK: &str = "check";

/// The configuration file.
#[derive(Args)]
#[command(next_help_heading = "Configuration")]
pub(super) struct ConfigOption {
    /// Configuration file, in TOML [default: none]
    ///
    /// Its keys are the long names of the options of `serve`, such as `listen`. Flags and
    /// environment variables take precedence. host/CONFIGURATION.md lists all options.
    #[arg(long, env = CONFIG.1, value_name = "FILE", value_parser = super::values::path_or_none())]
    config: Option<PathBuf>,
}

impl ConfigOption {
    /// The path of the file, if there is one.
    pub(super) fn path(&self) -> Option<&PathBuf> {
        self.config
            .as_ref()
            .filter(|path| !path.as_os_str().is_empty())
    }
}

/// The command to run, and the values of its options.
pub(super) struct Settings {
    pub(super) cli: Cli,
    /// The errors in the settings of `check`. Every other command ends with them instead.
    pub(super) faults: Vec<Fault>,
    /// The values of the options, and where they came from.
    pub(super) resolved: Resolved,
}

impl Settings {
    /// Reads the settings of this process. If there is no command to run, prints why, and
    /// returns the exit code.
    pub(super) fn read() -> Result<Self, ExitCode> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        Self::of(&arguments, |name| std::env::var_os(name)).map_err(Stop::report)
    }

    /// Reads settings from arguments, variables and the file that these name. (clap looks
    /// into the environment of the process as well.)
    fn of(
        arguments: &[OsString],
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Stop> {
        // clap reports an unknown command, and prints the help.
        let Ok(given) = as_text(Cli::command()).try_get_matches_from(arguments) else {
            return Self::without_a_file(arguments);
        };
        let Some((name, given)) = given.subcommand() else {
            return Self::without_a_file(arguments);
        };
        let all = option::of_command(Cli::command(), name);
        let mut faults: Vec<Fault> = all
            .iter()
            .filter(|option| option.is_hidden() && option.is_flagged(given))
            .map(|option| Fault::new(option.flag(None), option.why_not_a_flag()))
            .collect();
        if !all.iter().any(|option| option.name() == CONFIG.0) {
            return if faults.is_empty() {
                Self::without_a_file(arguments)
            } else {
                Err(Stop::Faults(faults))
            };
        }
        let keys: Vec<_> = option::of_command(Cli::command(), SERVE)
            .into_iter()
            .filter(|option| option.name() != CONFIG.0)
            .collect();
        let file = match config(given, variable(CONFIG.1)) {
            Some((origin, path)) => File::read(&path, origin, &keys, &mut faults),
            None => File::default(),
        };
        // The options of this command: the file may set others, too.
        let here = |known: &option::Known| all.iter().any(|own| own.name() == known.name());
        let keys: Vec<_> = keys.into_iter().filter(here).collect();
        let is_check = name == CHECK;
        let resolved = Resolved::of(keys, &file, given, variable, is_check, &mut faults);
        if is_check {
            return Self::of_check(resolved, faults, given);
        }
        if !faults.is_empty() {
            return Err(Stop::Faults(faults));
        }
        let command = resolved.as_defaults_from_file(Cli::command(), name);
        let matches = command.try_get_matches_from(arguments)?;
        Ok(Self {
            cli: Cli::from_arg_matches(&matches)?,
            faults,
            resolved,
        })
    }

    fn without_a_file(arguments: &[OsString]) -> Result<Self, Stop> {
        let mut command = Cli::command();
        // The short help leaves out variables.
        if arguments.iter().any(|argument| argument == "-h") {
            let short = |command: Command| command.mut_args(|arg| arg.hide_env(true));
            command = short(command).mut_subcommands(short);
        }
        let matches = command.try_get_matches_from(arguments)?;
        Ok(Self {
            cli: Cli::from_arg_matches(&matches)?,
            faults: Vec::new(),
            resolved: Resolved::default(),
        })
    }

    /// `check` with the valid options only, so that it can look for further errors.
    fn of_check(resolved: Resolved, faults: Vec<Fault>, given: &ArgMatches) -> Result<Self, Stop> {
        let mut arguments = vec![OsString::from("fastsentiment"), CHECK.into()];
        let own = option::of_command(Cli::command(), CHECK);
        for option in own.iter().filter(|option| !resolved.has(option.name())) {
            arguments.extend(option.arguments(given));
        }
        let command = resolved.as_defaults(Cli::command(), CHECK);
        let matches = command.try_get_matches_from(arguments)?;
        Ok(Self {
            cli: Cli::from_arg_matches(&matches)?,
            faults,
            resolved,
        })
    }
}

/// Why there is no command to run.
enum Stop {
    /// A usage error that clap has found, or a request for help or the version.
    Clap(clap::Error),
    Faults(Vec<Fault>),
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        // Errors of derived code have no usage line yet.
        Self::Clap(match error.kind() {
            ErrorKind::MissingRequiredArgument => error.format(&mut Cli::command()),
            _ => error,
        })
    }
}

impl Stop {
    /// Prints it. Returns the exit code.
    fn report(self) -> ExitCode {
        match self {
            Self::Clap(message) => match output::print_clap(&message) {
                Ok(()) => {
                    let code = u8::try_from(message.exit_code());
                    ExitCode::from(code.unwrap_or(exit::USAGE_ERROR))
                }
                Err(error) => super::fail(&error, false),
            },
            Self::Faults(faults) => {
                faults.iter().for_each(super::report);
                ExitCode::from(exit::USAGE_ERROR)
            }
        }
    }
}

/// The path of the configuration file, and where it was set.
fn config(given: &ArgMatches, variable: Option<OsString>) -> Option<(Origin, PathBuf)> {
    let flag = given
        .try_get_one::<OsString>(CONFIG.0)
        .ok()
        .flatten()
        .cloned();
    let (origin, path) = match (flag, variable) {
        (Some(path), _) => (Origin::Flag(CONFIG.0.to_owned()), path),
        (None, Some(path)) => (Origin::Variable(CONFIG.1.to_owned()), path),
        (None, None) => return None,
    };
    let path = Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty());
    path.map(|path| (origin, path))
}

/// The command with options that accept any text, and have no values but those on the
/// command line.
fn as_text(command: Command) -> Command {
    command
        .mut_args(option::as_text)
        .mut_subcommands(|command| command.mut_args(option::as_text))
}
