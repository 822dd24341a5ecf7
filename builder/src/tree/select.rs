//! What of the tree a recipe keeps.

use super::pattern::{Pattern, PatternError};
use super::{Node, Tree, TreePath};

/// A recipe's `keep` and `drop`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    keep: Vec<Pattern>,
    drop: Vec<Pattern>,
}

/// What a selection took out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Entries taken out.
    pub(crate) entries: u64,
    /// Bytes of the files among them.
    pub(crate) bytes: u64,
    /// Patterns that matched nothing.
    pub(crate) unused: Vec<String>,
}

impl Selection {
    /// Parses the patterns.
    pub(crate) fn new(keep: &[String], drop: &[String]) -> Result<Selection, PatternError> {
        let parse = |patterns: &[String]| -> Result<Vec<Pattern>, PatternError> {
            patterns.iter().map(|p| Pattern::new(p)).collect()
        };
        Ok(Selection {
            keep: parse(keep)?,
            drop: parse(drop)?,
        })
    }

    /// Takes out what the recipe does not keep: files and links that no `keep` covers (when there
    /// are any) or that a `drop` covers, then directories that became empty by that.
    pub(crate) fn apply(&self, tree: &mut Tree) -> Dropped {
        let mut used = vec![false; self.keep.len() + self.drop.len()];
        let mut dropped = Dropped::default();
        let mut gone = Vec::new();
        for (path, entry) in tree.iter() {
            let (keep, drop) = used.split_at_mut(self.keep.len());
            let kept = mark(&self.keep, path, keep) || self.keep.is_empty();
            let out = mark(&self.drop, path, drop);
            // A directory outlives `keep` for what is kept below it.
            if out || (!kept && entry.node != Node::Directory) {
                dropped.entries += 1;
                dropped.bytes += entry.content().map_or(0, super::Content::len);
                gone.push(path.clone());
            }
        }
        for path in &gone {
            tree.remove(path);
        }
        dropped.entries += tree.prune(&gone);
        let patterns = self.keep.iter().chain(&self.drop);
        dropped.unused = patterns
            .zip(used)
            .filter(|(_, used)| !used)
            .map(|(p, _)| p.text().to_owned())
            .collect();
        dropped
    }
}

/// Whether any pattern covers `path`; all that do are marked.
fn mark(patterns: &[Pattern], path: &TreePath, used: &mut [bool]) -> bool {
    let mut any = false;
    for (pattern, used) in patterns.iter().zip(used) {
        if pattern.covers(path) {
            *used = true;
            any = true;
        }
    }
    any
}

impl Tree {
    /// Removes directories above `gone` that hold nothing any more; returns how many.
    fn prune(&mut self, gone: &[TreePath]) -> u64 {
        let mut removed = 0;
        for path in gone.iter().rev() {
            let mut parent = path.parent();
            while let Some(directory) = parent {
                if !self.get(&directory).is_some_and(|e| e.is_directory())
                    || self.below(&directory).next().is_some()
                {
                    break;
                }
                self.remove(&directory);
                removed += 1;
                parent = directory.parent();
            }
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Entry, Origin, path};

    fn tree() -> Tree {
        let mut tree = Tree::new();
        for dir in [
            "usr",
            "usr/bin",
            "usr/share",
            "usr/share/doc",
            "usr/share/doc/a",
            "var",
        ] {
            tree.insert(path(dir), Entry::directory(0o755, Origin::Effect("test")));
        }
        for file in [
            "usr/bin/x",
            "usr/share/doc/a/copyright",
            "usr/share/doc/a-b",
        ] {
            tree.insert(
                path(file),
                Entry::file(
                    0o644,
                    Content::new(b"12345".to_vec()),
                    Origin::Effect("test"),
                ),
            );
        }
        tree
    }

    fn left(keep: &[&str], drop: &[&str]) -> (Vec<String>, Dropped) {
        let own = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let mut tree = tree();
        let dropped = Selection::new(&own(keep), &own(drop))
            .unwrap()
            .apply(&mut tree);
        (tree.iter().map(|(p, _)| p.to_string()).collect(), dropped)
    }

    #[test]
    fn drop_takes_empty_parents_along_but_not_others() {
        let (left, dropped) = left(&[], &["/usr/share/doc/**", "/none"]);
        assert_eq!(left, ["usr", "usr/bin", "usr/bin/x", "var"]);
        assert_eq!((dropped.entries, dropped.bytes), (5, 10));
        assert_eq!(dropped.unused, ["/none"]);
    }

    #[test]
    fn keep_is_an_allow_list_that_drop_narrows() {
        let (left, dropped) = left(&["/usr"], &["/usr/share/doc/a"]);
        assert_eq!(
            left,
            [
                "usr",
                "usr/bin",
                "usr/bin/x",
                "usr/share",
                "usr/share/doc",
                "usr/share/doc/a-b",
                "var"
            ]
        );
        assert_eq!(dropped.unused, Vec::<String>::new());
    }
}
