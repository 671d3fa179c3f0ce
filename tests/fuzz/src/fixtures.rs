//! What the targets work on: a small chain, stores in memory, a folder for files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use commonwatt_chain::{
    Agreement, AgreementError, Authored, Chain, ChainConfig, SessionPairs, Validators,
};
use commonwatt_executor::{BuildLimits, Executor};
use commonwatt_primitives::{
    Quality, Step, StepTiming, Wh,
    auction::Validator,
    digest::{Punctuality, StepDigest},
};
use commonwatt_runtime::{
    Hash, Header, RuntimeCall,
    apis::Lineup,
    example::{account, beacon_pair, genesis, pair},
    transaction::{SigningContext, sign_ed25519},
};
use commonwatt_storage::{
    Batch, ChainDb, Column, CommitMode, Record, SCAN_BYTES_MAX, SCAN_RECORDS_MAX, StatePruning,
    Store, StoreError,
};
use parking_lot::Mutex;
use sp_core::{ed25519, storage::Storage};
use sp_runtime::transaction_validity::TransactionSource;

/// Memory for decoded parts of a state, in bytes.
const TRIE_CACHE_BYTES: usize = 1024 * 1024;

/// Blocks of [`grown`].
pub const BLOCKS: u32 = 3;

/// Who signs in the targets: members, the DSO, devices and somebody the chain does not know.
pub const SIGNERS: [&str; 6] = ["X", "Y", "Dso", "A", "B", "Stranger"];

/// Returns the key of a signer; deriving one from the phrase takes a millisecond.
pub fn signer(place: u8) -> &'static (ed25519::Pair, usize) {
    static PAIRS: LazyLock<Vec<(ed25519::Pair, usize)>> = LazyLock::new(|| {
        let pairs = SIGNERS.iter().enumerate();
        pairs.map(|(place, name)| (pair(name), place)).collect()
    });
    &PAIRS[usize::from(place) % SIGNERS.len()]
}

// ---------------------------------------------------------------------------------- stores

/// The records of a database.
pub type Records = BTreeMap<(Column, Vec<u8>), Vec<u8>>;

/// A store in memory. Clones share their records.
#[derive(Clone, Default)]
pub struct MemoryStore(pub Arc<Mutex<Records>>);

impl Store for MemoryStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().get(&(column, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        column: Column,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Vec<Record>, StoreError> {
        let mut bytes = 0;
        Ok(self
            .0
            .lock()
            .range((column, prefix.to_vec())..)
            .take_while(|((of, key), _)| *of == column && key.starts_with(prefix))
            .filter(|((_, key), _)| after.is_none_or(|after| key.as_slice() > after))
            .take(SCAN_RECORDS_MAX)
            .take_while(|((_, key), value)| {
                let is_room = bytes < SCAN_BYTES_MAX;
                bytes += key.len() + value.len();
                is_room
            })
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut records = self.0.lock();
        for (column, key, value) in batch.iter() {
            match value {
                Some(value) => records.insert((column, key.to_vec()), value.to_vec()),
                None => records.remove(&(column, key.to_vec())),
            };
        }
        Ok(())
    }
}

// ---------------------------------------------------------------------------------- chains

/// Takes every block for its rightful author's, and as final.
pub struct Credulous;

impl Agreement for Credulous {
    fn claim(
        &self,
        step: Step,
        rank: u32,
        punctuality: Punctuality,
        lineup: &Lineup,
    ) -> Result<Option<StepDigest>, AgreementError> {
        agreement().claim(step, rank, punctuality, lineup)
    }

    fn seal(&self, header: &Header, lineup: &Lineup) -> Result<Vec<u8>, AgreementError> {
        agreement().seal(header, lineup)
    }

    fn verify_author(&self, _: &Header, _: &[u8], _: &Lineup) -> Result<(), AgreementError> {
        Ok(())
    }

    fn certify(
        &self,
        genesis: &Hash,
        number: u32,
        hash: &Hash,
        lineup: &Lineup,
    ) -> Result<Vec<u8>, AgreementError> {
        agreement().certify(genesis, number, hash, lineup)
    }

    fn verify_certificate(
        &self,
        _: &Hash,
        _: u32,
        _: &Hash,
        _: &[u8],
        _: &Lineup,
    ) -> Result<(), AgreementError> {
        Ok(())
    }
}

/// Returns the agreement of the example community: X alone makes blocks.
pub fn agreement() -> &'static Validators {
    static AGREEMENT: LazyLock<Validators> = LazyLock::new(|| {
        let validator = Validator {
            account: account("X"),
            keys: genesis().validators[0].keys.clone(),
        };
        let secrets = SessionPairs {
            vote: pair("X"),
            beacon: beacon_pair("X"),
        };
        Validators::new(&validator, secrets).expect("X's own keys")
    });
    &AGREEMENT
}

/// Returns when steps close.
pub fn timing() -> StepTiming {
    static TIMING: LazyLock<StepTiming> = LazyLock::new(|| genesis().timing);
    *TIMING
}

fn storage() -> Storage {
    static STORAGE: LazyLock<Storage> =
        LazyLock::new(|| genesis().build_storage().expect("the example is valid"));
    STORAGE.clone()
}

/// Returns the chain of the example community at its genesis, kept in `db`.
pub fn open_chain(db: ChainDb) -> Chain {
    let mut chain = Chain::open(db, Executor::new(), storage(), ChainConfig::default())
        .expect("an empty database opens");
    chain.set_agreement(Arc::new(Credulous));
    chain
}

/// Returns the chain of the example community at its genesis, kept in memory.
pub fn new_chain() -> (Chain, MemoryStore) {
    let store = MemoryStore::default();
    let db = ChainDb::with_store(
        Box::new(store.clone()),
        StatePruning::default(),
        TRIE_CACHE_BYTES,
    );
    (open_chain(db.expect("an empty store opens")), store)
}

/// Opens what is in a store.
pub fn reopen(records: Records) -> Result<ChainDb, commonwatt_storage::OpenError> {
    let store = MemoryStore(Arc::new(Mutex::new(records)));
    ChainDb::with_store(Box::new(store), StatePruning::default(), TRIE_CACHE_BYTES)
}

/// Makes the next block.
pub fn author(chain: &Chain) -> Authored {
    let limits = BuildLimits {
        bytes_max: 1024 * 1024,
        misfits_max: 8,
        is_over: &|| false,
    };
    chain
        .author_next(&timing(), Punctuality::OnTime, &limits, CommitMode::Durable)
        .expect("a block can be made")
        .expect("by the only validator")
}

/// Returns the encoded transaction of a signer.
pub fn sign(chain: &Chain, place: u8, nonce: u32, call: RuntimeCall) -> Vec<u8> {
    let context = SigningContext::immortal(chain.genesis_hash());
    sign_ed25519(call, nonce, &context, &signer(place).0)
}

/// Returns a device's report of a step.
pub fn report(step: u32, energy_wh: u64) -> RuntimeCall {
    let report = pallet_energy_token::Report {
        step: Step(step),
        reading: pallet_energy_token::Measurement::Interval {
            energy: Wh(energy_wh),
            version: 1,
            quality: Quality::Measured,
        },
    };
    RuntimeCall::EnergyToken(pallet_energy_token::Call::report {
        sequence: u64::from(step),
        report,
    })
}

/// Makes [`BLOCKS`] blocks with the readings of both generators.
pub fn grow(chain: &Chain) {
    for step in 1..=BLOCKS {
        for device in [3, 4] {
            let reading = sign(chain, device, step - 1, report(step, 1_000));
            chain
                .submit(TransactionSource::External, reading)
                .expect("a reading is taken");
        }
        author(chain);
    }
}

/// Returns a chain with [`BLOCKS`] blocks, which no target changes, and its records.
pub fn grown() -> &'static (Chain, Records) {
    static GROWN: LazyLock<(Chain, Records)> = LazyLock::new(|| {
        let (chain, store) = new_chain();
        grow(&chain);
        let records = store.0.lock().clone();
        (chain, records)
    });
    &GROWN
}

// ---------------------------------------------------------------------------------- files

/// Returns a folder for this process, in memory where the system has such folders. It goes with the system's temporary
/// files, since a fuzzer ends without cleaning up.
pub fn scratch() -> &'static Path {
    static SCRATCH: LazyLock<PathBuf> = LazyLock::new(|| {
        let memory = Path::new("/dev/shm");
        let parent = match memory.is_dir() {
            true => memory.to_owned(),
            false => std::env::temp_dir(),
        };
        let folder = parent.join(format!("commonwatt-fuzz-{}", std::process::id()));
        // A process of the same number may have left one.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("the temporary folder can be written to");
        folder
    });
    &SCRATCH
}
