//! Wheels: of each pinned version the one file that fits the image's Python and C library best.
//!
//! Versions come from `python.wheels` and from an imported lock. Of an imported package only files count whose digest
//! that lock has. Pages of the index are asked for at the same time, a few at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::fit::{Target, is_of, rank, target, version_of};
use super::import::{Imported, Package, Refusal, Refused, Selected, Source};
use super::left_out::LeftOut;
use super::{LockError, Locking};
use crate::digest::Digest;
use crate::fetch::{CONNECTIONS, FetchError, Place};
use crate::lock::{LeftOutWheel, LockedPackage, LockedWheel};
use crate::parallel::each;
use crate::recipe::{Python, Recipe};
use crate::source::{ACCEPT, HttpError, IndexFile, normalised, parse_page};
use crate::wheel::check_aliases;

use super::import::ImportError;

/// Pinned wheels, and what was not taken.
#[derive(Debug, Default)]
pub(super) struct Wheels {
    /// Sorted by name.
    pub(super) wheels: Vec<LockedWheel>,
    /// Packages of the imported lock that `python.exclude` names, sorted by name.
    pub(super) left_out: LeftOut,
}

/// A version to find a file for.
#[derive(Debug, Clone, Copy)]
enum Wanted<'a> {
    /// An entry of `python.wheels`.
    Pin(&'a str),
    /// A package of the imported lock.
    Package(&'a Package),
}

/// A file that was found, and the index's entry where a page was read.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The pinned wheel.
    pub(super) wheel: LockedWheel,
    /// The index's entry.
    pub(super) entry: Option<IndexFile>,
}

impl Locking<'_> {
    /// Pins every wheel of the recipe, sorted by name.
    pub(super) fn wheels(
        &self,
        recipe: &Recipe,
        imported: Option<&Imported>,
        packages: &[LockedPackage],
    ) -> Result<Wheels, LockError> {
        let Some(python) = recipe
            .python
            .as_ref()
            .filter(|python| !python.wheels.is_empty() || imported.is_some())
        else {
            return Ok(Wheels::default());
        };
        let target = target(&python.interpreter, packages).ok_or(LockError::NoPython)?;
        let selected = select(python, imported, target)?;
        let found = self.find(python, imported, &selected, target)?;
        let names = found.iter().map(|found| found.wheel.name.as_str());
        check_aliases(&python.aliases, &names.collect())?;
        let left_out = self.left_out(python, &selected.left_out, &found, target)?;
        let mut wheels: Vec<_> = found.into_iter().map(|found| found.wheel).collect();
        wheels.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Wheels { wheels, left_out })
    }

    /// A file for each wheel of the recipe.
    fn find(
        &self,
        python: &Python,
        imported: Option<&Imported>,
        selected: &Selected,
        target: Target,
    ) -> Result<Vec<Found>, LockError> {
        let pins = python.wheels.iter().map(|pin| Wanted::Pin(pin));
        let packages = selected.taken.iter().map(Wanted::Package);
        let wanted: Vec<Wanted<'_>> = pins.chain(packages).collect();
        let answers = each(&wanted, CONNECTIONS, |wanted| match wanted {
            Wanted::Pin(pin) => self.pinned(pin, target).map(Ok),
            Wanted::Package(package) => self.locked(package, target),
        });
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer? {
                Ok(one) => found.push(one),
                Err(why) => refused.push(why),
            }
        }
        match imported {
            Some(imported) if !refused.is_empty() => Err(imported.refuse(refused).into()),
            _ => Ok(found),
        }
    }

    fn pinned(&self, pin: &str, target: Target) -> Result<Found, LockError> {
        let (name, version) = pin
            .split_once("==")
            .ok_or_else(|| LockError::Pin(pin.to_owned()))?;
        let (name, version) = (normalised(name.trim()), version.trim());
        let files = listed(self, &name)?;
        let fits = |file: &&IndexFile| rank(&file.name, &name, version, target);
        let best = files
            .iter()
            .filter(|file| fits(file).is_some())
            .max_by_key(|file| (fits(file), &file.name));
        let Some(file) = best else {
            return Err(no_wheel(name, version, &files, target));
        };
        let (sha256, size) = match (file.sha256, file.size) {
            (Some(sha256), Some(size)) => (sha256, size),
            _ => self.measured(file)?,
        };
        Ok(Found {
            wheel: LockedWheel {
                name,
                version: version.to_owned(),
                file: file.name.clone(),
                size,
                sha256,
            },
            entry: Some(file.clone()),
        })
    }

    /// The best of the files whose digest the imported lock has.
    fn locked(
        &self,
        package: &Package,
        target: Target,
    ) -> Result<Result<Found, Refused>, LockError> {
        let found = match &package.source {
            Source::Hashes(hashes) => self.among(package, hashes, target)?,
            Source::Wheels(wheels) => {
                let fits = |file: &str| rank(file, &package.name, &package.version, target);
                let best = wheels
                    .iter()
                    .filter(|wheel| fits(&wheel.file).is_some())
                    .max_by_key(|wheel| (fits(&wheel.file), *wheel));
                match best {
                    None => Err(Refusal::NoFit {
                        image: target.to_string(),
                        listed: wheels.iter().map(|wheel| wheel.file.clone()).collect(),
                    }),
                    Some(wheel) => match wheel.size {
                        Some(size) => Ok(Found {
                            wheel: wheel_of(package, &wheel.file, size, wheel.sha256),
                            entry: None,
                        }),
                        None => self.among(package, &BTreeSet::from([wheel.sha256]), target)?,
                    },
                }
            }
            Source::NoHash => Err(Refusal::NoHash),
            Source::Sdist => Err(Refusal::OnlySdist),
            Source::Elsewhere(kind) => Err(Refusal::Elsewhere(kind)),
        };
        Ok(found.map_err(|why| package.refused(why)))
    }

    /// The best file of the index whose digest is one of `hashes`.
    fn among(
        &self,
        package: &Package,
        hashes: &BTreeSet<Digest>,
        target: Target,
    ) -> Result<Result<Found, Refusal>, LockError> {
        let mut files = listed(self, &package.name)?;
        let fits = |file: &IndexFile| rank(&file.name, &package.name, &package.version, target);
        files.sort_by(|a, b| (fits(b), &b.name).cmp(&(fits(a), &a.name)));
        for file in files.iter().filter(|file| fits(file).is_some()) {
            let (sha256, size) = match (file.sha256, file.size) {
                (Some(sha256), _) if !hashes.contains(&sha256) => continue,
                (Some(sha256), Some(size)) => (sha256, size),
                _ => self.measured(file)?,
            };
            if hashes.contains(&sha256) {
                return Ok(Ok(Found {
                    wheel: wheel_of(package, &file.name, size, sha256),
                    entry: Some(file.clone()),
                }));
            }
        }
        Ok(Err(unfit(package, hashes, &files, target)))
    }

    /// What the packages that are left out would have cost, and which wheels ask for them.
    fn left_out(
        &self,
        python: &Python,
        packages: &[Package],
        found: &[Found],
        target: Target,
    ) -> Result<LeftOut, LockError> {
        let replaced = |package: &&Package| {
            let pins = python.wheels.iter();
            let mut names = pins.filter_map(|pin| pin.split("==").next());
            !names.any(|name| normalised(name.trim()) == package.name)
        };
        let packages: Vec<&Package> = packages.iter().filter(replaced).collect();
        if packages.is_empty() {
            return Ok(LeftOut::default());
        }
        let sizes = each(&packages, CONNECTIONS, |package| {
            self.locked(package, target)
        });
        let mut wheels = Vec::new();
        for (package, size) in packages.into_iter().zip(sizes) {
            wheels.push(LeftOutWheel {
                name: package.name.clone(),
                version: package.version.clone(),
                size: size?.ok().map(|found| found.wheel.size),
            });
        }
        self.requirers(wheels, found, target)
    }

    /// Digest and size of a file whose index does not say them; what the index does say must agree.
    fn measured(&self, file: &IndexFile) -> Result<(Digest, u64), LockError> {
        let (digest, size) = match file.url.strip_prefix("file://") {
            Some(path) => {
                let read = |source| LockError::Read {
                    path: PathBuf::from(path),
                    source,
                };
                Digest::of_reader(&mut std::fs::File::open(path).map_err(read)?).map_err(read)?
            }
            None => {
                let mut response = self.fetcher.client.get(&file.url, 0, "")?;
                Digest::of_reader(&mut response.body).map_err(|source| HttpError::Interrupted {
                    url: file.url.clone(),
                    source,
                })?
            }
        };
        match file.sha256 {
            Some(wanted) if wanted != digest => Err(LockError::Fetch(FetchError::Hash {
                name: file.name.clone(),
                place: file.url.clone(),
                wanted,
                found: digest,
            })),
            _ => Ok((digest, size)),
        }
    }
}

/// The packages of the imported lock that are for the image and that the recipe does not pin by itself.
fn select(
    python: &Python,
    imported: Option<&Imported>,
    target: Target,
) -> Result<Selected, LockError> {
    let Some(imported) = imported else {
        return Ok(Selected::default());
    };
    let selected = imported.select(&target.environment(), &python.exclude)?;
    for pin in &python.wheels {
        let name = normalised(pin.split("==").next().unwrap_or_default().trim());
        if selected.taken.iter().any(|package| package.name == name) {
            return Err(LockError::Import(ImportError::Pinned {
                file: imported.file().to_owned(),
                name,
            }));
        }
    }
    Ok(selected)
}

fn wheel_of(package: &Package, file: &str, size: u64, sha256: Digest) -> LockedWheel {
    LockedWheel {
        name: package.name.clone(),
        version: package.version.clone(),
        file: file.to_owned(),
        size,
        sha256,
    }
}

/// Why none of the listed files can be taken.
fn unfit(
    package: &Package,
    hashes: &BTreeSet<Digest>,
    files: &[IndexFile],
    target: Target,
) -> Refusal {
    let locked = |file: &&IndexFile| file.sha256.is_some_and(|sha256| hashes.contains(&sha256));
    let names: Vec<String> = files
        .iter()
        .filter(locked)
        .map(|file| file.name.clone())
        .collect();
    let wheels: Vec<String> = names
        .iter()
        .filter(|name| name.ends_with(".whl"))
        .cloned()
        .collect();
    match (names.is_empty(), wheels.is_empty()) {
        (true, _) => Refusal::NoFile {
            hashes: hashes.len(),
            listed: files
                .iter()
                .filter(|file| is_of(&file.name, &package.name, &package.version))
                .count(),
        },
        (false, true) => Refusal::OnlySdist,
        (false, false) => Refusal::NoFit {
            image: target.to_string(),
            listed: wheels,
        },
    }
}

fn no_wheel(name: String, version: &str, files: &[IndexFile], target: Target) -> LockError {
    let mut versions: Vec<_> = files
        .iter()
        .filter_map(|file| version_of(&file.name, &name, target))
        .collect();
    versions.dedup();
    let skip = versions.len().saturating_sub(8);
    let others: Vec<String> = files
        .iter()
        .filter(|file| is_of(&file.name, &name, version))
        .map(|file| file.name.clone())
        .collect();
    LockError::NoWheel {
        name,
        version: version.to_owned(),
        minor: target.minor,
        listed: files.len(),
        others,
        versions: versions.split_off(skip),
    }
}

/// Every file of a project in the configured directories and indexes; an index that does not know it is passed over.
pub(super) fn listed(locking: &Locking<'_>, name: &str) -> Result<Vec<IndexFile>, LockError> {
    let settings = locking.settings;
    let mut files: Vec<IndexFile> = settings
        .wheel_directories
        .iter()
        .flat_map(|directory| in_directory(directory))
        .collect();
    files.retain(|file| normalised(file.name.split('-').next().unwrap_or_default()) == name);
    if settings.indexes.is_empty() && files.is_empty() {
        return Err(crate::source::SettingsError::NoIndex.into());
    }
    for index in &settings.indexes {
        let url = format!("{index}/{name}/");
        match locking.fetcher.client.read(&url, ACCEPT) {
            Ok((body, content_type)) => files.extend(parse_page(&url, &content_type, &body)?),
            Err(HttpError::Gone(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(files)
}

/// Places of a locked wheel, asked for only when its bytes are missing.
pub(crate) fn locate(locking: &Locking<'_>, wheel: &LockedWheel) -> Result<Vec<Place>, LockError> {
    let files = listed(locking, &wheel.name)?;
    let same = |file: &IndexFile| match file.sha256 {
        Some(sha256) => sha256 == wheel.sha256,
        None => file.name == wheel.file,
    };
    let place = |file: IndexFile| match file.url.strip_prefix("file://") {
        Some(path) => Place::File(PathBuf::from(path)),
        None => Place::Url(file.url),
    };
    Ok(files.into_iter().filter(same).map(place).collect())
}

#[expect(clippy::disallowed_methods, reason = "sorted right below")]
fn in_directory(directory: &Path) -> Vec<IndexFile> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    let file = |name: String| IndexFile {
        url: format!("file://{}", directory.join(&name).display()),
        name,
        sha256: None,
        size: None,
        metadata: None,
    };
    names.into_iter().map(file).collect()
}
