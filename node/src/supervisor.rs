//! The tasks of a node. None may end before the node does: a node without its producer or its JSON-RPC would look
//! alive and be dead.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Error, Result, anyhow};
use parking_lot::Mutex;
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{stop::Stop, threads};

/// How long a task may take to end after it was asked to; then it is left behind.
const ENDING_MAX: Duration = Duration::from_secs(10);

/// Starts tasks, sees that none of them ends early, and waits for their end.
pub struct Supervisor {
    watch: Watch,
    tokio: Handle,
    running: Vec<Running>,
}

/// What every task reports to.
#[derive(Clone)]
struct Watch {
    stop: Stop,
    /// The first thing that went wrong.
    failure: Arc<Mutex<Option<Error>>>,
}

enum Running {
    Thread(thread::JoinHandle<()>),
    Task(&'static str, JoinHandle<()>),
}

impl Watch {
    /// Takes down how a task ended, and ends the others.
    fn note_end(&self, name: &str, result: Result<()>) {
        let failure = match result {
            Ok(()) if self.stop.is_asked() => None,
            Ok(()) => Some(anyhow!(
                "{name} ended though nobody asked it to: report this to the developers, and start again"
            )),
            Err(error) => Some(error.context(format!("{name} failed, so the node stops"))),
        };
        if let Some(failure) = failure {
            tracing::error!(error = format!("{failure:#}"), "the node stops");
            self.failure.lock().get_or_insert(failure);
        }
        self.stop.ask();
    }
}

impl Supervisor {
    /// Creates a supervisor without tasks, which run on `tokio`.
    pub fn new(tokio: Handle) -> Self {
        Self {
            watch: Watch {
                stop: Stop::default(),
                failure: Arc::default(),
            },
            tokio,
            running: Vec::new(),
        }
    }

    /// Returns what asks every task to stop.
    pub fn stop(&self) -> &Stop {
        &self.watch.stop
    }

    /// Starts a task that ends soon after it is asked to stop, and not before.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let watch = self.watch.clone();
        // A task within a task: only from outside can a panic be seen.
        let inner = self.tokio.spawn(task);
        let outer = self.tokio.spawn(async move {
            let abort = AbortOnDrop(inner.abort_handle());
            let result = inner
                .await
                .unwrap_or_else(|error| Err(anyhow!("it ended with a panic: {error}")));
            drop(abort);
            watch.note_end(name, result);
        });
        self.running.push(Running::Task(name, outer));
    }

    /// The same on a thread of its own, for work that blocks or executes the runtime.
    pub fn spawn_thread(
        &mut self,
        name: &'static str,
        task: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let watch = self.watch.clone();
        let thread = threads::spawn(name, move || {
            let result = panic::catch_unwind(AssertUnwindSafe(task))
                .unwrap_or_else(|_| Err(anyhow!("it ended with a panic")));
            watch.note_end(name, result);
        })?;
        self.running.push(Running::Thread(thread));
        Ok(())
    }

    /// Waits until somebody asks to stop.
    pub fn wait(&self) {
        self.watch.stop.wait();
    }

    /// Asks every task to stop and waits for them, last started first; returns what went wrong first.
    ///
    /// Threads are waited for as long as they take: one of them may be storing a block.
    pub fn end(mut self) -> Result<()> {
        self.watch.stop.ask();
        while let Some(running) = self.running.pop() {
            match running {
                // A panic was caught and noted.
                Running::Thread(thread) => drop(thread.join()),
                Running::Task(name, mut task) => {
                    let ended = self
                        .tokio
                        .block_on(async { tokio::time::timeout(ENDING_MAX, &mut task).await });
                    if ended.is_err() {
                        tracing::warn!("{name} does not end and is left behind");
                        task.abort();
                    }
                }
            }
        }
        match self.watch.failure.lock().take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

/// Ends a task with the one that waits for it.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    fn supervise(start: impl FnOnce(&mut Supervisor)) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut supervisor = Supervisor::new(runtime.handle().clone());
        start(&mut supervisor);
        supervisor.wait();
        supervisor.end()
    }

    fn failure(start: impl FnOnce(&mut Supervisor)) -> String {
        format!("{:#}", supervise(start).unwrap_err())
    }

    /// Starts a task of each kind that waits for the end.
    fn start_patient(supervisor: &mut Supervisor) {
        let stop = supervisor.stop().clone();
        supervisor.spawn("patience", async move {
            stop.asked().await;
            Ok(())
        });
        let stop = supervisor.stop().clone();
        supervisor
            .spawn_thread("calm", move || {
                stop.wait();
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn all_end_when_asked() {
        let ended = supervise(|supervisor| {
            start_patient(supervisor);
            supervisor.stop().ask();
        });
        assert!(ended.is_ok(), "{ended:?}");
    }

    #[test]
    fn a_task_that_fails_stops_the_node() {
        let said = failure(|supervisor| {
            start_patient(supervisor);
            supervisor.spawn("gauge", async { bail!("no pressure") });
        });
        assert_eq!(said, "gauge failed, so the node stops: no pressure");
    }

    #[test]
    fn a_task_that_panics_stops_the_node() {
        let said = failure(|supervisor| {
            start_patient(supervisor);
            supervisor.spawn("gauge", async { panic!("overpressure") });
        });
        assert!(
            said.contains("gauge failed") && said.contains("panic"),
            "{said}"
        );
        let said = failure(|supervisor| {
            start_patient(supervisor);
            supervisor
                .spawn_thread("gauge", || panic!("overpressure"))
                .unwrap();
        });
        assert!(
            said.contains("gauge failed") && said.contains("panic"),
            "{said}"
        );
    }

    #[test]
    fn a_task_that_ends_early_stops_the_node() {
        let said = failure(|supervisor| {
            start_patient(supervisor);
            supervisor.spawn_thread("gauge", || Ok(())).unwrap();
        });
        assert!(said.contains("gauge ended though nobody"), "{said}");
    }

    #[test]
    fn only_the_first_failure_is_told() {
        let said = failure(|supervisor| {
            let stop = supervisor.stop().clone();
            supervisor.spawn("second", async move {
                stop.asked().await;
                bail!("a consequence")
            });
            supervisor.spawn("first", async { bail!("the cause") });
        });
        assert!(said.contains("the cause"), "{said}");
    }
}
