//! What one call may ask for, and how many may be worked on at one time.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Answer, Fault};

/// Keys in one page of `state_getKeysPaged`; also how many `state_getKeys` gives.
pub const KEYS_PER_PAGE_MAX: usize = 1_000;
/// Keys in one query or subscription of values.
pub const KEYS_PER_QUERY_MAX: usize = 4_096;
/// Pairs that `state_getPairs` gives, and entries that `state_getStorageSize` adds up.
pub const PAIRS_MAX: usize = 10_000;
/// Bytes of values, or of extrinsics, in one answer: half of what the default bound of a response holds in
/// hexadecimal. Without it a large value asked for again and again would fill the memory before the response is
/// found too long.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Blocks named in one `chain_getBlockHash`, or looked at by one `state_queryStorage`.
pub const BLOCKS_PER_QUERY_MAX: usize = 4_096;
/// Values that one `state_queryStorage` reads: keys times blocks.
pub(crate) const READS_PER_QUERY_MAX: usize = 65_536;
/// What lies under a key, in one event of `chainHead_v1_storage`.
pub(crate) const ITEMS_PER_PAGE_MAX: usize = 1_000;
/// Bytes in one such event: beyond them it is sent.
pub(crate) const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the arguments of `state_call`: the longest extrinsic the pool takes, and some.
pub const CALL_BYTES_MAX: usize = 1024 * 1024;

/// How much one answer may still hold.
pub(crate) struct Budget {
    left: usize,
}

impl Budget {
    /// Begins an answer.
    pub(crate) fn new() -> Self {
        Self {
            left: ANSWER_BYTES_MAX,
        }
    }

    /// Takes bytes into the answer, while there is room.
    pub(crate) fn take(&mut self, bytes: usize) -> Answer<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            let mend = "ask for less in one call";
            Fault::more_than(ANSWER_BYTES_MAX, "bytes of values", mend)
        })?;
        Ok(())
    }
}

/// Does blocking work on threads of its own, so much at one time.
pub(crate) struct Workers {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    waiting_max: usize,
    time_max: Duration,
}

impl Workers {
    /// Creates workers for `running_max` tasks at one time, with `waiting_max` waiting for their turn. Nobody waits
    /// longer than `time_max` for the end of a task.
    pub(crate) fn new(running_max: u32, waiting_max: u32, time_max: Duration) -> Self {
        let size = |count: u32| {
            usize::try_from(count)
                .unwrap_or(usize::MAX)
                .min(Semaphore::MAX_PERMITS)
        };
        let running_max = size(running_max.max(1));
        let waiting_max = size(waiting_max);
        Self {
            running: Arc::new(Semaphore::new(running_max)),
            waiting: Arc::new(Semaphore::new(waiting_max)),
            waiting_max,
            time_max,
        }
    }

    /// Does `task` on a worker thread, when it is the caller's turn and then everybody's: `turns` are the caller's
    /// own, so that who asks much waits behind himself and not before all others. Native code cannot be interrupted:
    /// when the time is over, or the caller goes away, the task runs on, and its place and turn stay taken until it
    /// is done.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        task: impl FnOnce() -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let turns = turns.clone();
        let run = async {
            let turn = turns.acquire_owned().await;
            let turn = turn.map_err(|_| Fault::internal("the turns of a connection are gone"))?;
            self.run_in_turn(turn, task).await
        };
        tokio::time::timeout(self.time_max, run)
            .await
            .unwrap_or_else(|_| Err(Fault::too_slow(self.time_max)))
    }

    async fn run_in_turn<T: Send + 'static>(
        &self,
        turn: OwnedSemaphorePermit,
        task: impl FnOnce() -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let permit = match self.running.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self
                    .waiting
                    .try_acquire()
                    .map_err(|_| Fault::busy(self.waiting_max))?;
                let running = self.running.clone().acquire_owned().await;
                running.map_err(|_| Fault::internal("the workers are gone"))?
            }
        };
        let done = tokio::task::spawn_blocking(move || {
            let _kept = (turn, permit);
            task()
        });
        done.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request could not be worked on");
            Err(Fault::internal("the request could not be worked on"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(count: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(count))
    }

    #[tokio::test]
    async fn who_asks_much_waits_behind_himself_and_not_before_the_others() {
        let workers = Workers::new(1, 8, HOUR);
        let (greedy, modest) = (turns(1), turns(1));
        let (release, released) = std::sync::mpsc::channel::<()>();
        let first = workers.run(&greedy, move || {
            released.recv().expect("the test releases");
            Ok(())
        });
        let mut first = std::pin::pin!(first);
        assert!(futures::poll!(&mut first).is_pending());
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let note = |name: &'static str| {
            let order = order.clone();
            move || {
                order.lock().expect("no panic").push(name);
                Ok(())
            }
        };
        let mut second = std::pin::pin!(workers.run(&greedy, note("greedy")));
        assert!(futures::poll!(&mut second).is_pending());
        let mut other = std::pin::pin!(workers.run(&modest, note("modest")));
        assert!(futures::poll!(&mut other).is_pending());
        release.send(()).expect("the task waits");
        let (first, second, other) = tokio::join!(first, second, other);
        assert_eq!((first, second, other), (Ok(()), Ok(()), Ok(())));
        assert_eq!(*order.lock().expect("no panic"), ["modest", "greedy"]);
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn when_the_time_is_over_the_caller_is_told_and_the_place_stays_taken_to_the_end() {
        let workers = Workers::new(1, 0, Duration::from_millis(20));
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (told, mut done) = tokio::sync::mpsc::channel::<()>(1);
        let task = move || {
            let _told_when_dropped = told;
            released.recv().expect("the test releases");
            Ok(1)
        };
        let expected = Err(Fault::too_slow(Duration::from_millis(20)));
        assert_eq!(workers.run(&turns(9), task).await, expected);
        assert_eq!(workers.run(&turns(9), || Ok(2)).await, Err(Fault::busy(0)));
        release.send(()).expect("the task waits");
        assert_eq!(done.recv().await, None);
        // The place is given back right after the task.
        let _place = workers.running.acquire().await.expect("it is open");
    }

    #[tokio::test]
    async fn who_finds_neither_a_worker_nor_a_place_to_wait_is_told_so() {
        let workers = Arc::new(Workers::new(1, 1, HOUR));
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (started, mut has_started) = tokio::sync::mpsc::channel::<()>(1);
        let running = tokio::spawn({
            let workers = workers.clone();
            async move {
                let task = move || {
                    started.blocking_send(()).expect("the test listens");
                    released.recv().expect("the test releases");
                    Ok(1)
                };
                workers.run(&turns(9), task).await
            }
        });
        has_started.recv().await.expect("the task starts");
        let own = turns(9);
        let mut waiting = std::pin::pin!(workers.run(&own, || Ok(2)));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(workers.run(&turns(9), || Ok(3)).await, Err(Fault::busy(1)));
        release.send(()).expect("the task waits");
        assert_eq!(waiting.await, Ok(2));
        assert_eq!(running.await.expect("no panic"), Ok(1));
    }

    #[test]
    fn an_answer_holds_so_many_bytes_and_not_one_more() {
        let mut budget = Budget::new();
        assert_eq!(budget.take(ANSWER_BYTES_MAX - 1), Ok(()));
        assert!(budget.take(2).is_err());
        assert_eq!(budget.take(1), Ok(()));
        assert!(budget.take(usize::MAX).is_err());
    }

    #[tokio::test]
    async fn a_panic_of_a_task_is_an_internal_error_and_frees_its_place() {
        let workers = Workers::new(1, 0, HOUR);
        let answer: Answer<()> = workers.run(&turns(9), || panic!("on purpose")).await;
        assert!(answer.is_err());
        assert_eq!(workers.run(&turns(9), || Ok(1)).await, Ok(1));
    }
}
