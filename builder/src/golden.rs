//! Golden values of GPUs out of RIMs that were verified: every driver with every VBIOS.
//! A recipe without RIMs has [`NO_VALUES`], which no reader takes for golden values: its guest refuses every GPU (ADR 69).
//!
//! The form is `cloister_gpu::golden`; what a RIM must be before anything of it is used is `cloister_rim`'s business.

use std::path::Path;

use cloister_gpu::golden::{
    GoldenError, GoldenValues, MODEL, Pair, Rim as Origin, RimValues, Side,
};
use cloister_rim::{Kind, Rim, RimError, RootKey};
use serde::Serialize;
use thiserror::Error;

use crate::digest::Digest;
use crate::recipe::{Gpu, RimFile};

/// The golden values of a recipe without RIMs: the canonical form with no pair in it, which `GoldenValues::from_json` refuses.
pub(crate) const NO_VALUES: &str =
    "{\n  \"schema-version\": 1,\n  \"model\": \"GH100\",\n  \"pairs\": []\n}\n";

/// Why RIMs, all of them verified, give no golden values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum RimsError {
    /// Of another chip.
    #[error("RIM of version {version} is of `{found}`, wanted `{MODEL}`")]
    Chip {
        /// The version it is of.
        version: String,
        /// The chip.
        found: String,
    },
    /// Golden values are of a driver with a VBIOS.
    #[error("no {0} among the files: golden values are of a driver with a VBIOS")]
    Missing(Side),
    /// They do not go together.
    #[error(transparent)]
    Golden(#[from] GoldenError),
}

/// Why the RIMs of a recipe give no golden values.
#[derive(Debug, Error)]
pub(crate) enum RecipeRimsError {
    /// A file could not be read.
    #[error("RIM `{path}` could not be read")]
    Read {
        /// The file.
        path: String,
        /// Cause.
        source: std::io::Error,
    },
    /// Another file than the recipe names.
    #[error("RIM `{path}` has SHA-256 {found}, the recipe wants {wanted}")]
    Digest {
        /// The file.
        path: String,
        /// In the recipe.
        wanted: Digest,
        /// Of the file.
        found: Digest,
    },
    /// A RIM that does not hold.
    #[error("RIM `{path}` is refused")]
    Refused {
        /// The file.
        path: String,
        /// Cause.
        source: Box<RimError>,
    },
    /// A RIM of another driver than the image has.
    #[error("RIM of driver {found}, and the recipe's driver is {wanted}")]
    Driver {
        /// In the recipe.
        wanted: String,
        /// In the RIM.
        found: String,
    },
    /// The time is missing, or has no second since 1970.
    #[error("`rims-checked-at` is `{0}`, which is not a time since 1970")]
    Time(String),
    /// RIMs that do not go together.
    #[error("the RIMs of the recipe give no golden values")]
    Rims(#[from] RimsError),
}

/// A RIM behind the golden values, for the manifest. Times in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RimEntry {
    checked_at: u64,
    id: String,
    kind: String,
    sha256: Digest,
    valid_from: u64,
    valid_until: u64,
    version: String,
}

/// Golden values of a recipe, and what they come from.
#[derive(Clone, Debug)]
pub(crate) struct Golden {
    /// Absent in a recipe without RIMs.
    values: Option<GoldenValues>,
    /// The manifests behind them.
    pub(crate) rims: Vec<RimEntry>,
}

impl Golden {
    /// Reads the RIMs of a recipe in `directory`, compares their digests, and verifies them at the recipe's time against NVIDIA's root.
    pub(crate) fn of_recipe(gpu: &Gpu, directory: &Path) -> Result<Self, RecipeRimsError> {
        if gpu.rims.is_empty() {
            return Ok(Self {
                values: None,
                rims: Vec::new(),
            });
        }
        let text = gpu.rims_checked_at.as_deref().unwrap_or_default();
        let at = text.parse().map(jiff::Timestamp::as_second);
        let at = at.ok().and_then(|at| u64::try_from(at).ok());
        let at = at.ok_or_else(|| RecipeRimsError::Time(text.to_owned()))?;
        let verify = |file: &RimFile| verified(file, directory, at);
        let rims: Vec<Rim> = gpu.rims.iter().map(verify).collect::<Result<_, _>>()?;
        let values = golden_values(&rims)?;
        let other = values
            .pairs()
            .iter()
            .find(|pair| pair.driver() != gpu.driver);
        if let Some(pair) = other {
            return Err(RecipeRimsError::Driver {
                wanted: gpu.driver.clone(),
                found: pair.driver().to_owned(),
            });
        }
        let entry = |rim: &Rim| RimEntry {
            checked_at: rim.checked_at,
            id: rim.tag_id.clone(),
            kind: rim.kind.to_string(),
            sha256: Digest(rim.sha256),
            valid_from: rim.valid_from,
            valid_until: rim.valid_until,
            version: rim.version.clone(),
        };
        Ok(Self {
            values: Some(values),
            rims: rims.iter().map(entry).collect(),
        })
    }

    /// Whether no GPU is ever accepted.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_none()
    }

    /// The bytes that the guest's configuration names: golden values, or [`NO_VALUES`].
    pub(crate) fn to_json(&self) -> String {
        let values = self.values.as_ref().map(GoldenValues::to_json);
        values.unwrap_or_else(|| NO_VALUES.to_owned())
    }
}

fn verified(file: &RimFile, directory: &Path, at: u64) -> Result<Rim, RecipeRimsError> {
    let path = || file.source.clone();
    let bytes = std::fs::read(directory.join(&file.source));
    let bytes = bytes.map_err(|source| RecipeRimsError::Read {
        path: path(),
        source,
    })?;
    let found = Digest::of(&bytes);
    if found != file.sha256 {
        return Err(RecipeRimsError::Digest {
            path: path(),
            wanted: file.sha256,
            found,
        });
    }
    cloister_rim::verify(&bytes, &[RootKey::nvidia()], at).map_err(|source| {
        RecipeRimsError::Refused {
            path: path(),
            source: Box::new(source),
        }
    })
}

/// Pairs every driver with every VBIOS.
pub(crate) fn golden_values<'r>(
    rims: impl IntoIterator<Item = &'r Rim>,
) -> Result<GoldenValues, RimsError> {
    let (mut drivers, mut vbioses) = (Vec::new(), Vec::new());
    for rim in rims {
        if rim.product != MODEL {
            return Err(RimsError::Chip {
                version: rim.version.clone(),
                found: rim.product.clone(),
            });
        }
        match rim.kind {
            Kind::Driver => drivers.push(values(rim)),
            Kind::Vbios => vbioses.push(values(rim)),
        }
    }
    for (side, rims) in [(Side::Driver, &drivers), (Side::Vbios, &vbioses)] {
        if rims.is_empty() {
            return Err(RimsError::Missing(side));
        }
    }
    let pairs = drivers.iter().flat_map(|driver| {
        let pair = move |vbios| Pair::new(driver, vbios);
        vbioses.iter().map(pair)
    });
    let pairs: Vec<Pair> = pairs.collect::<Result<_, _>>()?;
    Ok(GoldenValues::new(pairs)?)
}

fn values(rim: &Rim) -> RimValues {
    RimValues {
        version: rim.version.clone(),
        rim: Origin {
            id: rim.tag_id.clone(),
            sha256: rim.sha256,
            checked_at: rim.checked_at,
            valid_until: rim.valid_until,
        },
        values: rim.values.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;

    fn rim(kind: Kind, version: &str, product: &str) -> Rim {
        let indices: Vec<u8> = match kind {
            Kind::Driver => core::iter::once(7).chain(21..=40).collect(),
            Kind::Vbios => (0..=6).chain(8..=12).collect(),
        };
        let values: BTreeMap<_, _> = indices.into_iter().map(|i| (i, vec![[i; 48]])).collect();
        Rim {
            tag_id: format!("tag of {version}"),
            product: product.to_owned(),
            version: version.to_owned(),
            kind,
            entries: 64,
            values,
            sha256: [1; 32],
            checked_at: 5,
            valid_from: 4,
            valid_until: 6,
        }
    }

    #[test]
    fn every_driver_goes_with_every_vbios() {
        let rims = [
            rim(Kind::Vbios, "96.00.9F.00.01", MODEL),
            rim(Kind::Driver, "580.159.03", MODEL),
            rim(Kind::Vbios, "96.00.74.00.20", MODEL),
            rim(Kind::Driver, "550.90.07", MODEL),
        ];
        let golden = golden_values(&rims).unwrap();
        let pairs: Vec<_> = golden
            .pairs()
            .iter()
            .map(|p| (p.driver(), p.vbios()))
            .collect();
        let wanted = [
            ("550.90.07", "96.00.74.00.20"),
            ("550.90.07", "96.00.9f.00.01"),
            ("580.159.03", "96.00.74.00.20"),
            ("580.159.03", "96.00.9f.00.01"),
        ];
        assert_eq!(pairs, wanted);
        let [driver, vbios] = golden.pairs()[0].rims();
        assert_eq!(driver.id, "tag of 550.90.07");
        assert_eq!(
            (vbios.sha256, vbios.checked_at, vbios.valid_until),
            ([1; 32], 5, 6)
        );
        assert_eq!(golden.pairs()[0].values().len(), 33);
    }

    #[test]
    fn rims_that_make_no_pair_are_refused() {
        let driver = rim(Kind::Driver, "580.159.03", MODEL);
        let vbios = rim(Kind::Vbios, "96.00.9F.00.01", MODEL);
        let switch = rim(Kind::Vbios, "96.10.55.00.01", "LS10");
        let missing = |side| Err(RimsError::Missing(side));
        assert_eq!(golden_values([&driver]), missing(Side::Vbios));
        assert_eq!(golden_values([&vbios]), missing(Side::Driver));
        let (version, found) = (switch.version.clone(), "LS10".to_owned());
        let chip = Err(RimsError::Chip { version, found });
        assert_eq!(golden_values([&driver, &switch]), chip);
        let twice = GoldenError::Twice {
            driver: "580.159.03".to_owned(),
            vbios: "96.00.9f.00.01".to_owned(),
        };
        let twice = Err(RimsError::Golden(twice));
        assert_eq!(golden_values([&driver, &vbios, &vbios]), twice);
    }

    /// Two genuine RIMs of the shared vectors, driver first, with their digests as `sha256sum` prints them.
    const RIMS: [(&str, &str); 2] = [
        (
            "NV_GPU_DRIVER_GH100_550.144.03.xml",
            "585ccd55e3d9420d693f82f4a1aa0b7506f126ba2ab9344ec67e244fde0c6305",
        ),
        (
            "1010_0200_882_96005E0003_PROD.swidtag",
            "37fd9352844d6c368a5fdde432ee9ef801cb2e3aac7c8ce23996e626f85cd6d4",
        ),
    ];

    #[expect(
        clippy::disallowed_methods,
        reason = "tests find their vectors by the environment"
    )]
    fn environment(name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// The directory `gpu/rims` of the shared vectors; without it, prints why the test is skipped, and fails with `CI` set.
    fn vectors() -> Option<PathBuf> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let places = ["../shared/vectors", "../../shared/vectors"].map(|path| workspace.join(path));
        let named = environment("CLOISTER_VECTORS").map(PathBuf::from);
        let mut all = named.into_iter().chain(places);
        let found = all.find_map(|path| Some(path.join("gpu/rims")).filter(|path| path.is_dir()));
        if found.is_none() {
            assert!(environment("CI").is_none(), "no GPU vectors, and CI is set");
            println!("skipped: no GPU vectors; set CLOISTER_VECTORS");
        }
        found
    }

    fn recipe_gpu() -> Gpu {
        let file = |(source, sha256): (&str, &str)| RimFile {
            source: source.to_owned(),
            sha256: sha256.parse().unwrap(),
        };
        Gpu {
            modules: None,
            driver: "550.144.03".to_owned(),
            rims_checked_at: Some("2025-03-01T00:00:00Z".to_owned()),
            rims: RIMS.map(file).into(),
        }
    }

    #[test]
    fn genuine_rims_of_a_recipe_give_one_pair_and_its_origins() {
        let Some(directory) = vectors() else { return };
        let golden = Golden::of_recipe(&recipe_gpu(), &directory).unwrap();
        let values = GoldenValues::from_json(golden.to_json().as_bytes()).unwrap();
        assert!(!golden.is_empty());
        let pairs = values.pairs();
        let names: Vec<_> = pairs.iter().map(|p| (p.driver(), p.vbios())).collect();
        assert_eq!(names, [("550.144.03", "96.00.5e.00.03")]);
        // 2025-03-01T00:00:00Z, by `date -u -d`.
        let at = 1_740_787_200;
        let found = golden.rims.iter().zip(RIMS).map(|(entry, (_, sha256))| {
            assert!(entry.valid_from <= at && at <= entry.valid_until);
            assert_eq!(
                (entry.checked_at, entry.sha256.to_string()),
                (at, sha256.to_owned())
            );
            entry.version.to_lowercase()
        });
        let versions: Vec<_> = found.collect();
        assert_eq!(versions, ["550.144.03", "96.00.5e.00.03"]);
    }

    /// What the guest, the verifier and `cloister gpu` read golden values with refuses what a recipe without RIMs has.
    #[test]
    fn recipe_without_rims_has_golden_values_that_every_reader_refuses() {
        let gpu = Gpu {
            rims_checked_at: None,
            rims: Vec::new(),
            ..recipe_gpu()
        };
        let golden = Golden::of_recipe(&gpu, Path::new("/nowhere")).unwrap();
        assert!(golden.is_empty() && golden.rims.is_empty());
        let text = golden.to_json();
        let read = GoldenValues::from_json(text.as_bytes());
        assert_eq!(read, Err(GoldenError::None));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(GoldenValues::from_value(&value), Err(GoldenError::None));
        // Canonical but for the pair: what is written of one pair, without it, is this text.
        let rims = [
            rim(Kind::Driver, "580.159.03", MODEL),
            rim(Kind::Vbios, "96.00.9F.00.01", MODEL),
        ];
        let one = golden_values(&rims).unwrap().to_json();
        let mut one: serde_json::Value = serde_json::from_str(&one).unwrap();
        one["pairs"] = serde_json::json!([]);
        assert_eq!(one, value);
    }

    /// The error for a recipe that is changed.
    fn refusal(directory: &Path, change: fn(&mut Gpu)) -> RecipeRimsError {
        let mut gpu = recipe_gpu();
        change(&mut gpu);
        Golden::of_recipe(&gpu, directory).unwrap_err()
    }

    #[test]
    fn rims_that_are_not_what_the_recipe_says_are_refused() {
        let Some(directory) = vectors() else { return };
        let of = |change| refusal(&directory, change);
        let error = of(|gpu| gpu.rims[1].sha256 = Digest([0; 32]));
        let RecipeRimsError::Digest {
            path,
            wanted,
            found,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((path.as_str(), wanted), (RIMS[1].0, Digest([0; 32])));
        assert_eq!(found.to_string(), RIMS[1].1);
        // After the last day of the VBIOS RIM's signer, and long before any.
        for time in ["2026-11-22T00:00:00Z", "2001-01-01T00:00:00Z"] {
            let mut gpu = recipe_gpu();
            gpu.rims_checked_at = Some(time.to_owned());
            let error = Golden::of_recipe(&gpu, &directory).unwrap_err();
            let expired = matches!(&error, RecipeRimsError::Refused { source, .. } if matches!(**source, RimError::Time(_)));
            assert!(expired, "{time}: {error:?}");
        }
        let error = of(|gpu| gpu.driver = "580.159.03".to_owned());
        assert!(
            matches!(&error, RecipeRimsError::Driver { wanted, found } if wanted == "580.159.03" && found == "550.144.03"),
            "{error:?}"
        );
        let error = of(|gpu| gpu.rims.truncate(1));
        let missing = RimsError::Missing(Side::Vbios);
        assert!(matches!(error, RecipeRimsError::Rims(found) if found == missing));
        let error = of(|gpu| gpu.rims[0].source = "gone".to_owned());
        assert!(matches!(error, RecipeRimsError::Read { path, .. } if path == "gone"));
        let error = of(|gpu| gpu.rims_checked_at = Some("1960-01-01T00:00:00Z".to_owned()));
        assert!(matches!(error, RecipeRimsError::Time(_)));
    }

    #[test]
    fn a_rim_whose_signature_does_not_hold_is_refused() {
        let Some(directory) = vectors() else { return };
        let negative = directory.join("../negative");
        let name = "incorrect_signature_driver_rim.xml";
        let bytes = std::fs::read(negative.join(name)).unwrap();
        let mut gpu = recipe_gpu();
        gpu.rims[0] = RimFile {
            source: name.to_owned(),
            sha256: Digest::of(&bytes),
        };
        let error = Golden::of_recipe(&gpu, &negative).unwrap_err();
        assert!(
            matches!(&error, RecipeRimsError::Refused { path, source } if path == name && matches!(**source, RimError::Signature(_))),
            "{error:?}"
        );
    }
}
