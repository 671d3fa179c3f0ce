//! Where passwords come from: a file, a prompt or a variable, and never the command line.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use commonwatt_keystore::{
    Password, Zeroizing,
    files::{self, Exposure},
};
use tracing::warn;

use crate::report::shell_word;

/// The variable that may hold the keystore's password.
pub const PASSWORD_VARIABLE: &str = "COMMONWATT_PASSWORD";

/// The keystore's password.
#[derive(Clone, Debug, Default, Args)]
pub struct PasswordArgs {
    /// File with the password of the keystore, in its first line [default: the variable COMMONWATT_PASSWORD, if set]
    #[arg(long, value_name = "FILE", conflicts_with = "password_interactive")]
    password_file: Option<PathBuf>,
    /// Ask for the password of the keystore
    #[arg(long)]
    password_interactive: bool,
}

/// The variable in which systemd names the folder of a service's credentials.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// How a password is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Once: it has to open something, so a mistake is noticed.
    Known,
    /// Twice: something is encrypted with it that a mistake would lock away.
    New,
}

impl PasswordArgs {
    /// Says whether the command line names a password.
    pub fn is_given(&self) -> bool {
        self.password_file.is_some() || self.password_interactive
    }

    /// Returns the flags that give another command the same password; without any, those that show where it goes.
    pub fn flags(&self) -> String {
        match &self.password_file {
            Some(file) => format!("--password-file {}", shell_word(&file.to_string_lossy())),
            None if self.password_interactive => "--password-interactive".to_owned(),
            None => "--password-file FILE".to_owned(),
        }
    }

    /// Returns the password, if one was given.
    pub fn read(&self, prompt: Prompt) -> Result<Option<Password>> {
        if let Some(file) = &self.password_file {
            return from_file(file).map(Some);
        }
        if self.password_interactive {
            return from_prompt("Password of the keystore", prompt).map(Some);
        }
        match env::var(PASSWORD_VARIABLE) {
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => {
                bail!("the variable {PASSWORD_VARIABLE} is not UTF-8 text: use --password-file")
            }
            Ok(text) => Password::new(Zeroizing::new(text))
                .map(Some)
                .with_context(|| format!("the variable {PASSWORD_VARIABLE} holds no password")),
        }
    }
}

/// The password of an account file.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct AccountPasswordArgs {
    /// File with the password of the account file, in its first line
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "account_password_interactive"
    )]
    account_password_file: Option<PathBuf>,
    /// Ask for the password of the account file
    #[arg(long)]
    account_password_interactive: bool,
}

impl AccountPasswordArgs {
    pub(super) fn read(&self, prompt: Prompt) -> Result<Option<Password>> {
        match &self.account_password_file {
            Some(file) => from_file(file).map(Some),
            None if self.account_password_interactive => {
                from_prompt("Password of the account file", prompt).map(Some)
            }
            None => Ok(None),
        }
    }
}

fn from_file(path: &Path) -> Result<Password> {
    let (bytes, exposure) = files::read_input(path)?;
    warn_if_exposed(path, exposure);
    Password::from_file_content(&bytes)
        .with_context(|| format!("{} holds no password", path.display()))
}

/// Warns of a file with a secret that other users can read. What an orchestrator mounts often is, so it is not refused.
///
/// A credential of systemd's only seems to be: it lies in a folder of the service alone, and the list that opens it to
/// the service's user shows as rights of the group.
pub(crate) fn warn_if_exposed(path: &Path, exposure: Exposure) {
    if let Exposure::Others(mode) = exposure
        && !is_below(path, env::var_os(CREDENTIALS_VARIABLE))
    {
        warn!(
            "other users of this machine may read the secret in {path} (mode {mode:04o}): run `chmod 600 '{path}'`",
            path = path.display()
        );
    }
}

/// Says whether a file is in a folder, if there is one.
fn is_below(path: &Path, folder: Option<OsString>) -> bool {
    folder.is_some_and(|folder| !folder.is_empty() && path.starts_with(folder))
}

fn from_prompt(what: &str, prompt: Prompt) -> Result<Password> {
    let ask = |question: &str| -> Result<Password> {
        let text = rpassword::prompt_password(question).context(
            "there is no terminal to ask for the password: give it in a file, with --password-file or \
             --account-password-file",
        )?;
        Ok(Password::new(Zeroizing::new(text))?)
    };
    let password = ask(&format!("{what}: "))?;
    if prompt == Prompt::New {
        let again = ask("The same again: ")?;
        ensure!(
            password == again,
            "the two passwords differ: nothing was written, try again"
        );
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_file_below_the_folder_of_credentials() {
        let folder = || Some(OsString::from("/run/credentials/commonwatt.service"));
        let credential = Path::new("/run/credentials/commonwatt.service/keystore-password");
        assert!(is_below(credential, folder()));
        assert!(!is_below(Path::new("/etc/commonwatt/password"), folder()));
        assert!(!is_below(
            Path::new("/run/credentials/commonwatt.service.d/x"),
            folder()
        ));
        assert!(!is_below(credential, None) && !is_below(credential, Some(OsString::new())));
    }
}
