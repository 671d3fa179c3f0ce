//! Counts that others keep, asked for whenever somebody asks for figures.

use prometheus::{
    IntCounterVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// A count at the time it was asked for. It only grows, from the start of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Its name. Counts of one name follow each other, and have the same labels with other values.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Labels with their values.
    pub labels: Vec<(&'static str, &'static str)>,
    /// How many.
    pub value: u64,
}

/// Reads the counts, always the same ones in the same order.
pub type ReadCounts = Box<dyn Fn() -> Vec<Count> + Send + Sync>;

/// Exports what `read` reads.
pub(crate) struct Counts {
    read: ReadCounts,
    descriptions: Vec<Desc>,
}

impl Counts {
    pub(crate) fn new(read: ReadCounts) -> Result<Self, prometheus::Error> {
        let mut descriptions = Vec::new();
        for family in families(&read()) {
            let family = family?;
            descriptions.extend(family.desc().into_iter().cloned());
        }
        Ok(Self { read, descriptions })
    }
}

impl Collector for Counts {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let counts = (self.read)();
        // What was described once can be made again.
        let families = families(&counts).filter_map(Result::ok);
        families.flat_map(|family| family.collect()).collect()
    }
}

/// Returns the counters of each name.
fn families(
    counts: &[Count],
) -> impl Iterator<Item = Result<IntCounterVec, prometheus::Error>> + '_ {
    counts
        .chunk_by(|one, next| one.name == next.name)
        .filter_map(|family| Some((family.first()?, family)))
        .map(|(first, family)| {
            let labels: Vec<_> = first.labels.iter().map(|(label, _)| *label).collect();
            let counters = IntCounterVec::new(Opts::new(first.name, first.help), &labels)?;
            for count in family {
                let values: Vec<_> = count.labels.iter().map(|(_, value)| *value).collect();
                counters
                    .get_metric_with_label_values(&values)?
                    .inc_by(count.value);
            }
            Ok(counters)
        })
}
