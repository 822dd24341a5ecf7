//! Following symbolic links inside a tree, never outside it.

use super::{Entry, Node, Tree, TreePath};

/// Links followed before a path counts as a loop, as in Linux.
const MAX_LINKS: usize = 40;

/// Where a path leads once symbolic links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// The root directory.
    Root,
    /// A path none of whose parents is a symbolic link; it need not exist.
    Path(TreePath),
    /// More links than Linux follows.
    Loop,
}

impl Tree {
    /// Follows symbolic links in all components of `path`, in the last one only when `last`.
    /// Absolute targets start again at the tree's root and `..` stops there, as in a chroot.
    pub(crate) fn resolve(&self, path: &TreePath, last: bool) -> Resolved {
        let mut todo: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(component) = todo.pop() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    done.pop();
                    continue;
                }
                _ => done.push(component),
            }
            if todo.is_empty() && !last {
                break;
            }
            let Some(target) = join(&done).and_then(|p| self.link_target(&p)) else {
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Resolved::Loop;
            }
            done.pop();
            if target.first() == Some(&b'/') {
                done.clear();
            }
            todo.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
        }
        match join(&done) {
            Some(path) => Resolved::Path(path),
            None if done.is_empty() => Resolved::Root,
            None => Resolved::Loop, // links that lead to a path longer than Linux accepts
        }
    }

    /// The entry that `path` leads to, all links followed.
    pub(crate) fn follow(&self, path: &TreePath) -> Option<(TreePath, &Entry)> {
        match self.resolve(path, true) {
            Resolved::Path(path) => self.get(&path).map(|entry| (path, entry)),
            Resolved::Root | Resolved::Loop => None,
        }
    }

    fn link_target(&self, path: &TreePath) -> Option<&[u8]> {
        match &self.get(path)?.node {
            Node::Symlink(target) => Some(target),
            Node::Directory | Node::File(_) => None,
        }
    }
}

fn join(components: &[Vec<u8>]) -> Option<TreePath> {
    TreePath::new(&components.join(&b'/')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Origin, path};

    fn tree(links: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (from, to) in links {
            tree.insert(
                path(from),
                Entry::symlink(to.as_bytes(), Origin::Effect("test")),
            );
        }
        tree
    }

    fn resolved(tree: &Tree, from: &str) -> Resolved {
        tree.resolve(&path(from), true)
    }

    #[test]
    fn resolve_follows_links_inside_the_root() {
        let tree = tree(&[
            ("lib", "usr/lib"),
            ("usr/lib/a", "/etc/b"),
            ("up", "../../../etc"),
            ("usr/x", "../lib/y"),
        ]);
        assert_eq!(resolved(&tree, "lib/z"), Resolved::Path(path("usr/lib/z")));
        assert_eq!(resolved(&tree, "lib/a/c"), Resolved::Path(path("etc/b/c")));
        assert_eq!(
            tree.resolve(&path("lib/a"), false),
            Resolved::Path(path("usr/lib/a"))
        );
        assert_eq!(
            resolved(&tree, "up/passwd"),
            Resolved::Path(path("etc/passwd"))
        );
        assert_eq!(resolved(&tree, "usr/x"), Resolved::Path(path("usr/lib/y")));
    }

    #[test]
    fn resolve_stops_at_loops() {
        assert_eq!(
            resolved(&tree(&[("a", "b"), ("b", "a")]), "a/x"),
            Resolved::Loop
        );
        assert_eq!(resolved(&tree(&[("a", "/")]), "a"), Resolved::Root);
    }
}
