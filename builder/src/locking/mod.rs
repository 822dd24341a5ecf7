//! From a recipe to its lock: signed suites, closures of packages, wheels.
//!
//! Everything that decides the result is content: two machines that see the same suites write the same lock.

mod fit;
mod guest_tools;
mod import;
mod left_out;
mod module_tools;
mod suite;
mod wheels;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::cmd::Hinted;
use crate::debian::{Index, IndexError, Package, ReleaseError, ResolveError, resolve};
use crate::digest::Digest;
use crate::fetch::{FetchError, Fetcher};
use crate::lock::{Compression, KERNEL_PACKAGES, Lock, LockedPackage, LockedRelease, Role};
use crate::progress::Progress;
use crate::recipe::{DriverSource, Python, Recipe};
use crate::source::{HttpError, Settings, SettingsError, SimpleError, normalised};
use crate::wheel::AliasError;

pub(crate) use import::ImportError;
use import::Imported;
pub(crate) use left_out::LeftOut;
use suite::Suite;
pub(crate) use wheels::locate;

/// Compression level of the initrd.
const LEVEL: i32 = 9;

/// Why a recipe cannot be locked.
#[derive(Debug, Error)]
pub(crate) enum LockError {
    /// Locations are not known.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A key file is missing or cannot be read.
    #[error("key file `{name}` is not in `{}`", directory.display())]
    Key {
        /// Its name in the recipe.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// No archive has the suite.
    #[error("no configured archive has suite `{suite}`")]
    NoSuite {
        /// The suite.
        suite: String,
        /// What the last archive said.
        #[source]
        source: HttpError,
    },
    /// The suite's signed list is not believed.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The suite has no such component or architecture.
    #[error("suite `{suite}` has no `{path}`")]
    NoIndex {
        /// The suite.
        suite: String,
        /// Path of the index below the suite's folder.
        path: String,
    },
    /// An index or wheel cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// An index is malformed.
    #[error("index of suite `{suite}`")]
    Index {
        /// The suite.
        suite: String,
        /// What is wrong.
        #[source]
        source: IndexError,
    },
    /// An index cannot be decompressed.
    #[error("`{path}` of suite `{suite}` is not xz data")]
    Xz {
        /// The suite.
        suite: String,
        /// Path of the index below the suite's folder.
        path: String,
        /// What is wrong.
        #[source]
        source: std::io::Error,
    },
    /// No closed set of packages.
    #[error("packages for {purpose} in suite `{suite}`")]
    Resolve {
        /// What they are for.
        purpose: &'static str,
        /// The suite.
        suite: String,
        /// What is wrong.
        #[source]
        source: ResolveError,
    },
    /// The archive has the kernel, and not what modules for it are compiled with.
    #[error("suite `{suite}` has no `linux-headers-{release}` {version}, which is the kernel's")]
    NoHeaders {
        /// The suite.
        suite: String,
        /// The kernel's release.
        release: String,
        /// The kernel's version.
        version: String,
    },
    /// NVIDIA's own archive cannot be had.
    #[error("NVIDIA's archive `{url}` (SHA-256 {sha256}) is not in the store")]
    NoDriverArchive {
        /// Where the recipe says it is.
        url: String,
        /// Its digest.
        sha256: Digest,
        /// Why it could not be fetched.
        #[source]
        source: Box<FetchError>,
    },
    /// NVIDIA's own archive is there, and cannot be used.
    #[error(
        "NVIDIA's archive `{url}` is in the store, but sources of modules cannot be taken out of it yet"
    )]
    DriverArchive {
        /// Where the recipe says it is.
        url: String,
    },
    /// Python's version is needed to choose wheels.
    #[error(
        "recipe has wheels, but neither `python.interpreter` nor a package says which Python 3 they are for"
    )]
    NoPython,
    /// No index or directory has the wheel.
    #[error(
        "no wheel of `{name}` {version} fits Python 3.{minor} on this architecture ({listed} files are listed)"
    )]
    NoWheel {
        /// The distribution.
        name: String,
        /// The pinned version.
        version: String,
        /// Minor version of Python.
        minor: u32,
        /// How many files of this project are listed.
        listed: usize,
        /// Files of this version.
        others: Vec<String>,
        /// Versions that have a fitting wheel, newest last.
        versions: Vec<String>,
    },
    /// The lock of Python packages beside the recipe cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// An alias names what is not there, or what is.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// An index could not be asked.
    #[error("wheel index")]
    Http(#[from] HttpError),
    /// An index answered nonsense.
    #[error(transparent)]
    Simple(#[from] SimpleError),
    /// A pin is not `name==version`.
    #[error("`{0}` is not of the form `name==version`")]
    Pin(String),
    /// A wheel in a directory cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The recipe cannot be serialised.
    #[error("recipe cannot be hashed")]
    Json(#[from] serde_json::Error),
}

impl Hinted for LockError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Settings(error) => error.hint(),
            Self::Key { .. } => {
                Some("export the archive's key as ASCII armour into that directory".to_owned())
            }
            Self::NoSuite { source, .. } => Some(match source {
                HttpError::Gone(_) => {
                    "check the suite's name, or give an archive that has it with `--archive URL`"
                        .to_owned()
                }
                _ => "check the network, or give another archive with `--archive URL`".to_owned(),
            }),
            Self::Release(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Resolve { source, .. } => source.hint(),
            Self::NoHeaders { .. } => Some(
                "the archive is between two kernels: lock again when it has both, or name another `kernel.package`".to_owned(),
            ),
            Self::NoDriverArchive { .. } => Some(
                "this one input has to be there: fetch it on a machine that reaches it, and serve the file under an address of your own in `gpu.modules.source`; the digest stays".to_owned(),
            ),
            Self::DriverArchive { .. } => Some(
                "use Debian's source, `source = { suite = \"trixie\", package = \"nvidia-open-kernel-source\" }`".to_owned(),
            ),
            Self::NoPython => Some(
                "set `python.interpreter` to a command with a version, for example `python3.13`"
                    .to_owned(),
            ),
            Self::NoWheel {
                versions, others, ..
            } => wheel_hint(versions, others),
            Self::Import(error) => error.hint(),
            Self::Alias(error) => error.hint(),
            Self::NoIndex { .. } => {
                Some("check `base.components` and `base.architecture`".to_owned())
            }
            Self::Http(error) => error.hint(),
            _ => None,
        }
    }
}

/// What there is instead of a wheel.
fn wheel_hint(versions: &[String], others: &[String]) -> Option<String> {
    let sdists_only = others.iter().all(|name| !name.ends_with(".whl"));
    match (versions.is_empty(), others.is_empty()) {
        (false, _) => Some(format!(
            "versions with a fitting wheel: {}",
            versions.join(", ")
        )),
        (true, true) => None,
        (true, false) if sdists_only => Some(
            "this version has only a source distribution, and no sdist is ever built: put a wheel of it into a directory of pip's `find-links`"
                .to_owned(),
        ),
        (true, false) => Some(format!("wheels of this version: {}", others.join(", "))),
    }
}

/// What locking needs beside the recipe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Locking<'a> {
    /// Brings indices.
    pub(crate) fetcher: Fetcher<'a>,
    /// Where archives and indexes are.
    pub(crate) settings: &'a Settings,
    /// What people see.
    pub(crate) progress: &'a Progress,
    /// Now, in seconds since 1970.
    pub(crate) now: u64,
}

/// A lock, and what people should know about it.
#[derive(Debug)]
pub(crate) struct Locked {
    /// The lock.
    pub(crate) lock: Lock,
    /// Excluded packages that some package depends on, with one that does.
    pub(crate) left_out: BTreeMap<String, String>,
    /// Packages of the imported lock that are left out.
    pub(crate) wheels_left_out: LeftOut,
}

/// The lock of Python packages that a recipe names.
pub(crate) fn imported(recipe: &Recipe, directory: &Path) -> Result<Option<Imported>, ImportError> {
    let python = recipe.python.as_ref();
    let file = python.and_then(|python| python.lock.as_ref());
    file.map(|file| import::read(directory, file)).transpose()
}

/// Digest of the parts of a recipe that decide its lock: comments, files and guest settings do not make a lock stale.
pub(crate) fn recipe_digest(
    recipe: &Recipe,
    imported: Option<&Imported>,
) -> Result<Digest, serde_json::Error> {
    let wheels = recipe
        .python
        .as_ref()
        .map(|python| wheels_part(python, imported))
        .transpose()?;
    let parts = (
        1,
        &recipe.name,
        &recipe.base,
        wheels,
        &recipe.kernel.package,
        &recipe.tools,
        &recipe.inputs,
    );
    let modules = recipe.gpu.as_ref().and_then(|gpu| gpu.modules.as_ref());
    let text = match modules {
        // So that locks of recipes without modules to compile stay as they are.
        None => serde_json::to_vec(&parts)?,
        Some(modules) => serde_json::to_vec(&(parts, &modules.source))?,
    };
    Ok(Digest::of(&text))
}

/// What decides the wheels of a lock.
fn wheels_part(
    python: &Python,
    imported: Option<&Imported>,
) -> Result<serde_json::Value, serde_json::Error> {
    let wheels = serde_json::to_value(&python.wheels)?;
    let Some(imported) = imported else {
        return Ok(wheels);
    };
    let exclude: BTreeSet<_> = python.exclude.iter().map(|name| normalised(name)).collect();
    Ok(serde_json::json!({
        "wheels": wheels, "lock": imported.digest()?, "exclude": exclude,
    }))
}

impl Locking<'_> {
    /// Resolves and pins everything.
    pub(crate) fn make(&self, recipe: &Recipe, directory: &Path) -> Result<Locked, LockError> {
        let imported = imported(recipe, directory)?;
        let keys = read_keys(&recipe.base.keys, directory)?;
        let suites = self.suites(recipe, &keys)?;
        let mut packages = Packages::default();
        let left_out = self.root(recipe, &suites, &mut packages)?;
        self.kernel_and_tools(recipe, &suites, &mut packages)?;
        guest_tools::add(recipe, &suites, &mut packages)?;
        self.module_tools(recipe, &suites, &mut packages)?;
        let packages = packages.sorted();
        let wheels = self.wheels(recipe, imported.as_ref(), &packages)?;
        let epoch = suites
            .values()
            .map(|suite| suite.release.date_seconds)
            .max()
            .unwrap_or_default();
        let compression = Compression {
            zstd: zstd::zstd_safe::version_string().to_owned(),
            level: LEVEL,
        };
        let lock = Lock {
            schema_version: 1,
            recipe: recipe.name.clone(),
            recipe_sha256: recipe_digest(recipe, imported.as_ref())?,
            epoch,
            compression,
            releases: suites
                .iter()
                .map(|(name, suite)| locked_release(name, suite))
                .collect(),
            packages,
            wheels: wheels.wheels,
            left_out_wheels: wheels.left_out.wheels.clone(),
        };
        Ok(Locked {
            lock,
            left_out,
            wheels_left_out: wheels.left_out,
        })
    }

    /// Every suite that the recipe names, fetched and verified.
    fn suites(
        &self,
        recipe: &Recipe,
        keys: &[(String, Vec<u8>)],
    ) -> Result<BTreeMap<String, Suite>, LockError> {
        let tools = &recipe.tools;
        let modules = recipe.gpu.as_ref().and_then(|gpu| gpu.modules.as_ref());
        let mut names = vec![&recipe.base.suite, &tools.erofs.suite, &tools.stub.suite];
        let others = [&tools.firmware, &tools.compiler];
        names.extend(others.into_iter().flatten().map(|package| &package.suite));
        names.extend(modules.and_then(|modules| match &modules.source {
            DriverSource::Package { suite, .. } => Some(suite),
            DriverSource::Archive { .. } => None,
        }));
        let mut suites = BTreeMap::new();
        for name in names {
            if !suites.contains_key(name) {
                suites.insert(name.clone(), self.suite(name, &recipe.base, keys)?);
            }
        }
        Ok(suites)
    }

    fn root(
        &self,
        recipe: &Recipe,
        suites: &BTreeMap<String, Suite>,
        packages: &mut Packages,
    ) -> Result<BTreeMap<String, String>, LockError> {
        let name = &recipe.base.suite;
        let Some(suite) = suites.get(name) else {
            return Ok(BTreeMap::new());
        };
        let (wanted, exclude) = (&recipe.base.packages, &recipe.base.exclude);
        packages.add_closure((name, &suite.index), wanted, exclude, Role::Root)
    }

    fn kernel_and_tools(
        &self,
        recipe: &Recipe,
        suites: &BTreeMap<String, Suite>,
        packages: &mut Packages,
    ) -> Result<(), LockError> {
        let tools = &recipe.tools;
        let single =
            |suite: &str, name: &str, role, packages: &mut Packages| match suites.get(suite) {
                Some(found) => {
                    packages.add(newest(&found.index, name, suite, role)?, suite, role);
                    Ok::<(), LockError>(())
                }
                None => Ok(()),
            };
        if let Some(base) = suites.get(&recipe.base.suite) {
            for package in kernel(&base.index, &recipe.kernel.package, &recipe.base.suite)? {
                packages.add(package, &recipe.base.suite, Role::Kernel);
            }
        }
        single(&tools.stub.suite, &tools.stub.package, Role::Stub, packages)?;
        if let Some(firmware) = &tools.firmware {
            single(&firmware.suite, &firmware.package, Role::Firmware, packages)?;
        }
        if let Some(found) = suites.get(&tools.erofs.suite) {
            let suite = &tools.erofs.suite;
            let wanted = std::slice::from_ref(&tools.erofs.package);
            packages.add_closure((suite, &found.index), wanted, &[], Role::Erofs)?;
        }
        Ok(())
    }
}

/// Locked packages while roles are collected: a package needed twice is one entry with two roles.
#[derive(Debug, Default)]
struct Packages(BTreeMap<(String, String, String, String), LockedPackage>);

/// What packages of a role are for, in a message that some cannot be had.
fn purpose(role: Role) -> &'static str {
    match role {
        Role::Root => "the root image",
        Role::Kernel => "the kernel",
        Role::Stub => "the UKI stub",
        Role::Erofs => "`mkfs.erofs`",
        Role::Firmware => "firmware",
        Role::GuestTools => "compiling the guest's programs",
        Role::ModuleTools => "compiling kernel modules",
        Role::ModuleSource => "the sources of the driver's modules",
    }
}

impl Packages {
    fn add(&mut self, package: &Package, suite: &str, role: Role) {
        let version = package.version.to_string();
        let key = (
            package.name.clone(),
            version.clone(),
            package.architecture.clone(),
            suite.to_owned(),
        );
        let entry = self.0.entry(key).or_insert_with(|| LockedPackage {
            name: package.name.clone(),
            version,
            architecture: package.architecture.clone(),
            suite: suite.to_owned(),
            path: package.path.clone(),
            size: package.size,
            sha256: package.sha256,
            roles: Vec::new(),
        });
        entry.roles.push(role);
        entry.roles.sort_unstable();
        entry.roles.dedup();
    }

    /// Adds packages of a suite, by its name and index, with everything that they need but `exclude`; gives what that leaves out,
    /// each with one that depends on it.
    fn add_closure(
        &mut self,
        (suite, index): (&str, &Index),
        wanted: &[String],
        exclude: &[String],
        role: Role,
    ) -> Result<BTreeMap<String, String>, LockError> {
        let resolution = resolve(index, wanted, exclude).map_err(|source| LockError::Resolve {
            purpose: purpose(role),
            suite: suite.to_owned(),
            source,
        })?;
        for package in resolution.packages {
            self.add(package, suite, role);
        }
        Ok(resolution.left_out)
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = &LockedPackage> {
        self.0.values().filter(move |p| p.roles.contains(&role))
    }

    fn sorted(self) -> Vec<LockedPackage> {
        self.0.into_values().collect()
    }
}

/// The package of this name with the highest version.
fn newest<'a>(
    index: &'a Index,
    name: &str,
    suite: &str,
    role: Role,
) -> Result<&'a Package, LockError> {
    let candidates = index.named(name).iter().filter_map(|id| index.get(*id));
    candidates
        .max_by(|a, b| a.version.cmp(&b.version))
        .ok_or_else(|| LockError::Resolve {
            purpose: purpose(role),
            suite: suite.to_owned(),
            source: ResolveError::NoPackage {
                name: name.to_owned(),
                near: index.near(name).map(str::to_owned),
            },
        })
}

/// Packages that carry the kernel image and its modules: the named one and, below it, those of its dependencies that
/// are named like kernel packages. A package that only points to another one carries nothing and is left out.
fn kernel<'a>(index: &'a Index, name: &str, suite: &str) -> Result<Vec<&'a Package>, LockError> {
    let malformed = |source| LockError::Index {
        suite: suite.to_owned(),
        source,
    };
    let mut found: Vec<&Package> = Vec::new();
    let mut open = vec![newest(index, name, suite, Role::Kernel)?];
    while let Some(package) = open.pop() {
        let clauses = package.requirements().map_err(malformed)?;
        let is_kernel = |name: &str| {
            KERNEL_PACKAGES
                .iter()
                .any(|prefix| name.starts_with(prefix))
        };
        let below = clauses
            .iter()
            .filter_map(|clause| clause.iter().find(|relation| is_kernel(&relation.name)));
        let below: Vec<_> = below
            .filter_map(|relation| {
                let ids = index.satisfying(relation);
                ids.iter()
                    .filter_map(|id| index.get(*id))
                    .max_by(|a, b| a.version.cmp(&b.version))
            })
            .collect();
        let points_only = package.name == name && clauses.len() == 1 && below.len() == 1;
        if !points_only && !found.iter().any(|known| known.name == package.name) {
            found.push(package);
        }
        open.extend(
            below
                .into_iter()
                .filter(|package| !found.iter().any(|known| known.name == package.name)),
        );
    }
    Ok(found)
}

fn locked_release(name: &str, suite: &Suite) -> LockedRelease {
    LockedRelease {
        suite: name.to_owned(),
        date: suite.release.date.clone(),
        sha256: suite.release.sha256,
        signed_by: suite.release.signed_by.clone(),
    }
}

/// Reads key files from `keys/` in the recipe's directory or beside it.
fn read_keys(names: &[String], directory: &Path) -> Result<Vec<(String, Vec<u8>)>, LockError> {
    let beside = directory.parent().unwrap_or(directory).join("keys");
    let read = |name: &String| {
        let paths = [directory.join("keys").join(name), beside.join(name)];
        let bytes = paths.iter().find_map(|path| std::fs::read(path).ok());
        let missing = || LockError::Key {
            name: name.clone(),
            directory: beside.clone(),
        };
        bytes.map(|bytes| (name.clone(), bytes)).ok_or_else(missing)
    };
    names.iter().map(read).collect()
}
