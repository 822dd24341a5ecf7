//! What a verifier demands of an SNP platform and guest. Safe without a file; a file tightens, or names what is refused otherwise.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

use super::{Product, Tcb};
use crate::policy::Hex;

/// Who made the key that signs reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SigningKey {
    /// Versioned Chip Endorsement Key: derived in the chip.
    Vcek,
    /// Versioned Loaded Endorsement Key: AMD gives it to a cloud, for all of its chips.
    Vlek,
}

impl SigningKey {
    /// The name in a policy.
    pub fn name(self) -> &'static str {
        match self {
            SigningKey::Vcek => "vcek",
            SigningKey::Vlek => "vlek",
        }
    }
}

/// Bits of PLATFORM_INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformFeature {
    /// Bit 1: transparent SME.
    Tsme,
    /// Bit 2: ECC memory.
    Ecc,
    /// Bit 3: RAPL off.
    RaplOff,
    /// Bit 4: ciphertext hiding.
    CiphertextHiding,
    /// Bit 5: the firmware looked for aliased memory, as against BadRAM.
    AliasCheck,
    /// Bit 7: trusted I/O.
    SevTio,
}

impl PlatformFeature {
    /// The bit's number.
    pub fn bit(self) -> u32 {
        match self {
            PlatformFeature::Tsme => 1,
            PlatformFeature::Ecc => 2,
            PlatformFeature::RaplOff => 3,
            PlatformFeature::CiphertextHiding => 4,
            PlatformFeature::AliasCheck => 5,
            PlatformFeature::SevTio => 7,
        }
    }

    /// The name in a policy.
    pub fn name(self) -> &'static str {
        match self {
            PlatformFeature::Tsme => "tsme",
            PlatformFeature::Ecc => "ecc",
            PlatformFeature::RaplOff => "rapl-off",
            PlatformFeature::CiphertextHiding => "ciphertext-hiding",
            PlatformFeature::AliasCheck => "alias-check",
            PlatformFeature::SevTio => "sev-tio",
        }
    }
}

/// Bits of POLICY by which a guest demands something of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestDemand {
    /// Bit 20: one socket only.
    SingleSocket,
    /// Bit 22: memory is encrypted with AES-256 in XTS mode.
    #[serde(rename = "aes-256-xts")]
    Aes256Xts,
    /// Bit 23: RAPL is off.
    RaplOff,
    /// Bit 24: ciphertext is hidden from the host.
    CiphertextHiding,
    /// Bit 25: guest pages cannot be swapped by the host.
    PageSwapOff,
}

impl GuestDemand {
    /// The bit's number.
    pub fn bit(self) -> u32 {
        match self {
            GuestDemand::SingleSocket => 20,
            GuestDemand::Aes256Xts => 22,
            GuestDemand::RaplOff => 23,
            GuestDemand::CiphertextHiding => 24,
            GuestDemand::PageSwapOff => 25,
        }
    }

    /// The name in a policy.
    pub fn name(self) -> &'static str {
        match self {
            GuestDemand::SingleSocket => "single-socket",
            GuestDemand::Aes256Xts => "aes-256-xts",
            GuestDemand::RaplOff => "rapl-off",
            GuestDemand::CiphertextHiding => "ciphertext-hiding",
            GuestDemand::PageSwapOff => "page-swap-off",
        }
    }
}

/// Version of the firmware interface, written `1.55`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Abi {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
}

impl<'de> Deserialize<'de> for Abi {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parse = |number: &str| number.parse().ok();
        let numbers = text.split_once('.');
        let numbers = numbers.and_then(|(major, minor)| Some((parse(major)?, parse(minor)?)));
        let wanted = || de::Error::custom("wanted an ABI version such as \"1.55\"");
        let (major, minor) = numbers.ok_or_else(wanted)?;
        Ok(Self { major, minor })
    }
}

/// Demands beside those that no policy can drop: no debugging, no migration agent, a signature by AMD's keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// Lines that are taken. Milan must be named (arXiv 2605.12990).
    pub products: Vec<Product>,
    /// Report versions that are taken. Version 2 must be named.
    pub report_versions: Vec<u32>,
    /// Kinds of signing key. VLEK must be named.
    pub signing_keys: Vec<SigningKey>,
    /// The privilege level of the report's requester.
    pub vmpl: u32,
    /// Lowest ABI version that the guest's own policy must demand.
    pub minimum_abi: Abi,
    /// Lowest GUEST_SVN.
    pub minimum_guest_svn: u32,
    /// PLATFORM_INFO bits that must be set.
    pub platform_info_required: Vec<PlatformFeature>,
    /// Demands that the guest must make of its host.
    pub guest_policy_required: Vec<GuestDemand>,
    /// Whether the guest may allow SMT.
    pub allow_smt: bool,
    /// Whether the guest may allow CXL.
    pub allow_cxl: bool,
    /// Floors of committed and launch TCB instead of the built-in ones ([`super::floors`]).
    pub tcb_floor: BTreeMap<Product, Tcb>,
    /// Bits that LAUNCH_MIT_VECTOR must have.
    pub launch_mitigations: u64,
    /// Chips that are taken; empty for any.
    pub chip_ids: Vec<Hex<64>>,
    /// CSP_IDs whose VLEK is taken; empty for any.
    pub csp_ids: Vec<String>,
    /// SHA-384 of ID keys that are taken; empty for any or none.
    pub id_key_digests: Vec<Hex<48>>,
    /// SHA-384 of author keys that are taken; empty for any or none.
    pub author_key_digests: Vec<Hex<48>>,
    /// HOST_DATA that is wanted; absent for any.
    pub host_data: Option<Hex<32>>,
    /// Whether the verdict needs the ARK's revocation list.
    pub require_crl: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            products: vec![Product::Genoa, Product::Turin],
            report_versions: vec![3, 5],
            signing_keys: vec![SigningKey::Vcek],
            vmpl: 0,
            minimum_abi: Abi::default(),
            minimum_guest_svn: 0,
            platform_info_required: vec![PlatformFeature::AliasCheck],
            guest_policy_required: Vec::new(),
            allow_smt: true,
            allow_cxl: false,
            tcb_floor: BTreeMap::new(),
            launch_mitigations: 0,
            chip_ids: Vec::new(),
            csp_ids: Vec::new(),
            id_key_digests: Vec::new(),
            author_key_digests: Vec::new(),
            host_data: None,
            require_crl: false,
        }
    }
}
