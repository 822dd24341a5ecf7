//! Whether an event's digest is that of the data beside it, for the types whose rule is known.
//!
//! Most events log a *description* of what was hashed; then there is nothing to check. The types here log the hashed
//! bytes themselves, so an event whose text says one thing and whose digest another is a lie of whoever wrote the log.
//!
//! | type | hashed | source |
//! | --- | --- | --- |
//! | `EV_SEPARATOR`, `EV_ACTION`, `EV_EFI_ACTION`, `EV_EFI_GPT_EVENT` | the event data | PC Client Profile 1.06, table 27 |
//! | `EV_EFI_VARIABLE_DRIVER_CONFIG`, `_AUTHORITY`, `_BOOT2` | the event data (`UEFI_VARIABLE_DATA`) | same |
//! | `EV_EFI_VARIABLE_BOOT` | the variable's contents (edk2), or the event data (others); both seen in real logs | research on 6 logs |
//! | `EV_NO_ACTION` | nothing: the digest is zero | Profile, on `EV_NO_ACTION` |
//! | `EV_S_CRTM_VERSION` | the event data; firmware is not unanimous | Profile, table 27 |
//! | `EV_IPL` of GRUB (`grub_cmd`, `kernel_cmdline`) | the text after the prefix, without NUL (Red Hat's 2.02: some with) | three logs |

use super::{Event, Registers};
use crate::digest::{Bank, Digest};

/// What GRUB writes before a command in the log; the last two are Red Hat's of 2.02.
const GRUB_PREFIXES: [&[u8]; 5] = [
    b"grub_cmd: ",
    b"kernel_cmdline: ",
    b"module_cmdline: ",
    b"grub_cmd ",
    b"grub_kernel_cmdline ",
];

/// What is wrong with the digests of one event.
pub(super) struct Mismatch {
    /// Whether no firmware writes such an event.
    pub(super) certain: bool,
    /// What does not fit.
    pub(super) message: String,
}

/// What an event's digest must be the digest of.
enum Rule<'a> {
    /// One of these byte strings.
    Any(Vec<&'a [u8]>),
    /// All zero.
    Zero,
    /// Data that is no `UEFI_VARIABLE_DATA`.
    Malformed,
    /// Not known from the log.
    Unknown,
}

/// Checks the digests of `event`.
pub(super) fn mismatch(event: &Event<'_>, registers: Registers) -> Option<Mismatch> {
    let certain = is_certain(event, registers);
    let name = event.type_name();
    let told = |message| Some(Mismatch { certain, message });
    match rule(event) {
        Rule::Unknown => None,
        Rule::Malformed => told(format!("data of {name} is no UEFI_VARIABLE_DATA")),
        Rule::Zero => {
            let differs = |digest: &&Digest| **digest != Digest::zero(digest.bank());
            let bank = event.digests.iter().find(differs)?.bank();
            told(format!("{bank} digest of {name} is not zero"))
        }
        Rule::Any(wanted) => {
            let equals = |digest: &Digest| {
                let mut wanted = wanted.iter();
                wanted.any(|bytes| digest.bank().hash(&[bytes]) == *digest)
            };
            let digest = event.digests.iter().find(|digest| !equals(digest))?;
            let bank: Bank = digest.bank();
            told(format!(
                "{bank} digest of {name} is not that of its data: {}",
                event.summary()
            ))
        }
    }
}

/// Programs after the firmware may use the same types for what they like.
fn is_certain(event: &Event<'_>, registers: Registers) -> bool {
    match event.type_name() {
        "EV_IPL" | "EV_S_CRTM_VERSION" => false,
        "EV_SEPARATOR" | "EV_ACTION" => super::check::is_firmware(event.register, registers),
        _ => true,
    }
}

fn rule<'a>(event: &Event<'a>) -> Rule<'a> {
    match event.type_name() {
        "EV_NO_ACTION" => Rule::Zero,
        "EV_SEPARATOR" | "EV_ACTION" | "EV_EFI_ACTION" | "EV_EFI_GPT_EVENT" => {
            Rule::Any(vec![event.data])
        }
        "EV_S_CRTM_VERSION" => Rule::Any(vec![event.data]),
        "EV_EFI_VARIABLE_DRIVER_CONFIG" | "EV_EFI_VARIABLE_AUTHORITY" | "EV_EFI_VARIABLE_BOOT2" => {
            match Variable::parse(event.data) {
                Some(_) => Rule::Any(vec![event.data]),
                None => Rule::Malformed,
            }
        }
        "EV_EFI_VARIABLE_BOOT" => match Variable::parse(event.data) {
            Some(variable) => Rule::Any(vec![variable.contents, event.data]),
            None => Rule::Malformed,
        },
        "EV_IPL" => grub_text(event.data).map_or(Rule::Unknown, Rule::Any),
        _ => Rule::Unknown,
    }
}

/// Returns what GRUB may have hashed of a logged command: the text, or in Red Hat's GRUB 2.02 the text with its NUL.
fn grub_text(data: &[u8]) -> Option<Vec<&[u8]>> {
    let strip = |prefix: &&[u8]| data.strip_prefix(*prefix);
    let text = GRUB_PREFIXES.iter().find_map(strip)?;
    Some(vec![text.strip_suffix(b"\0").unwrap_or(text), text])
}

/// A `UEFI_VARIABLE_DATA`: GUID, two 64-bit lengths (name in UTF-16 units, contents in bytes), name, contents.
pub(super) struct Variable<'a> {
    /// The name.
    pub(super) name: String,
    /// The contents.
    pub(super) contents: &'a [u8],
}

impl<'a> Variable<'a> {
    /// Parses the data of an event that measures a variable; nothing may follow.
    pub(super) fn parse(data: &'a [u8]) -> Option<Variable<'a>> {
        let (_, rest) = data.split_first_chunk::<16>()?;
        let (units, rest) = rest.split_first_chunk::<8>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let units = usize::try_from(u64::from_le_bytes(*units)).ok()?;
        let (name, contents) = rest.split_at_checked(units.checked_mul(2)?)?;
        let wanted = usize::try_from(u64::from_le_bytes(*size)).ok()?;
        let units = name.as_chunks::<2>().0.iter();
        let units: Vec<u16> = units.map(|unit| u16::from_le_bytes(*unit)).collect();
        (contents.len() == wanted).then(|| Variable {
            name: String::from_utf16_lossy(&units),
            contents,
        })
    }
}
