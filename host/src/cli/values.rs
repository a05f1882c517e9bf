//! Value parsers for options, with errors that say what is allowed.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use artifacts::ReferenceError;
use clap::builder::{OsStringValueParser, TypedValueParser};
use http::{Origin, OriginError};
use predictor::Configuration;
use revisions::Source;
use tracing_subscriber::EnvFilter;

/// A number, at least 1.
pub(super) const AT_LEAST_ONE: RangeInclusive<u64> = 1..=u64::MAX;

/// A number, at least 1, that fits into 32 bits.
pub(super) const AT_LEAST_ONE_32: RangeInclusive<u64> = 1..=u32::MAX as u64;

/// Parses a whole number in `range`, which a `T` must be able to hold.
pub(super) fn whole<T>(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = T>
where
    T: FromStr + Clone + Send + Sync + 'static,
{
    move |text: &str| -> Result<T, String> {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let value = number.and_then(|_| text.parse().ok());
        value.ok_or_else(|| match (*range.start(), *range.end()) {
            (least, u64::MAX) => format!("must be a whole number, at least {least}"),
            (least, most) => format!("must be a whole number from {least} to {most}"),
        })
    }
}

/// Parses a path that may be empty; clap's own path parser rejects an empty value.
pub(super) fn path_or_none() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Parses a path or a reference to a registry.
pub(super) fn source(text: &str) -> Result<Source, String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    text.parse()
        .map_err(|error: ReferenceError| error.to_string())
}

/// Parses a value of a guest's configuration, `KEY=VALUE`.
pub(super) fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("must be KEY=VALUE, such as margin=0.3")?;
    let (key, value) = (key.to_owned(), value.to_owned());
    let alone = [(key.clone(), Some(value.clone()))];
    let checked = Configuration::NONE.with(alone);
    checked.map_err(|error| error.to_string())?;
    Ok((key, value))
}

/// Accepts any value. clap would repeat a rejected value in its error, so secrets are
/// validated later.
pub(super) fn secret() -> impl TypedValueParser<Value = OsString> {
    OsStringValueParser::new()
}

/// An origin, or `None` if the value is empty.
#[derive(Clone, Debug)]
pub(super) struct OptionalOrigin(pub(super) Option<Origin>);

/// Parses a CORS origin, or an empty value: an environment file may set a variable to
/// nothing.
pub(super) fn optional_origin(text: &str) -> Result<OptionalOrigin, OriginError> {
    match text.trim() {
        "" => Ok(OptionalOrigin(None)),
        text => Ok(OptionalOrigin(Some(text.parse()?))),
    }
}

/// Checks a log filter. The text is kept, since `EnvFilter` is not `Clone`.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let filter: Result<EnvFilter, _> = text.parse();
    filter.map(|_| text.to_owned()).map_err(|error| {
        format!(
            "{error}; must be error, warn, info, debug, trace or off, optionally per module, such as \
             info,fastsentiment_http=debug"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};

    use clap::{Arg, Command};

    use super::*;

    fn parsed<T: Clone + Send + Sync + 'static>(
        parser: impl TypedValueParser<Value = T>,
        text: &str,
    ) -> Result<T, String> {
        let arg = Arg::new("n").value_parser(parser).allow_hyphen_values(true);
        let command = Command::new("test").no_binary_name(true).arg(arg);
        let matches = command.try_get_matches_from([text]);
        let matches = matches.map_err(|error| error.to_string())?;
        Ok(matches.get_one::<T>("n").unwrap().clone())
    }

    #[test]
    fn a_number_outside_its_range_is_rejected_with_the_range() {
        let small = || whole::<u16>(1..=1024);
        assert_eq!(parsed(small(), "1024"), Ok(1024));
        for wrong in ["0", "1025", "99999", "-1", "1.5", "many", " 1", "0x10"] {
            let error = parsed(small(), wrong).unwrap_err();
            assert!(error.contains("from 1 to 1024"), "{error}");
        }
        let many = || whole::<NonZeroUsize>(AT_LEAST_ONE);
        assert_eq!(parsed(many(), "7").unwrap().get(), 7);
        let error = parsed(many(), "0").unwrap_err();
        assert!(error.contains("at least 1"), "{error}");
        let many = || whole::<NonZeroU32>(AT_LEAST_ONE_32);
        let error = parsed(many(), "4294967296").unwrap_err();
        assert!(error.contains("from 1 to 4294967295"), "{error}");
    }

    #[test]
    fn filters_say_what_is_allowed() {
        assert_eq!(log_filter("warn,a=trace").unwrap(), "warn,a=trace");
        assert!(log_filter("=loud=").unwrap_err().contains("debug"));
    }
}
