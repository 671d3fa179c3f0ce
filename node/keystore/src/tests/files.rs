//! Permissions and atomic writing.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use crate::files::{
    Exposure, FileError, SECRET_FILE_BYTES_MAX, read_input, read_private, write_private,
};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_secret_is_written_for_its_owner_alone_and_never_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    write_private(&path, b"one").unwrap();
    assert_eq!(mode(&path), 0o600);
    let error = write_private(&path, b"other").unwrap_err();
    assert!(matches!(error, FileError::Exists(_)), "{error}");
    assert_eq!(**read_private(&path).unwrap().unwrap(), *b"one");
    // No draft is left behind.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_secret_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    write_private(&path, b"one").unwrap();
    for open in [0o640, 0o604, 0o620, 0o601] {
        set_mode(&path, open);
        let error = read_private(&path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("chmod 600 '{}'", path.display())),
            "{error}"
        );
        assert!(error.contains(&format!("{open:04o}")), "{error}");
        assert_eq!(read_input(&path).unwrap().1, Exposure::Others(open));
    }
    // The file counts, not the name that leads to it.
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(read_private(&link).is_err());
    set_mode(&path, 0o400);
    assert!(read_private(&link).unwrap().is_some());
    assert_eq!(read_input(&link).unwrap().1, Exposure::Private);
}

#[test]
fn only_files_of_a_keys_size_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    assert!(read_private(&path).unwrap().is_none());
    let size = usize::try_from(SECRET_FILE_BYTES_MAX).unwrap();
    write_private(&path, &vec![b'a'; size]).unwrap();
    assert_eq!(read_private(&path).unwrap().unwrap().len(), size);
    fs::write(&path, vec![b'a'; size + 1]).unwrap();
    assert!(matches!(read_private(&path), Err(FileError::TooLarge(_))));
    assert!(matches!(read_input(&path), Err(FileError::TooLarge(_))));
    assert!(matches!(
        read_private(folder.path()),
        Err(FileError::NotAFile(_))
    ));
    assert!(matches!(
        read_input(folder.path()),
        Err(FileError::NotAFile(_))
    ));
    // A stream without an end is read up to the bound.
    assert!(matches!(
        read_input(Path::new("/dev/zero")),
        Err(FileError::TooLarge(_))
    ));
}
