//! Opaque data of a report: fields of type, length and value, and what the understood ones say.

use super::ReportError;
use super::cursor::Cursor;
use crate::Digest;

/// Numbers and names of the fields, as NVIDIA's verifiers have them (`OPAQUE_FIELD_ID_*`).
const NAMES: [(u16, &str); 27] = [
    (1, "CERT_ISSUER_NAME"),
    (2, "CERT_AUTHORITY_KEY_IDENTIFIER"),
    (DRIVER_VERSION, "DRIVER_VERSION"),
    (4, "GPU_INFO"),
    (5, "SKU"),
    (VBIOS_VERSION, "VBIOS_VERSION"),
    (7, "MANUFACTURER_ID"),
    (8, "TAMPER_DETECTION"),
    (9, "SMC"),
    (10, "VPR"),
    (NVDEC0_STATUS, "NVDEC0_STATUS"),
    (MSRSCNT, "MSRSCNT"),
    (13, "CPRINFO"),
    (14, "BOARD_ID"),
    (CHIP_SKU, "CHIP_SKU"),
    (16, "CHIP_SKU_MOD"),
    (PROJECT, "PROJECT"),
    (PROJECT_SKU, "PROJECT_SKU"),
    (19, "PROJECT_SKU_MOD"),
    (FWID, "FWID"),
    (PROTECTED_PCIE_STATUS, "PROTECTED_PCIE_STATUS"),
    (SWITCH_PDI, "SWITCH_PDI"),
    (32, "GPU_LINK_CONN"),
    (33, "SYS_ENABLE_STATUS"),
    (OPAQUE_DATA_VERSION, "OPAQUE_DATA_VERSION"),
    (35, "CHIP_INFO"),
    (FEATURE_FLAG, "FEATURE_FLAG"),
];
const DRIVER_VERSION: u16 = 3;
const VBIOS_VERSION: u16 = 6;
const NVDEC0_STATUS: u16 = 11;
const MSRSCNT: u16 = 12;
const CHIP_SKU: u16 = 15;
const PROJECT: u16 = 17;
const PROJECT_SKU: u16 = 18;
const FWID: u16 = 20;
const PROTECTED_PCIE_STATUS: u16 = 21;
const SWITCH_PDI: u16 = 22;
const OPAQUE_DATA_VERSION: u16 = 34;
const FEATURE_FLAG: u16 = 36;
/// Kept by NVIDIA for no field.
const INVALID: u16 = 255;

/// One opaque field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub kind: u16,
    /// Where it starts in the report, at its number.
    pub offset: usize,
    /// Its value.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// Its name, where the number has one.
    pub fn name(&self) -> Option<&'static str> {
        let entry = NAMES.iter().find(|(kind, _)| *kind == self.kind);
        entry.map(|(_, name)| *name)
    }
}

/// A status in one byte that errors of single bits cannot turn over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 0xAA.
    Enabled,
    /// 0x55.
    Disabled,
}

impl core::fmt::Display for Status {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Status::Enabled => "enabled (0xaa)",
            Status::Disabled => "disabled (0x55)",
        })
    }
}

/// How GPUs are passed to guests: FEATURE_FLAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// 0, SPT: one GPU for one guest.
    SinglePassthrough,
    /// 1, MPT: several GPUs for one guest.
    MultiPassthrough,
    /// 2, PPCIE: GPUs and switches behind protected PCIe.
    ProtectedPcie,
}

impl core::fmt::Display for Feature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Feature::SinglePassthrough => "single GPU passthrough (SPT)",
            Feature::MultiPassthrough => "multi-GPU passthrough (MPT)",
            Feature::ProtectedPcie => "protected PCIe (PPCIE)",
        })
    }
}

/// What the understood fields say; `None` where the report does not have the field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opaque {
    /// DRIVER_VERSION, as in `580.159.03`.
    pub driver: Option<String>,
    /// VBIOS_VERSION in lower case, as in `96.00.9f.00.01`.
    pub vbios: Option<String>,
    /// CHIP_SKU, as in `882`.
    pub chip_sku: Option<String>,
    /// PROJECT, as in `1010`.
    pub project: Option<String>,
    /// PROJECT_SKU, as in `0200`.
    pub project_sku: Option<String>,
    /// NVDEC0_STATUS.
    pub nvdec0: Option<Status>,
    /// PROTECTED_PCIE_STATUS.
    pub protected_pcie: Option<Status>,
    /// FEATURE_FLAG.
    pub feature: Option<Feature>,
    /// OPAQUE_DATA_VERSION.
    pub version: Option<u16>,
    /// FWID: SHA-384 of the firmware that holds the leaf key.
    pub fwid: Option<Digest>,
    /// MSRSCNT: how often each measurement was extended.
    pub counts: Vec<u32>,
    /// SWITCH_PDI: identities of the switches that a GPU is connected to, or of the switch itself.
    pub switches: Vec<[u8; 8]>,
}

/// Splits opaque data into fields, each of which stands once.
pub(super) fn fields(mut cursor: Cursor<'_>) -> Result<Vec<Field<'_>>, ReportError> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    while !cursor.is_empty() {
        let offset = cursor.offset();
        let kind = u16::from_le_bytes(cursor.array("type of an opaque field")?);
        let length = u16::from_le_bytes(cursor.array("length of an opaque field")?);
        let value = cursor.bytes("value of an opaque field", length.into())?;
        if kind == INVALID {
            return Err(ReportError::Invalid { offset });
        }
        if !seen.insert(kind) {
            return Err(ReportError::Twice { kind, offset });
        }
        fields.push(Field {
            kind,
            offset,
            value,
        });
    }
    Ok(fields)
}

impl Opaque {
    /// Understands what it can.
    pub(super) fn read(fields: &[Field<'_>]) -> Result<Self, ReportError> {
        let mut opaque = Self::default();
        for field in fields {
            opaque.take(field)?;
        }
        Ok(opaque)
    }

    fn take(&mut self, field: &Field<'_>) -> Result<(), ReportError> {
        match field.kind {
            DRIVER_VERSION => self.driver = Some(field.text()?),
            VBIOS_VERSION => self.vbios = Some(field.vbios()?),
            CHIP_SKU => self.chip_sku = Some(field.text()?),
            PROJECT => self.project = Some(field.text()?),
            PROJECT_SKU => self.project_sku = Some(field.text()?),
            NVDEC0_STATUS => self.nvdec0 = Some(field.status()?),
            PROTECTED_PCIE_STATUS => self.protected_pcie = Some(field.status()?),
            FEATURE_FLAG => self.feature = Some(field.feature()?),
            OPAQUE_DATA_VERSION => self.version = Some(field.u16()?),
            FWID => self.fwid = Some(field.array("48")?),
            MSRSCNT => {
                let counts = field.chunks("a multiple of 4")?;
                self.counts = counts
                    .iter()
                    .map(|four| u32::from_le_bytes(*four))
                    .collect();
            }
            SWITCH_PDI => self.switches = field.chunks("a multiple of 8")?.to_vec(),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Field<'a> {
    fn length(&self, wanted: &'static str) -> ReportError {
        ReportError::Length {
            name: self.name().unwrap_or_default(),
            offset: self.offset,
            wanted,
            found: self.value.len(),
        }
    }

    fn array<const N: usize>(&self, wanted: &'static str) -> Result<[u8; N], ReportError> {
        self.value.try_into().map_err(|_| self.length(wanted))
    }

    fn chunks<const N: usize>(&self, wanted: &'static str) -> Result<&'a [[u8; N]], ReportError> {
        match self.value.as_chunks() {
            (chunks, []) => Ok(chunks),
            _ => Err(self.length(wanted)),
        }
    }

    fn u16(&self) -> Result<u16, ReportError> {
        self.array("2").map(u16::from_le_bytes)
    }

    fn unknown(&self, found: u16) -> ReportError {
        ReportError::Unknown {
            name: self.name().unwrap_or_default(),
            offset: self.offset,
            found,
        }
    }

    fn status(&self) -> Result<Status, ReportError> {
        let [found] = self.array("1")?;
        match found {
            0xaa => Ok(Status::Enabled),
            0x55 => Ok(Status::Disabled),
            other => Err(self.unknown(other.into())),
        }
    }

    fn feature(&self) -> Result<Feature, ReportError> {
        match self.u16()? {
            0 => Ok(Feature::SinglePassthrough),
            1 => Ok(Feature::MultiPassthrough),
            2 => Ok(Feature::ProtectedPcie),
            other => Err(self.unknown(other)),
        }
    }

    /// Visible ASCII, then any number of zeros.
    fn text(&self) -> Result<String, ReportError> {
        let end = self.value.iter().rposition(|byte| *byte != 0);
        let text = self.value.get(..=end.unwrap_or_default());
        let text = text.filter(|text| text.iter().all(u8::is_ascii_graphic));
        let text = text.and_then(|text| core::str::from_utf8(text).ok());
        text.map(str::to_owned).ok_or(ReportError::Text {
            name: self.name().unwrap_or_default(),
            offset: self.offset,
        })
    }

    /// The version of a GPU's VBIOS is in eight bytes, that of a switch in text.
    fn vbios(&self) -> Result<String, ReportError> {
        match *self.value {
            [build, minor, major, family, last, 0, 0, 0] => Ok(format!(
                "{family:02x}.{major:02x}.{minor:02x}.{build:02x}.{last:02x}"
            )),
            [_, _, _, _, _, _, _, _] => Err(self.length("5 and three zeros, or text")),
            _ => self.text(),
        }
    }
}
