//! The JSON, for a launch digest of `tests/vectors/snp` that sev-snp-measure computed.

use clap::Parser;
use insta::assert_snapshot;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// 2 vCPUs of model EPYC-v4 on `qemu`, features 0x1, command line `console=ttyS0`.
const DIGEST: &str = "6721a1917abfd1c107287f228842a083441c81ce17870e3ad7e33fc5a30eff2d573f4fdfa45b4e33c3b791e2838e6735";

fn explained(digest: &str) -> Value {
    let vector = |name| format!("{}/../tests/vectors/snp/{name}", env!("CARGO_MANIFEST_DIR"));
    let (firmware, kernel, initrd) = (vector("enforcing.fd"), vector("kernel"), vector("initrd"));
    let words = [
        "explain",
        "--digest",
        digest,
        "--firmware",
        &firmware,
        "--kernel",
        &kernel,
        "--initrd",
        &initrd,
        "--cmdline",
        "console=ttyS0 ",
    ];
    let args = Line::try_parse_from(words).unwrap().args;
    as_json(&args, &matches(&args).unwrap())
}

#[test]
fn json_names_white_space_that_was_not_meant() {
    assert_snapshot!(format!("{:#}", explained(DIGEST)));
}

#[test]
fn json_without_a_match_has_an_empty_list() {
    let found = explained(&"00".repeat(48));
    assert_eq!(found, json!({"digest": "00".repeat(48), "matches": []}));
}
