//! How figures are registered: each once, described, and with every value its labels are known to take.

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, core::Collector,
};

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from the start of the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often which values were observed.
    Histogram,
}

/// A figure as it is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub help: String,
    /// Its labels, beside `chain`.
    pub labels: Vec<String>,
}

/// Registers figures and remembers what they are.
pub(crate) struct Registrar<'a> {
    registry: &'a Registry,
    pub(crate) described: Vec<Described>,
}

type Registered<Figure> = Result<Figure, prometheus::Error>;

impl<'a> Registrar<'a> {
    pub(crate) fn new(registry: &'a Registry) -> Self {
        Self {
            registry,
            described: Vec::new(),
        }
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str) -> Registered<IntCounter> {
        self.take(IntCounter::new(name, help)?, Kind::Counter)
    }

    /// Registers a counter by label.
    pub(crate) fn counters(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Registered<IntCounterVec> {
        self.take(
            IntCounterVec::new(Opts::new(name, help), labels)?,
            Kind::Counter,
        )
    }

    /// Registers a counter by one label, and shows 0 for each value the label can have.
    pub(crate) fn counters_of(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
    ) -> Registered<IntCounterVec> {
        let counters = self.counters(name, help, &[label])?;
        for value in values {
            counters.get_metric_with_label_values(&[value])?;
        }
        Ok(counters)
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str) -> Registered<IntGauge> {
        self.take(IntGauge::new(name, help)?, Kind::Gauge)
    }

    /// Registers a gauge that is not exported before its value is known.
    pub(crate) fn gauge_once_known(&mut self, name: &str, help: &str) -> Registered<LateGauge> {
        self.gauges(name, help, &[]).map(LateGauge)
    }

    /// Registers a gauge for values that are no whole numbers.
    pub(crate) fn gauge_of_reals(&mut self, name: &str, help: &str) -> Registered<Gauge> {
        self.take(Gauge::new(name, help)?, Kind::Gauge)
    }

    /// Registers a gauge by label.
    pub(crate) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Registered<IntGaugeVec> {
        self.take(
            IntGaugeVec::new(Opts::new(name, help), labels)?,
            Kind::Gauge,
        )
    }

    pub(crate) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Registered<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.take(Histogram::with_opts(options)?, Kind::Histogram)
    }

    /// Registers a histogram by label.
    pub(crate) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Registered<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.take(HistogramVec::new(options, labels)?, Kind::Histogram)
    }

    fn take<Figure: Collector + Clone + 'static>(
        &mut self,
        figure: Figure,
        kind: Kind,
    ) -> Registered<Figure> {
        self.registry.register(Box::new(figure.clone()))?;
        let described = figure.desc().into_iter().map(|desc| Described {
            name: desc.fq_name.clone(),
            kind,
            help: desc.help.clone(),
            labels: desc.variable_labels.clone(),
        });
        self.described.extend(described);
        Ok(figure)
    }
}

/// A gauge whose value is not known from the start, and may become unknown again: it is not exported then, as 0 would
/// say something.
#[derive(Clone)]
pub(crate) struct LateGauge(IntGaugeVec);

impl LateGauge {
    pub(crate) fn set(&self, value: i64) {
        self.0.with_label_values(&[]).set(value);
    }

    pub(crate) fn forget(&self) {
        self.0.reset();
    }
}

/// Returns a count for a gauge, the greatest it can show when it does not fit.
pub(crate) fn shown(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Returns a count for a counter.
pub(crate) fn counted(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
