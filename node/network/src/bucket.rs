//! How often a peer may do something. Time is passed in.

use std::time::Duration;

/// Fills steadily up to its burst; each thing done takes from it.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    per_second: u32,
    burst: u32,
    /// In thousandths.
    filled: u64,
    updated: Duration,
}

impl Bucket {
    /// Makes a full bucket.
    pub(crate) fn new(per_second: u32, burst: u32, now: Duration) -> Self {
        Self {
            per_second,
            burst,
            filled: u64::from(burst) * 1000,
            updated: now,
        }
    }

    /// Takes one; `false` when it is empty.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        self.take_many(1, now)
    }

    /// Gives one back.
    pub(crate) fn give_back(&mut self) {
        let full = u64::from(self.burst) * 1000;
        self.filled = self.filled.saturating_add(1000).min(full);
    }

    /// Takes so many, or none; `false` when there are fewer.
    pub(crate) fn take_many(&mut self, many: usize, now: Duration) -> bool {
        let wanted = u64::try_from(many).unwrap_or(u64::MAX).saturating_mul(1000);
        let elapsed_ms = now.saturating_sub(self.updated).as_millis();
        let elapsed_ms = u64::try_from(elapsed_ms).unwrap_or(u64::MAX);
        if elapsed_ms > 0 {
            let gained = elapsed_ms.saturating_mul(u64::from(self.per_second));
            let full = u64::from(self.burst) * 1000;
            self.filled = self.filled.saturating_add(gained).min(full);
            self.updated = now;
        }
        match self.filled.checked_sub(wanted) {
            Some(rest) => {
                self.filled = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(2, 5, Duration::ZERO);
        let take_all = |bucket: &mut Bucket, now: Duration| {
            let mut taken = 0;
            while bucket.take(now) {
                taken += 1;
            }
            taken
        };
        assert_eq!(take_all(&mut bucket, Duration::ZERO), 5);
        assert_eq!(take_all(&mut bucket, Duration::from_millis(499)), 0);
        assert_eq!(take_all(&mut bucket, Duration::from_millis(500)), 1);
        assert_eq!(take_all(&mut bucket, Duration::from_secs(2)), 3);
        assert_eq!(take_all(&mut bucket, Duration::from_secs(900)), 5);
        assert_eq!(take_all(&mut bucket, Duration::from_secs(1)), 0);
        bucket.give_back();
        assert!(!bucket.take_many(2, Duration::from_secs(1)));
        assert!(bucket.take_many(1, Duration::from_secs(1)));
    }
}
