//! The kernel image and the modules a recipe allows, with what they need, in load order.
//!
//! Both layouts of Debian's kernel packages are known: `boot/vmlinuz-<release>` beside
//! `lib/modules/<release>` (to 6.x), and `usr/lib/modules/<release>/vmlinuz` with the modules in
//! another package (from 7.x). Hard dependencies come from `modules.dep` where a package ships
//! one, else from the modules' own `.modinfo`; soft dependencies always from `.modinfo`. Spec:
//! modprobe.d(5) (softdep), depmod(8).
//!
//! Modules leave here uncompressed: the initrd around them is compressed, and the kernel unpacks it once and
//! faster than one `.xz` after the other.

mod info;
mod near;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::tree::{Content, Entry, KernelFiles, Module, Tree, TreePath, show};
pub(crate) use info::{Info, InfoError, version};

/// Why kernel or modules cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    /// No package has a module directory.
    #[error("no kernel package has `/usr/lib/modules/<release>`")]
    NoRelease,
    /// More than one kernel is locked.
    #[error("kernel packages hold more than one release: {}", .0.join(", "))]
    Releases(Vec<String>),
    /// The kernel image is missing.
    #[error(
        "no kernel package has `/boot/vmlinuz-{release}` or `/usr/lib/modules/{release}/vmlinuz`"
    )]
    NoImage {
        /// The kernel's release.
        release: String,
    },
    /// A module of the recipe is neither a file nor built in.
    #[error("kernel {release} has no module `{name}`{}", near::phrase(.near))]
    Missing {
        /// The kernel's release.
        release: String,
        /// The module.
        name: String,
        /// Names like it.
        near: Vec<String>,
    },
    /// A module needs one that is neither a file nor built in.
    #[error("module `{module}` needs `{needs}`, which kernel {release} does not have")]
    Needs {
        /// The kernel's release.
        release: String,
        /// The module.
        module: String,
        /// What it needs.
        needs: String,
    },
    /// Modules need each other.
    #[error("modules need each other in a circle at `{0}`")]
    Circle(String),
    /// A module is for another kernel: the kernel would refuse to load it.
    #[error(
        "module `{module}` is for kernel `{found}`, and the kernel's own modules are for `{wanted}` (`vermagic`)"
    )]
    OtherKernel {
        /// The module.
        module: String,
        /// What it is for.
        found: String,
        /// What the kernel's own modules are for.
        wanted: String,
    },
    /// A module cannot be looked into.
    #[error("module `{name}` cannot be read")]
    Unreadable {
        /// The module.
        name: String,
        /// Why.
        source: InfoError,
    },
}

/// Picks the kernel image and `wanted` modules out of the unpacked kernel packages, and after them those of `others`, which
/// no package has. Also returns what a person should know: modules that are built in, soft dependencies that do not exist.
pub(crate) fn select(
    mut tree: Tree,
    wanted: &[String],
    others: &[Module],
) -> Result<(KernelFiles, Vec<String>), ModuleError> {
    let mut kernel = Kernel::find(&tree)?;
    kernel.add(&mut tree, others)?;
    let tree = &tree;
    let image = kernel.image(tree)?;
    let mut order = Order {
        kernel: &kernel,
        tree,
        state: BTreeMap::new(),
        modules: Vec::new(),
        notes: Vec::new(),
    };
    let mut built_in = Vec::new();
    for name in wanted.iter().chain(others.iter().map(|other| &other.name)) {
        let name = normalised(name);
        if kernel.files.contains_key(&name) {
            order.visit(&name)?;
        } else if kernel.builtin.contains(&name) {
            order.notes.push(format!(
                "module `{name}` is built into kernel {}",
                kernel.release
            ));
            built_in.push(name);
        } else {
            let known = kernel.files.keys().chain(&kernel.builtin);
            let (release, near) = (kernel.release.clone(), near::names(&name, known));
            return Err(ModuleError::Missing {
                release,
                name,
                near,
            });
        }
    }
    let (modules, notes) = (order.modules, order.notes);
    let (vmlinuz, vmlinuz_origin) = image;
    Ok((
        KernelFiles {
            release: kernel.release,
            vmlinuz,
            vmlinuz_origin,
            modules,
            built_in,
        },
        notes,
    ))
}

/// A module's name as the kernel has it: `_` for `-`.
fn normalised(name: &str) -> String {
    name.replace('-', "_")
}

struct Kernel {
    release: String,
    directory: TreePath,
    /// Modules that are files, by normalised name.
    files: BTreeMap<String, TreePath>,
    /// Normalised names of what is built in.
    builtin: BTreeSet<String>,
    /// Normalised aliases of what is built in.
    builtin_aliases: BTreeSet<String>,
    /// `modules.dep`, when a package ships it: name to the names it needs.
    depends: Option<BTreeMap<String, Vec<String>>>,
}

/// The bytes of the file called `name`.
fn read<'a>(content: &'a Content, name: &str) -> Result<Cow<'a, [u8]>, ModuleError> {
    content.read().map_err(|source| ModuleError::Unreadable {
        name: name.to_owned(),
        source: InfoError::Read(source),
    })
}

impl Kernel {
    fn find(tree: &Tree) -> Result<Kernel, ModuleError> {
        let Ok(all) = TreePath::new(b"usr/lib/modules") else {
            return Err(ModuleError::NoRelease);
        };
        let releases: Vec<TreePath> = tree
            .below(&all)
            .filter(|(path, entry)| entry.is_directory() && path.parent().as_ref() == Some(&all))
            .map(|(path, _)| path.clone())
            .collect();
        let directory = match releases.as_slice() {
            [] => return Err(ModuleError::NoRelease),
            [one] => one.clone(),
            many => {
                return Err(ModuleError::Releases(
                    many.iter().map(|p| show(p.file_name())).collect(),
                ));
            }
        };
        let mut files = BTreeMap::new();
        for (path, entry) in tree.below(&directory) {
            if let (Some(name), Some(_)) = (module_name(path.file_name()), entry.content()) {
                files.insert(name, path.clone());
            }
        }
        let mut kernel = Kernel {
            release: show(directory.file_name()),
            directory,
            files,
            builtin: BTreeSet::new(),
            builtin_aliases: BTreeSet::new(),
            depends: None,
        };
        kernel.read_builtin(tree)?;
        kernel.read_depends(tree)?;
        Ok(kernel)
    }

    /// Puts modules where `depmod` prefers them, after a look at the kernel that they are for.
    fn add(&mut self, tree: &mut Tree, others: &[Module]) -> Result<(), ModuleError> {
        let Some(own) = self.files.keys().next().filter(|_| !others.is_empty()) else {
            return Ok(());
        };
        let wanted = self.info(own, &self.elf(tree, own)?)?.vermagic;
        for other in others {
            let found = self
                .info(&other.name, &read(&other.content, &other.name)?)?
                .vermagic;
            if found != wanted {
                return Err(ModuleError::OtherKernel {
                    module: other.name.clone(),
                    found: found.unwrap_or_default(),
                    wanted: wanted.unwrap_or_default(),
                });
            }
            let name = format!("updates/{}", other.file_name);
            if let Ok(path) = self.directory.join(name.as_bytes()) {
                let entry = Entry::file(0o644, other.content.clone(), other.origin.clone());
                tree.insert(path.clone(), entry);
                self.files.insert(other.name.clone(), path);
            }
        }
        Ok(())
    }

    /// A list of the module directory, if it is there.
    fn text(&self, tree: &Tree, name: &str) -> Result<Option<String>, ModuleError> {
        let path = self.directory.join(name.as_bytes()).ok();
        let entry = path.and_then(|path| tree.get(&path));
        let Some(content) = entry.and_then(Entry::content) else {
            return Ok(None);
        };
        let bytes = read(content, name)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn read_builtin(&mut self, tree: &Tree) -> Result<(), ModuleError> {
        let list = self.text(tree, "modules.builtin")?.unwrap_or_default();
        self.builtin = list
            .lines()
            .filter_map(|line| module_name(file_name(line).as_bytes()))
            .collect();
        let info = self.text(tree, "modules.builtin.modinfo")?;
        let info = info.unwrap_or_default();
        for field in info.split('\0') {
            if let Some((_, alias)) = field.split_once(".alias=") {
                self.builtin_aliases.insert(normalised(alias));
            }
        }
        Ok(())
    }

    fn read_depends(&mut self, tree: &Tree) -> Result<(), ModuleError> {
        let Some(text) = self.text(tree, "modules.dep")? else {
            return Ok(());
        };
        let name = |path: &str| module_name(file_name(path).as_bytes());
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let depends = lines.filter_map(|(module, needs)| {
            Some((
                name(module)?,
                needs.split_whitespace().filter_map(name).collect(),
            ))
        });
        self.depends = Some(depends.collect());
        Ok(())
    }

    fn image(&self, tree: &Tree) -> Result<(Content, crate::tree::Origin), ModuleError> {
        let release = &self.release;
        let places = [
            format!("boot/vmlinuz-{release}"),
            format!("usr/lib/modules/{release}/vmlinuz"),
        ];
        places
            .iter()
            .filter_map(|place| tree.get(&TreePath::new(place.as_bytes()).ok()?))
            .find_map(|entry| Some((entry.content()?.clone(), entry.origin.clone())))
            .ok_or_else(|| ModuleError::NoImage {
                release: release.clone(),
            })
    }

    /// The ELF file of a module.
    fn elf(&self, tree: &Tree, name: &str) -> Result<Vec<u8>, ModuleError> {
        let unreadable = |source| ModuleError::Unreadable {
            name: name.to_owned(),
            source,
        };
        let path = self
            .files
            .get(name)
            .ok_or(InfoError::NoFile)
            .map_err(unreadable)?;
        let content = tree
            .get(path)
            .and_then(|e| e.content())
            .ok_or(InfoError::NoFile)
            .map_err(unreadable)?;
        let bytes = read(content, name)?;
        info::plain(path.file_name(), &bytes).map_err(unreadable)
    }

    fn info(&self, name: &str, elf: &[u8]) -> Result<Info, ModuleError> {
        Info::read(elf).map_err(|source| ModuleError::Unreadable {
            name: name.to_owned(),
            source,
        })
    }

    fn has_builtin(&self, name: &str) -> bool {
        self.builtin.contains(name) || self.builtin_aliases.contains(name)
    }

    /// The modules with `alias`: looks into every module, so only when nothing else matches.
    fn with_alias(&self, tree: &Tree, alias: &str) -> Result<Vec<String>, ModuleError> {
        let names: Vec<&String> = self.files.keys().collect();
        let found: Result<Vec<Option<String>>, ModuleError> = names
            .into_par_iter()
            .map(|name| {
                let info = self.info(name, &self.elf(tree, name)?)?;
                Ok(info
                    .aliases
                    .iter()
                    .any(|a| normalised(a) == alias)
                    .then(|| name.clone()))
            })
            .collect();
        Ok(found?.into_iter().flatten().collect())
    }
}

/// `virtio_blk` from `virtio-blk.ko.xz`; `None` when the file is not a module.
fn module_name(file: &[u8]) -> Option<String> {
    let file = std::str::from_utf8(file).ok()?;
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"]
        .iter()
        .find_map(|ending| file.strip_suffix(ending))?;
    Some(normalised(stem))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Done,
}

struct Order<'a> {
    kernel: &'a Kernel,
    tree: &'a Tree,
    state: BTreeMap<String, State>,
    modules: Vec<Module>,
    notes: Vec<String>,
}

impl Order<'_> {
    fn visit(&mut self, name: &str) -> Result<(), ModuleError> {
        match self.state.get(name) {
            Some(State::Done) => return Ok(()),
            Some(State::Open) => return Err(ModuleError::Circle(name.to_owned())),
            None => {}
        }
        self.state.insert(name.to_owned(), State::Open);
        let elf = self.kernel.elf(self.tree, name)?;
        let info = self.kernel.info(name, &elf)?;
        self.soft(name, &info.before)?;
        let listed = self.kernel.depends.as_ref().and_then(|all| all.get(name));
        for needs in listed.unwrap_or(&info.depends).clone() {
            if self.kernel.files.contains_key(&needs) {
                self.visit(&needs)?;
            } else if !self.kernel.has_builtin(&needs) {
                let (release, module) = (self.kernel.release.clone(), name.to_owned());
                return Err(ModuleError::Needs {
                    release,
                    module,
                    needs,
                });
            }
        }
        self.push(name, elf);
        self.state.insert(name.to_owned(), State::Done);
        self.soft(name, &info.after)
    }

    /// Soft dependencies: names or aliases; one that does not exist is worth a note, no more.
    fn soft(&mut self, module: &str, names: &[String]) -> Result<(), ModuleError> {
        for name in names {
            if self.kernel.files.contains_key(name) {
                self.visit_soft(name)?;
                continue;
            }
            if self.kernel.has_builtin(name) {
                continue;
            }
            let providers = self.kernel.with_alias(self.tree, name)?;
            if providers.is_empty() {
                self.notes.push(format!(
                    "module `{module}` would like `{name}`, which the kernel does not have"
                ));
            }
            for provider in providers {
                self.visit_soft(&provider)?;
            }
        }
        Ok(())
    }

    /// A soft dependency that leads back to an open module is left where it is.
    fn visit_soft(&mut self, name: &str) -> Result<(), ModuleError> {
        if self.state.get(name) == Some(&State::Open) {
            Ok(())
        } else {
            self.visit(name)
        }
    }

    fn push(&mut self, name: &str, elf: Vec<u8>) {
        let entry = self
            .kernel
            .files
            .get(name)
            .and_then(|path| Some((path, self.tree.get(path)?)));
        if let Some((path, entry)) = entry {
            let file_name = show(path.file_name());
            let stem = file_name.split_once(".ko").map_or("", |(stem, _)| stem);
            self.modules.push(Module {
                name: name.to_owned(),
                file_name: format!("{stem}.ko"),
                content: Content::new(elf),
                origin: entry.origin.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
