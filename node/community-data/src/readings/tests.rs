use std::{fs, io::Write, path::PathBuf};

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::*;

const COMMUNITY: &str = "\
id,kind,pv_kw,storage_kwh,storage_kw,storage_eta,annual_load_wh,annual_pv_wh,peak_load_w
p01,prosumer,6.8,0.0,0.0,,1000,2000,3000
p02,consumer,0.0,0.0,0.0,,1000,0,4000
p03,business,2,0.0,0.0,,1000,500,8000
";
const LOAD: &str = "\
step,utc_start,p01,p02,p03
0,2016-07-03T22:00Z,63,311,74
1,2016-07-03T22:15Z,120,75,214
2,2016-07-03T22:30Z,0,1,2
";
const PV: &str = "\
step,utc_start,p01,p03
0,2016-07-03T22:00Z,0,0
1,2016-07-03T22:15Z,1500,0
2,2016-07-03T22:30Z,1600,400
";

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A data folder that a test may damage.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder
            .put("community.csv", COMMUNITY)
            .put("load_wh.csv", LOAD)
            .put("pv_wh.csv", PV);
        folder
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn remove(&self, name: &str) -> &Self {
        fs::remove_file(self.path(name)).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self) -> Result<Vec<StepReadings>, DataError> {
        let community = Community::open(self.0.path())?;
        Readings::open(self.0.path(), &community)?.collect()
    }

    /// What is wrong, with paths shortened to file names.
    fn message(&self) -> String {
        let message = self.read().expect_err("the data is bad").to_string();
        message.replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// What is wrong when `from` becomes `to` in the load file.
fn message_of_load(from: &str, to: &str) -> String {
    assert!(LOAD.contains(from));
    Folder::new()
        .put("load_wh.csv", LOAD.replacen(from, to, 1))
        .message()
}

#[test]
fn readings_come_in_order_with_both_series() {
    let steps = Folder::new().read().unwrap();
    assert_eq!(steps.len(), 3);
    let step = StepReadings {
        step: 1,
        utc_start: "2016-07-03T22:15Z".into(),
        utc_start_ms: 1_467_584_100_000,
        load_wh: vec![120, 75, 214],
        pv_wh: vec![(0, 1_500), (2, 0)],
    };
    assert_eq!(steps[1], step);
    assert_eq!((step.consumption_wh(), step.generation_wh()), (409, 1_500));
}

#[test]
fn plain_and_gzipped_files_give_the_same() {
    let folder = Folder::new();
    let plain = folder.read().unwrap();
    folder
        .remove("load_wh.csv")
        .put("load_wh.csv.gz", gzip(LOAD));
    assert_eq!(folder.read().unwrap(), plain);
    // Two gzip members after each other are one file, too.
    let (head, tail) = PV.split_at(PV.find("1,2016").unwrap());
    folder
        .remove("pv_wh.csv")
        .put("pv_wh.csv.gz", [gzip(head), gzip(tail)].concat());
    assert_eq!(folder.read().unwrap(), plain);
}

#[test]
fn windows_line_ends_and_a_missing_last_one_do_no_harm() {
    let folder = Folder::new();
    let plain = folder.read().unwrap();
    folder.put(
        "load_wh.csv",
        format!("\u{feff}{}", LOAD.replace('\n', "\r\n")),
    );
    folder.put("pv_wh.csv", PV.trim_end());
    assert_eq!(folder.read().unwrap(), plain);
}

#[test]
fn steps_may_begin_anywhere_and_can_be_counted_beforehand() {
    let folder = Folder::new();
    assert_eq!(Readings::count_steps(folder.0.path()).unwrap(), 3);
    folder.put(
        "load_wh.csv",
        LOAD.replacen("0,2016-07-03T22:00Z,63,311,74\n", "", 1),
    );
    folder.put("pv_wh.csv", PV.replacen("0,2016-07-03T22:00Z,0,0\n", "", 1));
    assert_eq!(folder.read().unwrap()[0].step, 1);
}

#[test]
fn a_missing_file_is_named() {
    let folder = Folder::new();
    folder.remove("pv_wh.csv");
    assert_eq!(
        folder.message(),
        "pv_wh.csv: not found; a data folder holds community.csv, load_wh.csv[.gz] and pv_wh.csv[.gz]"
    );
}

#[test]
fn a_file_both_plain_and_gzipped_is_ambiguous() {
    let folder = Folder::new();
    folder.put("pv_wh.csv.gz", gzip(PV));
    assert_eq!(
        folder.message(),
        "pv_wh.csv and pv_wh.csv.gz are both there; remove the one that shall not count"
    );
}

#[test]
fn headers_must_name_the_participants_of_the_community() {
    let columns = "the columns are step, utc_start and then, in the order of community.csv, every participant";
    assert_eq!(
        message_of_load("p02,p03", "p03,p02"),
        format!("load_wh.csv, line 1, column 4: found \"p03\" where \"p02\" belongs; {columns}")
    );
    assert_eq!(
        message_of_load(",p03", ""),
        format!(
            "load_wh.csv, line 1, column 5: found \"end of line\" where \"p03\" belongs; {columns}"
        )
    );
    assert_eq!(
        message_of_load(",p03", ",p03,p04"),
        format!(
            "load_wh.csv, line 1, column 6: found \"p04\" where \"end of line\" belongs; {columns}"
        )
    );
    assert!(
        message_of_load("utc_start", "local_start").contains("column 2: found \"local_start\"")
    );
    // p02 has no plant.
    let folder = Folder::new();
    folder.put("pv_wh.csv", PV.replacen("p01,p03", "p01,p02", 1));
    assert!(
        folder
            .message()
            .ends_with("in the order of community.csv, every participant whose pv_kw is above 0")
    );
}

#[test]
fn a_bad_number_is_shown_with_line_and_column() {
    for bad in [
        "7.5",
        "x",
        "",
        " 75",
        "1e2",
        "\"75\"",
        "18446744073709551616",
    ] {
        assert_eq!(
            message_of_load("120,75,214", &format!("120,{bad},214")),
            format!(
                "load_wh.csv, line 3, column \"p02\": {bad:?} is not an energy in whole Wh, such as 63"
            )
        );
    }
    assert!(
        message_of_load("\n1,2016", "\none,2016")
            .contains("line 3, column \"step\": \"one\" is not a step")
    );
    assert!(
        message_of_load("\n0,2016", "\n4294967296,2016")
            .contains("line 2, column \"step\": \"4294967296\"")
    );
    assert_eq!(
        message_of_load("2016-07-03T22:15Z", "03.07.2016 22:15"),
        "load_wh.csv, line 3, column \"utc_start\": \"03.07.2016 22:15\" is not an instant in UTC, in the form 2016-07-04T06:00Z"
    );
}

#[test]
fn a_negative_reading_is_called_negative() {
    assert_eq!(
        message_of_load("120,75,214", "120,-75,214"),
        "load_wh.csv, line 3, column \"p02\": \"-75\" is negative; load and generation are separate and both count upwards from 0"
    );
}

#[test]
fn a_reading_above_its_meters_capacity_is_refused() {
    // p02 peaks at 4 000 W, so its meter can measure 4 400 W, 1 100 Wh in a step.
    assert!(
        Folder::new()
            .put(
                "load_wh.csv",
                LOAD.replacen("120,75,214", "120,1100,214", 1)
            )
            .read()
            .is_ok()
    );
    assert_eq!(
        message_of_load("120,75,214", "120,1101,214"),
        "load_wh.csv, line 3, column \"p02\": 1101 Wh in a step exceed the meter's 4400 W; correct the reading, or peak_load_w in community.csv"
    );
    let folder = Folder::new();
    folder.put("pv_wh.csv", PV.replacen("1500", "18446744073709551615", 1));
    assert!(
        folder
            .message()
            .ends_with("exceed the meter's 7480 W; correct the reading, or pv_kw in community.csv")
    );
}

#[test]
fn a_row_of_another_length_is_refused() {
    assert_eq!(
        message_of_load("120,75,214", "120,75"),
        "load_wh.csv, line 3: 4 fields where the header has 5; give every column exactly one field"
    );
    assert!(message_of_load("120,75,214", "120,75,214,").contains("line 3: 6 fields"));
    assert!(message_of_load("\n2,2016", "\n\n2,2016").contains("line 4: 1 fields"));
}

#[test]
fn steps_out_of_order_doubled_or_missing_are_refused() {
    let tail = "rows are in the order of their steps, without gaps";
    assert_eq!(
        message_of_load("\n1,2016", "\n2,2016"),
        format!("load_wh.csv, line 3: step 2 where step 1 belongs; {tail}")
    );
    assert!(message_of_load("\n1,2016", "\n0,2016").contains("step 0 where step 1 belongs"));
    assert!(
        message_of_load("1,2016-07-03T22:15Z,120,75,214\n", "")
            .contains("line 3: step 2 where step 1 belongs")
    );
}

#[test]
fn a_step_must_begin_15_minutes_after_the_one_before() {
    assert_eq!(
        message_of_load("2016-07-03T22:15Z", "2016-07-03T23:15Z"),
        "load_wh.csv, line 3: utc_start 2016-07-03T23:15Z is not 15 minutes after 2016-07-03T22:00Z in the line before; times are in UTC, without gaps or summer time"
    );
}

#[test]
fn both_files_must_be_in_lock_step() {
    let folder = Folder::new();
    let later = LOAD
        .replacen("\n0,", "\n5,", 1)
        .replacen("\n1,", "\n6,", 1)
        .replacen("\n2,", "\n7,", 1);
    folder.put("load_wh.csv", later);
    assert_eq!(
        folder.message(),
        "load_wh.csv and pv_wh.csv, line 2: step 5 (2016-07-03T22:00Z) beside step 0 (2016-07-03T22:00Z); both files must cover the same steps"
    );
}

#[test]
fn both_files_must_have_the_same_length() {
    assert_eq!(
        message_of_load("2,2016-07-03T22:30Z,0,1,2\n", ""),
        "load_wh.csv ends after step 1, while pv_wh.csv goes on; both files must cover the same steps"
    );
    let folder = Folder::new();
    folder.put(
        "pv_wh.csv",
        PV.replacen("2,2016-07-03T22:30Z,1600,400\n", "", 1),
    );
    assert!(
        folder
            .message()
            .starts_with("pv_wh.csv ends after step 1, while load_wh.csv goes on")
    );
}

#[test]
fn files_without_rows_are_empty() {
    let folder = Folder::new();
    folder.put("load_wh.csv", "");
    assert_eq!(
        folder.message(),
        "load_wh.csv: no rows; it needs a header and at least one row"
    );
    folder.put("load_wh.csv", "step,utc_start,p01,p02,p03\n");
    assert_eq!(
        folder.message(),
        "load_wh.csv: no rows; it needs a header and at least one row"
    );
    folder.put("pv_wh.csv", "step,utc_start,p01,p03\n");
    assert_eq!(
        folder.message(),
        "load_wh.csv: no rows; it needs a header and at least one row"
    );
}

/// Load rows that do not compress to nothing, so that there is a middle to cut.
fn long_load() -> String {
    let rows = (0u64..96).map(|step| {
        let (hour, minute) = (step / 4, step % 4 * 15);
        let [a, b, c] = [7_919, 6_257, 4_219].map(|factor| step * step * factor % 700);
        format!("{step},2016-07-03T{hour:02}:{minute:02}Z,{a},{b},{c}\n")
    });
    core::iter::once("step,utc_start,p01,p02,p03\n".to_owned())
        .chain(rows)
        .collect()
}

#[test]
fn a_gzip_file_cut_anywhere_is_truncated() {
    let whole = gzip(&long_load());
    let folder = Folder::new();
    folder.remove("load_wh.csv");
    for length in [
        0,
        1,
        5,
        10,
        11,
        whole.len() / 2,
        whole.len() - 9,
        whole.len() - 8,
        whole.len() - 1,
    ] {
        folder.put("load_wh.csv.gz", &whole[..length]);
        let error = Readings::count_steps(folder.0.path()).unwrap_err();
        assert!(
            matches!(error, DataError::Truncated { .. }),
            "{length} bytes: {error}"
        );
    }
    folder.put("load_wh.csv.gz", &whole);
    assert_eq!(Readings::count_steps(folder.0.path()).unwrap(), 96);
}

#[test]
fn a_damaged_or_plain_file_named_gz_is_corrupt() {
    let mut damaged = gzip(&long_load());
    // The last eight bytes are checksum and length.
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    let folder = Folder::new();
    folder.remove("load_wh.csv");
    for content in [&damaged[..], LOAD.as_bytes()] {
        folder.put("load_wh.csv.gz", content);
        let error = Readings::count_steps(folder.0.path()).unwrap_err();
        assert!(matches!(error, DataError::Corrupt { .. }), "{error}");
    }
    assert!(
        folder
            .message()
            .contains("load_wh.csv.gz, after line 0: bad gzip data")
    );
}

#[test]
fn an_oversized_line_is_refused_before_it_fills_the_memory() {
    let limit = LINE_BYTES_MAX;
    let endless = "7".repeat(4 * limit);
    assert_eq!(
        message_of_load("120,75,214", &endless),
        format!(
            "load_wh.csv, line 3: more than {limit} bytes in a line; split the data or remove what is not needed"
        )
    );
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let folder = Folder::new();
    folder.put("load_wh.csv", [LOAD.as_bytes(), b"3,\xff\xfe\n"].concat());
    assert!(
        folder
            .message()
            .starts_with("load_wh.csv, line 5: not CSV text")
    );
}

#[test]
fn reading_ends_at_the_first_error() {
    let folder = Folder::new();
    folder.put("load_wh.csv", LOAD.replacen("120,75", "120,x", 1));
    let community = Community::open(folder.0.path()).unwrap();
    let mut readings = Readings::open(folder.0.path(), &community).unwrap();
    assert!(matches!(readings.next(), Some(Ok(_))));
    assert!(matches!(
        readings.next(),
        Some(Err(DataError::BadField { .. }))
    ));
    assert!(readings.next().is_none());
}
