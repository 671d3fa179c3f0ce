//! Every chain spec that is shipped can be begun with.

use std::{fs, path::Path};

use commonwatt::spec::ChainSpec;

#[test]
fn every_shipped_chain_spec_is_sound_and_in_the_one_format() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../chain-specs");
    let mut checked = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let spec = ChainSpec::read(&path).unwrap_or_else(|error| panic!("{error}"));
        spec.genesis_hash().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            spec.to_json(),
            "{}: write it as `to_json` does",
            path.display()
        );
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(stem, spec.id, "a spec's file has its id for a name");
        checked += 1;
    }
    assert!(checked >= 1);
}
