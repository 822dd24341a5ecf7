//! Numbers, digests and files-or-hashes as they are written on the command line.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use cloister_measure::digest::Digest;
use cloister_measure::snp::{LaunchDigest, MAX_VCPUS};

use super::error::MeasureError;
use super::files::sha256;

/// Takes a number, decimal or with `0x`.
pub(super) fn number(text: &str) -> Result<u64, String> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // The standard library takes a plus sign.
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return Err("wanted a number, decimal or hexadecimal with `0x`".to_owned());
    }
    u64::from_str_radix(digits, radix).map_err(|error| error.to_string())
}

/// Takes a number of 32 bits, decimal or with `0x`.
pub(super) fn number32(text: &str) -> Result<u32, String> {
    u32::try_from(number(text)?).map_err(|_| "wanted at most 0xffffffff".to_owned())
}

/// Takes a number of vCPUs, or the smallest and largest of several such as `1-64`.
pub(super) fn vcpus(text: &str) -> Result<RangeInclusive<u32>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number32(first)?, number32(last)?);
    match (1..=MAX_VCPUS).contains(&first) && (first..=MAX_VCPUS).contains(&last) {
        true => Ok(first..=last),
        false => Err(format!(
            "wanted 1 to {MAX_VCPUS}, or two of these such as `1-64`"
        )),
    }
}

/// Takes a launch digest: 96 hexadecimal digits.
pub(super) fn launch_digest(text: &str) -> Result<LaunchDigest, String> {
    match Digest::from_str(text) {
        Ok(Digest::Sha384(bytes)) => Ok(LaunchDigest(bytes)),
        Ok(other) => Err(format!(
            "wanted 96 hexadecimal digits (SHA-384), found {} ({})",
            other.bank().len() * 2,
            other.bank()
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// A file, or the hash of one that is not at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// Path of the file.
    File(PathBuf),
    /// SHA-256 of its contents.
    Sha256([u8; 32]),
}

impl Input {
    /// Takes `sha256:` and 64 hexadecimal digits, or else a path.
    pub(super) fn parse(word: OsString) -> Result<Input, String> {
        let Some(digits) = word.to_str().and_then(|word| word.strip_prefix("sha256:")) else {
            return Ok(Input::File(PathBuf::from(word)));
        };
        let mut hash = [0; 32];
        let failed = |error| {
            format!("not a SHA-256: {error} (a file of this name can be given as `./sha256:...`)")
        };
        hex::decode_to_slice(digits, &mut hash).map_err(failed)?;
        Ok(Input::Sha256(hash))
    }

    /// Returns the SHA-256 of the contents.
    pub(super) fn sha256(&self) -> Result<[u8; 32], MeasureError> {
        match self {
            Input::File(path) => sha256(path),
            Input::Sha256(hash) => Ok(*hash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_hexadecimal_and_nothing_else() {
        for (text, wanted) in [("0", 0), ("64", 64), ("0x40", 64), ("0xA0", 160)] {
            assert_eq!(number(text), Ok(wanted));
        }
        for text in [
            "",
            "0x",
            "+1",
            "-1",
            "0x+1",
            "a",
            "1 ",
            "1_000",
            "99999999999999999999",
        ] {
            assert!(number(text).is_err(), "{text}");
        }
        assert!(number32("0x100000000").is_err());
    }

    #[test]
    fn vcpus_are_one_number_or_a_range_that_a_guest_can_have() {
        for (text, wanted) in [
            ("1", 1..=1),
            ("4096", 4096..=4096),
            ("1-4096", 1..=4096),
            ("2-0x10", 2..=16),
            ("7-7", 7..=7),
        ] {
            assert_eq!(vcpus(text), Ok(wanted), "{text}");
        }
        for text in [
            "0",
            "4097",
            "4294967295",
            "4294967296",
            "0-1",
            "2-1",
            "1-4097",
            "-1",
            "1-",
            "-",
            "1-2-3",
            "",
        ] {
            assert!(vcpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn input_is_a_file_unless_it_is_marked_as_a_hash() {
        let parse = |word: &str| Input::parse(word.into());
        assert_eq!(parse("a/b"), Ok(Input::File("a/b".into())));
        assert_eq!(
            parse(&format!("sha256:{}", "ab".repeat(32))),
            Ok(Input::Sha256([0xab; 32]))
        );
        for word in [
            "sha256:",
            "sha256:abcd",
            &format!("sha256:{}", "zz".repeat(32)),
        ] {
            assert!(parse(word).is_err(), "{word}");
        }
    }

    #[test]
    fn launch_digest_is_sha384() {
        assert_eq!(
            launch_digest(&"12".repeat(48)),
            Ok(LaunchDigest([0x12; 48]))
        );
        for text in ["12", &"12".repeat(32), &"AB".repeat(48)] {
            assert!(launch_digest(text).is_err(), "{text}");
        }
    }
}
