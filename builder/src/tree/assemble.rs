//! From a lock to a finished tree: unpack, lay over each other, install, add, select.

use std::path::Path;

use rayon::prelude::*;

use super::distributions;
use super::merge::{Layer, MergeError, overlay};
use super::pattern::PatternError;
use super::recipe_files::{add, add_models, add_recipe_files};
use super::report::Report;
use super::select::Selection;
use super::unpack::{Facts, UnpackError, layer};
use super::{Content, KernelFiles, Module, PathError, Tree, TreePath};
use crate::cmd::Hinted;
use crate::effects::{self, EffectError};
use crate::lock::{Lock, LockedPackage, LockedWheel, Role};
use crate::model::Placed;
use crate::modules::{self, ModuleError};
use crate::pyc::{Compiler, PycError};
use crate::recipe::{Python, Recipe};
use crate::store::{Store, StoreError};
use crate::tool::{self, Tool};
use crate::wheel::{
    self, AliasError, Installed, Interpreter, Licence, Locked, Requirement, Target, WheelError,
};

/// What the tree stage makes of a lock.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// The root.
    pub(crate) tree: Tree,
    /// Kernel image and modules.
    pub(crate) kernel: KernelFiles,
    /// What a person should know.
    pub(crate) report: Report,
    /// What is known of each package of the root and the kernel, by name.
    pub(crate) packages: Vec<Facts>,
    /// Licence of each wheel, in the lock's order.
    pub(crate) wheel_licences: Vec<Licence>,
}

/// Why no tree can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// A package of the lock.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// Packages contradict each other.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Kernel and modules.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A built-in effect.
    #[error(transparent)]
    Effect(#[from] EffectError),
    /// Bytecode.
    #[error(transparent)]
    Pyc(#[from] PycError),
    /// A pattern of `keep` or `drop`.
    #[error("recipe has an unusable pattern")]
    Pattern(#[from] PatternError),
    /// A wheel of the lock.
    #[error("wheel `{file}` cannot be installed")]
    Wheel {
        /// File name.
        file: String,
        /// Why.
        source: Box<WheelError>,
    },
    /// A wheel or an input is not in the store.
    #[error("`{what}` cannot be read")]
    Store {
        /// The file.
        what: String,
        /// Why.
        source: Box<StoreError>,
    },
    /// A file of the recipe.
    #[error("file `{source_path}` of the recipe cannot be read")]
    File {
        /// `source` in the recipe.
        source_path: String,
        /// Why.
        source: std::io::Error,
    },
    /// An alias of a Python distribution.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// A path or source of the recipe leaves its directory.
    #[error("`{path}` of the recipe is not a usable path")]
    Path {
        /// As written.
        path: String,
        /// Why.
        source: PathError,
    },
    /// A mode is not octal permission bits.
    #[error("mode `{mode}` of `{path}` is not octal permission bits such as `0644`")]
    Mode {
        /// The file.
        path: String,
        /// As written.
        mode: String,
    },
    /// Two things want one path.
    #[error("`/{path}` comes from {first} and, with other content, from {second}")]
    Taken {
        /// The path.
        path: TreePath,
        /// What stands there.
        first: String,
        /// What wants to.
        second: String,
    },
    /// The locked packages have no such interpreter.
    #[error("locked packages do not make a usable Python `{interpreter}`: {why}")]
    Interpreter {
        /// Name in the recipe.
        interpreter: String,
        /// What is missing.
        why: &'static str,
    },
}

impl Hinted for TreeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unpack(error) => error.hint(),
            Self::Pyc(error) => error.hint(),
            Self::Alias(error) => error.hint(),
            Self::Store { source, .. } => source.hint(),
            Self::Merge(MergeError::Conflict { .. }) => Some(
                "leave one of the packages out with `exclude` in the recipe's `[base]`".to_owned(),
            ),
            Self::Module(ModuleError::Missing { .. }) => {
                Some("correct `modules` in the recipe's `[kernel]`".to_owned())
            }
            Self::Interpreter { .. } => Some(
                "name its package, such as `python3.13-minimal`, in the recipe's `packages`"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// What a tree is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The recipe.
    pub(crate) recipe: &'a Recipe,
    /// Its directory, for its files.
    pub(crate) directory: &'a Path,
    /// Its models.
    pub(crate) models: &'a [Placed],
    /// Its lock.
    pub(crate) lock: &'a Lock,
    /// Where locked bytes are.
    pub(crate) store: &'a Store,
    /// Modules that are no kernel package's; they are loaded after those of the recipe's `kernel.modules`.
    pub(crate) modules: &'a [Module],
    /// Whether derived data of the store may be used; never changes a byte.
    pub(crate) cache: bool,
}

impl Built {
    /// Makes the tree. Work is shared among the threads of the current rayon pool; their number
    /// never changes the result.
    pub(crate) fn from_lock(source: Source<'_>) -> Result<Built, TreeError> {
        let target = source
            .recipe
            .python
            .as_ref()
            .map(|python| target(python, source.lock))
            .transpose()?;
        let parts = Parts::unpack(source, target.as_ref())?;
        let (mut tree, mut warnings) = overlay(parts.root)?;
        let (kernel_tree, _) = overlay(parts.kernel)?;
        let wanted = &source.recipe.kernel.modules;
        let (kernel, notes) = modules::select(kernel_tree, wanted, source.modules)?;
        warnings.extend(notes);
        let (requirements, wheel_licences) =
            add_wheels(&mut tree, parts.wheels, source, target.as_ref())?;
        let alternatives: Vec<_> = parts
            .facts
            .iter()
            .flat_map(|f| f.alternatives.clone())
            .collect();
        warnings.extend(effects::before(
            &mut tree,
            &source.recipe.users,
            &alternatives,
        )?);
        add_recipe_files(&mut tree, source)?;
        add_models(&mut tree, source)?;
        if let (Some(python), Some(target)) = (&source.recipe.python, &target) {
            check_interpreter(&tree, python, target)?;
        }
        let dropped =
            Selection::new(&source.recipe.root.keep, &source.recipe.root.drop)?.apply(&mut tree);
        if let (Some(python), Some(target)) = (&source.recipe.python, &target)
            && python.bytecode
        {
            warnings.extend(bytecode(&mut tree, source, target)?);
        }
        warnings.extend(effects::after(&mut tree)?);
        hash_all(&tree);
        let mut report = Report::of(&tree, &kernel, &dropped, &parts.facts);
        report.warnings.extend(warnings);
        if let Some(python) = &source.recipe.python {
            let closure = distributions::judge(python, source.lock, &requirements);
            report.left_out_wheels = distributions::left_out(source.lock, &closure);
            report.warnings.extend(closure.unused);
            report.unmet_requirements = closure.unmet;
        }
        Ok(Built {
            tree,
            kernel,
            report,
            packages: parts.facts,
            wheel_licences,
        })
    }
}

/// Adds what wheels install, and second names; gives requirements and licences in the order of the wheels.
fn add_wheels(
    tree: &mut Tree,
    wheels: Vec<Installed>,
    source: Source<'_>,
    target: Option<&Target>,
) -> Result<(Vec<Vec<Requirement>>, Vec<Licence>), TreeError> {
    let mut requirements = Vec::new();
    let mut licences = Vec::new();
    for installed in wheels {
        requirements.push(installed.requirements);
        licences.push(installed.licence);
        for (path, entry) in installed.files {
            add(tree, path, entry)?;
        }
    }
    if let (Some(python), Some(target)) = (&source.recipe.python, target) {
        for (path, entry) in distributions::aliases(python, source.lock, target)? {
            add(tree, path, entry)?;
        }
    }
    Ok((requirements, licences))
}

/// Everything that can be unpacked on its own.
struct Parts {
    root: Vec<Layer>,
    kernel: Vec<Layer>,
    wheels: Vec<Installed>,
    /// Of the packages, sorted by name.
    facts: Vec<Facts>,
}

enum Job<'a> {
    Package(&'a LockedPackage),
    Wheel(&'a LockedWheel),
}

enum Done {
    Package(Box<(Layer, Facts)>),
    Wheel(Installed),
}

impl Parts {
    /// Unpacks in parallel, the largest first so that no thread is left with it at the end.
    fn unpack(source: Source<'_>, target: Option<&Target>) -> Result<Parts, TreeError> {
        let lock = source.lock;
        let wanted = |p: &&LockedPackage| {
            p.roles
                .iter()
                .any(|r| matches!(r, Role::Root | Role::Kernel))
        };
        let mut jobs: Vec<(u64, usize, Job<'_>)> = Vec::new();
        for (index, package) in lock.packages.iter().enumerate().filter(|(_, p)| wanted(p)) {
            jobs.push((package.size, index, Job::Package(package)));
        }
        for (index, wheel) in lock.wheels.iter().enumerate() {
            jobs.push((wheel.size, index, Job::Wheel(wheel)));
        }
        jobs.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let done: Result<Vec<(usize, Done)>, TreeError> = jobs
            .into_par_iter()
            .with_max_len(1)
            .map(|(_, index, job)| Ok((index, run(source, target, job)?)))
            .collect();
        let mut done = done?;
        done.sort_by_key(|(index, _)| *index);
        let mut parts = Parts {
            root: Vec::new(),
            kernel: Vec::new(),
            wheels: Vec::new(),
            facts: Vec::new(),
        };
        for (index, done) in done {
            match done {
                Done::Wheel(installed) => parts.wheels.push(installed),
                Done::Package(both) => parts.sort_in(lock, index, *both),
            }
        }
        parts.facts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(parts)
    }

    fn sort_in(&mut self, lock: &Lock, index: usize, (layer, facts): (Layer, Facts)) {
        let roles = lock
            .packages
            .get(index)
            .map(|p| p.roles.as_slice())
            .unwrap_or_default();
        if roles.contains(&Role::Root) {
            // The kernel's scripts serve boot loaders and initramfs builders, which no image has.
            self.facts.push(facts);
        }
        match (roles.contains(&Role::Root), roles.contains(&Role::Kernel)) {
            (true, true) => {
                self.root.push(layer.clone());
                self.kernel.push(layer);
            }
            (true, false) => self.root.push(layer),
            (false, _) => self.kernel.push(layer),
        }
    }
}

fn run(source: Source<'_>, target: Option<&Target>, job: Job<'_>) -> Result<Done, TreeError> {
    match (job, target) {
        (Job::Package(package), _) => Ok(Done::Package(Box::new(layer(source.store, package)?))),
        (Job::Wheel(wheel), Some(target)) => Ok(Done::Wheel(install(source.store, wheel, target)?)),
        (Job::Wheel(wheel), None) => Err(TreeError::Interpreter {
            interpreter: wheel.name.clone(),
            why: "the recipe has no `[python]`",
        }),
    }
}

fn install(store: &Store, locked: &LockedWheel, target: &Target) -> Result<Installed, TreeError> {
    let file = store
        .open_verified(&locked.sha256)
        .map_err(|source| TreeError::Store {
            what: locked.file.clone(),
            source: Box::new(source),
        })?;
    let which = Locked {
        name: &locked.name,
        version: &locked.version,
        file: &locked.file,
        sha256: locked.sha256,
    };
    wheel::install(file, which, target).map_err(|source| TreeError::Wheel {
        file: locked.file.clone(),
        source: Box::new(source),
    })
}

/// Interpreter and C library, read off the lock so that wheels need not wait for the packages.
fn target(python: &Python, lock: &Lock) -> Result<Target, TreeError> {
    let missing = |why| TreeError::Interpreter {
        interpreter: python.interpreter.clone(),
        why,
    };
    let root = || lock.with_role(Role::Root);
    let minor = root().find_map(|p| {
        p.name
            .strip_prefix("python3.")?
            .strip_suffix("-minimal")?
            .parse()
            .ok()
    });
    let libc = root().find(|p| p.name == "libc6");
    let glibc = libc.and_then(|p| {
        p.version
            .strip_prefix("2.")?
            .split(['-', '+', '.'])
            .next()?
            .parse()
            .ok()
    });
    let interpreter = Interpreter {
        minor: minor.ok_or_else(|| missing("no package `python3.N-minimal` is locked"))?,
        glibc: glibc.ok_or_else(|| missing("no package `libc6` with a version 2.N is locked"))?,
    };
    let command = format!("/usr/bin/{}", python.interpreter);
    let path = |text: &str| {
        TreePath::from_absolute(text).map_err(|source| TreeError::Path {
            path: text.to_owned(),
            source,
        })
    };
    path(&command)?;
    Ok(Target {
        interpreter,
        command,
        site: path(&python.site)?,
    })
}

/// The command of the recipe must lead to the interpreter whose version was read off the lock.
fn check_interpreter(tree: &Tree, python: &Python, target: &Target) -> Result<(), TreeError> {
    let missing = |why| TreeError::Interpreter {
        interpreter: python.interpreter.clone(),
        why,
    };
    let command = TreePath::from_absolute(&target.command).map_err(|source| TreeError::Path {
        path: target.command.clone(),
        source,
    })?;
    let wanted = format!("python3.{}", target.interpreter.minor);
    match tree.follow(&command) {
        Some((path, entry))
            if entry.content().is_some() && path.file_name() == wanted.as_bytes() =>
        {
            Ok(())
        }
        Some(_) => Err(missing("it does not lead to the locked `python3.N`")),
        None => Err(missing("it is not in `/usr/bin`")),
    }
}

fn bytecode(
    tree: &mut Tree,
    source: Source<'_>,
    target: &Target,
) -> Result<Vec<String>, TreeError> {
    let packages: Vec<&LockedPackage> = source.lock.with_role(Role::Root).collect();
    let library = format!("usr/lib/python3.{}", target.interpreter.minor);
    let mut directories = vec![target.site.clone()];
    for directory in [library.as_str(), "usr/lib/python3"] {
        directories.extend(TreePath::new(directory.as_bytes()));
    }
    let compiler = Compiler {
        store: source.store,
        key: tool::key(&packages),
        minor: target.interpreter.minor,
        directories,
        cache: source.cache,
    };
    let opened = std::sync::OnceLock::new();
    let lock = std::sync::Mutex::new(());
    let open = || {
        let _one_at_a_time = lock.lock();
        match opened.get() {
            Some(tool) => Ok(Tool::clone(tool)),
            None => {
                Tool::open(source.store, &packages).map(|tool| opened.get_or_init(|| tool).clone())
            }
        }
    };
    Ok(compiler.run(tree, open)?)
}

/// Computes all hashes that the provenance index will ask for, on all threads.
fn hash_all(tree: &Tree) {
    let contents: Vec<&Content> = tree
        .iter()
        .filter_map(|(_, entry)| entry.content())
        .collect();
    contents
        .into_par_iter()
        .with_max_len(16)
        .for_each(|content| {
            content.sha256();
        });
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
