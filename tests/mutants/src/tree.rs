//! The copy of the repository that mutants are built in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::mutant::Mutant;
use crate::rewrite::{Numbered, rewrite};

/// Lints that are errors by themselves, and that mutated code meets.
const ALLOW: &str = "#![allow(arithmetic_overflow, unconditional_panic, unconditional_recursion, invalid_from_utf8, overflowing_literals)] ";

/// A copy of everything that git knows or would know, and the package in it that gets mutants.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    /// Folder of the package, from the root.
    pub(crate) folder: String,
    /// Contents of the files with mutants and of the library's root, as they were.
    originals: BTreeMap<String, String>,
    /// Contents of all of the package's sources, those of its tests among them.
    sources: BTreeMap<String, String>,
}

impl Tree {
    /// Makes `to` a copy of `from`; what is as it was keeps its time, and is not built again.
    pub(crate) fn copy(from: &Path, to: &Path, mutants: &[Mutant]) -> Result<Self> {
        let first = mutants.first().context("no mutants")?;
        let (folder, _) = first.file.split_once("/src/").context("no src/")?;
        let mut originals = BTreeMap::new();
        // The root of the library has none, or is one of them.
        let library = format!("{folder}/src/lib.rs");
        for file in mutants.iter().map(|mutant| &mutant.file).chain([&library]) {
            let content = fs::read_to_string(from.join(file))?;
            originals.insert(file.clone(), content);
        }
        let files = files(from)?;
        // Files with mutants are written with them, the package's manifest without lints.
        let manifest = format!("{folder}/Cargo.toml");
        for file in files.iter().filter(|file| **file != manifest) {
            if !originals.contains_key(file) {
                copy_file(&from.join(file), &to.join(file)).with_context(|| file.clone())?;
            }
        }
        let mut kept: BTreeSet<PathBuf> = files.iter().map(|file| to.join(file)).collect();
        kept.insert(to.join(folder).join("src/mutant.rs"));
        remove_others(to, &kept)?;
        link_vectors(from, to)?;
        let tree = Self {
            root: to.to_owned(),
            folder: folder.to_owned(),
            originals,
            sources: sources(from, folder)?,
        };
        tree.prepare(&fs::read_to_string(from.join(manifest))?)?;
        Ok(tree)
    }

    pub(crate) fn package(&self) -> PathBuf {
        self.root.join(&self.folder)
    }

    /// A file as it was.
    pub(crate) fn original(&self, file: &str) -> &str {
        self.originals.get(file).map_or("", String::as_str)
    }

    /// The module that answers `active`, and a manifest without lints.
    fn prepare(&self, manifest: &str) -> Result<()> {
        let package = self.package();
        write(&package.join("src/mutant.rs"), include_bytes!("runtime.rs"))?;
        let without = manifest.replace("[lints]\nworkspace = true\n", "");
        if without.contains("[lints") {
            bail!("{}/Cargo.toml has lints of its own", self.folder);
        }
        write(&package.join("Cargo.toml"), without.as_bytes())
    }

    /// Changes when a source of the package does.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.sources.hash(&mut hasher);
        hasher.finish()
    }

    /// Writes each file with the mutants of `numbered` in it; what cannot be there comes back with its reason, first those that need a
    /// build each, then those that no compiler takes.
    pub(crate) fn write(&self, numbered: &Numbered<'_>) -> Result<[BTreeMap<u32, String>; 2]> {
        let mut left = [BTreeMap::new(), BTreeMap::new()];
        for (file, original) in &self.originals {
            let of_file = numbered.iter().filter(|(_, m)| m.file == *file);
            let of_file: Numbered<'_> = of_file.map(|(n, m)| (*n, *m)).collect();
            let rewritten =
                rewrite(original, &of_file, &self.beneath(file)).with_context(|| file.clone())?;
            for (into, from) in left.iter_mut().zip([rewritten.alone, rewritten.unviable]) {
                into.extend(from.into_iter().map(|(n, reason)| (n, reason.to_owned())));
            }
            self.put(file, &rewritten.source)?;
        }
        Ok(left)
    }

    /// The sources of the modules inside that of a file.
    fn beneath(&self, file: &str) -> Vec<&str> {
        let module = file.strip_suffix(".rs").unwrap_or(file);
        let folder = match module.rsplit_once('/') {
            Some((folder, "lib" | "mod")) => format!("{folder}/"),
            _ => format!("{module}/"),
        };
        let inside = |other: &&String| other.starts_with(&folder) && *other != file;
        let files = self.sources.keys().filter(inside);
        files
            .filter_map(|file| self.sources.get(file).map(String::as_str))
            .collect()
    }

    /// Writes one file with one mutant, the others as they were.
    pub(crate) fn write_one(&self, mutant: &Mutant) -> Result<()> {
        for (file, original) in &self.originals {
            let mut source = original.clone();
            if *file == mutant.file {
                source.replace_range(mutant.range(original)?, &mutant.replacement);
            }
            self.put(file, &source)?;
        }
        Ok(())
    }

    fn put(&self, file: &str, source: &str) -> Result<()> {
        let library = format!("{}/src/lib.rs", self.folder);
        let path = self.root.join(file);
        let mut content = source.to_owned();
        if file == library {
            content = format!("{ALLOW}{source}\nmod mutant;\n");
        }
        write(&path, content.as_bytes())
    }
}

/// Writes a file unless it is like that already.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).ok().as_deref() != Some(content) {
        fs::create_dir_all(path.parent().context("no parent")?)?;
        fs::write(path, content).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(from) else {
        return Ok(()); // deleted, and not committed yet
    };
    if metadata.is_symlink() {
        if fs::symlink_metadata(to).is_err() {
            fs::create_dir_all(to.parent().context("no parent")?)?;
            symlink(fs::read_link(from)?, to)?;
        }
        return Ok(());
    }
    write(to, &fs::read(from)?)?;
    fs::set_permissions(to, metadata.permissions())?;
    Ok(())
}

/// Removes files that an earlier copy left.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn files(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        bail!("git ls-files: {}", output.status);
    }
    let names = String::from_utf8(output.stdout)?;
    let names = names.split('\0').filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}

fn sources(root: &Path, folder: &str) -> Result<BTreeMap<String, String>> {
    let within = format!("{folder}/");
    let mut sources = BTreeMap::new();
    for file in files(root)? {
        if file.starts_with(&within) && file.ends_with(".rs") {
            let source = fs::read_to_string(root.join(&file))?;
            sources.insert(file, source);
        }
    }
    Ok(sources)
}

/// Tests look for the shared vectors beside the repository.
fn link_vectors(from: &Path, to: &Path) -> Result<()> {
    let link = to.with_file_name("shared");
    if let Ok(shared) = from.join("../shared").canonicalize()
        && !link.exists()
    {
        symlink(shared, link)?;
    }
    Ok(())
}
