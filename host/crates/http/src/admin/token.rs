//! The secret that allows its holder to change versions.

use std::fmt;

/// The fewest bytes of a token: with 16 random ones there is nothing to guess.
const SHORTEST: usize = 16;

/// The most bytes of a token, so that it always fits a request's head.
const LONGEST: usize = 4096;

/// A secret that allows its holder to change versions.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a text cannot be a token. None of these reveals anything of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is empty.
    #[error("the admin token is empty")]
    Empty,
    /// It could be guessed.
    #[error("the admin token has {0} bytes; it needs at least {SHORTEST}")]
    TooShort(usize),
    /// It would not fit a request.
    #[error("the admin token has more than the {LONGEST} bytes that are allowed")]
    TooLong,
    /// It could not be sent.
    #[error(
        "the admin token has characters that a header cannot carry; printable ASCII \
         characters are allowed, except for spaces"
    )]
    Unsendable,
}

impl Token {
    /// Reads a token from a file or the environment. White space around it, such as the
    /// end of the line, is ignored.
    ///
    /// # Errors
    ///
    /// If it is too short, too long, or cannot be sent.
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        let text = text.trim_ascii();
        match text.len() {
            0 => return Err(TokenError::Empty),
            length if length < SHORTEST => return Err(TokenError::TooShort(length)),
            length if length > LONGEST => return Err(TokenError::TooLong),
            _ => {}
        }
        match str::from_utf8(text) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(TokenError::Unsendable),
        }
    }

    /// A new one that nobody can guess, of 64 hexadecimal digits; `random` are its bytes, from
    /// the system.
    pub fn of_random(random: &[u8; 32]) -> Self {
        // Written as digests are.
        Self(predictor::Digest(*random).to_string())
    }

    /// The token itself, to be kept where only its owner can read it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The value of the `Authorization` header of a request with this token.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    #[test]
    fn tokens_are_checked() {
        let text = |text: &[u8]| Token::parse(text).map(|token| token.authorization());
        let right = Ok(format!("Bearer {SECRET}"));
        assert_eq!(text(SECRET.as_bytes()), right);
        assert_eq!(text(format!(" {SECRET}\r\n").as_bytes()), right);
        for (wrong, error) in [
            (&b""[..], TokenError::Empty),
            (b" \r\n\t", TokenError::Empty),
            (b"0123456789abcde\n", TokenError::TooShort(15)),
            (&[b'a'; LONGEST + 1], TokenError::TooLong),
            (b"0123456789 abcdef", TokenError::Unsendable),
            (b"0123456789\nabcdef", TokenError::Unsendable),
            (b"0123456789\0abcdef", TokenError::Unsendable),
            ("0123456789abcdé".as_bytes(), TokenError::Unsendable),
            (b"0123456789abcde\xff", TokenError::Unsendable),
        ] {
            assert_eq!(text(wrong), Err(error));
        }
        assert!(text(&[b'a'; LONGEST]).is_ok());
        let token = Token::parse(SECRET.as_bytes()).unwrap();
        assert!(!format!("{token:?}").contains(SECRET));
    }

    #[test]
    fn a_random_token_is_one_that_can_be_sent() {
        let token = Token::of_random(&[0xa5; 32]);
        assert_eq!(token.expose(), "a5".repeat(32));
        assert_eq!(Token::parse(token.expose().as_bytes()), Ok(token));
    }
}
