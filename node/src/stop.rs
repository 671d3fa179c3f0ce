//! Asking everybody to end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The clock that times are waited for by.
pub use commonwatt_metrics::now_ms;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// Longest sleep of a thread that waits for a time: the system's clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(1);

/// Tells tasks to end, and wakes those that wait. Clones tell the same.
#[derive(Clone, Default)]
pub struct Stop(Arc<StopInner>);

#[derive(Default)]
struct StopInner {
    asked: AtomicBool,
    lock: Mutex<()>,
    threads: Condvar,
    tasks: Notify,
}

impl Stop {
    /// Asks everybody to stop.
    pub fn ask(&self) {
        let _lock = self.0.lock.lock();
        self.0.asked.store(true, Ordering::SeqCst);
        self.0.threads.notify_all();
        self.0.tasks.notify_waiters();
    }

    /// Returns whether somebody asked to stop.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Waits, on this thread, until somebody asks to stop.
    pub fn wait(&self) {
        let mut lock = self.0.lock.lock();
        while !self.is_asked() {
            self.0.threads.wait(&mut lock);
        }
    }

    /// Waits, in a task, until somebody asks to stop.
    pub async fn asked(&self) {
        // Whoever is told of after this line wakes it, so nothing is missed between the two.
        let told = self.0.tasks.notified();
        if !self.is_asked() {
            told.await;
        }
    }

    /// Waits until the clock shows `unix_ms`; returns early, and true, when asked to stop.
    pub fn wait_until(&self, unix_ms: u64) -> bool {
        let mut lock = self.0.lock.lock();
        while !self.is_asked() {
            let left = Duration::from_millis(unix_ms.saturating_sub(now_ms()));
            if left.is_zero() {
                return false;
            }
            let _ = self.0.threads.wait_for(&mut lock, left.min(NAP));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_when_asked_to_stop() {
        let stop = Stop::default();
        let waiters = [stop.clone(), stop.clone()];
        let [one, other] = waiters.map(|waiter| {
            std::thread::spawn(move || {
                waiter.wait();
                waiter.wait_until(u64::MAX)
            })
        });
        stop.ask();
        assert!(one.join().unwrap() && other.join().unwrap());
    }

    #[test]
    fn a_task_hears_of_it_whether_it_came_before_or_after() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let stop = Stop::default();
        let waiter = stop.clone();
        let before = runtime.spawn(async move { waiter.asked().await });
        runtime.block_on(async {
            tokio::task::yield_now().await;
            stop.ask();
            before.await.unwrap();
            stop.asked().await;
        });
    }

    #[test]
    fn a_time_in_the_past_is_not_waited_for() {
        assert!(!Stop::default().wait_until(0));
    }
}
