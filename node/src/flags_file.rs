//! Arguments from files: `@FILE` on the command line stands for the lines of a file, one argument each, as compilers take
//! them. Empty lines and those that begin with `#` are left out.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    path::Path,
};

use anyhow::{Context, Result, ensure};

/// Largest file of arguments, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Returns the words of a command line with each `@FILE` replaced by what the file holds.
///
/// # Errors
/// A file cannot be read.
pub fn expand(words: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>> {
    let mut expanded = Vec::new();
    for word in words {
        match word.to_str().and_then(|word| word.strip_prefix('@')) {
            Some(file) => read(Path::new(file), &mut expanded)?,
            None => expanded.push(word),
        }
    }
    Ok(expanded)
}

fn read(path: &Path, words: &mut Vec<OsString>) -> Result<()> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .with_context(|| format!("cannot read arguments from {}", path.display()))?;
    ensure!(
        u64::try_from(text.len()).is_ok_and(|bytes| bytes <= FILE_BYTES_MAX),
        "{} has more than {FILE_BYTES_MAX} bytes: is it another file?",
        path.display()
    );
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    words.extend(lines.map(OsStr::new).map(ToOwned::to_owned));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_for_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("flags");
        std::fs::write(&file, "# a node\n--name=my node\n\n--validator\n").unwrap();
        let words = [
            "commonwatt".into(),
            format!("@{}", file.display()).into(),
            "--rpc-port=1".into(),
        ];
        let expanded = expand(words).unwrap();
        assert_eq!(
            expanded,
            [
                "commonwatt",
                "--name=my node",
                "--validator",
                "--rpc-port=1"
            ]
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let said = format!("{:#}", expand(["@no-such-file".into()]).unwrap_err());
        assert!(said.contains("no-such-file"), "{said}");
    }
}
