//! Wheels: the one file of a pinned version that fits the image's Python and C library best.
//!
//! Tags: PEP 425, PEP 600 (`manylinux_X_Y`). Order of preference as pip's: the most specific interpreter first, then
//! the newest C library, then `any`.

use std::path::{Path, PathBuf};

use super::{LockError, Locking};
use crate::fetch::Place;
use crate::lock::{LockedPackage, LockedWheel};
use crate::recipe::Recipe;
use crate::source::{ACCEPT, HttpError, IndexFile, normalised, parse_page};
use crate::store::hash;

/// What wheels must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    /// Minor version of Python 3.
    minor: u32,
    /// Minor version of glibc 2.
    glibc: u32,
}

impl Locking<'_> {
    /// Pins every wheel of the recipe, sorted by name.
    pub(super) fn wheels(
        &self,
        recipe: &Recipe,
        packages: &[LockedPackage],
    ) -> Result<Vec<LockedWheel>, LockError> {
        let Some(python) = recipe
            .python
            .as_ref()
            .filter(|python| !python.wheels.is_empty())
        else {
            return Ok(Vec::new());
        };
        let target = target(&python.interpreter, packages).ok_or(LockError::NoPython)?;
        let mut wheels = python
            .wheels
            .iter()
            .map(|pin| self.wheel(pin, target))
            .collect::<Result<Vec<_>, _>>()?;
        wheels.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(wheels)
    }

    fn wheel(&self, pin: &str, target: Target) -> Result<LockedWheel, LockError> {
        let (name, version) = pin
            .split_once("==")
            .ok_or_else(|| LockError::Pin(pin.to_owned()))?;
        let (name, version) = (normalised(name.trim()), version.trim());
        let files = listed(self, &name)?;
        let fits = |file: &&IndexFile| rank(&file.name, &name, version, target);
        let Some(file) = files.iter().filter(|f| fits(f).is_some()).max_by_key(fits) else {
            let mut versions: Vec<_> = files
                .iter()
                .filter_map(|file| version_of(&file.name, &name, target))
                .collect();
            versions.dedup();
            let skip = versions.len().saturating_sub(8);
            return Err(LockError::NoWheel {
                name,
                version: version.to_owned(),
                minor: target.minor,
                listed: files.len(),
                versions: versions.split_off(skip),
            });
        };
        let (sha256, size) = match (file.sha256, file.size) {
            (Some(sha256), Some(size)) => (sha256, size),
            _ => self.measured(file)?,
        };
        Ok(LockedWheel {
            name,
            version: version.to_owned(),
            file: file.name.clone(),
            size,
            sha256,
        })
    }

    /// Digest and size of a file whose index does not say them; what the index does say must agree.
    fn measured(&self, file: &IndexFile) -> Result<(crate::digest::Digest, u64), LockError> {
        let (digest, size) = match file.url.strip_prefix("file://") {
            Some(path) => {
                let read = |source| LockError::Read {
                    path: PathBuf::from(path),
                    source,
                };
                hash(&mut std::fs::File::open(path).map_err(read)?).map_err(read)?
            }
            None => {
                let mut response = self.fetcher.client.get(&file.url, 0, "")?;
                hash(&mut response.body).map_err(|source| HttpError::Interrupted {
                    url: file.url.clone(),
                    source,
                })?
            }
        };
        match file.sha256 {
            Some(wanted) if wanted != digest => {
                Err(LockError::Fetch(crate::fetch::FetchError::Hash {
                    name: file.name.clone(),
                    place: file.url.clone(),
                    wanted,
                    found: digest,
                }))
            }
            _ => Ok((digest, size)),
        }
    }
}

/// Every file of a project in the configured directories and indexes; an index that does not know it is passed over.
fn listed(locking: &Locking<'_>, name: &str) -> Result<Vec<IndexFile>, LockError> {
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
    };
    names.into_iter().map(file).collect()
}

/// The image's Python and C library: the command's own version, or that of the one locked interpreter.
fn target(interpreter: &str, packages: &[LockedPackage]) -> Option<Target> {
    let root = || {
        packages
            .iter()
            .filter(|package| package.roles.contains(&crate::lock::Role::Root))
    };
    let minor = |name: &str| {
        let text = name.strip_prefix("python3.")?;
        text.split('-').next()?.parse().ok()
    };
    let minor = minor(interpreter).or_else(|| root().find_map(|package| minor(&package.name)))?;
    let libc = root().find(|package| package.name == "libc6")?;
    let upstream = libc.version.strip_prefix("2.")?;
    let glibc = upstream
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()?;
    Some(Target { minor, glibc })
}

/// The name's parts after checking distribution: version, Python, ABI and platform tags.
fn parts<'a>(file: &'a str, name: &str) -> Option<[&'a str; 4]> {
    let stem = file.strip_suffix(".whl")?;
    let mut rest = stem.rsplitn(4, '-');
    let (platform, abi, python, front) = (rest.next()?, rest.next()?, rest.next()?, rest.next()?);
    let mut front = front.split('-');
    let distribution = front.next()?;
    (normalised(distribution) == name).then_some([front.next()?, python, abi, platform])
}

fn version_of(file: &str, name: &str, target: Target) -> Option<String> {
    let [version, ..] = parts(file, name)?;
    rank(file, name, version, target).map(|_| version.to_owned())
}

/// How well a file fits, greater is better; `None` if it does not.
fn rank(file: &str, name: &str, version: &str, target: Target) -> Option<(u32, u32)> {
    let [found, python, abi, platform] = parts(file, name)?;
    if found != version {
        return None;
    }
    let pythons = python
        .split('.')
        .flat_map(|python| abi.split('.').map(move |abi| (python, abi)));
    let python = pythons
        .filter_map(|(python, abi)| rank_python(python, abi, target.minor))
        .max()?;
    let platform = platform
        .split('.')
        .filter_map(|platform| rank_platform(platform, target.glibc))
        .max()?;
    Some((python, platform))
}

fn rank_python(python: &str, abi: &str, minor: u32) -> Option<u32> {
    let own = format!("cp3{minor}");
    let older = |tag: &str| tag.parse::<u32>().ok().filter(|older| *older <= minor);
    match (python, abi) {
        (python, abi) if python == own && abi == own => Some(4000),
        (python, "abi3") => older(python.strip_prefix("cp3")?).map(|older| 3000 + older),
        (python, "none") if python == own => Some(2900),
        ("py3", "none") => Some(1000),
        (python, "none") => older(python.strip_prefix("py3")?).map(|older| 2000 + older),
        _ => None,
    }
}

fn rank_platform(platform: &str, glibc: u32) -> Option<u32> {
    let version = match platform {
        "any" => return Some(0),
        "linux_x86_64" => return Some(1),
        "manylinux1_x86_64" => 5,
        "manylinux2010_x86_64" => 12,
        "manylinux2014_x86_64" => 17,
        other => other
            .strip_prefix("manylinux_2_")?
            .strip_suffix("_x86_64")?
            .parse()
            .ok()?,
    };
    (version <= glibc).then_some(2 + version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target {
        minor: 13,
        glibc: 41,
    };

    #[test]
    fn rank_prefers_the_most_specific_fitting_wheel() {
        let better_first = [
            "a-1-cp313-cp313-manylinux_2_28_x86_64.whl",
            "a-1-cp313-cp313-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "a-1-cp312-abi3-manylinux_2_28_x86_64.whl",
            "a-1-py3-none-manylinux_2_28_x86_64.whl",
            "a-1-py2.py3-none-any.whl",
        ];
        let ranks: Vec<_> = better_first
            .iter()
            .map(|file| rank(file, "a", "1", TARGET))
            .collect();
        assert!(ranks.iter().all(Option::is_some), "{ranks:?}");
        assert!(ranks.is_sorted_by(|a, b| a > b), "{ranks:?}");
    }

    #[test]
    fn rank_refuses_what_does_not_fit() {
        for file in [
            "a-2-py3-none-any.whl",
            "b-1-py3-none-any.whl",
            "a-1.tar.gz",
            "a-1-cp312-cp312-manylinux_2_28_x86_64.whl",
            "a-1-cp314-abi3-manylinux_2_28_x86_64.whl",
            "a-1-cp313-cp313-manylinux_2_99_x86_64.whl",
            "a-1-cp313-cp313-musllinux_1_2_x86_64.whl",
            "a-1-cp313-cp313-macosx_11_0_arm64.whl",
            "a-1-cp313-cp313t-manylinux_2_28_x86_64.whl",
        ] {
            assert_eq!(rank(file, "a", "1", TARGET), None, "{file}");
        }
    }
}
