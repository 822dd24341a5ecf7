//! Laying unpacked packages over each other.
//!
//! The result does not depend on the order in which packages were unpacked: they are taken by
//! name, links first, then directories, then files. A package that ships `lib/x` where `lib` is a
//! link to `usr/lib` gets `usr/lib/x` (merged `/usr`), as dpkg would do it on a running system.

use std::collections::{BTreeMap, BTreeSet};

use super::{Content, Entry, Node, Origin, Resolved, Tree, TreePath};
use crate::deb::{Body, Member};

/// The top-level links of a merged-usr system and their targets.
const MERGED: [(&str, &str); 4] = [
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("sbin", "usr/sbin"),
];

/// One package to lay down.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// Package name, for order and messages.
    pub(crate) name: String,
    /// What its entries are attributed to.
    pub(crate) origin: Origin,
    /// Packages whose files this one may overwrite.
    pub(crate) replaces: BTreeSet<String>,
    /// Its members in archive order.
    pub(crate) members: Vec<Member>,
}

/// Why packages cannot lie over each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MergeError {
    /// Two packages ship different things at one path and neither replaces the other.
    #[error("`/{path}` is in package `{first}` and, with other content, in package `{second}`")]
    Conflict {
        /// The path.
        path: TreePath,
        /// The package laid down first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A directory of a package is a file elsewhere, or a path leads through a file.
    #[error("package `{package}` needs a directory at `/{path}`, but that is a {found}")]
    NotADirectory {
        /// The package.
        package: String,
        /// Where.
        path: TreePath,
        /// What stands there.
        found: &'static str,
    },
    /// Symbolic links lead in a circle.
    #[error("package `{package}` ships `/{path}`, where symbolic links lead in a circle")]
    Loop {
        /// The package.
        package: String,
        /// Where.
        path: TreePath,
    },
    /// A hard link whose target the same package does not ship as a file.
    #[error(
        "package `{package}` ships a hard link `/{path}` to `/{target}`, which it does not ship as a file before it"
    )]
    HardLink {
        /// The package.
        package: String,
        /// The link.
        path: TreePath,
        /// Its target.
        target: TreePath,
    },
}

/// Lays `layers` over each other and reports what was settled on the way (`warnings`).
pub(crate) fn overlay(mut layers: Vec<Layer>) -> Result<(Tree, Vec<String>), MergeError> {
    layers.sort_by(|a, b| a.name.cmp(&b.name));
    let replaces = layers
        .iter()
        .map(|l| (l.name.clone(), l.replaces.clone()))
        .collect();
    let mut merge = Merge {
        tree: Tree::new(),
        replaces,
        warnings: Vec::new(),
    };
    for (link, target) in MERGED {
        if let Ok(path) = TreePath::new(link.as_bytes()) {
            merge.tree.insert(
                path,
                Entry::symlink(target.as_bytes(), Origin::Effect("merged-usr")),
            );
        }
    }
    merge.links(&layers)?;
    merge.directories(&layers)?;
    merge.files(layers)?;
    merge.drop_idle_links();
    merge.check()?;
    Ok((merge.tree, merge.warnings))
}

struct Merge {
    tree: Tree,
    replaces: BTreeMap<String, BTreeSet<String>>,
    warnings: Vec<String>,
}

impl Merge {
    fn links(&mut self, layers: &[Layer]) -> Result<(), MergeError> {
        let mut links = Vec::new();
        for layer in layers {
            for member in &layer.members {
                if let (Some(path), Body::Symlink(target)) = (&member.path, &member.body) {
                    links.push((path, target, member, layer));
                }
            }
        }
        // A link's parents sort before it, so links in them are followed.
        links.sort_by(|a, b| (a.0, &a.3.name).cmp(&(b.0, &b.3.name)));
        for (path, target, member, layer) in links {
            let entry = Entry {
                mode: 0o777,
                uid: member.uid,
                gid: member.gid,
                node: Node::Symlink(target.clone()),
                origin: layer.origin.clone(),
            };
            self.place(path, entry, layer)?;
        }
        Ok(())
    }

    fn directories(&mut self, layers: &[Layer]) -> Result<(), MergeError> {
        for layer in layers {
            for member in layer.members.iter().filter(|m| m.body == Body::Directory) {
                let Some(path) = &member.path else { continue };
                let path = match self.tree.resolve(path, true) {
                    Resolved::Path(path) => path,
                    Resolved::Root => continue,
                    Resolved::Loop => {
                        return Err(MergeError::Loop {
                            package: layer.name.clone(),
                            path: path.clone(),
                        });
                    }
                };
                self.parents(&path, layer)?;
                let entry = Entry {
                    mode: member.mode,
                    uid: member.uid,
                    gid: member.gid,
                    node: Node::Directory,
                    origin: layer.origin.clone(),
                };
                self.directory(path, entry, layer)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: TreePath, entry: Entry, layer: &Layer) -> Result<(), MergeError> {
        match self.tree.get(&path) {
            // Made only because something lies below it: the real one decides.
            Some(old) if old.is_directory() && is_implied(old) => {
                self.tree.insert(path, entry);
            }
            Some(old) if old.is_directory() => {
                if (old.mode, old.uid, old.gid) != (entry.mode, entry.uid, entry.gid) {
                    let (first, second) = (name_of(&old.origin), &layer.name);
                    self.warnings.push(format!(
                        "directory `/{path}`: mode {:o} {}:{} of `{first}` kept, `{second}` has {:o} {}:{}",
                        old.mode, old.uid, old.gid, entry.mode, entry.uid, entry.gid
                    ));
                }
            }
            Some(old) => {
                return Err(MergeError::NotADirectory {
                    package: layer.name.clone(),
                    path,
                    found: kind(old),
                });
            }
            None => {
                self.tree.insert(path, entry);
            }
        }
        Ok(())
    }

    fn files(&mut self, layers: Vec<Layer>) -> Result<(), MergeError> {
        for mut layer in layers {
            let members = std::mem::take(&mut layer.members);
            let mut shipped: BTreeMap<TreePath, (Content, u32, u32, u32)> = BTreeMap::new();
            for member in members {
                let Some(path) = member.path else { continue };
                let inode = match member.body {
                    Body::Directory | Body::Symlink(_) => continue,
                    Body::File(bytes) => (Content::new(bytes), member.mode, member.uid, member.gid),
                    Body::HardLink(target) => match shipped.get(&target) {
                        Some(inode) => inode.clone(),
                        None => {
                            return Err(MergeError::HardLink {
                                package: layer.name,
                                path,
                                target,
                            });
                        }
                    },
                };
                shipped.insert(path.clone(), inode.clone());
                let (content, mode, uid, gid) = inode;
                let entry = Entry {
                    mode,
                    uid,
                    gid,
                    node: Node::File(content),
                    origin: layer.origin.clone(),
                };
                self.place(&path, entry, &layer)?;
            }
        }
        Ok(())
    }

    /// Puts a file or link where its path leads, settling with what stands there.
    fn place(&mut self, path: &TreePath, entry: Entry, layer: &Layer) -> Result<(), MergeError> {
        let path = match self.tree.resolve(path, false) {
            Resolved::Path(path) => path,
            Resolved::Root | Resolved::Loop => {
                return Err(MergeError::Loop {
                    package: layer.name.clone(),
                    path: path.clone(),
                });
            }
        };
        self.parents(&path, layer)?;
        let Some(old) = self.tree.get(&path) else {
            self.tree.insert(path, entry);
            return Ok(());
        };
        let first = name_of(&old.origin).to_owned();
        let same = (&old.node, old.mode, old.uid, old.gid)
            == (&entry.node, entry.mode, entry.uid, entry.gid);
        if same {
            if matches!(old.origin, Origin::Effect(_)) {
                self.tree.insert(path, entry);
            }
            return Ok(());
        }
        if !old.is_directory() && self.wins(&layer.name, &first) {
            self.warnings.push(format!(
                "`/{path}`: `{}` replaces the file of `{first}`",
                layer.name
            ));
            self.tree.insert(path, entry);
            return Ok(());
        }
        if !old.is_directory() && self.wins(&first, &layer.name) {
            self.warnings.push(format!(
                "`/{path}`: `{first}` replaces the file of `{}`",
                layer.name
            ));
            return Ok(());
        }
        Err(MergeError::Conflict {
            path,
            first,
            second: layer.name.clone(),
        })
    }

    fn wins(&self, package: &str, over: &str) -> bool {
        self.replaces
            .get(package)
            .is_some_and(|names| names.contains(over))
    }

    /// Makes missing parents; `path` has no links in them.
    fn parents(&mut self, path: &TreePath, layer: &Layer) -> Result<(), MergeError> {
        let mut parent = path.parent();
        while let Some(directory) = parent {
            match self.tree.get(&directory) {
                Some(entry) if entry.is_directory() => return Ok(()),
                Some(entry) => {
                    let (package, found) = (layer.name.clone(), kind(entry));
                    return Err(MergeError::NotADirectory {
                        package,
                        path: directory,
                        found,
                    });
                }
                None => {}
            }
            parent = directory.parent();
            self.tree
                .insert(directory, Entry::directory(0o755, Origin::Effect(IMPLIED)));
        }
        Ok(())
    }

    /// Takes out the merged-usr links that lead nowhere in this image.
    fn drop_idle_links(&mut self) {
        for (link, target) in MERGED {
            let (Ok(link), Ok(target)) = (
                TreePath::new(link.as_bytes()),
                TreePath::new(target.as_bytes()),
            ) else {
                continue;
            };
            let ours = self
                .tree
                .get(&link)
                .is_some_and(|e| matches!(e.origin, Origin::Effect(_)));
            if ours && self.tree.get(&target).is_none() {
                self.tree.remove(&link);
            }
        }
    }

    /// No entry may lie below anything but a directory.
    fn check(&self) -> Result<(), MergeError> {
        for (path, entry) in self.tree.iter() {
            let Some(parent) = path.parent() else {
                continue;
            };
            if let Some(above) = self.tree.get(&parent).filter(|above| !above.is_directory()) {
                let package = name_of(&entry.origin).to_owned();
                return Err(MergeError::NotADirectory {
                    package,
                    path: parent,
                    found: kind(above),
                });
            }
        }
        Ok(())
    }
}

/// Origin of directories that exist only because something lies below them.
const IMPLIED: &str = "parent directory";

fn is_implied(entry: &Entry) -> bool {
    entry.origin == Origin::Effect(IMPLIED)
}

/// A name for messages.
fn name_of(origin: &Origin) -> &str {
    match origin {
        Origin::Package { name, .. } | Origin::Wheel { name, .. } | Origin::Model { name } => name,
        Origin::Effect(name) => name,
        Origin::RecipeFile { source } => source,
        Origin::Bytecode { source } => name_of(source),
        Origin::Input { .. } => "input",
    }
}

fn kind(entry: &Entry) -> &'static str {
    match entry.node {
        Node::Directory => "directory",
        Node::File(_) => "file",
        Node::Symlink(_) => "symbolic link",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Digest;
    use crate::tree::path;

    fn layer(name: &str, replaces: &[&str], members: &[(&str, Body)]) -> Layer {
        let members = members
            .iter()
            .map(|(p, body)| Member {
                path: Some(path(p)),
                mode: 0o755,
                uid: 0,
                gid: 0,
                body: body.clone(),
            })
            .collect();
        let origin = Origin::Package {
            name: name.into(),
            version: "1".into(),
            sha256: Digest([0; 32]),
        };
        let replaces = replaces.iter().map(|r| (*r).to_owned()).collect();
        Layer {
            name: name.into(),
            origin,
            replaces,
            members,
        }
    }

    fn file(text: &str) -> Body {
        Body::File(text.as_bytes().to_vec())
    }

    fn link(target: &str) -> Body {
        Body::Symlink(target.as_bytes().to_vec())
    }

    fn content(tree: &Tree, at: &str) -> Vec<u8> {
        tree.get(&path(at))
            .unwrap()
            .content()
            .unwrap()
            .read()
            .unwrap()
            .to_vec()
    }

    #[test]
    fn overlay_puts_lib_into_usr_lib() {
        let old = layer(
            "old",
            &[],
            &[("lib", Body::Directory), ("lib/x.so", file("x"))],
        );
        let new = layer("new", &[], &[("usr/lib/y.so", file("y"))]);
        let (tree, warnings) = overlay(vec![old, new]).unwrap();
        assert_eq!(content(&tree, "usr/lib/x.so"), b"x");
        assert_eq!(
            tree.get(&path("lib")).unwrap().node,
            Node::Symlink(b"usr/lib".to_vec())
        );
        assert!(
            tree.get(&path("bin")).is_none(),
            "no link to a directory that is not there"
        );
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn overlay_follows_links_of_other_packages_whatever_the_order() {
        let a = layer(
            "a",
            &[],
            &[
                ("usr/share/m", link("../lib/m")),
                ("usr/lib/m/one", file("1")),
            ],
        );
        let b = layer(
            "b",
            &[],
            &[
                ("usr/share/m", Body::Directory),
                ("usr/share/m/two", file("2")),
            ],
        );
        let (tree, _) = overlay(vec![b.clone(), a.clone()]).unwrap();
        assert_eq!(content(&tree, "usr/lib/m/two"), b"2");
        assert_eq!(tree, overlay(vec![a, b]).unwrap().0);
    }

    #[test]
    fn overlay_names_both_packages_of_a_conflict() {
        let a = layer("a", &[], &[("etc/x", file("1"))]);
        let b = layer("b", &[], &[("etc/x", file("2"))]);
        let found = overlay(vec![a.clone(), b]);
        assert_eq!(
            found.unwrap_err(),
            MergeError::Conflict {
                path: path("etc/x"),
                first: "a".into(),
                second: "b".into()
            }
        );
        let same = layer("b", &[], &[("etc/x", file("1"))]);
        assert!(
            overlay(vec![a, same]).is_ok(),
            "equal files are no conflict"
        );
    }

    #[test]
    fn overlay_lets_replaces_decide_in_both_directions() {
        let a = layer("a", &["b"], &[("etc/x", file("1"))]);
        let b = layer("b", &[], &[("etc/x", file("2"))]);
        assert_eq!(content(&overlay(vec![a, b]).unwrap().0, "etc/x"), b"1");
        let a = layer("a", &[], &[("etc/x", file("1"))]);
        let b = layer("b", &["a"], &[("etc/x", file("2"))]);
        let (tree, warnings) = overlay(vec![a, b]).unwrap();
        assert_eq!(content(&tree, "etc/x"), b"2");
        assert_eq!(warnings, ["`/etc/x`: `b` replaces the file of `a`"]);
    }

    #[test]
    fn overlay_shares_hard_links_and_refuses_foreign_ones() {
        let ok = layer(
            "a",
            &[],
            &[("f", file("1")), ("g", Body::HardLink(path("f")))],
        );
        let (tree, _) = overlay(vec![ok]).unwrap();
        let shared = |at: &str| tree.get(&path(at)).unwrap().content().unwrap().clone();
        assert!(shared("f").is_shared_with(&shared("g")));
        let bad = layer("b", &[], &[("g", Body::HardLink(path("etc/shadow")))]);
        assert!(matches!(
            overlay(vec![bad]),
            Err(MergeError::HardLink { .. })
        ));
    }

    #[test]
    fn overlay_refuses_paths_through_files_and_loops() {
        let a = layer("a", &[], &[("x", file("1"))]);
        let b = layer("b", &[], &[("x/y", file("2"))]);
        assert!(matches!(
            overlay(vec![a, b]),
            Err(MergeError::NotADirectory { found: "file", .. })
        ));
        let a = layer(
            "a",
            &[],
            &[("l", link("m")), ("m", link("l")), ("l/y", file("2"))],
        );
        assert!(matches!(overlay(vec![a]), Err(MergeError::Loop { .. })));
        let outside = layer(
            "a",
            &[],
            &[("l", link("../../../../etc")), ("l/y", file("2"))],
        );
        assert_eq!(content(&overlay(vec![outside]).unwrap().0, "etc/y"), b"2");
    }
}
