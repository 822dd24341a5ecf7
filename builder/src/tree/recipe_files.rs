//! Files that a recipe adds by itself: from its own directory, or named by hash.

use std::path::{Component, Path};
use std::sync::Arc;

use super::assemble::{Source, TreeError};
use super::{Content, Entry, MODE_MASK, Origin, Packed, PathError, Resolved, Tree, TreePath};
use crate::model::Placed;

/// Adds models from the store, where their files stay until the image is written.
pub(super) fn add_models(tree: &mut Tree, source: Source<'_>) -> Result<(), TreeError> {
    for Placed { directory, list } in source.models {
        for file in &list.files {
            let wrong = |source| TreeError::Path {
                path: file.path.clone(),
                source,
            };
            let at = directory.join(file.path.as_bytes()).map_err(wrong)?;
            let opened =
                source
                    .store
                    .open_verified(&file.sha256)
                    .map_err(|source| TreeError::Store {
                        what: format!("{} of model {}", file.path, list.name),
                        source: Box::new(source),
                    })?;
            let content = Content::packed(Packed {
                archive: Arc::new(opened),
                start: 0,
                packed: file.size,
                deflated: false,
                size: file.size,
                sha256: file.sha256,
            });
            let origin = Origin::Model {
                name: list.name.clone(),
            };
            add(tree, at, Entry::file(0o644, content, origin))?;
        }
    }
    Ok(())
}

/// Adds files of the recipe's directory and inputs named by hash.
pub(super) fn add_recipe_files(tree: &mut Tree, source: Source<'_>) -> Result<(), TreeError> {
    for file in &source.recipe.files {
        let at = recipe_path(&file.path)?;
        let mode = mode(&file.path, &file.mode)?;
        let stays = Path::new(&file.source)
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !stays {
            let source = PathError::Parent(file.source.clone());
            return Err(TreeError::Path {
                path: file.source.clone(),
                source,
            });
        }
        let bytes = std::fs::read(source.directory.join(&file.source)).map_err(|source| {
            TreeError::File {
                source_path: file.source.clone(),
                source,
            }
        })?;
        let origin = Origin::RecipeFile {
            source: file.source.clone(),
        };
        add(tree, at, Entry::file(mode, Content::new(bytes), origin))?;
    }
    for input in &source.recipe.inputs {
        let at = recipe_path(&input.path)?;
        let mode = mode(&input.path, &input.mode)?;
        let bytes = source
            .store
            .read(&input.sha256)
            .map_err(|source| TreeError::Store {
                what: input.path.clone(),
                source: Box::new(source),
            })?;
        let content = Content::with_sha256(bytes, input.sha256);
        add(
            tree,
            at,
            Entry::file(
                mode,
                content,
                Origin::Input {
                    sha256: input.sha256,
                },
            ),
        )?;
    }
    Ok(())
}

fn recipe_path(text: &str) -> Result<TreePath, TreeError> {
    TreePath::from_absolute(text).map_err(|source| TreeError::Path {
        path: text.to_owned(),
        source,
    })
}

fn mode(path: &str, text: &str) -> Result<u32, TreeError> {
    let octal = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| mode & !MODE_MASK == 0);
    octal.ok_or_else(|| TreeError::Mode {
        path: path.to_owned(),
        mode: text.to_owned(),
    })
}

/// Adds a file where its path leads, with parents; the same file twice is one.
pub(super) fn add(tree: &mut Tree, path: TreePath, entry: Entry) -> Result<(), TreeError> {
    let taken = |path: TreePath, first: &Origin| {
        let (first, second) = (first.label(), entry.origin.label());
        TreeError::Taken {
            path,
            first,
            second,
        }
    };
    let path = match tree.resolve(&path, false) {
        Resolved::Path(path) => path,
        Resolved::Root | Resolved::Loop => {
            return Err(taken(path, &Origin::Effect("links that lead in a circle")));
        }
    };
    if let Some(old) = tree.get(&path) {
        let same = (&old.node, old.mode, old.uid, old.gid)
            == (&entry.node, entry.mode, entry.uid, entry.gid);
        return if same {
            Ok(())
        } else {
            Err(taken(path, &old.origin))
        };
    }
    let mut parent = path.parent();
    while let Some(directory) = parent {
        match tree.get(&directory) {
            Some(above) if above.is_directory() => break,
            Some(above) => return Err(taken(directory, &above.origin)),
            None => {}
        }
        parent = directory.parent();
        tree.insert(directory, Entry::directory(0o755, entry.origin.clone()));
    }
    tree.insert(path, entry);
    Ok(())
}
