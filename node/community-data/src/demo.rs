//! The demo community that ships with the node: 36 real households and businesses, one summer week.
//!
//! The data is a derivative database of SimBench under the ODbL 1.0; see `chain-specs/demo-community/README.md`,
//! which also says how `make.py` beside it derives the week from the year.

use crate::{Community, DataError, Readings};

const COMMUNITY: &[u8] = include_bytes!("../../../chain-specs/demo-community/community.csv");
const LOAD: &[u8] = include_bytes!("../../../chain-specs/demo-community/load_wh.csv.gz");
const PV: &[u8] = include_bytes!("../../../chain-specs/demo-community/pv_wh.csv.gz");

/// Steps of the demo: one week, Monday 4 July 2016, 00:00 local time, to Sunday, 24:00.
pub const DEMO_STEPS: u32 = 672;
/// The step at which the demo begins: Monday 08:00 local time, when the sun is up, so that a newcomer
/// sees generation at once. Steps before it come after the week's end, when the demo starts over.
pub const DEMO_START_STEP: u32 = 32;

impl Community {
    /// Returns the demo community, without any file on disk.
    pub fn demo() -> Result<Self, DataError> {
        Self::parse("demo community, community.csv", COMMUNITY)
    }
}

/// Returns the week's readings of [`Community::demo`], from its step 0.
pub fn demo_readings(community: &Community) -> Result<Readings, DataError> {
    Readings::from_gzip(
        community,
        ("demo community, load_wh.csv.gz", LOAD),
        ("demo community, pv_wh.csv.gz", PV),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParticipantKind, StepReadings};

    fn week() -> Vec<StepReadings> {
        let community = Community::demo().unwrap();
        demo_readings(&community)
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }

    #[test]
    fn the_demo_has_36_participants_of_four_kinds() {
        let community = Community::demo().unwrap();
        let count = |kind| {
            community
                .participants
                .iter()
                .filter(|p| p.kind == kind)
                .count()
        };
        assert_eq!(community.participants.len(), 36);
        assert_eq!(count(ParticipantKind::ProsumerStorage), 10);
        assert_eq!(count(ParticipantKind::Prosumer), 10);
        assert_eq!(count(ParticipantKind::Consumer), 14);
        assert_eq!(count(ParticipantKind::Business), 2);
        assert_eq!(community.pv_indices().count(), 21);
        assert_eq!(
            community
                .participants
                .iter()
                .filter(|p| p.storage.is_some())
                .count(),
            10
        );
    }

    #[test]
    fn every_day_of_the_demo_generates_at_eight() {
        let week = week();
        let at_eight = (0..7).map(|day| 96 * day + 32);
        assert!(
            at_eight
                .map(|step| week[step].generation_wh())
                .all(|wh| wh > 0)
        );
    }

    #[test]
    fn the_demo_is_one_whole_week_with_the_totals_its_readme_states() {
        let week = week();
        assert_eq!(week.len(), usize::try_from(DEMO_STEPS).unwrap());
        assert_eq!(
            (week[0].step, week[0].utc_start.as_str()),
            (0, "2016-07-03T22:00Z")
        );
        assert_eq!(
            week.iter().flat_map(|step| &step.load_wh).sum::<u64>(),
            1_897_341
        );
        let pv_wh = week
            .iter()
            .flat_map(|step| &step.pv_wh)
            .map(|&(_, wh)| wh)
            .sum::<u64>();
        assert_eq!(pv_wh, 3_155_965);
    }

    #[test]
    fn the_demo_begins_at_eight_when_most_plants_generate() {
        let week = week();
        let first = &week[usize::try_from(DEMO_START_STEP).unwrap()];
        // 06:00 UTC is 08:00 in German summer time.
        assert_eq!(first.utc_start, "2016-07-04T06:00Z");
        assert_eq!(first.pv_wh.iter().filter(|&&(_, wh)| wh > 0).count(), 16);
        assert_eq!(first.generation_wh(), 6_063);
    }
}
