//! The JSON, on the made-up report of the fuzz targets.

use insta::assert_snapshot;

use super::*;

#[test]
fn json_of_an_snp_report_is_as_documented() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fuzz/seeds/hcl_report/snp"
    );
    let seed = read(path.as_ref()).unwrap();
    // The first byte of a seed is for the fuzz target.
    let report = HclReport::parse(&seed[1..]).unwrap();
    assert_snapshot!(format!("{:#}", as_json(&report)));
}
