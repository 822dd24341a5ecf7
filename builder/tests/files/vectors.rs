//! Where the shared attestation vectors lie: outside of the repository, for every test here that reads them.

use std::path::{Path, PathBuf};

/// The directory; without it the test is skipped, in words, and fails under `CI`.
pub(crate) fn vectors() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found = ["../shared/vectors", "../../shared/vectors"]
        .into_iter()
        .map(|path| workspace.join(path).join("attestation"))
        .find(|path| path.is_dir());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "no vectors, and CI is set"
        );
        println!("skipped: no attestation vectors");
    }
    found
}
