//! What came of jobs.

use commonwatt_chain::ChainError;
use commonwatt_consensus::{Block, CheckId, Input, Verdict};

use super::{Check, Engine};
use crate::{
    error::Fatal,
    event::{Action, Notice},
    job::{Finding, JobDone, Outcome},
    timeliness::{Item, Observation, Sighting, Untimeliness, judge},
};
use commonwatt_primitives::Step;

impl Engine {
    pub(super) fn take_result(&mut self, done: JobDone) -> Result<(), Fatal> {
        match done.0 {
            Outcome::Built {
                height,
                round,
                block,
            } => self.take_built(height, round, block),
            Outcome::Verified { check, finding } => self.take_finding(check, finding?),
        }
    }

    fn take_built(
        &mut self,
        height: u32,
        round: u32,
        block: Result<Option<Block>, ChainError>,
    ) -> Result<(), Fatal> {
        let why = match block {
            Ok(Some(block)) => {
                self.own.insert(block.hash());
                return self.feed(Input::BlockBuilt {
                    height,
                    round,
                    block,
                });
            }
            // The height was decided meanwhile.
            Ok(None) if height != self.next.height => return Ok(()),
            Ok(None) => {
                "this node does not hold the keys of the author whose turn it is".to_owned()
            }
            // Others make the block then; voting goes on.
            Err(error @ (ChainError::Agreement(_) | ChainError::Execution(_))) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        self.tell(Notice::NotBuilt { height, round, why });
        Ok(())
    }

    fn take_finding(&mut self, check: CheckId, finding: Finding) -> Result<(), Fatal> {
        // Questions about a height that was decided meanwhile are forgotten.
        let Some(question) = self.checks.get(&check) else {
            return Ok(());
        };
        let (height, hash) = (question.height, question.hash);
        let verdict = match finding {
            Finding::Outdated => return Ok(()),
            Finding::WrongBody => Verdict::WrongBody,
            Finding::Wrong(why) => {
                self.tell(Notice::Invalid { height, hash, why });
                Verdict::Invalid
            }
            Finding::Right { left_out, included } => {
                let items: Vec<_> = left_out.iter().map(|(_, item)| *item).collect();
                let included: Vec<_> = included
                    .into_iter()
                    .map(|(hash, kind)| Item {
                        hash,
                        kind,
                        seen: self.sighting_of(question, &hash),
                    })
                    .collect();
                match self.find_untimely(question, &items, &included) {
                    None => Verdict::Valid,
                    Some(why) => {
                        if let Untimeliness::LeavesOut(hashes) = &why {
                            let missing = left_out
                                .into_iter()
                                .filter(|(pooled, _)| hashes.contains(&pooled.hash))
                                .map(|(pooled, _)| pooled.extrinsic);
                            self.actions.push(Action::PassOn(missing.collect()));
                        }
                        self.tell(Notice::Withheld { height, hash, why });
                        Verdict::Untimely
                    }
                }
            }
        };
        self.feed(Input::BlockVerified { check, verdict })
    }

    /// Returns when an item of a block was first seen: with the block, if it never was in the pool.
    fn sighting_of(&self, question: &Check, hash: &commonwatt_runtime::Hash) -> Sighting {
        let arrived_ms = question
            .judged
            .map_or(self.now.unix_ms, |(arrived_ms, _)| arrived_ms);
        match self.chain.arrival_of(hash) {
            Some(arrival) => self.arrivals.sighting(arrival, self.now.unix_ms),
            None => Sighting {
                earliest_ms: arrived_ms,
                latest_ms: arrived_ms,
            },
        }
    }

    fn find_untimely(
        &self,
        question: &Check,
        left_out: &[Item],
        included: &[Item],
    ) -> Option<Untimeliness> {
        let (arrived_ms, punctuality) = question.judged?;
        let seen = Observation {
            step: Step(question.height),
            arrived_ms,
            punctuality,
            left_out,
            included,
        };
        judge(&self.config.timing, &self.config.tolerance, &seen)
    }
}
