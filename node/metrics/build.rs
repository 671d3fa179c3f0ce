//! Tells the crate from which commit it is built: the variable `COMMONWATT_COMMIT`, or what git says.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=COMMONWATT_COMMIT");
    // Written whenever the checked out commit changes. A file that is not there would mean building each time.
    let head_log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.git/logs/HEAD");
    if head_log.exists() {
        println!("cargo::rerun-if-changed={}", head_log.display());
    } else {
        println!("cargo::rerun-if-changed=build.rs");
    }
    let commit = std::env::var("COMMONWATT_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty())
        .or_else(commit_of_checkout)
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=COMMONWATT_BUILT_FROM={commit}");
}

fn commit_of_checkout() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    let is_commit = !commit.is_empty() && commit.chars().all(|digit| digit.is_ascii_hexdigit());
    (output.status.success() && is_commit).then_some(commit)
}
