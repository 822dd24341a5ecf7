//! Guest policy: what a guest demands of its host, fixed at launch.
//!
//! Spec: AMD 56860, table "guest policy". It is not part of the launch digest: a guest that may be debugged has the same
//! digest as one that may not. Verifiers read it in the report.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Bits by name, in the order of the bits. A set bit permits `smt`, `migration`, `debug`, `cxl`; it demands the others.
const NAMES: [(&str, u32); 9] = [
    ("smt", 16),
    ("migration", 18),
    ("debug", 19),
    ("single-socket", 20),
    ("cxl", 21),
    ("aes-256-xts", 22),
    ("rapl-off", 23),
    ("ciphertext-hiding", 24),
    ("page-swap-off", 25),
];
/// Bit 17 must be one.
const ALWAYS: u64 = 1 << 17;
/// Bits 15 to 0: least version of the firmware ABI, major and minor.
const ABI: u64 = 0xffff;

/// `POLICY` of a guest, 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestPolicy(u64);

impl GuestPolicy {
    /// SMT allowed and nothing else: what QEMU takes when it is not told (0x30000).
    pub const QEMU_DEFAULT: GuestPolicy = GuestPolicy(ALWAYS | 1 << 16);

    /// Takes the number.
    ///
    /// # Errors
    /// [`PolicyError::Reserved`] where hardware would refuse the launch: bit 17 is clear, or a bit without meaning is set.
    pub fn new(bits: u64) -> Result<GuestPolicy, PolicyError> {
        let known = NAMES
            .iter()
            .fold(ABI | ALWAYS, |bits, (_, bit)| bits | 1 << bit);
        match bits & ALWAYS == ALWAYS && bits & !known == 0 {
            true => Ok(GuestPolicy(bits)),
            false => Err(PolicyError::Reserved { bits }),
        }
    }

    /// Returns the number.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Returns the names of the bits that are set, but the one that always is.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let set = move |(_, bit): &(&str, u32)| self.0 >> bit & 1 == 1;
        NAMES.into_iter().filter(set).map(|(name, _)| name)
    }

    /// Returns the least version of the firmware ABI, major and minor.
    pub fn abi(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }
}

impl fmt::Display for GuestPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for GuestPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestPolicy({self})")
    }
}

/// Why text or a number is no guest policy.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// Reserved bits are not as they must be.
    #[error(
        "guest policy {bits:#x} is refused by hardware: bit 17 must be 1, and bits 26 to 63 must be 0"
    )]
    Reserved {
        /// The number.
        bits: u64,
    },
    /// A word that names no bit.
    #[error(
        "unknown policy bit `{name}`: wanted a number, `none`, `abi=MAJOR.MINOR`, or names out of {}",
        NAMES.map(|(name, _)| name).join(", ")
    )]
    UnknownName {
        /// The word.
        name: String,
    },
}

impl FromStr for GuestPolicy {
    type Err = PolicyError;

    /// Takes a number, decimal or with `0x`, or names joined by commas: `smt,debug,abi=1.55`. `none` sets no bit but 17.
    fn from_str(text: &str) -> Result<GuestPolicy, PolicyError> {
        let unknown = |name: &str| PolicyError::UnknownName {
            name: name.to_owned(),
        };
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let bits = match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => text.parse(),
            };
            return GuestPolicy::new(bits.map_err(|_| unknown(text))?);
        }
        let mut bits = ALWAYS;
        for word in text.split(',') {
            if let Some(version) = word.strip_prefix("abi=") {
                bits = bits & !ABI | abi(version).ok_or_else(|| unknown(word))?;
            } else if word != "none" || text != "none" {
                let found = NAMES.iter().find(|(name, _)| *name == word);
                bits |= 1 << found.ok_or_else(|| unknown(word))?.1;
            }
        }
        GuestPolicy::new(bits)
    }
}

/// Takes `MAJOR.MINOR`.
fn abi(version: &str) -> Option<u64> {
    let (major, minor) = version.split_once('.')?;
    let (major, minor): (u8, u8) = (major.parse().ok()?, minor.parse().ok()?);
    Some(u64::from(u16::from_be_bytes([major, minor])))
}
