//! Which of several files fits an image best.
//!
//! Tags: PEP 425, PEP 600 (`manylinux_X_Y`). Order of preference as pip's: the most specific interpreter first, then
//! the newest C library, then `any`.

use std::fmt;

use crate::lock::{LockedPackage, Role};
use crate::source::normalised;
use crate::wheel::{Environment, same_version};

/// What wheels must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// Minor version of Python 3.
    pub(super) minor: u32,
    /// Its micro version, where a package tells it.
    micro: Option<u32>,
    /// Minor version of glibc 2.
    glibc: u32,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CPython 3.{} on x86-64 Linux with glibc 2.{}",
            self.minor, self.glibc
        )
    }
}

impl Target {
    /// What markers are judged for.
    pub(super) fn environment(&self) -> Environment {
        Environment::new(self.minor, self.micro)
    }
}

/// The image's Python and C library: the command's own version, or that of the one locked interpreter.
pub(super) fn target(interpreter: &str, packages: &[LockedPackage]) -> Option<Target> {
    let root = || {
        packages
            .iter()
            .filter(|package| package.roles.contains(&Role::Root))
    };
    let minor_of = |name: &str| -> Option<u32> {
        let text = name.strip_prefix("python3.")?;
        text.split('-').next()?.parse().ok()
    };
    let minor =
        minor_of(interpreter).or_else(|| root().find_map(|package| minor_of(&package.name)))?;
    let micro = root()
        .find(|package| minor_of(&package.name) == Some(minor))
        .and_then(|package| number_after(&package.version, &format!("3.{minor}.")));
    let libc = root().find(|package| package.name == "libc6")?;
    let glibc = number_after(&libc.version, "2.")?;
    Some(Target {
        minor,
        micro,
        glibc,
    })
}

/// The digits that follow `prefix`.
fn number_after(version: &str, prefix: &str) -> Option<u32> {
    let rest = version.strip_prefix(prefix)?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
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

/// The version of a file that fits.
pub(super) fn version_of(file: &str, name: &str, target: Target) -> Option<String> {
    let [version, ..] = parts(file, name)?;
    rank(file, name, version, target).map(|_| version.to_owned())
}

/// How well a file fits, greater is better; `None` if it does not.
pub(super) fn rank(file: &str, name: &str, version: &str, target: Target) -> Option<(u32, u32)> {
    let [found, python, abi, platform] = parts(file, name)?;
    if !same_version(found, version) {
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

/// Whether a file is of a project and version, whatever it fits.
pub(super) fn is_of(file: &str, name: &str, version: &str) -> bool {
    match (parts(file, name), file.strip_suffix(".tar.gz")) {
        (Some([found, ..]), _) => same_version(found, version),
        (None, Some(stem)) => stem
            .rsplit_once('-')
            .is_some_and(|(found, of)| normalised(found) == name && same_version(of, version)),
        _ => false,
    }
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
        micro: None,
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
