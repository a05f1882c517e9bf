//! Where the options have their values from: the command line, the environment, a
//! configuration file, or their defaults, in this order.
//!
//! What there is to configure is read off clap's own description of `serve`: each of
//! its options is a key of the file, by its long name, and is checked by its own
//! parser, wherever its value comes from. This module must not know any option.

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
use super::exit;
pub(super) use fault::Fault;
use fault::Origin;
use file::File;
pub(super) use resolved::Resolved;

/// The name of the option that names the file, and of its variable.
const CONFIG: (&str, &str) = ("config", "FASTSENTIMENT_CONFIG");

/// The command that has every option that a file may have.
const SERVE: &str = "serve";

/// The command that tells all faults rather than to end with them.
const CHECK: &str = "check";

/// Where the other options may have their values from.
#[derive(Args)]
#[command(next_help_heading = "Configuration")]
pub(super) struct ConfigOption {
    /// A file of options, in TOML [default: none]
    ///
    /// Its keys are the long names of the options of `serve`, such as `listen`; flags
    /// and environment variables come before it. host/CONFIGURATION.md lists them.
    #[arg(long, env = CONFIG.1, value_name = "FILE", value_parser = super::values::path_or_none())]
    config: Option<PathBuf>,
}

impl ConfigOption {
    /// The file, if there is one.
    pub(super) fn path(&self) -> Option<&PathBuf> {
        self.config
            .as_ref()
            .filter(|path| !path.as_os_str().is_empty())
    }
}

/// The command, with the values of its options, and what there is to say of them.
pub(super) struct Settings {
    pub(super) cli: Cli,
    /// What is wrong; of every command but `check`, nothing.
    pub(super) faults: Vec<Fault>,
    /// What the options of `check` have come to.
    pub(super) resolved: Resolved,
}

impl Settings {
    /// The command of this process.
    pub(super) fn read() -> Result<Self, ExitCode> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        Self::of(&arguments, |name| std::env::var_os(name)).map_err(Wrong::tell)
    }

    /// A command by its arguments and variables; clap itself looks into the
    /// environment of the process as well.
    fn of(
        arguments: &[OsString],
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Wrong> {
        // Whatever is no command at all, or asks for help, is clap's.
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
            .map(|option| Fault::new(option.flag(None), option.not_a_flag()))
            .collect();
        if !all.iter().any(|option| option.name() == CONFIG.0) {
            return if faults.is_empty() {
                Self::without_a_file(arguments)
            } else {
                Err(Wrong::Faults(faults))
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
        // Those that this command has; a file may say more.
        let here = |known: &option::Known| all.iter().any(|own| own.name() == known.name());
        let keys: Vec<_> = keys.into_iter().filter(here).collect();
        let tells_all = name == CHECK;
        let resolved = Resolved::of(keys, &file, given, variable, tells_all, &mut faults);
        if tells_all {
            return Self::of_check(resolved, faults, given);
        }
        if !faults.is_empty() {
            return Err(Wrong::Faults(faults));
        }
        let command = resolved.below_flags(Cli::command(), name);
        let matches = command.try_get_matches_from(arguments)?;
        Ok(Self {
            cli: Cli::from_arg_matches(&matches)?,
            faults,
            resolved,
        })
    }

    fn without_a_file(arguments: &[OsString]) -> Result<Self, Wrong> {
        let mut command = Cli::command();
        // Where help is to be short, variables are more than is wanted.
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

    /// `check` with what is right of the options, so that what else is wrong can be
    /// told as well.
    fn of_check(resolved: Resolved, faults: Vec<Fault>, given: &ArgMatches) -> Result<Self, Wrong> {
        let mut arguments = vec![OsString::from("fastsentiment"), CHECK.into()];
        let own = option::of_command(Cli::command(), CHECK);
        for option in own.iter().filter(|option| !resolved.has(option.name())) {
            arguments.extend(option.again(given));
        }
        let command = resolved.instead_of_flags(Cli::command(), CHECK);
        let matches = command.try_get_matches_from(arguments)?;
        Ok(Self {
            cli: Cli::from_arg_matches(&matches)?,
            faults,
            resolved,
        })
    }
}

/// Why there is no command to run.
enum Wrong {
    /// Clap says so, or has been asked for help.
    Clap(clap::Error),
    Faults(Vec<Fault>),
}

impl From<clap::Error> for Wrong {
    fn from(error: clap::Error) -> Self {
        // What derived code says is told in the same way.
        Self::Clap(match error.kind() {
            ErrorKind::MissingRequiredArgument => error.format(&mut Cli::command()),
            _ => error,
        })
    }
}

impl Wrong {
    fn tell(self) -> ExitCode {
        match self {
            Self::Clap(error) => {
                // Nothing can be done about a standard error that is gone.
                let _ = error.print();
                let code = u8::try_from(error.exit_code());
                ExitCode::from(code.unwrap_or(exit::WRONG_USE))
            }
            Self::Faults(faults) => {
                faults.iter().for_each(super::tell);
                ExitCode::from(exit::WRONG_USE)
            }
        }
    }
}

/// The file that is named, and by what.
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

/// The same command with options that take any text, and have no value unless one
/// is on the command line.
fn as_text(command: Command) -> Command {
    command
        .mut_args(option::as_text)
        .mut_subcommands(|command| command.mut_args(option::as_text))
}
