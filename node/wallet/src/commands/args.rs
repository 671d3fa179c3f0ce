//! Options that several commands share.

use std::{io::Write, path::PathBuf, str::FromStr};

use clap::Args;
use commonwatt_keystore::{KeyPair, Scheme, SecretUri};
use commonwatt_primitives::{AccountId, Hash, Step, address::account_from_address};
use sp_runtime::generic::Era;

use crate::{
    accounts::{AccountFolder, AccountsError, KeptAccount},
    client::{ChainKind, Client},
    error::WalletError,
    password::{Prompt, Question},
};

/// Blocks up to which a mortal transaction may live; the chain remembers 2 400.
const ERA_BLOCKS_MAX: u64 = 2_048;
/// The least that an era can say.
const ERA_BLOCKS_MIN: u64 = 4;

/// How the wallet's password is asked for.
pub(super) const PASSWORD: Question = Question {
    what: "password of the account",
    flag: "--password-file",
};

/// Which node.
#[derive(Clone, Debug, Args)]
pub(super) struct NodeArgs {
    /// JSON-RPC of a node
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:9944")]
    pub url: String,
    /// Genesis hash of the chain that is meant: the node's must be the same
    #[arg(long, value_name = "HASH")]
    pub genesis: Option<Hash>,
}

impl NodeArgs {
    pub(super) async fn connect(&self) -> Result<Client, WalletError> {
        Ok(Client::connect(&self.url, self.genesis).await?)
    }
}

/// Which folder.
#[derive(Clone, Debug, Args)]
pub(super) struct FolderArgs {
    /// Folder of the wallet [default: ~/.local/share/commonwatt/wallet]
    #[arg(long, value_name = "FOLDER")]
    wallet: Option<PathBuf>,
}

impl FolderArgs {
    pub(super) fn folder(&self) -> Result<AccountFolder, WalletError> {
        Ok(AccountFolder::new(self.wallet.as_deref())?)
    }

    /// Returns the account that is meant, and warns of files that were passed over to find it.
    pub(super) fn find(
        &self,
        who: Option<&str>,
        notes: &mut dyn Write,
    ) -> Result<KeptAccount, WalletError> {
        let mut broken = Vec::new();
        let found = self.folder()?.find(who, &mut broken);
        warn_of(&broken, notes)?;
        Ok(found?)
    }
}

/// Warns of files in the wallet's folder that are passed over.
pub(super) fn warn_of(broken: &[AccountsError], notes: &mut dyn Write) -> Result<(), WalletError> {
    for error in broken {
        writeln!(
            notes,
            "Warning: a file of the wallet is passed over: {error}"
        )?;
    }
    Ok(())
}

/// Which account.
#[derive(Clone, Debug, Args)]
pub(super) struct WhoArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// The account: its name in the wallet, or its address [default: the only one]
    #[arg(long, value_name = "NAME|ADDRESS")]
    account: Option<String>,
    /// A public development key, like //Alice, instead of an account; for chains to try things out on
    #[arg(long, value_name = "//NAME", conflicts_with = "account")]
    suri: Option<String>,
    /// Scheme of the development key: ed25519 or sr25519
    #[arg(long, value_name = "ed25519|sr25519", default_value_t = Scheme::Ed25519, requires = "suri")]
    scheme: Scheme,
}

impl WhoArgs {
    /// Returns whom to look at; no password is needed for that.
    pub(super) fn id(&self, notes: &mut dyn Write) -> Result<AccountId, WalletError> {
        if let Some(pair) = self.development_key()? {
            return Ok(AccountId::new(pair.public()));
        }
        // Anybody's books can be looked at.
        let address = self.account.as_deref();
        if let Some(id) = address.and_then(account_from_address) {
            return Ok(id);
        }
        Ok(self.folder.find(address, notes)?.id)
    }

    /// Returns whether the command line names somebody.
    pub(super) fn is_named(&self) -> bool {
        self.account.is_some() || self.suri.is_some()
    }

    /// Returns whom to look at, or nobody when the command line names nobody and the wallet has not just one account.
    pub(super) fn id_if_any(
        &self,
        notes: &mut dyn Write,
    ) -> Result<Option<AccountId>, WalletError> {
        if self.is_named() {
            return self.id(notes).map(Some);
        }
        let listing = self.folder.folder()?.list()?;
        warn_of(&listing.broken, notes)?;
        Ok(match &listing.accounts[..] {
            [only] => Some(only.id.clone()),
            _ => None,
        })
    }

    /// Returns the account whose name or address this is.
    pub(super) fn resolve(
        &self,
        text: &str,
        notes: &mut dyn Write,
    ) -> Result<AccountId, WalletError> {
        match account_from_address(text) {
            Some(id) => Ok(id),
            None => Ok(self.folder.find(Some(text), notes)?.id),
        }
    }

    fn development_key(&self) -> Result<Option<KeyPair>, WalletError> {
        let Some(text) = &self.suri else {
            return Ok(None);
        };
        let uri = SecretUri::parse(text)?;
        if !uri.is_well_known() {
            return Err(WalletError::usage(
                "--suri takes public development keys alone, like //Alice: other users of this machine can see a command \
                 line. Take the secret into the wallet with `commonwatt wallet import`; and if it was a real one, move \
                 what it owns to a new account",
            ));
        }
        Ok(Some(uri.to_pair(self.scheme)?))
    }

    /// Opens the key that signs, and asks for its password if it has one.
    pub(super) fn signer(
        &self,
        password_file: Option<&PathBuf>,
        notes: &mut dyn Write,
    ) -> Result<Signer, WalletError> {
        if let Some(pair) = self.development_key()? {
            return Ok(Signer { pair, kept: None });
        }
        let kept = self.folder.find(self.account.as_deref(), notes)?;
        let password = PASSWORD.ask(password_file.map(PathBuf::as_path), Prompt::Known)?;
        let pair = kept.open(&password)?;
        Ok(Signer {
            pair,
            kept: Some(kept),
        })
    }
}

/// A key that can sign.
pub(super) struct Signer {
    pub pair: KeyPair,
    kept: Option<KeptAccount>,
}

impl Signer {
    pub(super) fn id(&self) -> AccountId {
        AccountId::new(self.pair.public())
    }

    /// Refuses to sign for a chain that the key is not for.
    pub(super) fn verify_chain(
        &self,
        genesis: Hash,
        kind: Option<ChainKind>,
    ) -> Result<(), WalletError> {
        match &self.kept {
            Some(kept) => Ok(kept.verify_chain(genesis)?),
            None if kind == Some(ChainKind::Live) => Err(WalletError::usage(
                "this is no chain to try things out on, and anybody can sign with a development key: nothing was signed; use an \
                 account of the wallet",
            )),
            None => Ok(()),
        }
    }
}

/// For how many blocks a transaction is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    Immortal,
    Blocks(u64),
}

impl FromStr for Validity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "immortal" {
            return Ok(Self::Immortal);
        }
        text.parse()
            .ok()
            .filter(|blocks: &u64| {
                blocks.is_power_of_two() && (ERA_BLOCKS_MIN..=ERA_BLOCKS_MAX).contains(blocks)
            })
            .map(Self::Blocks)
            .ok_or_else(|| {
                format!(
                    "write immortal, or a power of two of blocks from {ERA_BLOCKS_MIN} to {ERA_BLOCKS_MAX}"
                )
            })
    }
}

impl Validity {
    /// Returns the era that begins with a block.
    pub(super) fn era_from(self, block: u32) -> Era {
        match self {
            Self::Immortal => Era::Immortal,
            Self::Blocks(blocks) => Era::mortal(blocks, u64::from(block)),
        }
    }
}

/// Which step an order is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepText {
    /// The first that is open.
    Next,
    /// So many after that.
    Ahead(u32),
    /// This one.
    At(Step),
}

impl FromStr for StepText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| -> Option<u32> {
            let all_digits = digits.bytes().all(|digit| digit.is_ascii_digit());
            digits.parse().ok().filter(|_| all_digits)
        };
        let parsed = match text.strip_prefix('+') {
            _ if text == "next" => Some(Self::Next),
            Some(digits) => number(digits).map(Self::Ahead),
            None => number(text).map(|step| Self::At(Step(step))),
        };
        parsed.ok_or_else(|| {
            "write next, a number of steps after the next one like +4, or a step's own number"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_named_by_number_or_by_distance() {
        assert_eq!("next".parse(), Ok(StepText::Next));
        assert_eq!("+4".parse(), Ok(StepText::Ahead(4)));
        assert_eq!("1234".parse(), Ok(StepText::At(Step(1_234))));
        for text in ["", "+", "-1", "++1", "4294967296", "soon"] {
            assert!(text.parse::<StepText>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mortal_transaction_begins_with_the_block_it_names() {
        for blocks in [4, 64, 2_048] {
            let validity: Validity = blocks.to_string().parse().unwrap();
            for block in [0u32, 1, 63, 64, 1_000_003] {
                let era = validity.era_from(block);
                assert_eq!(era.birth(u64::from(block)), u64::from(block));
                assert_eq!(era.death(u64::from(block)), u64::from(block) + blocks);
            }
        }
        assert_eq!("immortal".parse(), Ok(Validity::Immortal));
        for text in ["", "0", "3", "5", "4096", "forever"] {
            assert!(text.parse::<Validity>().is_err(), "{text}");
        }
    }
}
