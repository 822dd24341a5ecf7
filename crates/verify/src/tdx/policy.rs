//! What a verifier demands of a TDX platform and TD. Safe without a file; a file tightens, or names what is refused otherwise.

use serde::{Deserialize, Serialize};

use crate::policy::Hex;

/// Standing of a platform against Intel's TCB info, as Intel spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum TcbStatus {
    /// Nothing to do.
    UpToDate,
    /// The software must defend itself against known attacks.
    SWHardeningNeeded,
    /// The platform must be configured otherwise.
    ConfigurationNeeded,
    /// Both.
    ConfigurationAndSWHardeningNeeded,
    /// Firmware with known holes.
    OutOfDate,
    /// The same, and the platform must be configured otherwise.
    OutOfDateConfigurationNeeded,
    /// Launched by a module with known holes, which has been updated since.
    TDRelaunchAdvised,
    /// The same, and the platform must be configured otherwise.
    TDRelaunchAdvisedConfigurationNeeded,
}

impl TcbStatus {
    /// Every status that a policy can name; `Revoked` is never accepted.
    pub const ALL: [TcbStatus; 8] = [
        TcbStatus::UpToDate,
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
        TcbStatus::TDRelaunchAdvised,
        TcbStatus::TDRelaunchAdvisedConfigurationNeeded,
    ];

    /// Intel's name.
    pub fn name(self) -> &'static str {
        match self {
            TcbStatus::UpToDate => "UpToDate",
            TcbStatus::SWHardeningNeeded => "SWHardeningNeeded",
            TcbStatus::ConfigurationNeeded => "ConfigurationNeeded",
            TcbStatus::ConfigurationAndSWHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            TcbStatus::OutOfDate => "OutOfDate",
            TcbStatus::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            TcbStatus::TDRelaunchAdvised => "TDRelaunchAdvised",
            TcbStatus::TDRelaunchAdvisedConfigurationNeeded => {
                "TDRelaunchAdvisedConfigurationNeeded"
            }
        }
    }
}

/// Demands beside those that no policy can drop: no debugging, no migration, no service TD, SEPT_VE_DISABLE, a signature
/// under Intel's root, current collateral.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// TCB statuses that are taken.
    pub tcb_statuses: Vec<TcbStatus>,
    /// Advisories that must not apply, such as `INTEL-SA-01036`.
    pub refused_advisories: Vec<String>,
    /// Lowest tcbEvaluationDataNumber of TCB info and QE identity.
    pub minimum_tcb_evaluation: u32,
    /// Whether the TD may use performance counters (TDATTRIBUTES bit 63), which side channels feed on.
    pub allow_perfmon: bool,
    /// Whether the TD may use Key Locker (TDATTRIBUTES bit 31).
    pub allow_key_locker: bool,
    /// Bits that XFAM may have.
    pub xfam_allowed: Hex<8>,
    /// TDX modules that are taken (MRSEAM); empty for any that Intel signed.
    pub mr_seam: Vec<Hex<48>>,
    /// MRCONFIGID that is wanted.
    pub mr_config_id: Hex<48>,
    /// MROWNER that is wanted.
    pub mr_owner: Hex<48>,
    /// MROWNERCONFIG that is wanted.
    pub mr_owner_config: Hex<48>,
}

/// x87, SSE, AVX, AVX-512, PKRU, CET, UINTR, LBR, AMX: bits 0 to 2, 5 to 7, 9, 11, 12, 14, 15, 17, 18. Left out: MPX (3, 4), PT (8),
/// PASID (10), HDC (13) and HWP (16), which no TD needs.
const XFAM: u64 = 0x6_dae7;

impl Default for Policy {
    fn default() -> Self {
        Self {
            tcb_statuses: vec![TcbStatus::UpToDate],
            refused_advisories: Vec::new(),
            minimum_tcb_evaluation: 0,
            allow_perfmon: false,
            allow_key_locker: false,
            xfam_allowed: Hex(XFAM.to_be_bytes()),
            mr_seam: Vec::new(),
            mr_config_id: Hex([0; 48]),
            mr_owner: Hex([0; 48]),
            mr_owner_config: Hex([0; 48]),
        }
    }
}
