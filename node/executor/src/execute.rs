//! Calls, validation, genesis, and executing a block that somebody made.

use codec::{Decode, DecodeAll, Encode};
use commonwatt_runtime::{Hash, Header, Nonce, UncheckedExtrinsic, api};
use commonwatt_storage::State;
use sp_core::storage::Storage;
use sp_runtime::{
    OpaqueExtrinsic, StateVersion,
    generic::LazyBlock,
    traits::{BlakeTwo256, Hash as _, Header as _},
    transaction_validity::{TransactionSource, TransactionValidity},
};
use sp_state_machine::{Backend, TrieBackendBuilder};
use sp_trie::PrefixedMemoryDB;

use crate::{
    CallError, ExecutionError, Executor, decode::check_arguments, decode_extrinsic,
    overlay::Overlay,
};

/// What executing a block changed.
pub struct BlockChanges {
    /// Trie nodes that came and went.
    pub nodes: PrefixedMemoryDB<BlakeTwo256>,
    /// Every key written, with its new value, `None` when it was removed; ordered by key.
    pub storage: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The state root afterwards.
    pub state_root: Hash,
}

/// The first block and its state.
pub struct GenesisBlock {
    /// The header of block 0.
    pub header: Header,
    /// The trie nodes of its state.
    pub nodes: PrefixedMemoryDB<BlakeTwo256>,
}

/// The version of state and extrinsic tries.
pub(crate) const STATE_VERSION: StateVersion = StateVersion::V1;

impl Executor {
    /// Builds block 0 from its state.
    pub fn build_genesis(storage: Storage) -> GenesisBlock {
        let empty = sp_trie::empty_trie_root::<sp_trie::LayoutV1<BlakeTwo256>>();
        let backend =
            TrieBackendBuilder::new(PrefixedMemoryDB::<BlakeTwo256>::default(), empty).build();
        let top = storage
            .top
            .iter()
            .map(|(key, value)| (&key[..], Some(&value[..])));
        let (root, nodes) = backend.storage_root(top, STATE_VERSION);
        let header = Header::new(
            0,
            BlakeTwo256::ordered_trie_root(Vec::new(), StateVersion::V0),
            root,
            Hash::zero(),
            Default::default(),
        );
        GenesisBlock { header, nodes }
    }

    /// Calls a runtime function with encoded arguments; changes nothing.
    pub fn call_raw(
        &self,
        state: &State,
        function: &str,
        arguments: &[u8],
    ) -> Result<Vec<u8>, CallError> {
        check_arguments(function, arguments).map_err(|reason| CallError::Arguments {
            function: function.to_owned(),
            reason,
        })?;
        let mut overlay = Overlay::default();
        self.run(state, &mut overlay, || api::dispatch(function, arguments))
            .map_err(|reason| CallError::Panicked {
                function: function.to_owned(),
                reason,
            })?
            .ok_or_else(|| CallError::UnknownFunction(function.to_owned()))
    }

    /// Calls a runtime function and decodes its answer.
    pub fn call<Answer: Decode>(
        &self,
        state: &State,
        function: &str,
        arguments: impl Encode,
    ) -> Result<Answer, CallError> {
        let answer = self.call_raw(state, function, &arguments.encode())?;
        Answer::decode_all(&mut &answer[..])
            .map_err(|_| CallError::Undecodable(function.to_owned()))
    }

    /// Asks the runtime whether a transaction could be in the block after `parent`.
    ///
    /// # Errors
    /// What the runtime's panic said.
    pub fn validate_transaction(
        &self,
        state: &State,
        parent: Hash,
        source: TransactionSource,
        transaction: UncheckedExtrinsic,
    ) -> Result<TransactionValidity, String> {
        let mut overlay = Overlay::default();
        self.run(state, &mut overlay, || {
            commonwatt_runtime::Executive::validate_transaction(source, transaction, parent)
        })
    }

    /// Returns the nonce of an account's next transaction.
    pub fn account_nonce(
        &self,
        state: &State,
        account: &commonwatt_runtime::AccountId,
    ) -> Result<Nonce, CallError> {
        self.call(state, "AccountNonceApi_account_nonce", account)
    }

    /// Executes a block on its parent's state and compares the roots. `header` is without its seal.
    ///
    /// Signatures are verified unless [`Executor::preverify`] has.
    pub fn execute_block(
        &self,
        parent_state: &State,
        header: &Header,
        body: &[Vec<u8>],
    ) -> Result<BlockChanges, ExecutionError> {
        let extrinsics = body
            .iter()
            .enumerate()
            .map(|(index, bytes)| {
                // Checked here to a depth that the stack holds; the runtime decodes them again, one by one.
                decode_extrinsic(bytes)
                    .and_then(|_| {
                        OpaqueExtrinsic::decode_all(&mut &bytes[..])
                            .map_err(|error| error.to_string())
                    })
                    .map_err(|reason| ExecutionError::UndecodableExtrinsic { index, reason })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut block = LazyBlock::<Header, UncheckedExtrinsic>::new(header.clone(), Vec::new());
        block.extrinsics = extrinsics;
        let mut overlay = Overlay::default();
        self.run(parent_state, &mut overlay, || {
            commonwatt_runtime::Executive::execute_block(block);
        })
        .map_err(ExecutionError::Rejected)?;
        let changes = Self::drain(parent_state, &mut overlay)?;
        if changes.state_root != *header.state_root() {
            return Err(ExecutionError::StateRootDiffers {
                expected: *header.state_root(),
                actual: changes.state_root,
            });
        }
        Ok(changes)
    }

    pub(crate) fn drain(
        state: &State,
        overlay: &mut Overlay,
    ) -> Result<BlockChanges, ExecutionError> {
        let changes = overlay
            .drain(state, STATE_VERSION)
            .map_err(|error| ExecutionError::State(error.to_string()))?;
        // Every block changes its own number, and a trie that cannot be read answers with the root it had.
        if changes.state_root == *state.root() {
            return Err(ExecutionError::State(
                "the new state root could not be worked out".to_owned(),
            ));
        }
        Ok(changes)
    }
}
