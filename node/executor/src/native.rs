//! The border to the runtime: externalities round it, and a catch for its panics.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use commonwatt_storage::State;
use sp_externalities::set_and_run_with_externalities;

use crate::{
    Executor,
    overlay::{Environment, Overlay},
};

thread_local! {
    /// How many borders this thread is inside of; panics there are expected.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Message and place of the last panic inside a border.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics of the runtime from being printed: FRAME rejects blocks and calls by panicking, and the
/// caller reports the reason. Other panics are printed as before. Installed once a process.
pub fn install_panic_hook() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 {
                return others(info);
            }
            let message = message_of(info.payload());
            let place = info
                .location()
                .map(|place| format!(" ({}:{})", place.file(), place.line()));
            // Only file names: the folders a binary was built in say nothing to its users.
            let place = place
                .as_deref()
                .and_then(|place| place.rsplit('/').next())
                .unwrap_or("");
            let place = place.trim_start_matches(" (");
            LAST_PANIC.set(Some(format!("{message} ({}", place)));
        }));
    });
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason given".to_owned())
}

/// What the externalities say when the state below them cannot be read.
pub(crate) const STATE_FAILURE: &str = "Externalities not allowed to fail within runtime";

/// Returns whether the runtime panicked because the state could not be read, as when it was discarded meanwhile:
/// that says nothing about what was executed on it.
pub fn is_state_failure(reason: &str) -> bool {
    reason.contains(STATE_FAILURE)
}

struct Border;

impl Border {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Border {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

impl Executor {
    /// Runs `task` inside the runtime's environment, with its changes in `overlay`.
    ///
    /// # Errors
    /// What the runtime's panic said. The overlay then holds half of something: throw it away.
    pub(crate) fn run<Output>(
        &self,
        state: &State,
        overlay: &mut Overlay,
        task: impl FnOnce() -> Output,
    ) -> Result<Output, String> {
        let mut externalities = Environment {
            overlay,
            backend: state,
        };
        let _border = Border::enter();
        panic::catch_unwind(AssertUnwindSafe(|| {
            self.signatures
                .scope(|| set_and_run_with_externalities(&mut externalities, task))
        }))
        .map_err(|payload| {
            LAST_PANIC
                .take()
                .unwrap_or_else(|| message_of(payload.as_ref()))
        })
    }
}
