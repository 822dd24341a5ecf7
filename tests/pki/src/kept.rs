//! RSA keys that outlive the process, for runs of thousands of processes: a key of 4096 bits takes longer to make than most tests.
//!
//! Where `CLOISTER_TEST_KEYS` names a folder, the n-th key of a size that a process asks for is the same each time. Without it each is
//! fresh.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::RsaKeyPair;

use crate::PkiError;

/// Where keys are kept.
#[expect(
    clippy::disallowed_methods,
    reason = "what runs the tests chooses, not the tests"
)]
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var("CLOISTER_TEST_KEYS").ok().map(PathBuf::from)
}

/// The next key of this size, read or made and kept.
pub(crate) fn next(folder: &Path, size: KeySize) -> Result<RsaKeyPair, PkiError> {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let number = ASKED.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{}-{number}.pk8", size.len()));
    if let Ok(der) = std::fs::read(&path) {
        return RsaKeyPair::from_pkcs8(&der).map_err(|_| PkiError::Crypto);
    }
    let pair = RsaKeyPair::generate(size).map_err(|_| PkiError::Crypto)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| PkiError::Crypto)?;
    let new = path.with_extension(std::process::id().to_string());
    let written = std::fs::write(&new, der.as_ref()).and_then(|()| std::fs::rename(new, path));
    written.map_err(|_| PkiError::Crypto)?;
    Ok(pair)
}
