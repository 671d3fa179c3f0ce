//! What the meters read, step by step: `load_wh.csv` and `pv_wh.csv`, plain or gzipped.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use crate::{
    Community, DataError, LOAD_FILE, PARTICIPANTS_MAX, PV_FILE,
    error::opening_error,
    numbers::{NumberError, parse_utc, parse_whole},
};

/// Length of a step in milliseconds: 15 minutes.
pub const STEP_MS: u64 = 900_000;
/// Bytes of a line we take: 64 for the step and its time, 34 for each participant's column.
const LINE_BYTES_MAX: usize = 64 + 34 * PARTICIPANTS_MAX;
/// Columns before the first participant's: `step` and `utc_start`.
const LEADING_COLUMNS: [&str; 2] = ["step", "utc_start"];

/// What all meters read in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReadings {
    /// The step as numbered in the files.
    pub step: u32,
    /// When it begins, as written in the files.
    pub utc_start: String,
    /// When it begins, in milliseconds since the Unix epoch.
    pub utc_start_ms: u64,
    /// Load of every participant, in the order of the community.
    pub load_wh: Vec<u64>,
    /// Generation of every participant with a PV plant, with the participant's index.
    pub pv_wh: Vec<(usize, u64)>,
}

impl StepReadings {
    /// Returns the generation of all plants.
    pub fn generation_wh(&self) -> u64 {
        // Every reading is within its meter's capacity, far below what could overflow.
        self.pv_wh.iter().map(|&(_, wh)| wh).sum()
    }

    /// Returns the load of all participants.
    pub fn consumption_wh(&self) -> u64 {
        self.load_wh.iter().sum()
    }
}

/// The readings of a community in the order of their steps.
///
/// An iterator that holds one line of each file at a time, so a year costs no more memory than a day.
/// After an error it ends.
pub struct Readings {
    load: Rows,
    pv: Rows,
    pv_indices: Vec<usize>,
    last_step: Option<u32>,
    is_finished: bool,
}

impl core::fmt::Debug for Readings {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Readings")
            .field("load", &self.load.file)
            .field("pv", &self.pv.file)
            .field("last_step", &self.last_step)
            .finish_non_exhaustive()
    }
}

impl Readings {
    /// Opens the reading files of a data folder and checks their headers against its community.
    pub fn open(folder: &Path, community: &Community) -> Result<Self, DataError> {
        let load = open_plain_or_gzip(folder, LOAD_FILE)?;
        let pv = open_plain_or_gzip(folder, PV_FILE)?;
        Self::new(community, load, pv)
    }

    /// Returns how many steps a data folder's load file has, for progress and limits.
    ///
    /// Reads through the file once; the rows are checked only when they are iterated.
    pub fn count_steps(folder: &Path) -> Result<u32, DataError> {
        let mut input = open_plain_or_gzip(folder, LOAD_FILE)?;
        let mut lines = 0u32;
        while input.next_line()?.is_some() {
            lines = lines.saturating_add(1);
        }
        Ok(lines.saturating_sub(1))
    }

    /// Reads from gzipped bytes, each with a name for errors.
    pub(crate) fn from_gzip(
        community: &Community,
        load: (&str, &'static [u8]),
        pv: (&str, &'static [u8]),
    ) -> Result<Self, DataError> {
        let load = Lines::new(load.0, Packing::Gzip, load.1);
        let pv = Lines::new(pv.0, Packing::Gzip, pv.1);
        Self::new(community, load, pv)
    }

    fn new(community: &Community, load: Lines, pv: Lines) -> Result<Self, DataError> {
        let load_columns = community.participants.iter().map(|participant| Column {
            name: participant.id.clone(),
            capacity_w: participant.load_capacity_w(),
        });
        let pv_columns = community.participants.iter().filter_map(|participant| {
            let capacity_w = participant.pv_capacity_w()?;
            Some(Column {
                name: participant.id.clone(),
                capacity_w,
            })
        });
        Ok(Self {
            load: Rows::open(load, Series::Load, load_columns.collect())?,
            pv: Rows::open(pv, Series::Generation, pv_columns.collect())?,
            pv_indices: community.pv_indices().collect(),
            last_step: None,
            is_finished: false,
        })
    }

    fn read_step(&mut self) -> Result<Option<StepReadings>, DataError> {
        let (load, pv) = match (self.load.next_row()?, self.pv.next_row()?) {
            (Some(load), Some(pv)) => (load, pv),
            (None, None) => {
                return match self.last_step {
                    Some(_) => Ok(None),
                    None => Err(DataError::Empty {
                        file: self.load.file.clone(),
                    }),
                };
            }
            (None, Some(_)) => return Err(self.lengths_differ(&self.load, &self.pv)),
            (Some(_), None) => return Err(self.lengths_differ(&self.pv, &self.load)),
        };
        if (load.step, load.utc_start_ms) != (pv.step, pv.utc_start_ms) {
            return Err(DataError::OutOfLockStep {
                load_file: self.load.file.clone(),
                pv_file: self.pv.file.clone(),
                line: self.load.input.line,
                load_step: load.step,
                load_start: load.utc_start,
                pv_step: pv.step,
                pv_start: pv.utc_start,
            });
        }
        self.last_step = Some(load.step);
        Ok(Some(StepReadings {
            step: load.step,
            utc_start: load.utc_start,
            utc_start_ms: load.utc_start_ms,
            load_wh: load.values_wh,
            pv_wh: self.pv_indices.iter().copied().zip(pv.values_wh).collect(),
        }))
    }

    fn lengths_differ(&self, shorter: &Rows, longer: &Rows) -> DataError {
        match self.last_step {
            Some(last_step) => DataError::LengthsDiffer {
                shorter: shorter.file.clone(),
                longer: longer.file.clone(),
                last_step,
            },
            None => DataError::Empty {
                file: shorter.file.clone(),
            },
        }
    }
}

impl Iterator for Readings {
    type Item = Result<StepReadings, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_finished {
            return None;
        }
        let item = self.read_step().transpose();
        self.is_finished = !matches!(item, Some(Ok(_)));
        item
    }
}

impl core::iter::FusedIterator for Readings {}

/// Which of the two reading files this is.
#[derive(Clone, Copy)]
enum Series {
    Load,
    Generation,
}

impl Series {
    /// Which participants have a column.
    fn which(self) -> &'static str {
        match self {
            Self::Load => "every participant",
            Self::Generation => "every participant whose pv_kw is above 0",
        }
    }

    /// The column of `community.csv` that the capacity comes from.
    fn capacity_column(self) -> &'static str {
        match self {
            Self::Load => "peak_load_w",
            Self::Generation => "pv_kw",
        }
    }
}

/// A participant's column.
struct Column {
    name: String,
    capacity_w: u32,
}

/// One line of a reading file.
struct Row {
    step: u32,
    utc_start: String,
    utc_start_ms: u64,
    values_wh: Vec<u64>,
}

/// The rows of a reading file, checked one by one.
struct Rows {
    file: String,
    input: Lines,
    series: Series,
    columns: Vec<Column>,
    /// Step and beginning of the last row, the latter also as written.
    last: Option<(u32, u64, String)>,
}

impl Rows {
    /// Reads the header and checks that it names exactly `columns`.
    fn open(mut input: Lines, series: Series, columns: Vec<Column>) -> Result<Self, DataError> {
        let file = input.file.clone();
        let header = match input.next_line()? {
            Some(header) => header.strip_prefix('\u{feff}').unwrap_or(header),
            None => return Err(DataError::Empty { file }),
        };
        let expected: Vec<&str> = LEADING_COLUMNS
            .into_iter()
            .chain(columns.iter().map(|c| c.name.as_str()))
            .collect();
        let found: Vec<&str> = header.split(',').collect();
        for index in 0..expected.len().max(found.len()) {
            let name_or_end = |names: &[&str]| {
                names
                    .get(index)
                    .copied()
                    .unwrap_or("end of line")
                    .to_owned()
            };
            if found.get(index) != expected.get(index) {
                return Err(DataError::HeaderMismatch {
                    file,
                    column: index + 1,
                    found: name_or_end(&found),
                    expected: name_or_end(&expected),
                    which: series.which(),
                });
            }
        }
        Ok(Self {
            file,
            input,
            series,
            columns,
            last: None,
        })
    }

    fn next_row(&mut self) -> Result<Option<Row>, DataError> {
        let Self {
            file,
            input,
            series,
            columns,
            last,
        } = self;
        let Some(text) = input.next_line()? else {
            return Ok(None);
        };
        let text = text.to_owned();
        let line = input.line;
        let expected = LEADING_COLUMNS.len() + columns.len();
        let found = text.split(',').count();
        if found != expected {
            return Err(DataError::RowLength {
                file: file.clone(),
                line,
                found,
                expected,
            });
        }
        let mut fields = text.split(',');
        // The fields were counted, so none is missing.
        let mut next_field = || fields.next().unwrap_or_default();

        let bad = |column: &str, value: &str, expected| DataError::BadField {
            file: file.clone(),
            line,
            column: column.into(),
            value: value.into(),
            expected,
        };
        let number = |column: &str, value: &str, expected| {
            parse_whole(value).map_err(|error| match error {
                NumberError::Malformed => bad(column, value, expected),
                NumberError::Negative => DataError::Negative {
                    file: file.clone(),
                    line,
                    column: column.into(),
                    value: value.into(),
                },
            })
        };

        let text_of_step = next_field();
        const STEP: &str = "a step, a whole number below 4294967296";
        let step = u32::try_from(number("step", text_of_step, STEP)?)
            .map_err(|_| bad("step", text_of_step, STEP))?;
        let utc_start = next_field();
        let utc_start_ms = parse_utc(utc_start).ok_or_else(|| {
            bad(
                "utc_start",
                utc_start,
                "an instant in UTC, in the form 2016-07-04T06:00Z",
            )
        })?;
        if let Some((last_step, last_ms, last_start)) = last.as_ref() {
            if last_step.checked_add(1) != Some(step) {
                let expected = last_step.saturating_add(1);
                return Err(DataError::StepOrder {
                    file: file.clone(),
                    line,
                    found: step,
                    expected,
                });
            }
            if last_ms.checked_add(STEP_MS) != Some(utc_start_ms) {
                return Err(DataError::TimeOrder {
                    file: file.clone(),
                    line,
                    found: utc_start.into(),
                    before: last_start.clone(),
                });
            }
        }
        let mut values_wh = Vec::with_capacity(columns.len());
        for column in columns.iter() {
            let value_wh = number(
                &column.name,
                next_field(),
                "an energy in whole Wh, such as 63",
            )?;
            // Mean power in a quarter of an hour: four times the energy.
            if u128::from(value_wh) * 4 > u128::from(column.capacity_w) {
                return Err(DataError::AboveCapacity {
                    file: file.clone(),
                    line,
                    column: column.name.clone(),
                    value_wh,
                    capacity_w: column.capacity_w,
                    column_to_raise: series.capacity_column(),
                });
            }
            values_wh.push(value_wh);
        }
        *last = Some((step, utc_start_ms, utc_start.into()));
        Ok(Some(Row {
            step,
            utc_start: utc_start.into(),
            utc_start_ms,
            values_wh,
        }))
    }
}

/// How a file is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
}

/// The lines of a file, each of bounded length.
struct Lines {
    file: String,
    packing: Packing,
    input: Box<dyn BufRead + Send>,
    /// Number of the last line read, counted from 1.
    line: u64,
    buffer: Vec<u8>,
}

impl Lines {
    fn new(file: &str, packing: Packing, raw: impl BufRead + Send + 'static) -> Self {
        let input: Box<dyn BufRead + Send> = match packing {
            Packing::Plain => Box::new(raw),
            Packing::Gzip => Box::new(BufReader::new(MultiGzDecoder::new(raw))),
        };
        Self {
            file: file.into(),
            packing,
            input,
            line: 0,
            buffer: Vec::new(),
        }
    }

    /// Returns the next line without its end, `None` after the last.
    fn next_line(&mut self) -> Result<Option<&str>, DataError> {
        self.buffer.clear();
        // One byte beyond the limit tells "full" from "too long".
        let limit = u64::try_from(LINE_BYTES_MAX)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        if let Err(source) = self
            .input
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut self.buffer)
        {
            return Err(self.reading_error(source));
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.line = self.line.saturating_add(1);
        let (file, line) = (&self.file, self.line);
        if self.buffer.len() > LINE_BYTES_MAX {
            let (what, max) = ("bytes in a line", LINE_BYTES_MAX);
            return Err(DataError::TooLarge {
                file: file.clone(),
                line,
                what,
                max,
            });
        }
        let text = core::str::from_utf8(&self.buffer).map_err(|error| DataError::NotCsv {
            file: file.clone(),
            line,
            reason: error.to_string(),
        })?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Ok(Some(text.strip_suffix('\r').unwrap_or(text)))
    }

    fn reading_error(&self, source: io::Error) -> DataError {
        let (file, line) = (self.file.clone(), self.line);
        match (self.packing, source.kind()) {
            (Packing::Gzip, io::ErrorKind::UnexpectedEof) => DataError::Truncated { file, line },
            (Packing::Gzip, io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
                DataError::Corrupt { file, line, source }
            }
            _ => DataError::Io { file, source },
        }
    }
}

/// Opens `name` or `name.gz` of the folder, whichever is there.
fn open_plain_or_gzip(folder: &Path, name: &str) -> Result<Lines, DataError> {
    let plain = folder.join(name);
    let packed = folder.join(format!("{name}.gz"));
    let (path, packing) = match (plain.exists(), packed.exists()) {
        (true, true) => return Err(DataError::Ambiguous { plain, packed }),
        (_, true) => (packed, Packing::Gzip),
        _ => (plain, Packing::Plain),
    };
    let file_name = path.display().to_string();
    let file = File::open(&path).map_err(|source| opening_error(&file_name, source))?;
    Ok(Lines::new(&file_name, packing, BufReader::new(file)))
}

#[cfg(test)]
mod tests;
