//! Finding and reading recipes.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Recipe;
use super::check::Mistakes;
use super::render::render;
use crate::cmd::Hinted;

/// Name of a recipe's file.
const FILE: &str = "recipe.toml";

/// Why a recipe cannot be used.
#[derive(Debug, Error)]
pub(crate) enum RecipeError {
    /// No such recipe.
    #[error(
        "no recipe `{argument}`: neither a path nor a directory under `recipes/` here or above"
    )]
    NotFound {
        /// What the user named.
        argument: String,
    },
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It has mistakes.
    #[error("{0}")]
    Mistakes(String),
}

impl Hinted for RecipeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => Some(
                "give a name under `recipes/`, a directory, or the path of a `recipe.toml`"
                    .to_owned(),
            ),
            Self::Read { .. } | Self::Mistakes(_) => None,
        }
    }
}

/// Finds and reads a recipe, and names its directory: `argument` is a name under `recipes/` in `from` or a directory
/// above it, a directory, or the path of a recipe file.
pub(crate) fn find(argument: &str, from: &Path) -> Result<(Recipe, PathBuf), RecipeError> {
    let path = locate(argument, from).ok_or_else(|| RecipeError::NotFound {
        argument: argument.to_owned(),
    })?;
    let text = std::fs::read_to_string(&path).map_err(|source| RecipeError::Read {
        path: path.clone(),
        source,
    })?;
    let directory = path.parent().unwrap_or(Path::new(".")).to_owned();
    Ok((parse(&text, &path, &directory)?, directory))
}

/// Reads the text of the recipe at `path`; `directory` is where its files are.
fn parse(text: &str, path: &Path, directory: &Path) -> Result<Recipe, RecipeError> {
    let (file, errors) = toml::de::DeTable::parse_recoverable(text);
    let mut mistakes = Mistakes::default();
    for error in &errors {
        mistakes.add(error.span().unwrap_or_default(), error.message(), None);
    }
    if errors.is_empty() {
        mistakes.check(&file);
        mistakes.relate(file.get_ref(), directory);
    }
    if mistakes.0.is_empty() {
        // The schema has accepted it, so this finds nothing more, unless the two disagree.
        match toml::from_str(text) {
            Ok(recipe) => return Ok(recipe),
            Err(error) => mistakes.add(error.span().unwrap_or_default(), error.message(), None),
        }
    }
    Err(RecipeError::Mistakes(render(&mistakes.0, path, text)))
}

fn locate(argument: &str, from: &Path) -> Option<PathBuf> {
    let plain =
        !argument.is_empty() && !argument.contains('/') && argument != "." && argument != "..";
    let above = from
        .ancestors()
        .map(|directory| directory.join("recipes").join(argument).join(FILE));
    let named = above
        .into_iter()
        .filter(|_| plain)
        .find(|path| path.is_file());
    named.or_else(|| {
        let path = from.join(argument);
        [path.join(FILE), path]
            .into_iter()
            .find(|path| path.is_file())
    })
}

/// Names of the recipes under the nearest `recipes/` in `from` or above, sorted.
#[expect(clippy::disallowed_methods, reason = "sorted right below")]
pub(crate) fn names(from: &Path) -> Result<Vec<String>, RecipeError> {
    let Some(recipes) = from
        .ancestors()
        .map(|directory| directory.join("recipes"))
        .find(|path| path.is_dir())
    else {
        return Ok(Vec::new());
    };
    let read = |source| RecipeError::Read {
        path: recipes.clone(),
        source,
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&recipes).map_err(read)? {
        let entry = entry.map_err(read)?;
        if entry.path().join(FILE).is_file() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}
