//! Reference values: what a genuine boot of one image on one platform measures.
//!
//! `cloister build` writes them, verifiers read them. The file format is documented in
//! `docs/reference-values.md`; this module is its only reader and writer. Each register carries
//! the [`Class`] that says who vouches for it, and a register that cannot be known is listed in
//! `unpredicted` with the reason instead of being left out silently.
//!
//! Canonical form: JSON, keys sorted, two spaces, one trailing newline. Struct fields are declared in
//! key order, because a sorted `serde_json::Value` depends on features of other crates.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::digest::{Bank, Digest};

/// The schema version this crate reads and writes.
pub const SCHEMA_VERSION: u32 = 1;

/// The largest reference-value file read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Who vouches for a register's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Computed from the image alone.
    Image,
    /// Computed from the image and a named host profile (VMM, firmware, vCPUs).
    HostProfile,
    /// Signed by a vendor and not computable here.
    Vendor,
    /// Read from a running machine on the date given beside it; never pins an image.
    Observed,
}

/// The values one register may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Register {
    /// Who vouches for the values.
    pub class: Class,
    /// Every valid value, sorted, at least one.
    pub values: Vec<Digest>,
}

impl Register {
    /// A register with exactly one valid value.
    pub fn single(class: Class, value: Digest) -> Register {
        Register {
            class,
            values: vec![value],
        }
    }

    /// Returns whether `value` is one of the valid values.
    pub fn allows(&self, value: &[u8]) -> bool {
        self.values.iter().any(|valid| valid.as_bytes() == value)
    }
}

/// The launch digest for one vCPU model and count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LaunchDigestEntry {
    /// MEASUREMENT of the attestation report, 48 bytes.
    pub digest: Digest,
    /// QEMU's name of the vCPU model, for example `EPYC-v4`.
    pub vcpu_model: String,
    /// Number of vCPUs, at least 1.
    pub vcpus: u32,
}

/// What an SEV-SNP report must say beside its launch digest: none of it is in the digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LaunchPolicy {
    /// Guest policy, exactly (AMD 56860, GUEST_POLICY); JSON number.
    pub guest_policy: u64,
    /// Host profile the digests are computed for, for example `qemu`.
    pub host: String,
    /// SHA-384 of the ID key, or null for a launch without ID block (field is zero in the report).
    pub id_key_digest: Option<Digest>,
    /// SEV_FEATURES of the VMSA; JSON number.
    pub sev_features: u64,
    /// The VMPL reports are requested at.
    pub vmpl: u32,
}

/// What a GPU must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GpuReference {
    /// Golden values as `cloister gpu golden` writes them; `cloister-gpu` reads them.
    pub golden_values: Json,
    /// The word of the recipe and of the log, `h100`.
    pub model: String,
}

/// JSON that this crate carries and does not understand: numbers of 64 bits, texts, lists, and maps without a key that stands twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Json {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// A map, keys sorted.
    Map(#[serde(deserialize_with = "unique")] BTreeMap<String, Json>),
}

/// Everything a verifier compares one platform's evidence with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReferenceValues {
    /// The bank of `registers`.
    pub bank: Bank,
    /// Whether the platform keeps the host out; false for `qemu-vtpm`.
    pub confidential: bool,
    /// The GPU that the guest must have; absent where it must have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuReference>,
    /// SHA-256 of the files the values are computed from, by name (`uki`, `firmware`, ...).
    #[serde(deserialize_with = "unique")]
    pub inputs: BTreeMap<String, Digest>,
    /// Launch digests by vCPU model, then count; empty where the platform has none of ours.
    pub launch_digests: Vec<LaunchDigestEntry>,
    /// What goes with the launch digests; present exactly when there are any.
    pub launch_policy: Option<LaunchPolicy>,
    /// Name of the platform, for example `qemu-vtpm`.
    pub platform: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Registers by name: `pcr0` to `pcr23`, `rtmr0` to `rtmr3`.
    #[serde(deserialize_with = "unique")]
    pub registers: BTreeMap<String, Register>,
    /// Always [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Registers without values, with the reason.
    #[serde(deserialize_with = "unique")]
    pub unpredicted: BTreeMap<String, String>,
}

/// Why a file is not a reference-value file.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Larger than [`MAX_BYTES`].
    #[error("reference values have {found} bytes, at most {MAX_BYTES} are read")]
    TooLarge {
        /// Bytes there were.
        found: usize,
    },
    /// Not the JSON this schema describes; the reason names line and column.
    #[error("reference values do not parse: {reason}")]
    Json {
        /// The JSON reader's message.
        reason: String,
    },
    /// Written by another version of Cloister.
    #[error("reference values have schema-version {found}, this program reads {SCHEMA_VERSION}")]
    SchemaVersion {
        /// The version in the file.
        found: u32,
    },
    /// A name that is no register.
    #[error("`{name}` is not a register: wanted pcr0 to pcr23 or rtmr0 to rtmr3")]
    RegisterName {
        /// The name in the file.
        name: String,
    },
    /// A register that has values and a reason for having none.
    #[error("register `{name}` stands in `registers` and in `unpredicted`")]
    Contradiction {
        /// The register.
        name: String,
    },
    /// A register without values pins nothing.
    #[error("register `{name}` has no values")]
    NoValues {
        /// The register.
        name: String,
    },
    /// Values must be sorted and each stand once.
    #[error("values of `{name}` are not sorted, or one stands twice")]
    NotSorted {
        /// The register or list.
        name: String,
    },
    /// A value of another hash algorithm.
    #[error("`{name}` holds a {found} value, wanted {wanted}")]
    WrongBank {
        /// The register or list.
        name: String,
        /// Bank of the value.
        found: Bank,
        /// Bank there should be.
        wanted: Bank,
    },
    /// A bank in which collisions can be made.
    #[error("bank sha1 pins nothing, wanted sha256 or sha384")]
    WeakBank,
    /// Launch digests without policy, or policy without digests.
    #[error("`launch-digests` and `launch-policy` must both be there or both be absent")]
    LaunchPolicy,
    /// Nothing in the file depends on the image.
    #[error(
        "reference values pin no register of class `image` that is not zero, and no launch digest"
    )]
    PinsNothing,
}

impl ReferenceValues {
    /// Reads a reference-value file and checks every rule of the schema.
    ///
    /// # Errors
    /// See [`ReferenceError`].
    pub fn from_json(bytes: &[u8]) -> Result<ReferenceValues, ReferenceError> {
        if bytes.len() > MAX_BYTES {
            return Err(ReferenceError::TooLarge { found: bytes.len() });
        }
        let values: ReferenceValues =
            serde_json::from_slice(bytes).map_err(|error| ReferenceError::Json {
                reason: error.to_string(),
            })?;
        values.check()?;
        Ok(values)
    }

    /// Checks the rules and writes the canonical form.
    ///
    /// # Errors
    /// See [`ReferenceError`].
    pub fn to_json(&self) -> Result<String, ReferenceError> {
        self.check()?;
        let mut text =
            serde_json::to_string_pretty(self).map_err(|error| ReferenceError::Json {
                reason: error.to_string(),
            })?;
        text.push('\n');
        Ok(text)
    }

    /// Returns the launch digest for `vcpu_model` and `vcpus`, if it is listed.
    pub fn launch_digest(&self, vcpu_model: &str, vcpus: u32) -> Option<Digest> {
        let entry =
            |entry: &&LaunchDigestEntry| entry.vcpu_model == vcpu_model && entry.vcpus == vcpus;
        self.launch_digests
            .iter()
            .find(entry)
            .map(|entry| entry.digest)
    }

    fn check(&self) -> Result<(), ReferenceError> {
        if self.schema_version != SCHEMA_VERSION {
            return Err(ReferenceError::SchemaVersion {
                found: self.schema_version,
            });
        }
        if self.bank == Bank::Sha1 {
            return Err(ReferenceError::WeakBank);
        }
        for (name, register) in &self.registers {
            check_name(name)?;
            if self.unpredicted.contains_key(name) {
                return Err(ReferenceError::Contradiction { name: name.clone() });
            }
            check_values(name, register, self.bank)?;
        }
        self.unpredicted
            .keys()
            .try_for_each(|name| check_name(name))?;
        for (name, digest) in &self.inputs {
            check_bank(name, digest, Bank::Sha256)?;
        }
        self.check_launch()?;
        // A register that stays zero says what was absent, and that of every image.
        let absent = Digest::zero(self.bank);
        let pins = |register: &Register| {
            register.class == Class::Image && !register.values.contains(&absent)
        };
        if self.launch_digests.is_empty() && !self.registers.values().any(pins) {
            return Err(ReferenceError::PinsNothing);
        }
        Ok(())
    }

    fn check_launch(&self) -> Result<(), ReferenceError> {
        if self.launch_digests.is_empty() != self.launch_policy.is_none() {
            return Err(ReferenceError::LaunchPolicy);
        }
        let list = "launch-digests";
        for entry in &self.launch_digests {
            check_bank(list, &entry.digest, Bank::Sha384)?;
        }
        let keys = self
            .launch_digests
            .iter()
            .map(|entry| (&entry.vcpu_model, entry.vcpus));
        if !keys.is_sorted_by(|a, b| a < b) {
            return Err(ReferenceError::NotSorted {
                name: list.to_owned(),
            });
        }
        match self
            .launch_policy
            .as_ref()
            .and_then(|policy| policy.id_key_digest.as_ref())
        {
            Some(digest) => check_bank("id-key-digest", digest, Bank::Sha384),
            None => Ok(()),
        }
    }
}

fn check_name(name: &str) -> Result<(), ReferenceError> {
    let index = |prefix: &str, last: u32| {
        let digits = name.strip_prefix(prefix)?;
        let index: u32 = digits.parse().ok()?;
        (index <= last && index.to_string() == digits).then_some(index)
    };
    if index("pcr", 23).is_none() && index("rtmr", 3).is_none() {
        return Err(ReferenceError::RegisterName {
            name: name.to_owned(),
        });
    }
    Ok(())
}

fn check_values(name: &str, register: &Register, bank: Bank) -> Result<(), ReferenceError> {
    if register.values.is_empty() {
        return Err(ReferenceError::NoValues {
            name: name.to_owned(),
        });
    }
    for value in &register.values {
        check_bank(name, value, bank)?;
    }
    if !register.values.is_sorted_by(|a, b| a < b) {
        return Err(ReferenceError::NotSorted {
            name: name.to_owned(),
        });
    }
    Ok(())
}

fn check_bank(name: &str, digest: &Digest, wanted: Bank) -> Result<(), ReferenceError> {
    if digest.bank() != wanted {
        let (name, found) = (name.to_owned(), digest.bank());
        return Err(ReferenceError::WrongBank {
            name,
            found,
            wanted,
        });
    }
    Ok(())
}

/// Reads a map and refuses a key that stands twice, which `serde` would let pass.
fn unique<'de, D, V>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    struct Unique<V>(std::marker::PhantomData<V>);
    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<String, V>()? {
                if map.contains_key(&key) {
                    return Err(de::Error::custom(format_args!("key `{key}` stands twice")));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Unique(std::marker::PhantomData))
}

#[cfg(test)]
mod tests;
