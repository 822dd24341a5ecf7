//! Looking at a model's directory before it becomes an input: what the files are, and whether they belong together.
//!
//! Spec: safetensors format (header and offsets by the crate of its authors); layout of a directory as `transformers` saves it:
//! `config.json`, weights, for several files of them `model.safetensors.index.json`, and the tokenizer's files.
//! Not covered: whether the tensors are those of the architecture that `config.json` names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use safetensors::tensor::Metadata;
use safetensors::{SafeTensorError, SafeTensors};
use thiserror::Error;

use super::Format;
use crate::cmd::{Hinted, read_hint};

/// Largest header of a safetensors file that its authors' library reads.
const MAX_HEADER: u64 = 100_000_000;

/// First bytes of a GGUF file.
const GGUF: &[u8; 4] = b"GGUF";

/// Any of these holds a tokenizer.
const TOKENIZERS: [&str; 6] = [
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "tiktoken.model",
    "vocab.json",
    "vocab.txt",
];

/// What a model's directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Examined {
    /// What the weights are.
    pub(crate) format: Format,
    /// Every file below the directory, sorted: path with `/`, and where it is.
    pub(crate) files: BTreeMap<String, PathBuf>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

/// Why a directory is not taken for a model.
#[derive(Debug, Error)]
pub(crate) enum ExamineError {
    /// Something cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither file nor directory.
    #[error("`{}` is neither a file nor a directory, and a model holds nothing else", .0.display())]
    Kind(PathBuf),
    /// A name that is not UTF-8.
    #[error("`{}` has a name that is not UTF-8", .0.display())]
    Name(PathBuf),
    /// No weights.
    #[error("`{}` holds neither `.safetensors` nor `.gguf` files", .0.display())]
    NoWeights(PathBuf),
    /// Both formats.
    #[error("`{}` holds both `.safetensors` and `.gguf` files", .0.display())]
    BothFormats(PathBuf),
    /// A file that every directory of this kind has.
    #[error("`{}` has no `{missing}`", directory.display())]
    Missing {
        /// The directory.
        directory: PathBuf,
        /// The file.
        missing: &'static str,
    },
    /// A `.gguf` file that is none.
    #[error("`{0}` does not begin with `GGUF`")]
    NotGguf(String),
    /// A `.safetensors` file that is none.
    #[error("`{path}` is not a safetensors file")]
    Safetensors {
        /// The file.
        path: String,
        /// Why.
        source: SafeTensorError,
    },
    /// A `.safetensors` file of another length than its header says.
    #[error("`{path}` is {found} bytes long; its header says {wanted}")]
    Length {
        /// The file.
        path: String,
        /// By the header.
        wanted: u64,
        /// On disk.
        found: u64,
    },
    /// A JSON file that is none, or lacks what it is for.
    #[error("`{path}`: {what}")]
    Json {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The index names a tensor that the file does not have, or a file that is not there.
    #[error("`{INDEX}` says that `{tensor}` is in `{file}`, which {why}")]
    Index {
        /// The tensor.
        tensor: String,
        /// The file.
        file: String,
        /// Why it is not.
        why: &'static str,
    },
    /// Several files of weights without an index.
    #[error("`{}` has {count} `.safetensors` files and no `{INDEX}`", directory.display())]
    NoIndex {
        /// The directory.
        directory: PathBuf,
        /// How many there are.
        count: usize,
    },
}

const INDEX: &str = "model.safetensors.index.json";

impl Hinted for ExamineError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Read { source, .. } => read_hint(source),
            Self::Kind(_) => "copy the model with links followed, for example by `cp -rL`",
            Self::Name(_) => "rename the file",
            Self::NoWeights(_) => {
                "weights as PyTorch pickles (`.bin`, `.pt`) run code when they are loaded and are refused: save the model as safetensors"
            }
            Self::BothFormats(_) => "keep the one that the server is to load",
            Self::Missing { .. } => {
                "name the directory that `save_pretrained` wrote, or a complete download"
            }
            Self::NotGguf(_)
            | Self::Safetensors { .. }
            | Self::Length { .. }
            | Self::Json { .. }
            | Self::Index { .. }
            | Self::NoIndex { .. } => "the download may have been cut short: get the file again",
        };
        Some(hint.to_owned())
    }
}

/// Looks at the model in `directory`.
///
/// # Errors
/// Files are missing, damaged or of a kind that no image may have.
pub(crate) fn examine(directory: &Path) -> Result<Examined, ExamineError> {
    let mut files = BTreeMap::new();
    walk(directory, "", &mut files)?;
    let with = |ending: &str| -> Vec<(&String, &PathBuf)> {
        files
            .iter()
            .filter(|(name, _)| name.ends_with(ending))
            .collect()
    };
    let (safetensors, gguf) = (with(".safetensors"), with(".gguf"));
    let mut notes = pickles(&files);
    let format = match (safetensors.is_empty(), gguf.is_empty()) {
        (true, true) => return Err(ExamineError::NoWeights(directory.to_owned())),
        (false, false) => return Err(ExamineError::BothFormats(directory.to_owned())),
        (true, false) => {
            check_gguf(&gguf)?;
            Format::Gguf
        }
        (false, true) => {
            let tensors = tensors(&safetensors)?;
            check_index(directory, &files, &tensors)?;
            notes.extend(check_config(directory, &files)?);
            Format::Safetensors
        }
    };
    Ok(Examined {
        format,
        files,
        notes,
    })
}

#[expect(clippy::disallowed_methods, reason = "sorted in the map")]
fn walk(
    directory: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, PathBuf>,
) -> Result<(), ExamineError> {
    let wrong = |source| ExamineError::Read {
        path: directory.to_owned(),
        source,
    };
    for entry in fs::read_dir(directory).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(ExamineError::Name(path));
        };
        // Folders of version control and of download tools are no part of a model.
        if name.starts_with('.') {
            continue;
        }
        let kind = fs::symlink_metadata(&path).map_err(wrong)?.file_type();
        let name = format!("{prefix}{name}");
        if kind.is_dir() {
            walk(&path, &format!("{name}/"), files)?;
        } else if kind.is_file() {
            files.insert(name, path);
        } else {
            return Err(ExamineError::Kind(path));
        }
    }
    Ok(())
}

/// Notes on weights that run code when they are loaded.
fn pickles(files: &BTreeMap<String, PathBuf>) -> Vec<String> {
    let pickle = |name: &&String| {
        [".bin", ".pt", ".pth", ".pkl", ".ckpt"]
            .iter()
            .any(|ending| name.ends_with(ending))
    };
    let found = files.keys().filter(pickle);
    found
        .map(|name| format!("`{name}` looks like a pickle, which runs code when it is loaded: leave it out if the server does not need it"))
        .collect()
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, ExamineError> {
    let wrong = |source| ExamineError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(wrong)?;
    file.take(most).read_to_end(&mut bytes).map_err(wrong)?;
    Ok(bytes)
}

fn check_gguf(files: &[(&String, &PathBuf)]) -> Result<(), ExamineError> {
    for (name, path) in files {
        if read(path, 4)? != GGUF {
            return Err(ExamineError::NotGguf((*name).clone()));
        }
    }
    Ok(())
}

/// Names of the tensors in each file.
fn tensors(
    files: &[(&String, &PathBuf)],
) -> Result<BTreeMap<String, BTreeSet<String>>, ExamineError> {
    let mut all = BTreeMap::new();
    for (name, path) in files {
        let (header, metadata) = header(name, path)?;
        let data = u64::try_from(metadata.data_len()).unwrap_or(u64::MAX);
        let wanted = header.saturating_add(data);
        let found = fs::metadata(path).map_err(|source| ExamineError::Read {
            path: (*path).clone(),
            source,
        })?;
        let (path, found) = ((*name).clone(), found.len());
        if wanted != found {
            return Err(ExamineError::Length {
                path,
                wanted,
                found,
            });
        }
        all.insert(path, metadata.tensors().into_keys().collect());
    }
    Ok(all)
}

/// Length of the header with the number before it, and what it says. Only these bytes are read, however long the file.
fn header(name: &str, path: &Path) -> Result<(u64, Metadata), ExamineError> {
    let wrong = |source| ExamineError::Safetensors {
        path: name.to_owned(),
        source,
    };
    let length = read(path, 8)?
        .try_into()
        .map_or(u64::MAX, u64::from_le_bytes);
    let length = length.min(MAX_HEADER).saturating_add(8);
    let header = read(path, length)?;
    match SafeTensors::read_metadata(&header) {
        // Said after every other check, of offsets, shapes and types: the data is not in the buffer, which is as it should be.
        Ok(_) | Err(SafeTensorError::MetadataIncompleteBuffer) => {}
        Err(source) => return Err(wrong(source)),
    }
    let json = header.get(8..).unwrap_or_default();
    let metadata = serde_json::from_slice(json)
        .map_err(|error| wrong(SafeTensorError::InvalidHeaderDeserialization(error)))?;
    Ok((length, metadata))
}

fn json(name: &str, path: &Path) -> Result<serde_json::Value, ExamineError> {
    serde_json::from_slice(&read(path, MAX_HEADER)?).map_err(|error| ExamineError::Json {
        path: name.to_owned(),
        what: error.to_string(),
    })
}

/// Every tensor of the index is where it says.
fn check_index(
    directory: &Path,
    files: &BTreeMap<String, PathBuf>,
    tensors: &BTreeMap<String, BTreeSet<String>>,
) -> Result<(), ExamineError> {
    let Some(path) = files.get(INDEX) else {
        return match tensors.len() {
            1 => Ok(()),
            count => Err(ExamineError::NoIndex {
                directory: directory.to_owned(),
                count,
            }),
        };
    };
    let index = json(INDEX, path)?;
    let map = index
        .get("weight_map")
        .and_then(serde_json::Value::as_object);
    let map = map.ok_or_else(|| ExamineError::Json {
        path: INDEX.to_owned(),
        what: "there is no object `weight_map`".to_owned(),
    })?;
    for (tensor, file) in map {
        let file = file.as_str().unwrap_or_default();
        let why = match tensors.get(file) {
            None => "is not there",
            Some(names) if !names.contains(tensor) => "does not have it",
            Some(_) => continue,
        };
        return Err(ExamineError::Index {
            tensor: tensor.clone(),
            file: file.to_owned(),
            why,
        });
    }
    Ok(())
}

/// Notes on what `config.json` asks for and the directory lacks.
fn check_config(
    directory: &Path,
    files: &BTreeMap<String, PathBuf>,
) -> Result<Vec<String>, ExamineError> {
    const CONFIG: &str = "config.json";
    let path = files.get(CONFIG).ok_or_else(|| ExamineError::Missing {
        directory: directory.to_owned(),
        missing: CONFIG,
    })?;
    let config = json(CONFIG, path)?;
    if config
        .get("architectures")
        .and_then(serde_json::Value::as_array)
        .is_none()
    {
        let what = "there is no list `architectures`".to_owned();
        return Err(ExamineError::Json {
            path: CONFIG.to_owned(),
            what,
        });
    }
    let mut notes = Vec::new();
    if !TOKENIZERS.iter().any(|name| files.contains_key(*name)) {
        notes.push("there is no tokenizer beside the weights".to_owned());
    }
    let many = ["vision_config", "audio_config"]
        .iter()
        .any(|key| config.get(*key).is_some());
    let processor = ["preprocessor_config.json", "processor_config.json"];
    if many && !processor.iter().any(|name| files.contains_key(*name)) {
        notes.push("`config.json` is that of a multi-modal model, and there is no `preprocessor_config.json`".to_owned());
    }
    if config.get("auto_map").is_some() {
        notes.push("`config.json` names Python code (`auto_map`), which servers run only with `--trust-remote-code`".to_owned());
    }
    Ok(notes)
}
