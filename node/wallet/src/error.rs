//! Why a wallet's command did not do what was asked.

use std::io;

use commonwatt_keystore::{FileError, SecretError};

use crate::{
    accounts::AccountsError, client::ClientError, outcome::SubmitError,
    password::PasswordInputError, signing::TransactionError, units::UnitsError,
};

/// What went wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// An amount is none.
    #[error(transparent)]
    Units(#[from] UnitsError),
    /// An account cannot be used.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// There is no password.
    #[error(transparent)]
    Password(#[from] PasswordInputError),
    /// A secret is none.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The node is of no use.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A transaction did not do what it should.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// A text is no transaction.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The answer cannot be written.
    #[error("the answer cannot be written")]
    Output(#[from] io::Error),
    /// The system does not let it talk to a node, or be stopped.
    #[error("the system does not give what is needed to talk to a node")]
    System(#[source] io::Error),
}

impl WalletError {
    /// Returns an error about what was asked.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }
}
