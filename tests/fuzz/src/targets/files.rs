//! Files that operators write: chain specs, community data, order books, flags.

use std::{ffi::OsString, fs};

use clap::Parser;
use commonwatt::{cli::Cli, commands::Clear, flags_file::expand, spec::ChainSpec};
use commonwatt_community_data::{COMMUNITY_FILE, Community, LOAD_FILE, PV_FILE, Readings};

use crate::fixtures::scratch;

/// Steps of one input that are read.
const STEPS_MAX: usize = 1_000;
/// What stands between the three files of [`community_csv`].
pub const SEPARATOR: &[u8] = b"\n%%\n";
/// What gzipped data begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A chain spec: what is accepted makes a genesis, and survives its own form.
pub fn chain_spec(data: &[u8]) {
    let path = scratch().join("spec.json");
    fs::write(&path, data).expect("the temporary folder can be written to");
    let spec = match ChainSpec::read(&path) {
        Ok(spec) => spec,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    spec.genesis_hash()
        .expect("what was checked makes a genesis");
    fs::write(&path, spec.to_json()).expect("the temporary folder can be written to");
    let again = ChainSpec::read(&path).expect("what was written can be read");
    assert_eq!(again, spec);
}

/// A folder of community data, its three files one after the other: members, loads, generation; the last two perhaps
/// gzipped. Steps that are read ascend, and have a reading for each participant.
pub fn community_csv(data: &[u8]) {
    let folder = scratch().join("community");
    fs::create_dir_all(&folder).expect("the temporary folder can be written to");
    let mut rest = data;
    for name in [COMMUNITY_FILE, LOAD_FILE, PV_FILE] {
        let end = rest
            .windows(SEPARATOR.len())
            .position(|window| window == SEPARATOR);
        let (file, after) = match end {
            Some(end) => (&rest[..end], &rest[end + SEPARATOR.len()..]),
            None => (rest, &[][..]),
        };
        rest = after;
        let plain = folder.join(name);
        let gzipped = folder.join(format!("{name}.gz"));
        let (path, other) = match file.starts_with(&GZIP) {
            true => (gzipped, plain),
            false => (plain, gzipped),
        };
        // There may be none.
        let _ = fs::remove_file(other);
        fs::write(path, file).expect("the temporary folder can be written to");
    }
    let community = match Community::open(&folder) {
        Ok(community) => community,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(!community.participants.is_empty());
    for participant in &community.participants {
        assert!(community.index_of(&participant.id).is_some());
        assert!(participant.load_capacity_w() >= participant.peak_load_w);
        assert_eq!(participant.pv_capacity_w().is_some(), participant.has_pv());
    }
    // Counting does not look at the rows.
    let _ = Readings::count_steps(&folder);
    let Ok(readings) = Readings::open(&folder, &community) else {
        return;
    };
    let mut last = None;
    for step in readings.take(STEPS_MAX) {
        let Ok(step) = step else {
            return;
        };
        assert!(last.is_none_or(|last| step.step > last));
        last = Some(step.step);
        assert_eq!(step.load_wh.len(), community.participants.len());
        assert_eq!(step.pv_wh.len(), community.pv_indices().count());
        let _ = (step.generation_wh(), step.consumption_wh());
    }
}

/// The mechanisms that the first byte of [`order_book`] chooses among.
pub const MECHANISMS: [&str; 7] = [
    "average",
    "loyal",
    "uniform:0",
    "uniform:5000",
    "uniform:10000",
    "mcafee",
    "continuous",
];

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    clear: Clear,
}

/// A file of order books, plain or gzipped, cleared by the mechanism that the first byte says: the clearing proves itself, or
/// the file is refused.
pub fn order_book(data: &[u8]) {
    let Some((mechanism, books)) = data.split_first() else {
        return;
    };
    let mechanism = MECHANISMS[usize::from(*mechanism) % MECHANISMS.len()];
    let path = scratch().join("books.json");
    fs::write(&path, books).expect("the temporary folder can be written to");
    let words = ["clear".as_ref(), path.as_os_str(), "--mechanism".as_ref()];
    let line = Line::try_parse_from(words.into_iter().chain([mechanism.as_ref()]));
    let clear = line.unwrap_or_else(|error| panic!("{error}")).clear;
    if let Err(error) = clear.run() {
        let said = format!("{error:#}");
        assert!(said.contains("cannot be cleared"), "{said}");
        assert!(!said.contains("does not prove itself"), "{said}");
    }
}

/// A file of arguments: it stands for its lines, and what they say is understood or refused.
pub fn flags_file(data: &[u8]) {
    let path = scratch().join("flags");
    fs::write(&path, data).expect("the temporary folder can be written to");
    let mut named = OsString::from("@");
    named.push(&path);
    match expand(["commonwatt".into(), named, "--version".into()]) {
        Ok(words) => {
            let text = str::from_utf8(data).expect("only text is taken");
            let [program, given @ .., last] = &words[..] else {
                panic!("words around the file are lost");
            };
            assert!(program == "commonwatt" && last == "--version");
            assert!(given.len() <= text.lines().count());
            for word in given {
                let word = word.to_str().expect("a piece of text");
                assert!(!word.trim().is_empty() && !word.starts_with('#'));
                assert!(text.lines().any(|line| line == word));
            }
            let given = words[..words.len() - 1].iter();
            if let Err(error) = Cli::try_parse_from(given) {
                assert!(!error.to_string().is_empty());
            }
        }
        Err(error) => {
            assert!(str::from_utf8(data).is_err(), "a text is refused: {error}");
            assert!(format!("{error:#}").contains("flags"), "{error:#}");
        }
    }
}
