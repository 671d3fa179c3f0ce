//! The wallet folder: one encrypted account file of polkadot.js for each account.
//!
//! ## Invariants
//! - No key lies in the folder in clear, and none is ever overwritten.
//! - An account's name is its file's name, and can be no other path.

use std::{
    env, fmt, fs, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
};

use commonwatt_keystore::{
    Account, AccountError, FileError, KeyPair, Password, SecretError, files,
};
use commonwatt_primitives::{
    AccountId, Hash,
    address::{ADDRESS_LETTERS_MAX, account_from_address},
};
use commonwatt_runtime::configs::SS58_PREFIX;
use serde_json::Value;

/// Accounts in a wallet.
pub const ACCOUNTS_MAX: usize = 1_024;
/// Letters of an account's name.
const NAME_LETTERS_MAX: usize = 64;
/// Letters of a text that is meant for an address: those have from 46 on.
const ADDRESS_LETTERS: RangeInclusive<usize> = 45..=ADDRESS_LETTERS_MAX + 1;
/// What an account's file ends with.
const ENDING: &str = "json";
/// Where account files of polkadot.js name the chain they are for.
const GENESIS: &str = "genesisHash";

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// Neither variable says where a user's data lies.
    #[error("neither XDG_DATA_HOME nor HOME is set: name a folder with --wallet")]
    NoFolder,
    /// The folder cannot be read.
    #[error("cannot list {}: {source}; name another folder with --wallet", .folder.display())]
    List {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There are more than any person has.
    #[error("{} holds more than {ACCOUNTS_MAX} accounts: move some to another folder", .0.display())]
    TooMany(PathBuf),
    /// The wallet is empty.
    #[error(
        "the wallet {} has no accounts: make one with `commonwatt wallet create NAME`, take one with `import`, or name another \
         folder with --wallet", .0.display()
    )]
    Empty(PathBuf),
    /// There are several, and none was named.
    #[error("the wallet has several accounts ({names}): say which with --account")]
    WhichOne {
        /// Their names.
        names: String,
    },
    /// There is none like that.
    #[error(
        "the wallet {} has no account {name:?}: `commonwatt wallet list` shows its accounts, and an address says whose books to \
         look at", .folder.display()
    )]
    Unknown {
        /// The folder.
        folder: PathBuf,
        /// The name.
        name: String,
    },
    /// It looks like an address, and is none.
    #[error(
        "{0:?} is no address, and no account of this wallet has that name: its checksum is wrong, so a letter is mistyped, \
         missing or too many; copy it again"
    )]
    Mistyped(String),
    /// An account file is damaged.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: AccountError,
    },
    /// The key cannot be read, sealed or opened.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The secret is none.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The account is kept for another chain.
    #[error(
        "the account {name} is kept for the chain with genesis {kept:?}, and this one's is {asked:?}: nothing was signed; name \
         the right node with --url, or use another account"
    )]
    OtherChain {
        /// The account.
        name: String,
        /// The chain it is for.
        kept: Hash,
        /// The chain that was asked for.
        asked: Hash,
    },
}

/// What an account is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

/// A text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has up to {NAME_LETTERS_MAX} of the letters a-z, A-Z, digits, . _ and -, and begins with a letter or digit"
)]
pub struct NameError;

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_first = |letter: u8| letter.is_ascii_alphanumeric();
        let is_other = |letter: u8| is_first(letter) || b"._-".contains(&letter);
        let fits = text.bytes().next().is_some_and(is_first)
            && text.bytes().all(is_other)
            && text.len() <= NAME_LETTERS_MAX;
        fits.then(|| Self(text.to_owned())).ok_or(NameError)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An account in the folder, as its file says without its password.
#[derive(Clone, Debug)]
pub struct KeptAccount {
    /// Its name.
    pub name: Name,
    /// Who it is.
    pub id: AccountId,
    /// The file.
    pub path: PathBuf,
    /// The scheme of its key.
    pub scheme: &'static str,
    /// The only chain it signs for, if it is kept for one.
    pub genesis: Option<Hash>,
    file: Account,
}

impl KeptAccount {
    /// Opens the account's key.
    pub fn open(&self, password: &Password) -> Result<KeyPair, AccountsError> {
        Ok(self.file.open(Some(password))?)
    }

    /// Refuses to sign for another chain than the one the account is kept for.
    pub fn verify_chain(&self, asked: Hash) -> Result<(), AccountsError> {
        match self.genesis {
            Some(kept) if kept != asked => Err(AccountsError::OtherChain {
                name: self.name.to_string(),
                kept,
                asked,
            }),
            _ => Ok(()),
        }
    }

    /// Returns the account file as it lies in the folder.
    pub fn read(&self) -> Result<Vec<u8>, AccountsError> {
        let bytes = files::read_private(&self.path)?;
        let bytes = bytes.ok_or_else(|| FileError::Missing(self.path.clone()))?;
        Ok(bytes.to_vec())
    }
}

/// What lies in the folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// The accounts, by name.
    pub accounts: Vec<KeptAccount>,
    /// What is wrong with files that should be accounts and are passed over; each names its file.
    pub broken: Vec<AccountsError>,
}

/// Returns whether a text is as long as an address, or a letter more or less, and of letters and digits alone.
fn is_like_address(text: &str) -> bool {
    ADDRESS_LETTERS.contains(&text.len())
        && text.bytes().all(|letter| letter.is_ascii_alphanumeric())
}

/// A folder with accounts.
#[derive(Clone, Debug)]
pub struct AccountFolder(PathBuf);

impl AccountFolder {
    /// Names a folder, or the one that is meant when none is named.
    pub fn new(named: Option<&Path>) -> Result<Self, AccountsError> {
        let absolute = |name| {
            env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let usual = || {
            absolute("XDG_DATA_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
                .map(|data| data.join("commonwatt").join("wallet"))
        };
        named
            .map(Path::to_owned)
            .or_else(usual)
            .map(Self)
            .ok_or(AccountsError::NoFolder)
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns where an account of this name lies, if there is one.
    pub fn path_of(&self, name: &Name) -> PathBuf {
        self.0.join(format!("{name}.{ENDING}"))
    }

    /// Lists the accounts by name. A folder that is not there has none, and one file that is broken hides no other.
    pub fn list(&self) -> Result<Listing, AccountsError> {
        let failed = |source| AccountsError::List {
            folder: self.0.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
            entries => entries.map_err(failed)?,
        };
        let mut listing = Listing::default();
        let Listing { accounts, broken } = &mut listing;
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let is_account = path.extension().is_some_and(|ending| ending == ENDING);
            let name = path.file_stem().and_then(|stem| stem.to_str());
            let Some(Ok(name)) = name.filter(|_| is_account).map(Name::from_str) else {
                continue;
            };
            if accounts.len().saturating_add(broken.len()) >= ACCOUNTS_MAX {
                return Err(AccountsError::TooMany(self.0.clone()));
            }
            match read_account(name, path) {
                Ok(account) => accounts.extend(account),
                Err(error) => broken.push(error),
            }
        }
        accounts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listing)
    }

    /// Returns the account that is meant: by its name or address, or the only one.
    ///
    /// For a name its own file alone is read. Else all are looked at, and what is wrong with some goes into `broken`.
    pub fn find(
        &self,
        who: Option<&str>,
        broken: &mut Vec<AccountsError>,
    ) -> Result<KeptAccount, AccountsError> {
        if let Some(Ok(name)) = who.map(Name::from_str) {
            let path = self.path_of(&name);
            if let Some(kept) = read_account(name, path)? {
                return Ok(kept);
            }
        }
        let id = who.and_then(account_from_address);
        let mut accounts = Vec::new();
        if who.is_none() || id.is_some() {
            let listing = self.list()?;
            accounts = listing.accounts;
            broken.extend(listing.broken);
        }
        let Some(who) = who else {
            return match accounts.len() {
                0 => Err(AccountsError::Empty(self.0.clone())),
                1 => Ok(accounts.remove(0)),
                _ => {
                    let names: Vec<_> = accounts.iter().map(|kept| kept.name.to_string()).collect();
                    let names = names.join(", ");
                    Err(AccountsError::WhichOne { names })
                }
            };
        };
        accounts
            .into_iter()
            .find(|kept| Some(&kept.id) == id.as_ref())
            .ok_or_else(|| match id {
                None if is_like_address(who) => AccountsError::Mistyped(who.to_owned()),
                _ => AccountsError::Unknown {
                    folder: self.0.clone(),
                    name: who.chars().take(NAME_LETTERS_MAX).collect(),
                },
            })
    }

    /// Keeps a key, encrypted; `genesis` is the only chain it will sign for, if that is wanted.
    pub fn keep(
        &self,
        name: &Name,
        pair: &KeyPair,
        password: &Password,
        genesis: Option<Hash>,
    ) -> Result<PathBuf, AccountsError> {
        let account = Account::new(pair, Some(password), Some(&name.0), SS58_PREFIX)?;
        let bytes = with_genesis(&account, genesis);
        files::create_private_folder(&self.0)?;
        let path = self.path_of(name);
        files::write_private(&path, &bytes)?;
        Ok(path)
    }
}

/// Reads an account's file; `None` when it is gone meanwhile.
fn read_account(name: Name, path: PathBuf) -> Result<Option<KeptAccount>, AccountsError> {
    let Some(bytes) = files::read_private(&path)? else {
        return Ok(None);
    };
    let failed = |source| AccountsError::File {
        path: path.clone(),
        source,
    };
    let file = Account::parse(&bytes).map_err(failed)?;
    let scheme = file.scheme().map_err(failed)?.name();
    let id = account_from_address(file.address())
        .ok_or_else(|| failed(AccountError::Damaged("its address is mistyped")))?;
    Ok(Some(KeptAccount {
        name,
        id,
        scheme,
        genesis: genesis_of(&bytes),
        path,
        file,
    }))
}

/// Returns the chain an account file names, as polkadot.js writes it.
pub fn genesis_of(bytes: &[u8]) -> Option<Hash> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    file.get("meta")?.get(GENESIS)?.as_str()?.parse().ok()
}

/// Returns an account file that names the only chain it is for, as polkadot.js does.
fn with_genesis(account: &Account, genesis: Option<Hash>) -> Vec<u8> {
    let json = account.to_json();
    let Some(genesis) = genesis else {
        return json.to_vec();
    };
    let mut file: Value =
        serde_json::from_slice(&json).expect("what was just written as JSON is JSON");
    if let Some(meta) = file.get_mut("meta").and_then(Value::as_object_mut) {
        meta.insert(GENESIS.to_owned(), Value::from(format!("{genesis:?}")));
    }
    let mut bytes = serde_json::to_vec_pretty(&file).expect("JSON can be written again");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_keystore::{Scheme, SecretUri, Zeroizing};
    use std::os::unix::fs::PermissionsExt;

    fn password(text: &str) -> Password {
        Password::new(Zeroizing::new(text.to_owned())).unwrap()
    }

    fn pair(uri: &str, scheme: Scheme) -> KeyPair {
        SecretUri::parse(uri).unwrap().to_pair(scheme).unwrap()
    }

    /// Finds an account where no file is broken.
    fn find(wallet: &AccountFolder, who: Option<&str>) -> Result<KeptAccount, AccountsError> {
        let mut broken = Vec::new();
        let found = wallet.find(who, &mut broken);
        assert!(broken.is_empty(), "{broken:?}");
        found
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn accounts_are_kept_encrypted_and_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let wallet = AccountFolder::new(Some(&folder.path().join("a/wallet"))).unwrap();
        assert!(wallet.list().unwrap().accounts.is_empty());
        assert!(matches!(find(&wallet, None), Err(AccountsError::Empty(_))));
        let genesis = Hash::repeat_byte(1);
        let path = wallet
            .keep(
                &name("eve"),
                &pair("//Eve", Scheme::Sr25519),
                &password("one"),
                Some(genesis),
            )
            .unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let kept = find(&wallet, None).unwrap();
        assert_eq!((kept.scheme, kept.genesis), ("sr25519", Some(genesis)));
        assert_eq!(
            kept.open(&password("one")).unwrap().public(),
            *AsRef::<[u8; 32]>::as_ref(&kept.id)
        );
        assert!(matches!(
            kept.open(&password("other")),
            Err(AccountsError::Account(AccountError::WrongPassword))
        ));
        kept.verify_chain(genesis).unwrap();
        let error = kept.verify_chain(Hash::zero()).unwrap_err().to_string();
        assert!(error.contains("nothing was signed"), "{error}");
    }

    #[test]
    fn no_account_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let wallet = AccountFolder::new(Some(&folder.path().join("wallet"))).unwrap();
        let alice = pair("//Alice", Scheme::Ed25519);
        wallet
            .keep(&name("a"), &alice, &password("x"), None)
            .unwrap();
        let before = find(&wallet, None).unwrap().read().unwrap();
        let error = wallet
            .keep(&name("a"), &alice, &password("y"), None)
            .unwrap_err();
        assert!(
            matches!(error, AccountsError::Io(FileError::Exists(_))),
            "{error}"
        );
        assert_eq!(find(&wallet, None).unwrap().read().unwrap(), before);
    }

    #[test]
    fn of_several_accounts_one_must_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let wallet = AccountFolder::new(Some(&folder.path().join("wallet"))).unwrap();
        for who in ["bob", "alice"] {
            let key = pair(&format!("//{who}"), Scheme::Ed25519);
            wallet.keep(&name(who), &key, &password("x"), None).unwrap();
        }
        let error = find(&wallet, None).unwrap_err().to_string();
        assert!(error.contains("alice, bob"), "{error}");
        let bob = find(&wallet, Some("bob")).unwrap();
        assert_eq!(
            find(&wallet, Some(&bob.id.to_string())).unwrap().name,
            name("bob")
        );
        assert!(matches!(
            find(&wallet, Some("carol")),
            Err(AccountsError::Unknown { .. })
        ));
    }

    #[test]
    fn a_name_is_no_path() {
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "../a",
            ".hidden",
            "-a",
            "a b",
            "ä",
            &"a".repeat(65),
        ] {
            assert_eq!(text.parse::<Name>(), Err(NameError), "{text}");
        }
        name("Anna.k_2-x");
    }

    #[test]
    fn a_damaged_or_exposed_account_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let wallet = AccountFolder::new(Some(folder.path())).unwrap();
        let path = folder.path().join("broken.json");
        let said = || {
            let listing = wallet.list().unwrap();
            assert!(listing.accounts.is_empty() && listing.broken.len() == 1);
            let by_name = find(&wallet, Some("broken")).unwrap_err().to_string();
            assert_eq!(by_name, listing.broken[0].to_string());
            by_name
        };
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(said().contains("broken.json"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(said().contains("chmod 600"));
        // What is no account's file is passed over.
        fs::rename(&path, folder.path().join("notes.txt")).unwrap();
        let listing = wallet.list().unwrap();
        assert!(listing.accounts.is_empty() && listing.broken.is_empty());
    }

    #[test]
    fn a_broken_file_hides_no_other_account() {
        let folder = tempfile::tempdir().unwrap();
        let wallet = AccountFolder::new(Some(&folder.path().join("wallet"))).unwrap();
        let bob = pair("//Bob", Scheme::Ed25519);
        wallet
            .keep(&name("bob"), &bob, &password("x"), None)
            .unwrap();
        fs::write(wallet.path_of(&name("a")), "{}").unwrap();
        // Nobody ever writes to it, so that opening it would wait for ever.
        let pipe = wallet.path_of(&name("pipe"));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let id = find(&wallet, Some("bob")).unwrap().id;
        for who in [None, Some(id.to_string())] {
            let mut broken = Vec::new();
            let kept = wallet.find(who.as_deref(), &mut broken).unwrap();
            assert_eq!(kept.name, name("bob"));
            let said: String = broken.iter().map(ToString::to_string).collect();
            assert_eq!(broken.len(), 2, "{said}");
            assert!(
                said.contains("a.json") && said.contains("pipe.json is not a file"),
                "{said}"
            );
        }
    }
}
