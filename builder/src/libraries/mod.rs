//! Shared libraries that programs of the image need and the image does not have.
//!
//! Every `DT_NEEDED` of every ELF file is looked for as the dynamic loader does: in `DT_RUNPATH` with `$ORIGIN`, in
//! `LD_LIBRARY_PATH` of the workload, then in the directories of `ld.so.cache`. Where none of these has it, a file of a wheel
//! may also need what another file of a wheel is, by `DT_SONAME` or file name: Python's packages load each other's libraries
//! before their own. Everything else is refused, with who needs it, unless the recipe names it.
//!
//! Left out: what programs load by `dlopen` (`scripts/check-root.sh` loads everything), symbols and their versions, `RPATH` of
//! the file that loads another.

mod dynamic;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use goblin::elf::header::ELFMAG;
use rayon::prelude::*;
use thiserror::Error;

use crate::cmd::Hinted;
use crate::recipe::Recipe;
use crate::store::Store;
use crate::tree::{Content, Origin, Tree, TreePath, show};
use dynamic::Dynamic;

/// Rule by which the store keeps dynamic sections; another reading of them needs another name.
const KIND: &str = "elf-dynamic-1";
/// Dynamic sections of files at least so long are kept in the store.
const LARGE: u64 = 1 << 20;
/// How many files that need a library are named.
const NAMED: usize = 3;

/// Why the libraries of an image are refused.
#[derive(Debug, Error)]
pub(crate) enum LibraryError {
    /// Libraries that are nowhere in the image.
    #[error("{}", listed(missing))]
    Missing {
        /// Each with the files that need it.
        missing: Vec<Missing>,
        /// Left-out wheels and the like that may have them.
        left_out: Vec<String>,
    },
    /// A file could not be read.
    #[error("`/{path}` could not be read for the libraries it needs")]
    Read {
        /// The file.
        path: TreePath,
        /// Why.
        source: io::Error,
    },
}

/// A library that is nowhere in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Its name.
    pub(crate) library: String,
    /// Files that need it, with what they came from.
    pub(crate) needed_by: Vec<String>,
}

fn listed(missing: &[Missing]) -> String {
    let each = missing.iter().map(|missing| {
        let more = missing.needed_by.len().saturating_sub(NAMED);
        let named: Vec<&str> = missing
            .needed_by
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect();
        let more = if more == 0 {
            String::new()
        } else {
            format!(" and {more} more")
        };
        format!(
            "`{}`, needed by {}{more}",
            missing.library,
            named.join(", ")
        )
    });
    let each: Vec<String> = each.collect();
    format!(
        "shared libraries are nowhere in the image: {}",
        each.join("; ")
    )
}

impl Hinted for LibraryError {
    fn hint(&self) -> Option<String> {
        let Self::Missing { left_out, .. } = self else {
            return None;
        };
        let excluded = match left_out.as_slice() {
            [] => "`root.drop` or `exclude` may leave it out".to_owned(),
            names => format!("`python.exclude` leaves out {}", names.join(", ")),
        };
        Some(format!(
            "name the package or wheel that has it ({excluded}); if nothing that runs loads those files, accept it with its reason: \
             `[[root.unresolved]]` with `libraries` and `reason`"
        ))
    }
}

/// What the check has found, for the build's report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Files with a dynamic section.
    pub(crate) files: usize,
    /// Lines for a person: what the recipe accepts, and acceptances that nothing needs.
    pub(crate) notes: Vec<String>,
}

/// Refuses a tree in which something needs a library that is not there and that the recipe does not accept.
pub(crate) fn check(
    tree: &Tree,
    recipe: &Recipe,
    store: &Store,
    cache: bool,
) -> Result<Found, LibraryError> {
    let files = files(tree, &|content| kept(content, store, cache))?;
    let missing = missing(tree, &files, &search_path(tree, recipe));
    let (accepted, refused): (Vec<_>, Vec<_>) = missing
        .into_iter()
        .partition(|missing| reason(recipe, &missing.library).is_some());
    if refused.is_empty() {
        return Ok(Found {
            files: files.len(),
            notes: notes(recipe, &accepted),
        });
    }
    let native = |name: &&String| name.starts_with("nvidia-") || name.starts_with("cuda-");
    let python = recipe.python.iter();
    let excluded = python.flat_map(|python| python.exclude.iter());
    Err(LibraryError::Missing {
        missing: refused,
        left_out: excluded.filter(native).cloned().collect(),
    })
}

/// Why the recipe accepts that a library is missing, if it does.
fn reason<'a>(recipe: &'a Recipe, library: &str) -> Option<&'a str> {
    let mut entries = recipe.root.unresolved.iter();
    let found = entries.find(|entry| entry.libraries.iter().any(|name| name == library))?;
    Some(&found.reason)
}

/// What is accepted and missing, and what is accepted and not missing.
fn notes(recipe: &Recipe, accepted: &[Missing]) -> Vec<String> {
    let missing = accepted.iter().map(|missing| {
        format!(
            "library `{}` is not in the image, {} files need it: {}",
            missing.library,
            missing.needed_by.len(),
            reason(recipe, &missing.library).unwrap_or_default()
        )
    });
    let names = recipe.root.unresolved.iter();
    let names = names.flat_map(|entry| entry.libraries.iter());
    let unused = names.filter(|name| !accepted.iter().any(|missing| missing.library == **name));
    let unused = unused.map(|name| {
        format!("`root.unresolved` accepts `{name}`, which the image has or nothing needs")
    });
    missing.chain(unused).collect()
}

/// An ELF file of the tree.
struct ElfFile<'a> {
    path: &'a TreePath,
    origin: String,
    /// Whether a wheel has it.
    wheel: bool,
    dynamic: Dynamic,
}

/// Every ELF file that has a dynamic section, by path.
fn files<'a>(
    tree: &'a Tree,
    read: &(impl Fn(&Content) -> io::Result<Option<Dynamic>> + Sync),
) -> Result<Vec<ElfFile<'a>>, LibraryError> {
    let all: Vec<_> = tree
        .iter()
        .filter_map(|(path, entry)| Some((path, entry, entry.content()?)))
        .collect();
    let files: Result<Vec<_>, LibraryError> = all
        .par_iter()
        .with_max_len(1)
        .map(|(path, entry, content)| {
            let failed = |source| LibraryError::Read {
                path: (*path).clone(),
                source,
            };
            let is_elf = content.begins_with(ELFMAG).map_err(failed)?;
            let dynamic = if is_elf {
                read(content).map_err(failed)?
            } else {
                None
            };
            Ok(dynamic.map(|dynamic| ElfFile {
                path,
                origin: entry.origin.label(),
                wheel: matches!(entry.origin, Origin::Wheel { .. }),
                dynamic,
            }))
        })
        .collect();
    Ok(files?.into_iter().flatten().collect())
}

/// The dynamic section of a content: of large ones from the store, by the content's digest.
fn kept(content: &Content, store: &Store, cache: bool) -> io::Result<Option<Dynamic>> {
    if content.len() < LARGE {
        return dynamic::read(content);
    }
    store.remembered(KIND, &content.sha256(), cache, || dynamic::read(content))
}

/// `LD_LIBRARY_PATH` of the workload: the one part of the guest's configuration that [`check`] looks at.
pub(crate) fn named_path(recipe: &Recipe) -> Option<&str> {
    let variables = &recipe.guest.workload.environment;
    variables.get("LD_LIBRARY_PATH").map(String::as_str)
}

/// Directories that are searched for every file: `LD_LIBRARY_PATH` of the workload, then those of `ld.so.cache`.
fn search_path(tree: &Tree, recipe: &Recipe) -> Vec<String> {
    let named = named_path(recipe).into_iter();
    let named = named.flat_map(|path| path.split(':')).map(str::to_owned);
    // Configuration that cannot be read has ended the effect that writes the cache already.
    let configured = crate::effects::library_directories(tree).unwrap_or_default();
    named.chain(configured).collect()
}

/// Libraries that some file needs and cannot find, by name.
fn missing(tree: &Tree, files: &[ElfFile<'_>], directories: &[String]) -> Vec<Missing> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for file in files.iter().filter(|file| file.wheel) {
        names.extend(file.dynamic.soname.clone());
        names.insert(show(file.path.file_name()));
    }
    let mut missing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in files {
        for library in &file.dynamic.needed {
            let before = file.wheel && names.contains(library);
            if !before && !reached(tree, file, library, directories) {
                let needs = format!("`/{}` ({})", file.path, file.origin);
                missing.entry(library).or_default().push(needs);
            }
        }
    }
    let all = missing.into_iter().map(|(library, needed_by)| Missing {
        library: library.to_owned(),
        needed_by,
    });
    all.collect()
}

/// Whether the loader finds `library` for `file`.
fn reached(tree: &Tree, file: &ElfFile<'_>, library: &str, directories: &[String]) -> bool {
    let is_there = |path: &str| {
        let path = TreePath::from_absolute(&plain(path));
        path.is_ok_and(|path| {
            tree.follow(&path)
                .is_some_and(|(_, entry)| entry.content().is_some())
        })
    };
    if library.contains('/') {
        return is_there(library);
    }
    let above = file
        .path
        .parent()
        .map_or_else(String::new, |parent| parent.absolute());
    let own = file.dynamic.run_path.as_deref().unwrap_or_default();
    let own = own.split(':').filter(|path| !path.is_empty());
    let own = own.map(|path| path.replace("${ORIGIN}", &above).replace("$ORIGIN", &above));
    own.chain(directories.iter().cloned())
        .any(|directory| is_there(&format!("{directory}/{library}")))
}

/// A path without `.`, `..` and empty parts. The kernel follows links before `..`; in directories of libraries that differs
/// only where a directory is a link.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests;
