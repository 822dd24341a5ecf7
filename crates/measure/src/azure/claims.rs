//! Run-time claims: the JSON that REPORT_DATA commits to.

use serde::Deserialize;
use thiserror::Error;

/// Name of the vTPM's attestation key.
const ATTESTATION_KEY: &str = "HCLAkPub";

/// Why claims are not usable.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimsError {
    /// Not JSON, or without a field that all claims have.
    #[error("HCL claims cannot be read: {reason}")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// Not exactly one attestation key: no TPM quote could be tied to the hardware.
    #[error("HCL claims have {found} keys called `HCLAkPub`, wanted 1")]
    AttestationKey {
        /// How many there are.
        found: usize,
    },
    /// User data that is not hex.
    #[error("HCL claims have user data that is not hex")]
    UserData,
}

/// A public RSA key (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct JsonWebKey {
    /// Name.
    pub kid: String,
    /// Type, `RSA`.
    pub kty: String,
    /// Modulus, base64url without padding.
    pub n: String,
    /// Exponent, base64url without padding.
    pub e: String,
}

/// The virtual machine as the host configured it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VmConfiguration {
    /// Whether the serial console is enabled.
    pub console_enabled: bool,
    /// Whether it takes input; absent in older claims.
    #[serde(default)]
    pub interactive_console_enabled: Option<bool>,
    /// Whether Secure Boot is on.
    pub secure_boot: bool,
    /// Whether there is a vTPM.
    pub tpm_enabled: bool,
    /// Whether the vTPM keeps its state; absent in older claims.
    #[serde(default)]
    pub tpm_persisted: Option<bool>,
    /// Whether devices are let through to the guest by the host; absent in older claims.
    #[serde(default)]
    pub filtered_vpci_devices_allowed: Option<bool>,
    /// The VM's identity, chosen by the host.
    #[serde(rename = "vmUniqueId")]
    pub vm_unique_id: String,
}

/// What the paravisor claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Keys of the vTPM, in order.
    pub keys: Vec<JsonWebKey>,
    /// The VM's configuration.
    pub vm_configuration: VmConfiguration,
    /// What the guest wrote to NV index `0x01400002` before the report was made; 64 zeros or empty when it did not.
    pub user_data: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    keys: Vec<JsonWebKey>,
    vm_configuration: VmConfiguration,
    #[serde(default)]
    user_data: String,
}

impl Claims {
    /// Parses claims.
    ///
    /// # Errors
    /// See [`ClaimsError`].
    pub fn parse(bytes: &[u8]) -> Result<Claims, ClaimsError> {
        let json = |error: serde_json::Error| ClaimsError::Json {
            reason: error.to_string(),
        };
        let document: Document = serde_json::from_slice(bytes).map_err(json)?;
        let found = document
            .keys
            .iter()
            .filter(|key| key.kid == ATTESTATION_KEY)
            .count();
        if found != 1 {
            return Err(ClaimsError::AttestationKey { found });
        }
        Ok(Claims {
            keys: document.keys,
            vm_configuration: document.vm_configuration,
            user_data: hex::decode(document.user_data).map_err(|_| ClaimsError::UserData)?,
        })
    }

    /// Returns the vTPM's attestation key, which signs quotes.
    pub fn attestation_key(&self) -> Option<&JsonWebKey> {
        self.keys.iter().find(|key| key.kid == ATTESTATION_KEY)
    }
}
