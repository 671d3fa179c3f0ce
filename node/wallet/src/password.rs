//! Where passwords come from: a file or a prompt, and never the command line.

use std::path::{Path, PathBuf};

use commonwatt_keystore::{
    FileError, Password, PasswordError, Zeroizing,
    files::{self, Exposure},
};

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordInputError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds none.
    #[error("{} holds no password: {source}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PasswordError,
    },
    /// What was typed is none.
    #[error(transparent)]
    Typed(#[from] PasswordError),
    /// There is nobody to ask.
    #[error("there is no terminal to ask for the {what} ({cause}): give it in a file with {flag}")]
    NoTerminal {
        /// What was to be asked for.
        what: &'static str,
        /// Why that was not possible.
        cause: String,
        /// The flag that helps.
        flag: &'static str,
    },
    /// The second time it was another one.
    #[error("the two passwords differ: nothing was written, try again")]
    Differ,
    /// Others can read the file.
    #[error(
        "other users of this machine can read {path} (mode {mode:04o}): run `chmod 600 '{path}'`, and change the password if \
         somebody may have read it", path = .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// How a password is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Once: it has to open something, so a mistake is noticed.
    Known,
    /// Twice: something is encrypted with it that a mistake would lock away.
    New,
}

/// A password that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// What it is the password of.
    pub what: &'static str,
    /// The flag that names a file with it.
    pub flag: &'static str,
}

impl Question {
    /// Returns the password: from the file if one is named, else from the terminal.
    pub fn ask(self, file: Option<&Path>, prompt: Prompt) -> Result<Password, PasswordInputError> {
        match file {
            Some(file) => from_file(file),
            None => self.ask_terminal(prompt),
        }
    }

    fn ask_terminal(self, prompt: Prompt) -> Result<Password, PasswordInputError> {
        let ask = |question: String| -> Result<Password, PasswordInputError> {
            let text = rpassword::prompt_password(question).map_err(|error| {
                PasswordInputError::NoTerminal {
                    what: self.what,
                    cause: error.to_string(),
                    flag: self.flag,
                }
            })?;
            Ok(Password::new(Zeroizing::new(text))?)
        };
        let mut what = self.what.to_owned();
        if let Some(first) = what.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let password = ask(format!("{what}: "))?;
        if prompt == Prompt::New && ask("The same again: ".to_owned())? != password {
            return Err(PasswordInputError::Differ);
        }
        Ok(password)
    }
}

/// Reads a password from the first line of a file that only its owner can read.
fn from_file(path: &Path) -> Result<Password, PasswordInputError> {
    let (bytes, exposure) = files::read_input(path)?;
    if let Exposure::Others(mode) = exposure {
        return Err(PasswordInputError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Password::from_file_content(&bytes).map_err(|source| PasswordInputError::Content {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_password_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "secret\n").unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let question = Question {
            what: "password of the account",
            flag: "--password-file",
        };
        mode(0o644);
        let error = question
            .ask(Some(&path), Prompt::Known)
            .unwrap_err()
            .to_string();
        assert!(error.contains("chmod 600"), "{error}");
        mode(0o600);
        let password = question.ask(Some(&path), Prompt::New).unwrap();
        assert_eq!(
            password,
            Password::new(Zeroizing::new("secret".into())).unwrap()
        );
        fs::write(&path, "\n").unwrap();
        let error = question
            .ask(Some(&path), Prompt::Known)
            .unwrap_err()
            .to_string();
        assert!(error.contains("holds no password"), "{error}");
    }
}
