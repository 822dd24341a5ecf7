//! The JSON, on the made-up UKI of the fuzz targets.

use insta::assert_snapshot;

use super::*;

#[test]
fn json_has_both_digests() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/seeds/uki/plain");
    let digests = digests(path.as_ref()).unwrap();
    assert_snapshot!(format!("{:#}", as_json(digests)));
}
