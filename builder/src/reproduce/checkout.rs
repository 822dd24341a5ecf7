//! Copies of the sources: other path, other order of creation, other permissions.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Folders of a repository that are not sources.
const NOT_SOURCES: [&str; 3] = [".git", "out", "target"];

/// How a copy is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Names ascending, permissions of umask 022.
    Ascending,
    /// Names descending, permissions of umask 077.
    Descending,
}

/// A file or folder could not be copied.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be copied", path.display())]
pub(crate) struct CopyError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Copies the sources under `repository`, and the recipe in `recipe_dir` with the keys beside it, to `to`.
///
/// Gives the path of the copied recipe. Recipes outside the repository end up in its `recipes/` folder.
pub(crate) fn copy(
    repository: &Path,
    recipe_dir: &Path,
    to: &Path,
    style: Style,
) -> Result<PathBuf, CopyError> {
    copy_folder(repository, to, style, &NOT_SOURCES)?;
    let name = recipe_dir.file_name().unwrap_or(recipe_dir.as_os_str());
    let recipe = to.join("recipes").join(name);
    if let Some(keys) = recipe_dir.parent().map(|parent| parent.join("keys"))
        && keys.is_dir()
    {
        copy_folder(&keys, &to.join("recipes").join("keys"), style, &[])?;
    }
    copy_folder(recipe_dir, &recipe, style, &[])?;
    Ok(recipe)
}

/// Copies a folder over what is at `to`.
fn copy_folder(from: &Path, to: &Path, style: Style, skip: &[&str]) -> Result<(), CopyError> {
    let at = |source| CopyError {
        path: from.to_owned(),
        source,
    };
    let mode = if style == Style::Ascending {
        0o755
    } else {
        0o700
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(to)
        .map_err(at)?;
    let mut names = sorted_names(from).map_err(at)?;
    if style == Style::Descending {
        names.reverse();
    }
    for name in names {
        if skip.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let (source, target) = (from.join(&name), to.join(&name));
        let kind = fs::symlink_metadata(&source).map_err(at)?;
        if kind.is_dir() {
            copy_folder(&source, &target, style, &[])?;
        } else {
            copy_entry(&source, &target, &kind, style).map_err(|error| CopyError {
                path: source.clone(),
                source: error,
            })?;
        }
    }
    Ok(())
}

fn copy_entry(from: &Path, to: &Path, kind: &fs::Metadata, style: Style) -> io::Result<()> {
    if fs::symlink_metadata(to).is_ok() {
        fs::remove_file(to)?;
    }
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    let executable = kind.permissions().mode() & 0o111 != 0;
    let mode = match (style, executable) {
        (Style::Ascending, false) => 0o644,
        (Style::Ascending, true) => 0o755,
        (Style::Descending, false) => 0o600,
        (Style::Descending, true) => 0o700,
    };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(to)?;
    io::copy(&mut fs::File::open(from)?, &mut file)?;
    Ok(())
}

/// Names in a folder, ascending.
#[expect(
    clippy::disallowed_methods,
    reason = "this is a sorted walk: the names are sorted here"
)]
pub(super) fn sorted_names(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_leaves_products_behind_and_brings_a_recipe_from_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let put = |path: &str| {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), path).unwrap();
        };
        for path in [
            "repo/init/Cargo.toml",
            "repo/out/demo/disk.raw",
            "repo/target/x",
        ] {
            put(path);
        }
        for path in [
            "else/keys/a.asc",
            "else/small/recipe.toml",
            "else/small/files/target/run",
        ] {
            put(path);
        }
        let recipe = copy(
            &at("repo"),
            &at("else/small"),
            &at("copy"),
            Style::Descending,
        )
        .unwrap();
        assert_eq!(recipe, at("copy/recipes/small"));
        for path in [
            "init/Cargo.toml",
            "recipes/keys/a.asc",
            "recipes/small/files/target/run",
        ] {
            assert!(at("copy").join(path).is_file(), "{path}");
        }
        assert!(!at("copy/out").exists() && !at("copy/target").exists());
        let mode = fs::metadata(recipe.join("recipe.toml"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
