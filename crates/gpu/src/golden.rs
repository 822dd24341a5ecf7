//! Golden values: what firmware and driver of a GPU must measure, for each (driver, VBIOS) that is allowed.
//!
//! They are made from the active measurements of two RIMs whose signatures somebody has checked ([`Pair::new`]), at build for the
//! guest's measured configuration or at once by a verifier, and need neither XML nor clock nor network afterwards.
//! Form: canonical JSON, one spelling for each value; [`GoldenValues::from_json`] refuses every other. Times are seconds since the
//! Unix epoch, digests hex. Indices are those of the RIMs: index i is SPDM block i + 1.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Digest;

/// Version of the JSON.
pub const SCHEMA_VERSION: u32 = 1;
/// The chip that golden values are of.
pub const MODEL: &str = "GH100";
/// Largest index of a RIM.
pub const MAX_INDEX: u8 = 63;
/// Indices that every VBIOS RIM of GH100 pins: 12.
const VBIOS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12];
/// The one index of a driver RIM that does not stand in [`DRIVER_RANGE`].
const DRIVER_FIRST: u8 = 7;
/// The other indices that every driver RIM of GH100 pins: with 7, 21 of them.
const DRIVER_RANGE: core::ops::RangeInclusive<u8> = 21..=40;
/// The index that drivers of branch 535 have beyond these.
const DRIVER_535: u8 = 41;

/// Which of the two RIMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The driver's.
    Driver,
    /// The VBIOS's.
    Vbios,
}

impl core::fmt::Display for Side {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Side::Driver => "driver RIM",
            Side::Vbios => "VBIOS RIM",
        })
    }
}

/// Why values are not golden.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// Not a version of what the RIM is of.
    #[error("{side} is for version `{found}`, wanted one such as `{wanted}`")]
    Version {
        /// Which RIM.
        side: Side,
        /// A version of the right form.
        wanted: &'static str,
        /// The version in the RIM.
        found: String,
    },
    /// An index beyond the blocks of a report.
    #[error("{side} has index {index}, at most {MAX_INDEX} exists")]
    Index {
        /// Which RIM.
        side: Side,
        /// The index.
        index: u8,
    },
    /// An active index that allows nothing.
    #[error("{side} has no digest for index {index}")]
    Empty {
        /// Which RIM.
        side: Side,
        /// The index.
        index: u8,
    },
    /// Indices that every RIM of this kind pins are not active.
    #[error(
        "{side} does not pin indices {missing:?}: {found} are active, wanted at least {wanted}"
    )]
    Few {
        /// Which RIM.
        side: Side,
        /// The indices that are not active.
        missing: Vec<u8>,
        /// How many are active.
        found: usize,
        /// How many must be.
        wanted: usize,
    },
    /// Indices that both RIMs pin.
    #[error("indices {indices:?} are active in the driver RIM and in the VBIOS RIM")]
    Both {
        /// The indices.
        indices: Vec<u8>,
    },
    /// The same (driver, VBIOS) twice.
    #[error("driver {driver} with VBIOS {vbios} stands twice")]
    Twice {
        /// Driver version.
        driver: String,
        /// VBIOS version.
        vbios: String,
    },
    /// No pair at all.
    #[error("no golden values for any driver and VBIOS")]
    None,
    /// Not the JSON of golden values.
    #[error("not the JSON of golden values: {reason}")]
    Json {
        /// What the reader says.
        reason: String,
    },
    /// Another schema version.
    #[error("schema version {found}, wanted {SCHEMA_VERSION}")]
    Schema {
        /// The version there.
        found: u32,
    },
    /// Of another chip.
    #[error("golden values are of `{found}`, wanted `{MODEL}`")]
    Model {
        /// The chip there.
        found: String,
    },
    /// The same values have another, canonical spelling.
    #[error("golden values are not in canonical form")]
    NotCanonical,
}

/// Where values come from: one RIM, as it was when its signature was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rim {
    /// `tagId` of the file.
    pub id: String,
    /// SHA-256 of the file.
    #[serde(with = "hexadecimal")]
    pub sha256: [u8; 32],
    /// The time at which signature and chain held.
    pub checked_at: u64,
    /// The last second at which its chain is valid.
    pub valid_until: u64,
}

/// The active measurements of a RIM, by index, with what each may be.
pub type Values = BTreeMap<u8, Vec<Digest>>;

/// One RIM's version, origin and active measurements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RimValues {
    /// `colloquialVersion`: of the driver or of the VBIOS, in any case.
    pub version: String,
    /// Where it comes from.
    pub rim: Rim,
    /// Active measurements.
    pub values: Values,
}

/// What one driver with one VBIOS must measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pair {
    driver: String,
    vbios: String,
    driver_rim: Rim,
    vbios_rim: Rim,
    driver_values: BTreeMap<u8, BTreeSet<Hex>>,
    vbios_values: BTreeMap<u8, BTreeSet<Hex>>,
}

/// A digest that is hex in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hex(#[serde(with = "hexadecimal")] pub Digest);

impl Pair {
    /// Joins the values of a driver RIM and of a VBIOS RIM.
    ///
    /// # Errors
    /// [`GoldenError::Version`], [`GoldenError::Index`], [`GoldenError::Empty`], [`GoldenError::Few`] and [`GoldenError::Both`].
    pub fn new(driver: &RimValues, vbios: &RimValues) -> Result<Self, GoldenError> {
        let sets = |values: &Values| {
            let set = |digests: &Vec<Digest>| digests.iter().copied().map(Hex).collect();
            values
                .iter()
                .map(|(index, digests)| (*index, set(digests)))
                .collect()
        };
        let pair = Self {
            driver: driver.version.clone(),
            vbios: vbios.version.to_lowercase(),
            driver_rim: driver.rim.clone(),
            vbios_rim: vbios.rim.clone(),
            driver_values: sets(&driver.values),
            vbios_values: sets(&vbios.values),
        };
        pair.check()?;
        Ok(pair)
    }

    /// Driver version, as in `580.159.03`.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// VBIOS version in lower case, as in `96.00.9f.00.01`.
    pub fn vbios(&self) -> &str {
        &self.vbios
    }

    /// The RIMs, the driver's first.
    pub fn rims(&self) -> [&Rim; 2] {
        [&self.driver_rim, &self.vbios_rim]
    }

    /// Every index with what it may be, in order.
    pub fn values(&self) -> BTreeMap<u8, &BTreeSet<Hex>> {
        let values = self.driver_values.iter().chain(&self.vbios_values);
        values.map(|(index, digests)| (*index, digests)).collect()
    }

    fn check(&self) -> Result<(), GoldenError> {
        if !is_driver(&self.driver) {
            return Err(version(Side::Driver, "580.159.03", &self.driver));
        }
        if !is_vbios(&self.vbios) {
            return Err(version(Side::Vbios, "96.00.9f.00.01", &self.vbios));
        }
        let mut driver: Vec<u8> = core::iter::once(DRIVER_FIRST).chain(DRIVER_RANGE).collect();
        if self.driver.starts_with("535.") {
            driver.push(DRIVER_535);
        }
        complete(Side::Driver, &self.driver_values, &driver)?;
        complete(Side::Vbios, &self.vbios_values, &VBIOS)?;
        let both = self.driver_values.keys().copied();
        let indices: Vec<u8> = both
            .filter(|index| self.vbios_values.contains_key(index))
            .collect();
        match indices.is_empty() {
            true => Ok(()),
            false => Err(GoldenError::Both { indices }),
        }
    }
}

/// Golden values of every (driver, VBIOS) that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GoldenValues {
    schema_version: u32,
    model: String,
    pairs: Vec<Pair>,
}

impl GoldenValues {
    /// Puts pairs in order.
    ///
    /// # Errors
    /// [`GoldenError::None`] and [`GoldenError::Twice`].
    pub fn new(mut pairs: Vec<Pair>) -> Result<Self, GoldenError> {
        pairs.sort_by(|a, b| (&a.driver, &a.vbios).cmp(&(&b.driver, &b.vbios)));
        let golden = Self {
            schema_version: SCHEMA_VERSION,
            model: MODEL.to_owned(),
            pairs,
        };
        golden.check()?;
        Ok(golden)
    }

    /// Reads what [`GoldenValues::to_json`] writes, byte for byte.
    ///
    /// # Errors
    /// Every [`GoldenError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, GoldenError> {
        let golden: Self = serde_json::from_slice(bytes).map_err(|error| GoldenError::Json {
            reason: error.to_string(),
        })?;
        golden.check()?;
        match golden.to_json().as_bytes() == bytes {
            true => Ok(golden),
            false => Err(GoldenError::NotCanonical),
        }
    }

    /// Reads golden values that stand inside of another document, in any order and spelling of JSON.
    ///
    /// # Errors
    /// Every [`GoldenError`] but [`GoldenError::NotCanonical`].
    pub fn from_value(value: &impl Serialize) -> Result<Self, GoldenError> {
        let read = serde_json::to_value(value).and_then(serde_json::from_value);
        let golden: Self = read.map_err(|error| GoldenError::Json {
            reason: error.to_string(),
        })?;
        golden.check()?;
        Ok(golden)
    }

    /// Canonical JSON with a newline at the end.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists only: serialisation has nothing to fail on.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// All pairs, by driver and VBIOS.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// What this driver with this VBIOS must measure.
    pub fn pair(&self, driver: &str, vbios: &str) -> Option<&Pair> {
        self.pairs
            .iter()
            .find(|pair| pair.driver == driver && pair.vbios == vbios)
    }

    fn check(&self) -> Result<(), GoldenError> {
        if self.schema_version != SCHEMA_VERSION {
            return Err(GoldenError::Schema {
                found: self.schema_version,
            });
        }
        if self.model != MODEL {
            return Err(GoldenError::Model {
                found: self.model.clone(),
            });
        }
        if self.pairs.is_empty() {
            return Err(GoldenError::None);
        }
        self.pairs.iter().try_for_each(Pair::check)?;
        let key = |pair: &Pair| (pair.driver.clone(), pair.vbios.clone());
        for (pair, next) in self.pairs.iter().zip(self.pairs.iter().skip(1)) {
            let (driver, vbios) = key(pair);
            match key(pair).cmp(&key(next)) {
                core::cmp::Ordering::Less => {}
                core::cmp::Ordering::Equal => return Err(GoldenError::Twice { driver, vbios }),
                core::cmp::Ordering::Greater => return Err(GoldenError::NotCanonical),
            }
        }
        Ok(())
    }
}

/// Two or three decimal numbers, as in `590.12` or `580.159.03`.
fn is_driver(version: &str) -> bool {
    let numbers: Vec<&str> = version.split('.').collect();
    let number = |text: &&str| (1..=4).contains(&text.len()) && digits(text, u8::is_ascii_digit);
    (2..=3).contains(&numbers.len()) && numbers.iter().all(number)
}

/// Five bytes in hex.
fn is_vbios(version: &str) -> bool {
    let bytes: Vec<&str> = version.split('.').collect();
    let byte = |text: &&str| text.len() == 2 && digits(text, u8::is_ascii_hexdigit);
    bytes.len() == 5 && bytes.iter().all(byte) && version == version.to_lowercase()
}

fn digits(text: &str, digit: fn(&u8) -> bool) -> bool {
    text.as_bytes().iter().all(digit)
}

fn version(side: Side, wanted: &'static str, found: &str) -> GoldenError {
    GoldenError::Version {
        side,
        wanted,
        found: found.to_owned(),
    }
}

fn complete(
    side: Side,
    values: &BTreeMap<u8, BTreeSet<Hex>>,
    wanted: &[u8],
) -> Result<(), GoldenError> {
    for (&index, digests) in values {
        if index > MAX_INDEX {
            return Err(GoldenError::Index { side, index });
        }
        if digests.is_empty() {
            return Err(GoldenError::Empty { side, index });
        }
    }
    let missing = wanted.iter().copied();
    let missing: Vec<u8> = missing
        .filter(|index| !values.contains_key(index))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(GoldenError::Few {
            side,
            missing,
            found: values.len(),
            wanted: wanted.len(),
        }),
    }
}

/// Bytes as lower-case hex.
mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(&text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
