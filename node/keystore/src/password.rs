//! Passwords.

use std::fmt;

use zeroize::Zeroizing;

/// Longest password that is taken, in bytes.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// A password. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// Why a text is no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It is empty, which would protect nothing.
    #[error(
        "the password is empty: give one, or leave the password options away to store keys without"
    )]
    Empty,
    /// It means no bytes at all.
    #[error(
        "the password 0x stands for no bytes at all, as polkadot.js reads it, which would protect nothing: give another"
    )]
    NoBytes,
    /// It is longer than any password.
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes: is it another file?")]
    TooLong,
    /// It is not text.
    #[error("the password is not UTF-8 text: is it another file?")]
    NotText,
}

impl Password {
    /// Takes a password as it was typed.
    pub fn new(text: Zeroizing<String>) -> Result<Self, PasswordError> {
        if text.as_str() == "0x" {
            return Err(PasswordError::NoBytes);
        }
        match text.len() {
            0 => Err(PasswordError::Empty),
            1..=PASSWORD_BYTES_MAX => Ok(Self(text)),
            _ => Err(PasswordError::TooLong),
        }
    }

    /// Takes the content of a password file: its first line, so that the editor's last newline is no part of it.
    pub fn from_file_content(bytes: &[u8]) -> Result<Self, PasswordError> {
        let text = str::from_utf8(bytes).map_err(|_| PasswordError::NotText)?;
        let line = text.lines().next().unwrap_or_default();
        Self::new(Zeroizing::new(line.to_owned()))
    }

    /// Returns what keys are derived from.
    ///
    /// polkadot.js takes a password that is written as hexadecimal digits for the bytes they mean, so the same is
    /// done here.
    pub(crate) fn key_material(&self) -> Zeroizing<Vec<u8>> {
        let as_bytes = self
            .0
            .strip_prefix("0x")
            .and_then(|digits| hex::decode(digits).ok());
        Zeroizing::new(as_bytes.unwrap_or_else(|| self.0.as_bytes().to_vec()))
    }
}

impl PartialEq for Password {
    /// Compares what two prompts returned; both are the same person's, so time tells nobody anything.
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_means_some_bytes() {
        for (text, error) in [("", PasswordError::Empty), ("0x", PasswordError::NoBytes)] {
            let text = Zeroizing::new(text.to_owned());
            assert_eq!(Password::new(text).unwrap_err(), error);
        }
        let bytes = |text: &str| {
            let password = Password::new(Zeroizing::new(text.to_owned())).unwrap();
            password.key_material().to_vec()
        };
        assert_eq!(bytes("0x00"), [0]);
        assert_eq!(bytes("0x0"), b"0x0");
    }
}
