//! What lies on disk and may have been changed there.

use std::{
    fs, panic,
    path::{Path, PathBuf},
    sync::{LazyLock, Once},
};

use commonwatt_storage::{ChainDb, DatabaseKind, DbConfig, OpenError};

use crate::fixtures::{grow, grown, open_chain, reopen, scratch};

/// Changes of one input.
const CHANGES_MAX: usize = 16;
/// Blocks read back after a change.
const BLOCKS_READ_MAX: u32 = 8;

/// Reads whatever a database has. It may be damaged in any way, so only its answers are asked for.
fn read_all(db: &ChainDb) {
    let (best, hash) = db.best();
    let is_whole = db.check_integrity().is_ok();
    for number in best.saturating_sub(BLOCKS_READ_MAX)..=best {
        if let Ok(Some(hash)) = db.hash_of(number) {
            let block = db.block(&hash);
            assert!(!is_whole || block.is_ok());
        }
    }
    let state = db.state_at(&hash);
    assert!(!is_whole || state.is_ok());
}

/// Records whose values were changed below everything that guards them, six bytes a change: record, place, how, with
/// what. Whatever the values are, opening and reading end with an answer or an error.
pub fn database(data: &[u8]) {
    let mut records = grown().1.clone();
    let keys: Vec<_> = records.keys().cloned().collect();
    for change in data.chunks_exact(6).take(CHANGES_MAX) {
        let [a, b, c, d, how, with] = [0, 1, 2, 3, 4, 5].map(|place| change[place]);
        let key = &keys[usize::from(u16::from_le_bytes([a, b])) % keys.len()];
        let place = usize::from(u16::from_le_bytes([c, d]));
        let Some(value) = records.get_mut(key) else {
            continue;
        };
        match how % 4 {
            0 => {
                let place = place % value.len().max(1);
                if let Some(byte) = value.get_mut(place) {
                    *byte ^= with | 1;
                }
            }
            1 => value.truncate(place % (value.len() + 1)),
            2 => value.extend(std::iter::repeat_n(with, place % 64)),
            _ => {
                records.remove(key);
            }
        }
    }
    match reopen(records) {
        Ok(db) => read_all(&db),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A database's files as they were closed.
struct Image {
    kind: DatabaseKind,
    /// Names below the folder, and contents.
    files: Vec<(PathBuf, Vec<u8>)>,
}

fn config(kind: DatabaseKind) -> DbConfig {
    DbConfig {
        kind,
        cache_bytes: 4 * 1024 * 1024,
        trie_cache_bytes: 1024 * 1024,
        ..DbConfig::default()
    }
}

fn make_image(kind: DatabaseKind, folder: &Path) -> Image {
    let db = ChainDb::open(folder, config(kind)).expect("an empty folder opens");
    let chain = open_chain(db);
    grow(&chain);
    drop(chain);
    let mut files = Vec::new();
    collect(folder, folder, &mut files);
    files.sort();
    fs::remove_dir_all(folder).expect("a folder of its own");
    Image { kind, files }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("a folder of its own") {
        let path = entry.expect("a folder of its own").path();
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let name = path.strip_prefix(root).expect("below the root");
        let content = fs::read(&path).expect("a file of its own");
        files.push((name.to_owned(), content));
    }
}

/// Has panics that are caught not end the fuzzer, which otherwise ends with the first of any kind.
fn expect_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        if cfg!(feature = "libfuzzer") {
            panic::set_hook(Box::new(|info| eprintln!("caught: {info}")));
        }
    });
}

/// The files of a database that was changed on disk; the first byte says of which back end, then seven bytes a change:
/// file, place, how, with what. The storage crate turns the back ends' panics into errors, so panics that are caught are
/// no fault here.
pub fn database_file(data: &[u8]) {
    static IMAGES: LazyLock<[Image; 2]> = LazyLock::new(|| {
        [DatabaseKind::Sled, DatabaseKind::Redb]
            .map(|kind| make_image(kind, &scratch().join("image")))
    });
    expect_panics();

    let Some((kind, changes)) = data.split_first() else {
        return;
    };
    let image = &IMAGES[usize::from(kind % 2)];
    let folder = scratch().join("database");
    // There may be none.
    let _ = fs::remove_dir_all(&folder);
    let mut files = image.files.clone();
    for change in changes.chunks_exact(7).take(CHANGES_MAX) {
        let count = files.len();
        let content = &mut files[usize::from(change[0]) % count].1;
        let place = u32::from_le_bytes([change[1], change[2], change[3], change[4]]);
        let place = usize::try_from(place).expect("32 bits fit");
        match change[5] % 4 {
            // Most of a file is zeros: counted from where it ends, a place is more often in use.
            0 | 1 => {
                let used = content.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                if let Some(byte) = content.get_mut(place % (used + 1)) {
                    *byte ^= change[6] | 1;
                }
            }
            2 => content.truncate(place % (content.len() + 1)),
            _ => {
                let begin = place % (content.len() + 1);
                let end = (begin + 4096).min(content.len());
                content[begin..end].fill(change[6]);
            }
        }
    }
    for (name, content) in &files {
        let path = folder.join(name);
        let parent = path.parent().expect("below the folder");
        fs::create_dir_all(parent).expect("the temporary folder can be written to");
        fs::write(path, content).expect("the temporary folder can be written to");
    }
    let opened: Result<ChainDb, OpenError> = ChainDb::open(&folder, config(image.kind));
    match opened {
        Ok(db) => read_all(&db),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
