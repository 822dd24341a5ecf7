//! The provenance index: for each path of an image, what put it there and what it is.
//!
//! `provenance.json`, schema version 1: canonical JSON (keys sorted, one trailing newline).
//! `origins` maps a label such as `package libc6` to version and SHA-256 of the input; `root`
//! maps each absolute path of the root to its entry, `kernel` does the same for the kernel image
//! and the modules. Sizes are bytes, modes octal text, digests SHA-256 in lower-case hexadecimal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::Digest;
use crate::tree::{Content, KernelFiles, Node, Origin, Tree, show};

/// Version of this schema.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// The whole index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Provenance {
    /// Kernel image (`vmlinuz`) and modules (by file name).
    pub(crate) kernel: BTreeMap<String, Fact>,
    /// Inputs by label.
    pub(crate) origins: BTreeMap<String, Input>,
    /// The root by absolute path; the root directory itself is implied.
    pub(crate) root: BTreeMap<String, Fact>,
    /// Always [`SCHEMA_VERSION`].
    pub(crate) schema_version: u32,
}

/// What is known of an input beside its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Input {
    /// SHA-256 of the package or wheel; none for effects and files of the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<Digest>,
    /// Version of the package or wheel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Fact {
    /// Numeric group.
    pub(crate) gid: u32,
    /// `directory`, `file` or `symlink`.
    pub(crate) kind: String,
    /// Permission bits as four octal digits.
    pub(crate) mode: String,
    /// Label of what put it there, a key of `origins`.
    pub(crate) origin: String,
    /// SHA-256 of a file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<Digest>,
    /// Size of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    /// Where a symbolic link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// Numeric owner.
    pub(crate) uid: u32,
}

impl Provenance {
    /// Indexes a finished tree and the kernel's files.
    pub(crate) fn of(tree: &Tree, kernel: &KernelFiles) -> Provenance {
        let mut index = Provenance {
            kernel: BTreeMap::new(),
            origins: BTreeMap::new(),
            root: BTreeMap::new(),
            schema_version: SCHEMA_VERSION,
        };
        for (path, entry) in tree.iter() {
            let mut fact = Fact {
                gid: entry.gid,
                kind: "directory".to_owned(),
                mode: format!("{:04o}", entry.mode),
                origin: index.origin(&entry.origin),
                sha256: None,
                size: None,
                target: None,
                uid: entry.uid,
            };
            match &entry.node {
                Node::Directory => {}
                Node::File(content) => fact.file(content),
                Node::Symlink(target) => {
                    fact.kind = "symlink".to_owned();
                    fact.target = Some(show(target));
                }
            }
            index.root.insert(path.absolute(), fact);
        }
        index.add_kernel_file("vmlinuz", &kernel.vmlinuz, &kernel.vmlinuz_origin);
        for module in &kernel.modules {
            index.add_kernel_file(&module.file_name, &module.content, &module.origin);
        }
        index
    }

    /// The file's bytes.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn add_kernel_file(&mut self, name: &str, content: &Content, origin: &Origin) {
        let origin = self.origin(origin);
        let mut fact = Fact {
            gid: 0,
            kind: String::new(),
            mode: "0644".to_owned(),
            origin,
            sha256: None,
            size: None,
            target: None,
            uid: 0,
        };
        fact.file(content);
        self.kernel.insert(name.to_owned(), fact);
    }

    /// Records an origin and returns its label.
    fn origin(&mut self, origin: &Origin) -> String {
        let label = origin.label();
        if !self.origins.contains_key(&label) {
            self.origins.insert(label.clone(), input(origin));
        }
        label
    }
}

impl Fact {
    fn file(&mut self, content: &Content) {
        self.kind = "file".to_owned();
        self.sha256 = Some(content.sha256());
        self.size = Some(content.len());
    }
}

fn input(origin: &Origin) -> Input {
    match origin {
        Origin::Package {
            version, sha256, ..
        }
        | Origin::Wheel {
            version, sha256, ..
        } => Input {
            sha256: Some(*sha256),
            version: Some(version.clone()),
        },
        Origin::Input { sha256 } => Input {
            sha256: Some(*sha256),
            version: None,
        },
        Origin::Bytecode { source } => input(source),
        Origin::RecipeFile { .. } | Origin::Model { .. } | Origin::Effect(_) => Input::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Module, path};

    #[test]
    fn provenance_names_package_and_hash_of_each_path() {
        let package = |name: &str| Origin::Package {
            name: name.into(),
            version: "1".into(),
            sha256: Digest([9; 32]),
        };
        let mut tree = Tree::new();
        tree.insert(
            path("usr"),
            Entry::directory(0o755, Origin::Effect("mount points")),
        );
        tree.insert(
            path("usr/f"),
            Entry::file(0o4755, Content::new(b"hello".to_vec()), package("p")),
        );
        tree.insert(path("usr/l"), Entry::symlink(b"f", package("p")));
        let module = Module {
            name: "m".into(),
            file_name: "m.ko".into(),
            content: Content::new(b"m".to_vec()),
            origin: package("k"),
        };
        let kernel = KernelFiles {
            release: "6".into(),
            vmlinuz: Content::new(b"v".to_vec()),
            vmlinuz_origin: package("k"),
            modules: vec![module],
            built_in: Vec::new(),
        };
        let index = Provenance::of(&tree, &kernel);
        let json = index.to_json().unwrap();
        let back: Provenance = serde_json::from_slice(&json).unwrap();
        assert_eq!(back, index);
        assert!(json.ends_with(b"}\n"));
        let file = &index.root["/usr/f"];
        assert_eq!(
            (file.origin.as_str(), file.mode.as_str(), file.size),
            ("package p", "4755", Some(5))
        );
        assert_eq!(file.sha256, Some(Digest::of(b"hello")));
        assert_eq!(index.root["/usr/l"].target.as_deref(), Some("f"));
        assert_eq!(index.origins["package p"].version.as_deref(), Some("1"));
        assert_eq!(index.origins["effect mount points"], Input::default());
        assert_eq!(index.kernel.keys().collect::<Vec<_>>(), ["m.ko", "vmlinuz"]);
    }
}
