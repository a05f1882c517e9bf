//! The parameters in the query of a request: only those that are expected, each
//! at most once.
//!
//! This module must not know what they are for.

use hyper::http::request::Parts;

use crate::problem::{Kind, Problem};
use rollout::Share;

/// The values of the `expected` parameters, in their order.
///
/// A parameter that is spelt wrong is refused and not ignored: `?actvate=true`
/// would otherwise do something else than is wanted.
pub(super) fn parameters<const N: usize>(
    head: &Parts,
    expected: [&str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    let query = head.uri.query().unwrap_or_default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let Some(at) = expected.iter().position(|expected| *expected == name) else {
            return Err(invalid(if expected.is_empty() {
                "this path takes no parameters".to_owned()
            } else {
                format!("this path takes {}", expected.map(quoted).join(", "))
            }));
        };
        if values[at].replace(value.into_owned()).is_some() {
            return Err(invalid(format!("`{}` is given twice", expected[at])));
        }
    }
    Ok(values)
}

/// Whether something is wanted; it is not if the parameter is absent.
pub(super) fn flag(name: &str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        Some("true") => Ok(true),
        Some("false") | None => Ok(false),
        Some(_) => Err(invalid(format!("`{name}` must be `true` or `false`"))),
    }
}

/// A share of the texts.
pub(super) fn share(name: &str, value: &str) -> Result<Share, Problem> {
    let share = value.parse().ok().and_then(Share::new);
    share.ok_or_else(|| {
        invalid(format!(
            "`{name}` must be a number greater than 0 and at most 1, such as 0.1"
        ))
    })
}

/// A query with something wrong in it.
pub(super) fn invalid(detail: String) -> Problem {
    Problem::new(Kind::InvalidQuery, detail)
}

fn quoted(name: &str) -> String {
    format!("`{name}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn of<const N: usize>(query: &str, expected: [&str; N]) -> Option<[Option<String>; N]> {
        let request = Request::builder().uri(format!("/path{query}"));
        let head = request.body(()).unwrap().into_parts().0;
        parameters(&head, expected).ok()
    }

    #[test]
    fn parameters_are_found_by_name() {
        let found = of("?b=%31&a=x", ["a", "b", "c"]);
        assert_eq!(found, Some([Some("x".into()), Some("1".into()), None]));
        assert_eq!(of("?a", ["a"]), Some([Some(String::new())]));
        assert_eq!(of("", []), Some([]));
        assert_eq!(of("?", []), Some([]));
        for wrong in ["?c=1", "?a=1&a=1", "?A=1"] {
            assert_eq!(of(wrong, ["a", "b"]), None, "{wrong}");
        }
        assert_eq!(of("?a=1", []), None);
    }

    #[test]
    fn a_share_is_some_of_the_texts() {
        let share = |value| share("share", value).ok().map(Share::get);
        assert_eq!(share("0.1"), Some(0.1));
        assert_eq!(share("1"), Some(1.0));
        for wrong in ["", "0", "-0.1", "1.1", "NaN", "inf", "10%", "all"] {
            assert_eq!(share(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_flag_is_true_or_false() {
        for (value, wanted) in [
            (Some("true"), Some(true)),
            (Some("false"), Some(false)),
            (None, Some(false)),
            (Some(""), None),
            (Some("1"), None),
        ] {
            assert_eq!(flag("force", value).ok(), wanted, "{value:?}");
        }
    }
}
