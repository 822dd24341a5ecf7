//! What a person should know about a finished tree; part of `manifest.json`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::select::Dropped;
use super::unpack::Facts;
use super::{KernelFiles, Node, Tree};

/// How many of the largest files are listed.
const LARGEST: usize = 20;

/// The build report of the tree stage. All sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    /// Directories.
    pub(crate) directories: u64,
    /// Regular files, hard links counted each.
    pub(crate) files: u64,
    /// Symbolic links.
    pub(crate) symlinks: u64,
    /// Bytes of all files, hard links counted each.
    pub(crate) bytes: u64,
    /// Of these, bytes that hard links share with another path.
    pub(crate) shared_bytes: u64,
    /// Entries that `keep` and `drop` took out.
    pub(crate) dropped_entries: u64,
    /// Bytes that `keep` and `drop` took out.
    pub(crate) dropped_bytes: u64,
    /// Where the bytes are, by origin, largest first.
    pub(crate) origins: Vec<OriginSize>,
    /// The largest files, largest first.
    pub(crate) largest: Vec<FileSize>,
    /// What maintainer scripts would have done that no built-in effect covers.
    pub(crate) skipped_scripts: Vec<SkippedScript>,
    /// Requirements of wheels that the image does not meet.
    pub(crate) unmet_requirements: Vec<String>,
    /// Wheels that the recipe leaves out of an imported lock.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_out_wheels: Vec<LeftOutWheel>,
    /// Kernel modules in load order.
    pub(crate) modules: Vec<String>,
    /// Kernel modules of the recipe that are built in.
    pub(crate) built_in_modules: Vec<String>,
    /// Everything else worth a look.
    pub(crate) warnings: Vec<String>,
}

/// Bytes and files of one origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OriginSize {
    /// `package libc6`, `wheel xllamacpp`, ...
    pub(crate) origin: String,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Number of its files.
    pub(crate) files: u64,
}

/// A wheel that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LeftOutWheel {
    /// Project.
    pub(crate) name: String,
    /// Version.
    pub(crate) version: String,
    /// Bytes of the wheel, if there is one.
    pub(crate) bytes: Option<u64>,
    /// Wheels of the image that require it: what may break.
    pub(crate) required_by: Vec<String>,
}

/// One file and its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FileSize {
    /// Absolute path.
    pub(crate) path: String,
    /// Bytes.
    pub(crate) bytes: u64,
    /// What put it there.
    pub(crate) origin: String,
}

/// A maintainer script that was not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SkippedScript {
    /// Package.
    pub(crate) package: String,
    /// `preinst` or `postinst`.
    pub(crate) script: String,
    /// Its commands that nothing stands in for.
    pub(crate) commands: Vec<String>,
}

impl Report {
    /// Counts a finished tree; the kernel's files are not part of it.
    pub(crate) fn of(
        tree: &Tree,
        kernel: &KernelFiles,
        dropped: &Dropped,
        facts: &[Facts],
    ) -> Report {
        let mut report = Report {
            dropped_entries: dropped.entries,
            dropped_bytes: dropped.bytes,
            modules: kernel.modules.iter().map(|m| m.name.clone()).collect(),
            built_in_modules: kernel.built_in.clone(),
            ..Report::default()
        };
        let mut origins: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut sizes = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for (path, entry) in tree.iter() {
            match &entry.node {
                Node::Directory => report.directories += 1,
                Node::Symlink(_) => report.symlinks += 1,
                Node::File(content) => {
                    report.files += 1;
                    report.bytes += content.len();
                    if !seen.insert(content.address()) {
                        report.shared_bytes += content.len();
                    }
                    let origin = origins.entry(entry.origin.label()).or_default();
                    origin.0 += content.len();
                    origin.1 += 1;
                    sizes.push((content.len(), path, &entry.origin));
                }
            }
        }
        report.origins = origins
            .into_iter()
            .map(|(origin, (bytes, files))| OriginSize {
                origin,
                bytes,
                files,
            })
            .collect();
        report
            .origins
            .sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.origin.cmp(&b.origin)));
        sizes.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let largest = sizes.into_iter().take(LARGEST);
        report.largest = largest
            .map(|(bytes, path, origin)| FileSize {
                path: path.absolute(),
                bytes,
                origin: origin.label(),
            })
            .collect();
        report.skipped_scripts = facts.iter().flat_map(skipped).collect();
        for pattern in &dropped.unused {
            report
                .warnings
                .push(format!("pattern `{pattern}` of `[root]` matches nothing"));
        }
        report
    }
}

fn skipped(facts: &Facts) -> impl Iterator<Item = SkippedScript> + use<'_> {
    facts
        .skipped
        .iter()
        .map(|(script, commands)| SkippedScript {
            package: facts.name.clone(),
            script: script.clone(),
            commands: commands.clone(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Entry, Module, Origin, path};

    fn kernel() -> KernelFiles {
        let module = Module {
            name: "erofs".into(),
            file_name: "erofs.ko".into(),
            content: Content::new(Vec::new()),
            origin: Origin::Effect("test"),
        };
        KernelFiles {
            release: "6".into(),
            vmlinuz: Content::new(Vec::new()),
            vmlinuz_origin: Origin::Effect("test"),
            modules: vec![module],
            built_in: vec!["nvme".into()],
        }
    }

    #[test]
    fn report_says_where_the_bytes_are() {
        let mut tree = Tree::new();
        let shared = Content::new(vec![0; 10]);
        tree.insert(
            path("a"),
            Entry::file(0o644, shared.clone(), Origin::Effect("test")),
        );
        tree.insert(
            path("b"),
            Entry::file(0o644, shared, Origin::Effect("test")),
        );
        tree.insert(
            path("c"),
            Entry::file(0o644, Content::new(vec![0; 30]), Origin::Effect("x")),
        );
        tree.insert(path("d"), Entry::symlink(b"a", Origin::Effect("test")));
        let facts = Facts {
            name: "p".into(),
            skipped: vec![("postinst".into(), vec!["adduser x".into()])],
            ..Facts::default()
        };
        let dropped = Dropped {
            unused: vec!["/none".into()],
            ..Dropped::default()
        };
        let report = Report::of(&tree, &kernel(), &dropped, &[facts]);
        assert_eq!(report.modules, ["erofs"]);
        assert_eq!(
            (
                report.files,
                report.symlinks,
                report.bytes,
                report.shared_bytes
            ),
            (3, 1, 50, 10)
        );
        assert_eq!(
            report.origins[0],
            OriginSize {
                origin: "effect x".into(),
                bytes: 30,
                files: 1
            }
        );
        assert_eq!(report.largest[0].path, "/c");
        assert_eq!(report.skipped_scripts[0].commands, ["adduser x"]);
        assert_eq!(
            report.warnings,
            ["pattern `/none` of `[root]` matches nothing"]
        );
    }
}
