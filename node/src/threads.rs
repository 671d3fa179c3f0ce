//! Threads with room for the runtime: a call may nest deeply, and its execution takes stack for each level.

use std::thread;

use anyhow::{Context, Result};

/// Stack of every thread that may execute the runtime, in bytes. Only what is used takes memory.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Starts the threads on which requests are answered.
pub fn start_async() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .context("cannot start threads")
}

/// Starts the threads on which signatures are verified. Called once.
pub fn start_workers() -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .stack_size(STACK_BYTES)
        .build_global()
        .context("cannot start threads")
}

/// Starts one thread.
pub fn spawn<Output: Send + 'static>(
    name: &str,
    task: impl FnOnce() -> Output + Send + 'static,
) -> Result<thread::JoinHandle<Output>> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(task)
        .with_context(|| format!("cannot start the thread {name}"))
}
