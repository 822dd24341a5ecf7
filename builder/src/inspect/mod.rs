//! Says what a file is, from its bytes: every kind of file that Cloister writes or reads.
//!
//! Files are told apart by content, never by name. Everything read here comes from outside, so every reader is total:
//! damage is reported as a field, and a file that is nothing known is `None`.

mod attestation;
mod cloud;
mod endorsement;
mod evidence;
mod gpu;
mod image;
mod report;
mod rim;
mod text;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

pub(crate) use report::Report;

/// Bytes of a file that is not a disk or file system and is read whole.
const WHOLE_LIMIT: u64 = 1 << 30;
/// Bytes that tell the large kinds apart.
const HEAD: u64 = 64 << 10;

/// What `file` is; `None` when it is nothing known.
pub(crate) fn inspect(mut file: File) -> io::Result<Option<Report>> {
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut bytes)?;
    if let Some(report) = cloud::vhd(&file, length)? {
        return Ok(Some(report));
    }
    if crate::gcp_tar::is_gzip(&bytes) {
        file.rewind()?;
        if let Some(report) = cloud::google(&file) {
            return Ok(Some(report));
        }
        file.seek(SeekFrom::Start(bytes.len() as u64))?;
    }
    if let Some(report) = image::disk(&file, length)? {
        return Ok(Some(report));
    }
    if let Some(report) = image::erofs(&bytes, length) {
        return Ok(Some(report));
    }
    if length > WHOLE_LIMIT {
        return Ok(None);
    }
    file.read_to_end(&mut bytes)?;
    Ok(whole(&bytes))
}

/// Reads one kind of file; `None` when the bytes are another kind.
type Reader = fn(&[u8]) -> Option<Report>;

/// The kinds that are read whole, the most specific signatures first.
fn whole(bytes: &[u8]) -> Option<Report> {
    let readers: [Reader; 23] = [
        image::kernel,
        image::pe,
        image::initrd,
        text::guest_configuration,
        text::json,
        evidence::bundle,
        attestation::wrapper,
        attestation::tpm_quote,
        attestation::hcl_report,
        attestation::snp_report,
        attestation::quote,
        endorsement::google,
        gpu::report,
        gpu::evidence,
        gpu::chain,
        rim::rim,
        text::toml,
        text::cmdline,
        evidence::certificate,
        evidence::event_log,
        evidence::firmware,
        image::fat_volume,
        image::verity,
    ];
    readers.iter().find_map(|read| read(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_empty_and_random_files_are_none() {
        for bytes in [
            b"".as_slice(),
            b"hello",
            &[0; 4096],
            &[0x30; 5000],
            &[0x1f, 0x8b, 8, 0, 0],
        ] {
            assert_eq!(whole(bytes), None);
        }
    }
}
