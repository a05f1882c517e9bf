//! The guest's configuration.

use std::str::FromStr;

use crate::bindings::Error;
use crate::bindings::wasi::config::store;

/// A value of the guest's configuration; `None` if the key is not set.
///
/// # Errors
///
/// If the value is not a `T`: it `must_be` something else, in words such as `a number`.
pub fn setting<T: FromStr>(key: &str, must_be: &str) -> Result<Option<T>, Error> {
    let value = store::get(key)
        .map_err(|error| Error::Internal(format!("the configuration cannot be read: {error:?}")))?;
    let Some(value) = value else {
        return Ok(None);
    };
    match value.parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(Error::Internal(format!(
            "the setting `{key}` must be {must_be}, and is {value:?}"
        ))),
    }
}
