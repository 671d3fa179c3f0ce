//! What can be wrong with a data folder, where, and what to do.

use std::{io, path::PathBuf};

/// Why community data cannot be read. Lines and columns count from 1, as editors do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file of the folder is not there.
    #[error(
        "{file}: not found; a data folder holds community.csv, load_wh.csv[.gz] and pv_wh.csv[.gz]"
    )]
    Missing {
        /// The file looked for.
        file: String,
    },
    /// A file is there both plain and compressed, so it is open which one counts.
    #[error("{} and {} are both there; remove the one that shall not count", plain.display(), packed.display())]
    Ambiguous {
        /// The plain file.
        plain: PathBuf,
        /// The compressed file.
        packed: PathBuf,
    },
    /// The operating system could not read the file.
    #[error("{file}: cannot be read ({source}); check its permissions and the disk")]
    Io {
        /// The file.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A gzip file ends in the middle.
    #[error(
        "{file}, after line {line}: the gzip data ends early; copy the file again, it is incomplete"
    )]
    Truncated {
        /// The file.
        file: String,
        /// The last line that could be read.
        line: u64,
    },
    /// A gzip file is damaged, or not one at all.
    #[error(
        "{file}, after line {line}: bad gzip data ({source}); copy the file again, or drop the .gz from its name if it is plain text"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// The last line that could be read.
        line: u64,
        /// What the decompressor said.
        source: io::Error,
    },
    /// The file holds nothing but perhaps a header.
    #[error("{file}: no rows; it needs a header and at least one row")]
    Empty {
        /// The file.
        file: String,
    },
    /// More than this crate takes.
    #[error(
        "{file}, line {line}: more than {max} {what}; split the data or remove what is not needed"
    )]
    TooLarge {
        /// The file.
        file: String,
        /// The line where the limit was passed.
        line: u64,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Neither a character nor a quote that CSV allows.
    #[error(
        "{file}, line {line}: not CSV text ({reason}); save it as UTF-8 with commas between the fields"
    )]
    NotCsv {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The header lacks a column.
    #[error("{file}, line 1: no column {column:?}; add it to the header and to every row")]
    MissingColumn {
        /// The file.
        file: String,
        /// The column's name.
        column: &'static str,
    },
    /// The header of a reading file does not name the participants of `community.csv`.
    #[error(
        "{file}, line 1, column {column}: found {found:?} where {expected:?} belongs; the columns are step, utc_start and then, in the order of community.csv, {which}"
    )]
    HeaderMismatch {
        /// The file.
        file: String,
        /// The column, counted from 1.
        column: usize,
        /// What stands there.
        found: String,
        /// What belongs there.
        expected: String,
        /// Which participants have a column in this file.
        which: &'static str,
    },
    /// A row has more or fewer fields than the header.
    #[error(
        "{file}, line {line}: {found} fields where the header has {expected}; give every column exactly one field"
    )]
    RowLength {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Fields in the row.
        found: usize,
        /// Fields in the header.
        expected: usize,
    },
    /// A field holds something it must not.
    #[error("{file}, line {line}, column {column:?}: {value:?} is not {expected}")]
    BadField {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// The column's name.
        column: String,
        /// What stands there.
        value: String,
        /// What belongs there, and in which form.
        expected: &'static str,
    },
    /// A number is below zero.
    #[error(
        "{file}, line {line}, column {column:?}: {value:?} is negative; load and generation are separate and both count upwards from 0"
    )]
    Negative {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// The column's name.
        column: String,
        /// What stands there.
        value: String,
    },
    /// Two participants share an id.
    #[error(
        "{file}, line {line}: id {id:?} was already given in line {first_line}; every participant needs its own"
    )]
    DuplicateId {
        /// The file.
        file: String,
        /// The later line.
        line: u64,
        /// The id.
        id: String,
        /// The line that has it first.
        first_line: u64,
    },
    /// Two columns of a row contradict each other.
    #[error("{file}, line {line}, participant {id:?}: {reason}")]
    Contradiction {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// The participant.
        id: String,
        /// What contradicts what, and what to do.
        reason: &'static str,
    },
    /// A reading is more than its meter can measure.
    #[error(
        "{file}, line {line}, column {column:?}: {value_wh} Wh in a step exceed the meter's {capacity_w} W; correct the reading, or {column_to_raise} in community.csv"
    )]
    AboveCapacity {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// The participant.
        column: String,
        /// The reading.
        value_wh: u64,
        /// The capacity that `community.csv` gives the meter.
        capacity_w: u32,
        /// The column of `community.csv` the capacity comes from.
        column_to_raise: &'static str,
    },
    /// A step is missing, doubled, or out of order.
    #[error(
        "{file}, line {line}: step {found} where step {expected} belongs; rows are in the order of their steps, without gaps"
    )]
    StepOrder {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// The step that stands there.
        found: u32,
        /// The step that belongs there.
        expected: u32,
    },
    /// A step does not begin 15 minutes after the one before it.
    #[error(
        "{file}, line {line}: utc_start {found} is not 15 minutes after {before} in the line before; times are in UTC, without gaps or summer time"
    )]
    TimeOrder {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// The instant that stands there.
        found: String,
        /// The instant of the line before.
        before: String,
    },
    /// Load and generation of the same row are of different instants.
    #[error(
        "{load_file} and {pv_file}, line {line}: step {load_step} ({load_start}) beside step {pv_step} ({pv_start}); both files must cover the same steps"
    )]
    OutOfLockStep {
        /// The load file.
        load_file: String,
        /// The generation file.
        pv_file: String,
        /// The line in both.
        line: u64,
        /// The load file's step.
        load_step: u32,
        /// The load file's instant.
        load_start: String,
        /// The generation file's step.
        pv_step: u32,
        /// The generation file's instant.
        pv_start: String,
    },
    /// One of the two reading files has more steps than the other.
    #[error(
        "{shorter} ends after step {last_step}, while {longer} goes on; both files must cover the same steps"
    )]
    LengthsDiffer {
        /// The file that ends first.
        shorter: String,
        /// The file that goes on.
        longer: String,
        /// The last step both have.
        last_step: u32,
    },
}

/// What it means that a file of the folder cannot be opened.
pub(crate) fn opening_error(file: &str, source: io::Error) -> DataError {
    match source.kind() {
        io::ErrorKind::NotFound => DataError::Missing { file: file.into() },
        _ => DataError::Io {
            file: file.into(),
            source,
        },
    }
}
