//! The log: text or lines of JSON on standard error, so that standard output holds results
//! only.
//!
//! Above the trace level it contains nothing of the texts that are predicted: other modules
//! never pass anything that may contain one to `tracing`, and this one filters the messages
//! of panics.
//!
//! Logging neither fails nor blocks, whatever happens to standard error (`writer`).

mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{IsTerminal, Write as _, stderr};
use std::panic::{PanicHookInfo, set_hook};
use std::sync::OnceLock;

use anyhow::Context;
use clap::{Args, ValueEnum};
use prometheus::{IntCounter, Registry};
use tracing::field::Field;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{JsonFields, Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::{terminal, values};
use writer::LogWriter;

/// The log's writer, once the log is started. Like the subscriber of `tracing`, it is global.
static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// What to log, and in which format.
#[derive(Args)]
pub(super) struct LogOptions {
    /// Log level: error, warn, info, debug, trace or off
    ///
    /// It can be set per module, for example `info,fastsentiment_http=debug`.
    #[arg(
        long,
        global = true,
        env = "FASTSENTIMENT_LOG",
        value_name = "FILTER",
        default_value = "info",
        value_parser = values::log_filter,
        help_heading = "Logging"
    )]
    log: String,

    /// Log format
    #[arg(
        long,
        global = true,
        env = "FASTSENTIMENT_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value_t = LogFormat::Text,
        help_heading = "Logging"
    )]
    log_format: LogFormat,
}

/// The format of log lines.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Text, coloured on a terminal
    Text,
    /// One JSON object per line
    Json,
}

impl LogOptions {
    /// Whether log lines are JSON.
    pub(super) fn is_json(&self) -> bool {
        self.log_format == LogFormat::Json
    }

    /// Starts the log.
    pub(super) fn start(&self) -> anyhow::Result<()> {
        let filter: EnvFilter = self.log.parse().context("--log is invalid")?;
        let lost = IntCounter::new(
            "fastsentiment_log_lost_lines_total",
            "Lines of the log that were dropped, since standard error did not take them.",
        )?;
        let writer = LogWriter::start(stderr(), lost);
        let writer = writer.context("cannot start the log's thread")?;
        let writer = WRITER.get_or_init(|| writer);
        let log = tracing_subscriber::fmt()
            .fmt_fields(text_fields())
            .with_env_filter(filter)
            // These would bypass the queue, and block on standard error.
            .log_internal_errors(false)
            .with_writer(move || writer);
        match self.log_format {
            LogFormat::Text => log.with_ansi(wants_colours()).init(),
            LogFormat::Json => log
                .with_ansi(false)
                .fmt_fields(JsonFields::new())
                .event_format(Json)
                .init(),
        }
        Ok(())
    }
}

/// Prints text that is not a log event to standard error, after the log lines before it.
/// Waits up to a second until it is written.
pub(super) fn print(text: &str) {
    let text = terminal::lines(text);
    // Nothing can be done about a standard error that cannot be written to.
    let _ = match WRITER.get() {
        Some(writer) => (&*writer).write_all(text.as_bytes()),
        None => stderr().write_all(text.as_bytes()),
    };
    flush();
}

/// Waits up to a second until all log lines are written. Call it before the process ends.
pub(super) fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush();
    }
}

/// Registers the counter of lost lines.
pub(super) fn register(registry: &Registry) -> prometheus::Result<()> {
    match WRITER.get() {
        Some(writer) => registry.register(Box::new(writer.lost().clone())),
        None => Ok(()),
    }
}

/// Whether standard error is a terminal, and its user has not disabled colours
/// (no-color.org).
fn wants_colours() -> bool {
    let disabled = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stderr().is_terminal() && !disabled
}

/// Logs panics like everything else. A formatted message may contain a text, and is logged
/// at the trace level only; a literal one is logged with the panic.
pub(super) fn log_panics() {
    set_hook(Box::new(log_panic));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    let thread = thread.name();
    let literal = panic.payload().downcast_ref::<&'static str>();
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = is_captured.then(|| tracing::field::display(&backtrace));
    tracing::error!(at, thread, reason = literal, backtrace, "the host panicked");
    if literal.is_none() {
        let message = panic.payload_as_str();
        tracing::trace!(at, reason = message, "the host panicked");
    }
}

/// Formats the fields of lines of text. No value begins another line or reaches a terminal
/// as it is: it may come from a client, a server, a file or a guest.
fn text_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    let fields = debug_fn(
        |line: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
            let value = format!("{value:?}");
            match field.name() {
                "message" => line.write_str(&terminal::escape(&value)),
                // It has names from this program only, and would be hard to read in one line.
                "backtrace" => write!(line, "backtrace={}", terminal::lines(&value)),
                name => write!(line, "{name}={}", terminal::escape(&value)),
            }
        },
    );
    fields.delimited(" ")
}

/// Formats an event as a JSON object: its timestamp, level, target, message and fields, and
/// the fields of the spans around it, outermost first.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        line.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut line)?;
        write!(
            line,
            "\",\"level\":\"{}\",\"target\":\"{}\"",
            metadata.level(),
            // A module path or a constant: nothing to escape.
            metadata.target()
        )?;
        let mut fields = String::new();
        context.format_fields(Writer::new(&mut fields), event)?;
        add_members(&mut line, &fields)?;
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                add_members(&mut line, fields)?;
            }
        }
        line.write_str("}\n")
    }
}

/// Appends the members of a JSON object to an object that already has members.
fn add_members(line: &mut Writer<'_>, object: &str) -> fmt::Result {
    let members = object.strip_prefix('{');
    match members.and_then(|members| members.strip_suffix('}')) {
        None | Some("") => Ok(()),
        Some(members) => write!(line, ",{}", terminal::json(members)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::panic::{catch_unwind, take_hook};
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::Level;

    use super::*;
    use crate::cli::terminal::tests::{HOSTILE, harmful};

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn text(&self) -> String {
            let log = self.0.lock().expect("no panic").clone();
            String::from_utf8(log).expect("text")
        }
    }

    /// The lines that are logged while `act` runs.
    fn logged(level: Level, act: impl FnOnce()) -> Vec<Value> {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .fmt_fields(JsonFields::new())
            .event_format(Json)
            .finish();
        tracing::subscriber::with_default(subscriber, act);
        let text = log.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| harmful(line).is_empty()), "{text}");
        let parsed = lines.into_iter().map(serde_json::from_str);
        parsed.collect::<Result<_, _>>().expect("JSON in each line")
    }

    #[test]
    fn no_value_begins_another_line_or_reaches_a_terminal() {
        let act = || {
            let span = tracing::info_span!("request", request_id = %HOSTILE, second = HOSTILE);
            let _entered = span.enter();
            tracing::info!(plain = HOSTILE, shown = %HOSTILE, debug = ?HOSTILE, "{HOSTILE}");
        };
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(text_fields())
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, act);
        let text = log.text();
        assert_eq!(harmful(&text), ['\n'], "{text}");
        for words in ["request_id=\\u{1b}", " plain=\"\\u{1b}", " shown=\\u{1b}"] {
            assert!(text.contains(words), "{text}");
        }
        let [line] = &logged(Level::INFO, act)[..] else {
            panic!("one line");
        };
        for field in ["request_id", "second", "plain", "shown", "message"] {
            assert_eq!(line[field], HOSTILE);
        }
    }

    #[test]
    fn a_line_is_one_object_with_all_fields() {
        let lines = logged(Level::INFO, || {
            let outer =
                tracing::info_span!("outer", request_id = %"a\"b", empty = tracing::field::Empty);
            let _outer = outer.enter();
            tracing::info!(target: "somewhere", number = 7, "a \"word\"\nor two");
            let _inner = tracing::info_span!("inner").entered();
            tracing::warn!("else");
            tracing::debug!("not this");
        });
        let [first, second] = &lines[..] else {
            panic!("{lines:?}");
        };
        let time = first["timestamp"].as_str().expect("a time");
        assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
        assert_eq!(
            (&first["level"], &first["target"], &first["number"]),
            (&"INFO".into(), &"somewhere".into(), &7.into())
        );
        assert_eq!(first["message"], "a \"word\"\nor two");
        assert_eq!(first.as_object().expect("an object").len(), 6, "{first}");
        assert_eq!(
            (&second["message"], &second["level"]),
            (&"else".into(), &"WARN".into())
        );
        for line in &lines {
            assert_eq!(line["request_id"], "a\"b");
        }
    }

    #[test]
    fn a_panic_is_logged_without_a_message_that_may_contain_a_text() {
        let before = take_hook();
        log_panics();
        let text = "a text";
        let act = || {
            let span = tracing::info_span!("request", request_id = "one");
            let _entered = span.enter();
            assert!(catch_unwind(|| panic!("it is {text}")).is_err());
            assert!(catch_unwind(|| panic!("of no kind")).is_err());
            assert!(catch_unwind(|| text.parse::<u8>().unwrap()).is_err());
        };
        let (lines, all) = (logged(Level::DEBUG, act), logged(Level::TRACE, act));
        std::panic::set_hook(before);
        assert_eq!(lines.len(), 3, "{lines:?}");
        for line in &lines {
            assert!(!line.to_string().contains(text), "{line}");
            assert_eq!(
                (&line["request_id"], &line["level"]),
                (&"one".into(), &"ERROR".into())
            );
            assert!(
                line["at"].as_str().expect("a place").contains("log.rs:"),
                "{line}"
            );
        }
        assert_eq!(lines[1]["reason"], "of no kind");
        assert_eq!(all.len(), 5);
        assert!(all[1]["reason"].as_str().expect("a reason").contains(text));
    }
}
