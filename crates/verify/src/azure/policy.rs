//! What a verifier demands of a confidential VM on Azure. Safe without a file; a file tightens, or names what is refused otherwise.

use serde::Deserialize;

use super::paravisor;
use crate::policy::Hex;

/// Demands beside those that no policy can drop: claims that the hardware commits to, a quote by the key in them, VMPL 0, a vTPM. What
/// is demanded of the processor stands in [`crate::snp::Policy`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// The PCRs that must be quoted, exactly; absent for 0 to 15 or all 24.
    pub pcrs: Option<Vec<u8>>,
    /// Whether Secure Boot must be on; false for on or off.
    pub secure_boot: bool,
    /// Whether there may be a serial console.
    pub console: bool,
    /// Whether the console may take input.
    pub interactive_console: bool,
    /// Whether the host may let devices through to the guest.
    pub vpci_devices: bool,
    /// Whether the nonce must also stand in the claims, where the guest has to put it before the report is made.
    pub user_data: bool,
    /// SHA-384 of keys that may have signed the paravisor, on SEV-SNP.
    pub paravisor_id_key_digests: Vec<Hex<48>>,
    /// Lowest GUEST_SVN of the paravisor, on SEV-SNP.
    pub paravisor_minimum_guest_svn: u32,
    /// POLICY of the paravisor's launch, on SEV-SNP.
    pub paravisor_guest_policy: u64,
    /// Launch digests of paravisors that are taken, on SEV-SNP; empty for any that the key signed.
    pub paravisor_measurements: Vec<Hex<48>>,
    /// MRTDs of paravisors that are taken, on TDX; none is without being named.
    pub paravisor_mrtds: Vec<Hex<48>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            pcrs: None,
            secure_boot: true,
            console: true,
            interactive_console: false,
            vpci_devices: false,
            user_data: false,
            paravisor_id_key_digests: paravisor::ID_KEYS.map(|key| key.digest).to_vec(),
            paravisor_minimum_guest_svn: paravisor::MINIMUM_GUEST_SVN,
            paravisor_guest_policy: paravisor::GUEST_POLICY,
            paravisor_measurements: Vec::new(),
            paravisor_mrtds: Vec::new(),
        }
    }
}
