//! The participants of a community: `community.csv`.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path, str::FromStr};

use crate::{
    COMMUNITY_FILE, DataError,
    error::opening_error,
    numbers::{NumberError, parse_decimal, parse_whole},
};

/// Participants we take. Two meters each, all reporting in every step, fill a block long before that.
pub const PARTICIPANTS_MAX: usize = 1_024;
/// Bytes of `community.csv` we take: a thousand bytes for each participant.
const COMMUNITY_BYTES_MAX: usize = PARTICIPANTS_MAX * 1_024;
/// Characters of an id we take.
const ID_CHARS_MAX: usize = 32;
/// Ratings and peaks we take: a gigawatt is no participant of a low-voltage grid.
const RATING_W_MAX: u64 = 1_000_000_000;
/// Least capacity of a meter, so that one whose participant was away all year may still count.
const CAPACITY_W_MIN: u32 = 100;

/// What kind of participant this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParticipantKind {
    /// Household with a PV plant and a storage.
    ProsumerStorage,
    /// Household with a PV plant.
    Prosumer,
    /// Household without generation.
    Consumer,
    /// Small business, with or without a PV plant.
    Business,
}

impl ParticipantKind {
    /// Returns the word used in `community.csv`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProsumerStorage => "prosumer_storage",
            Self::Prosumer => "prosumer",
            Self::Consumer => "consumer",
            Self::Business => "business",
        }
    }
}

impl core::fmt::Display for ParticipantKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ParticipantKind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [
            Self::ProsumerStorage,
            Self::Prosumer,
            Self::Consumer,
            Self::Business,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == word)
        .ok_or(())
    }
}

/// A participant's storage. No schedule is part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Energy it holds when full.
    pub capacity_wh: u64,
    /// Greatest power in either direction.
    pub power_w: u32,
    /// What part of the energy charged can be discharged again, in parts in ten thousand.
    pub efficiency_bps: u16,
}

/// One row of `community.csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Name in the headers of the reading files.
    pub id: String,
    /// What kind of participant this is.
    pub kind: ParticipantKind,
    /// Rating of the PV plant; 0 without one.
    pub pv_w: u32,
    /// The storage, if there is one.
    pub storage: Option<Storage>,
    /// Load of the whole year; the static key's coefficients are in proportion to it.
    pub annual_load_wh: u64,
    /// Generation of the whole year.
    pub annual_pv_wh: u64,
    /// Greatest mean load of a step.
    pub peak_load_w: u32,
}

impl Participant {
    /// Returns whether the participant has a PV plant, and with it a column in the generation file.
    pub fn has_pv(&self) -> bool {
        self.pv_w > 0
    }

    /// Returns the greatest mean power that the consumption meter can plausibly measure: the year's peak
    /// plus a tenth, rounded up, at least 100 W.
    ///
    /// The margin leaves room for rounding and for a peak a little above the one the year happened to
    /// see. It is known without reading the year.
    pub fn load_capacity_w(&self) -> u32 {
        compute_capacity_w(self.peak_load_w)
    }

    /// Returns the greatest mean power that the generation meter can plausibly measure, `None` without a
    /// PV plant: the rating plus a tenth, rounded up, at least 100 W.
    ///
    /// A plant exceeds its rating only for moments, by cold modules and light from the edges of clouds;
    /// SimBench's profiles peak at 0.59 to 0.63 of it.
    pub fn pv_capacity_w(&self) -> Option<u32> {
        self.has_pv().then(|| compute_capacity_w(self.pv_w))
    }
}

/// Returns `rating_w` and a tenth, rounded up, at least [`CAPACITY_W_MIN`].
fn compute_capacity_w(rating_w: u32) -> u32 {
    // Ratings are at most RATING_W_MAX, so saturation never happens.
    rating_w
        .saturating_add(rating_w.div_ceil(10))
        .max(CAPACITY_W_MIN)
}

/// The participants of a community, in the order of `community.csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Community {
    /// At least one, at most [`PARTICIPANTS_MAX`]; ids are unique.
    pub participants: Vec<Participant>,
}

impl Community {
    /// Reads `community.csv` of a data folder.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join(COMMUNITY_FILE);
        let name = path.display().to_string();
        let file = File::open(&path).map_err(|source| opening_error(&name, source))?;
        Self::parse(&name, file)
    }

    /// Returns the indices of the participants with a PV plant, in order: the generation file's columns.
    pub fn pv_indices(&self) -> impl Iterator<Item = usize> {
        let with_index = self.participants.iter().enumerate();
        with_index
            .filter(|(_, participant)| participant.has_pv())
            .map(|(index, _)| index)
    }

    /// Returns the index of the participant `id`.
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.participants
            .iter()
            .position(|participant| participant.id == id)
    }

    /// Reads the participants from `input`, called `file` in errors.
    pub(crate) fn parse(file: &str, input: impl Read) -> Result<Self, DataError> {
        let text = read_bounded(file, input)?;
        // Spreadsheets put a byte order mark in front of UTF-8.
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&text);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
        let headers = reader
            .headers()
            .map_err(|error| not_csv(file, &error))?
            .clone();
        if headers.is_empty() {
            return Err(DataError::Empty { file: file.into() });
        }
        let columns = Columns::find(file, &headers)?;

        let mut participants = Vec::new();
        let mut lines = BTreeMap::new();
        for record in reader.records() {
            let record = record.map_err(|error| not_csv(file, &error))?;
            let line = record.position().map_or(0, csv::Position::line);
            if participants.len() == PARTICIPANTS_MAX {
                let (what, max) = ("participants", PARTICIPANTS_MAX);
                return Err(DataError::TooLarge {
                    file: file.into(),
                    line,
                    what,
                    max,
                });
            }
            if record.len() != headers.len() {
                let (found, expected) = (record.len(), headers.len());
                return Err(DataError::RowLength {
                    file: file.into(),
                    line,
                    found,
                    expected,
                });
            }
            let participant = Row {
                file,
                line,
                record: &record,
            }
            .participant(&columns)?;
            if let Some(first_line) = lines.insert(participant.id.clone(), line) {
                let id = participant.id;
                return Err(DataError::DuplicateId {
                    file: file.into(),
                    line,
                    id,
                    first_line,
                });
            }
            participants.push(participant);
        }
        if participants.is_empty() {
            return Err(DataError::Empty { file: file.into() });
        }
        Ok(Self { participants })
    }
}

/// A column of `community.csv`: where it stands, and its name for errors.
type Column = (usize, &'static str);

/// The columns we read; others are ignored.
struct Columns {
    id: Column,
    kind: Column,
    pv_kw: Column,
    storage_kwh: Column,
    storage_kw: Column,
    storage_eta: Column,
    annual_load_wh: Column,
    annual_pv_wh: Column,
    peak_load_w: Column,
}

impl Columns {
    fn find(file: &str, headers: &csv::StringRecord) -> Result<Self, DataError> {
        let find = |column: &'static str| {
            let position = headers.iter().position(|header| header == column);
            let missing = || DataError::MissingColumn {
                file: file.into(),
                column,
            };
            position
                .map(|position| (position, column))
                .ok_or_else(missing)
        };
        Ok(Self {
            id: find("id")?,
            kind: find("kind")?,
            pv_kw: find("pv_kw")?,
            storage_kwh: find("storage_kwh")?,
            storage_kw: find("storage_kw")?,
            storage_eta: find("storage_eta")?,
            annual_load_wh: find("annual_load_wh")?,
            annual_pv_wh: find("annual_pv_wh")?,
            peak_load_w: find("peak_load_w")?,
        })
    }
}

/// A row as text; it has as many fields as the header.
struct Row<'a> {
    file: &'a str,
    line: u64,
    record: &'a csv::StringRecord,
}

impl Row<'_> {
    fn participant(&self, columns: &Columns) -> Result<Participant, DataError> {
        let id = self.text(columns.id);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > ID_CHARS_MAX || !id.chars().all(is_plain) {
            return Err(self.bad(columns.id, "an id of 1 to 32 letters, digits, '-' or '_'"));
        }
        let kind = self.text(columns.kind).parse().map_err(|()| {
            self.bad(
                columns.kind,
                "one of prosumer_storage, prosumer, consumer, business",
            )
        })?;
        let participant = Participant {
            id: id.into(),
            kind,
            pv_w: self.kilo(columns.pv_kw)?,
            storage: self.storage(columns)?,
            annual_load_wh: self.whole(columns.annual_load_wh)?,
            annual_pv_wh: self.whole(columns.annual_pv_wh)?,
            peak_load_w: self.peak(columns.peak_load_w)?,
        };
        if !participant.has_pv() && participant.annual_pv_wh > 0 {
            return Err(self.contradiction(
                id,
                "annual_pv_wh is above 0 but pv_kw is 0; give the plant's rating, or no generation",
            ));
        }
        Ok(participant)
    }

    fn storage(&self, columns: &Columns) -> Result<Option<Storage>, DataError> {
        const KWH: &str = "an energy in kWh, exact to the Wh, such as 20.5";
        const ETA: &str = "an efficiency from 0 to 1 with at most 4 decimals, such as 0.95";
        let capacity_wh = parse_decimal(self.text(columns.storage_kwh), 3)
            .map_err(|error| self.number(columns.storage_kwh, error, KWH))?;
        let power_w = self.kilo(columns.storage_kw)?;
        if capacity_wh == 0 {
            return Ok(None);
        }
        let eta = parse_decimal(self.text(columns.storage_eta), 4)
            .map_err(|error| self.number(columns.storage_eta, error, ETA))?;
        let efficiency_bps = u16::try_from(eta)
            .ok()
            .filter(|&eta| eta <= 10_000)
            .ok_or_else(|| self.bad(columns.storage_eta, ETA))?;
        Ok(Some(Storage {
            capacity_wh,
            power_w,
            efficiency_bps,
        }))
    }

    /// A power in kW, in watts.
    fn kilo(&self, column: Column) -> Result<u32, DataError> {
        const EXPECTED: &str = "a power in kW, exact to the W and at most 1000000, such as 6.8";
        let watts = parse_decimal(self.text(column), 3)
            .map_err(|error| self.number(column, error, EXPECTED))?;
        self.watts(column, watts, EXPECTED)
    }

    /// A power in W.
    fn peak(&self, column: Column) -> Result<u32, DataError> {
        const EXPECTED: &str = "a power in whole W, at most 1000000000, such as 3000";
        let watts =
            parse_whole(self.text(column)).map_err(|error| self.number(column, error, EXPECTED))?;
        self.watts(column, watts, EXPECTED)
    }

    fn watts(&self, column: Column, watts: u64, expected: &'static str) -> Result<u32, DataError> {
        let fitting = u32::try_from(watts).ok().filter(|_| watts <= RATING_W_MAX);
        fitting.ok_or_else(|| self.bad(column, expected))
    }

    fn whole(&self, column: Column) -> Result<u64, DataError> {
        parse_whole(self.text(column))
            .map_err(|error| self.number(column, error, "an energy in whole Wh, such as 1832998"))
    }

    fn text(&self, column: Column) -> &str {
        self.record.get(column.0).unwrap_or_default()
    }

    fn number(&self, column: Column, error: NumberError, expected: &'static str) -> DataError {
        match error {
            NumberError::Malformed => self.bad(column, expected),
            NumberError::Negative => DataError::Negative {
                file: self.file.into(),
                line: self.line,
                column: column.1.into(),
                value: self.text(column).into(),
            },
        }
    }

    fn bad(&self, column: Column, expected: &'static str) -> DataError {
        DataError::BadField {
            file: self.file.into(),
            line: self.line,
            column: column.1.into(),
            value: self.text(column).into(),
            expected,
        }
    }

    fn contradiction(&self, id: &str, reason: &'static str) -> DataError {
        DataError::Contradiction {
            file: self.file.into(),
            line: self.line,
            id: id.into(),
            reason,
        }
    }
}

/// Reads all of a small file.
fn read_bounded(file: &str, mut input: impl Read) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    // One byte beyond the limit tells "full" from "too large".
    let limit = u64::try_from(COMMUNITY_BYTES_MAX)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let result = input.by_ref().take(limit).read_to_end(&mut bytes);
    result.map_err(|source| DataError::Io {
        file: file.into(),
        source,
    })?;
    if bytes.len() > COMMUNITY_BYTES_MAX {
        let (what, max) = ("bytes", COMMUNITY_BYTES_MAX);
        return Err(DataError::TooLarge {
            file: file.into(),
            line: 1,
            what,
            max,
        });
    }
    Ok(bytes)
}

fn not_csv(file: &str, error: &csv::Error) -> DataError {
    let line = error.position().map_or(1, csv::Position::line);
    DataError::NotCsv {
        file: file.into(),
        line,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "id,kind,simbench_node,pv_kw,storage_kwh,storage_kw,storage_eta,annual_load_wh,annual_pv_wh,peak_load_w";
    const P01: &str =
        "p01,prosumer_storage,\"Bus 6, left\",6.8,20.5,10.3,0.95,1832998,4629018,3000";
    const P02: &str = "p02,consumer,Bus 7,0.0,0.0,0.0,,900,0,0";

    fn parse(lines: &[&str]) -> Result<Community, DataError> {
        Community::parse("community.csv", lines.join("\n").as_bytes())
    }

    fn message(lines: &[&str]) -> String {
        parse(lines).expect_err("the data is bad").to_string()
    }

    #[test]
    fn participants_are_read_exactly_and_in_order() {
        let community = parse(&[HEADER, P01, P02]).unwrap();
        let [first, second] = &community.participants[..] else {
            panic!("two rows")
        };
        assert_eq!(first.kind, ParticipantKind::ProsumerStorage);
        assert_eq!(
            (first.pv_w, first.annual_load_wh, first.annual_pv_wh),
            (6_800, 1_832_998, 4_629_018)
        );
        let storage = Storage {
            capacity_wh: 20_500,
            power_w: 10_300,
            efficiency_bps: 9_500,
        };
        assert_eq!(first.storage, Some(storage));
        assert_eq!((second.storage, second.has_pv()), (None, false));
        assert_eq!(community.pv_indices().collect::<Vec<_>>(), [0]);
        assert_eq!(community.index_of("p02"), Some(1));
        assert_eq!(community.index_of("p03"), None);
    }

    #[test]
    fn capacities_come_from_rating_and_peak_with_a_tenth_of_margin() {
        let community = parse(&[HEADER, P01, P02]).unwrap();
        let [first, second] = &community.participants[..] else {
            panic!("two rows")
        };
        assert_eq!(
            (first.load_capacity_w(), first.pv_capacity_w()),
            (3_300, Some(7_480))
        );
        assert_eq!(
            (second.load_capacity_w(), second.pv_capacity_w()),
            (100, None)
        );
        assert_eq!(compute_capacity_w(1_001), 1_102);
    }

    #[test]
    fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
        let text = format!("\u{feff}{HEADER}\r\n{P01}\r\n{P02}\r\n");
        let community = Community::parse("community.csv", text.as_bytes()).unwrap();
        assert_eq!(community, parse(&[HEADER, P01, P02]).unwrap());
    }

    #[test]
    fn a_missing_column_is_named() {
        let header = HEADER.replace("pv_kw", "pv_mw");
        assert_eq!(
            message(&[&header, P01]),
            "community.csv, line 1: no column \"pv_kw\"; add it to the header and to every row"
        );
    }

    #[test]
    fn a_bad_number_is_shown_with_line_and_column() {
        assert_eq!(
            message(&[HEADER, P01, &P02.replace("900", "9o0")]),
            "community.csv, line 3, column \"annual_load_wh\": \"9o0\" is not an energy in whole Wh, such as 1832998"
        );
        let finer_than_a_watt = P01.replace("6.8", "6.8001");
        assert!(
            message(&[HEADER, &finer_than_a_watt])
                .contains("column \"pv_kw\": \"6.8001\" is not a power in kW")
        );
        assert!(
            message(&[HEADER, &P01.replace("0.95", "1.01")])
                .contains("column \"storage_eta\": \"1.01\"")
        );
        assert!(
            message(&[HEADER, &P01.replace("0.95", "")])
                .contains("column \"storage_eta\": \"\" is not")
        );
        assert!(
            message(&[HEADER, &P01.replace("3000", "1000000001")])
                .contains("column \"peak_load_w\"")
        );
    }

    #[test]
    fn a_negative_number_is_called_negative() {
        assert_eq!(
            message(&[HEADER, &P01.replace("6.8", "-6.8")]),
            "community.csv, line 2, column \"pv_kw\": \"-6.8\" is negative; load and generation are separate and both count upwards from 0"
        );
    }

    #[test]
    fn an_unknown_kind_is_answered_with_the_known_ones() {
        assert!(
            message(&[HEADER, &P02.replace("consumer", "factory")]).contains(
                "\"factory\" is not one of prosumer_storage, prosumer, consumer, business"
            )
        );
    }

    #[test]
    fn a_doubled_id_names_both_lines() {
        assert_eq!(
            message(&[HEADER, P01, P02, P01]),
            "community.csv, line 4: id \"p01\" was already given in line 2; every participant needs its own"
        );
    }

    #[test]
    fn an_id_that_would_break_a_header_is_refused() {
        for id in ["", "p 1", "ü", "p;1", &"x".repeat(33)] {
            let row = P02.replacen("p02", id, 1);
            assert!(message(&[HEADER, &row]).contains("column \"id\""), "{id:?}");
        }
    }

    #[test]
    fn a_row_with_a_field_too_many_or_too_few_is_refused() {
        let long = format!("{P02},1");
        assert!(
            message(&[HEADER, P01, &long])
                .starts_with("community.csv, line 3: 11 fields where the header has 10")
        );
        assert!(message(&[HEADER, "p02,consumer"]).starts_with("community.csv, line 2: 2 fields"));
    }

    #[test]
    fn generation_without_a_plant_is_a_contradiction() {
        let row = "p02,consumer,x,0.0,0.0,0.0,,900,5,0";
        assert!(
            message(&[HEADER, row])
                .starts_with("community.csv, line 2, participant \"p02\": annual_pv_wh")
        );
    }

    #[test]
    fn a_file_without_participants_is_empty() {
        assert!(matches!(parse(&[]), Err(DataError::Empty { .. })));
        assert!(matches!(parse(&[HEADER]), Err(DataError::Empty { .. })));
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        let bytes = [HEADER.as_bytes(), b"\n\xff\xfe,consumer,x,0,0,0,,1,0,0\n"].concat();
        let error = Community::parse("community.csv", &bytes[..]).unwrap_err();
        assert!(
            matches!(error, DataError::NotCsv { line: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn more_participants_or_bytes_than_the_limit_are_refused() {
        let mut text = format!("{HEADER}\n");
        for index in 0..=PARTICIPANTS_MAX {
            text += &format!("x{index},consumer,x,0,0,0,,1,0,0\n");
        }
        let error = Community::parse("community.csv", text.as_bytes()).unwrap_err();
        assert!(
            matches!(
                error,
                DataError::TooLarge {
                    what: "participants",
                    line: 1_026,
                    ..
                }
            ),
            "{error}"
        );
        let endless = std::io::repeat(b'x');
        let error = Community::parse("community.csv", endless).unwrap_err();
        assert!(
            matches!(error, DataError::TooLarge { what: "bytes", .. }),
            "{error}"
        );
    }

    #[test]
    fn a_missing_folder_says_what_belongs_there() {
        let error = Community::open(Path::new("/nonexistent/folder")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/nonexistent/folder/community.csv: not found; a data folder holds community.csv, load_wh.csv[.gz] and pv_wh.csv[.gz]"
        );
    }
}
