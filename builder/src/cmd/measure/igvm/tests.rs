//! The JSON, on the made-up file of the fuzz targets. Digests have their oracle in `tests/vectors/igvm.py`.

use insta::assert_snapshot;

use super::*;

fn measured(transcript: bool) -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fuzz/seeds/igvm/launch"
    );
    let seed = read(path.as_ref()).unwrap();
    // The first byte of a seed is for the fuzz target.
    let igvm = Igvm::parse(&seed[1..]).unwrap();
    let args = Args {
        igvm: path.into(),
        transcript,
    };
    as_json(&args, &igvm, &findings(&igvm), id_block(&igvm).as_ref())
}

#[test]
fn json_is_as_documented() {
    assert_snapshot!(format!("{:#}", measured(false)));
}

#[test]
fn json_with_transcript_is_as_documented() {
    assert_snapshot!(format!("{:#}", measured(true)));
}
