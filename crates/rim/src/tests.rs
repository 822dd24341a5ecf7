//! RIMs that NVIDIA signed, RIMs that the tests sign, and canonical forms against libxml2.

mod content;
mod edited;
mod made;
mod oracle;
mod refusals;
mod vectors;

use std::path::PathBuf;

/// The workspace.
fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests find their vectors and oracles by the environment"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where something is that tests cannot do without under `CI`; without it, prints why the test is skipped.
fn found(candidates: impl IntoIterator<Item = PathBuf>, what: &str) -> Option<PathBuf> {
    let found = candidates.into_iter().find(|path| path.exists());
    if found.is_none() {
        assert!(environment("CI").is_none(), "no {what}, and CI is set");
        println!("skipped: no {what}");
    }
    found
}

/// The directory `gpu` of the shared vectors.
fn vectors() -> Option<PathBuf> {
    let named = environment("CLOISTER_VECTORS").map(PathBuf::from);
    let places = ["../shared/vectors", "../../shared/vectors"].map(|path| workspace().join(path));
    let places = named.into_iter().chain(places);
    found(
        places.map(|path| path.join("gpu")),
        "GPU vectors; set CLOISTER_VECTORS",
    )
}
