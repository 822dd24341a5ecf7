//! The JSON, on the made-up reports of the fuzz targets.

use std::path::Path;

use insta::assert_snapshot;

use super::*;

/// The JSON of a seed, whose first byte is for the fuzz target.
fn measured(seed: &str) -> String {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds/hcl_report");
    let seed = read(&seeds.join(seed)).unwrap();
    format!("{:#}", as_json(&HclReport::parse(&seed[1..]).unwrap()))
}

#[test]
fn json_of_an_snp_report_is_as_documented() {
    assert_snapshot!(measured("snp"));
}

#[test]
fn json_of_a_tdx_report_is_as_documented() {
    assert_snapshot!(measured("tdx"));
}
