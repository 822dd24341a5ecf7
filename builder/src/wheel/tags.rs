//! Whether a wheel fits the image's interpreter.
//!
//! Spec: PyPA platform compatibility tags, binary distribution format (file names). Only CPython
//! on x86-64 Linux with glibc is known; everything else does not fit.

use std::fmt;

/// The interpreter and C library of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// Minor version of CPython 3.
    pub(crate) minor: u32,
    /// Minor version of glibc 2.
    pub(crate) glibc: u32,
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CPython 3.{} on x86-64 with glibc 2.{}",
            self.minor, self.glibc
        )
    }
}

/// The parts of a wheel's file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileName {
    /// Project name as the file has it.
    pub(crate) name: String,
    /// Version as the file has it.
    pub(crate) version: String,
    python: Vec<String>,
    abi: Vec<String>,
    platform: Vec<String>,
}

impl FileName {
    /// Parses `name-version[-build]-python-abi-platform.whl`.
    pub(crate) fn parse(file: &str) -> Option<FileName> {
        let parts: Vec<&str> = file.strip_suffix(".whl")?.split('-').collect();
        let (name, version, python, abi, platform) = match parts.as_slice() {
            [n, v, py, abi, plat] => (n, v, py, abi, plat),
            [n, v, build, py, abi, plat] if build.starts_with(|c: char| c.is_ascii_digit()) => {
                (n, v, py, abi, plat)
            }
            _ => return None,
        };
        if name.is_empty() || version.is_empty() {
            return None;
        }
        let set = |text: &str| text.split('.').map(str::to_owned).collect();
        Some(FileName {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            python: set(python),
            abi: set(abi),
            platform: set(platform),
        })
    }

    /// Whether any combination of the tags fits.
    pub(crate) fn fits(&self, interpreter: Interpreter) -> bool {
        let platform = self
            .platform
            .iter()
            .any(|p| platform_fits(p, interpreter.glibc));
        let code = self.python.iter().any(|py| {
            self.abi
                .iter()
                .any(|abi| code_fits(py, abi, interpreter.minor))
        });
        platform && code
    }
}

fn code_fits(python: &str, abi: &str, minor: u32) -> bool {
    let cpython = python
        .strip_prefix("cp3")
        .and_then(|m| m.parse::<u32>().ok());
    let generic = python.strip_prefix("py3").and_then(|m| {
        if m.is_empty() {
            Some(0)
        } else {
            m.parse().ok()
        }
    });
    match abi {
        "none" => generic.is_some_and(|m| m <= minor) || cpython == Some(minor),
        "abi3" => cpython.is_some_and(|m| m <= minor),
        abi => cpython == Some(minor) && abi == format!("cp3{minor}"),
    }
}

fn platform_fits(platform: &str, glibc: u32) -> bool {
    match platform {
        "any" | "linux_x86_64" => true,
        "manylinux1_x86_64" => glibc >= 5,
        "manylinux2010_x86_64" => glibc >= 12,
        "manylinux2014_x86_64" => glibc >= 17,
        other => other
            .strip_prefix("manylinux_2_")
            .and_then(|rest| rest.strip_suffix("_x86_64"))
            .and_then(|minor| minor.parse::<u32>().ok())
            .is_some_and(|minor| minor <= glibc),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIXIE: Interpreter = Interpreter {
        minor: 13,
        glibc: 41,
    };

    #[test]
    fn tags_fit_the_interpreter() {
        for (file, fits) in [
            ("a-1-py3-none-any.whl", true),
            ("a-1-py2.py3-none-any.whl", true),
            ("a-1-py2-none-any.whl", false),
            (
                "a-1-cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
                true,
            ),
            ("a-1-cp314-abi3-manylinux_2_17_x86_64.whl", false),
            ("a-1-cp313-cp313-manylinux_2_28_x86_64.whl", true),
            ("a-1-cp313-cp313t-manylinux_2_28_x86_64.whl", false),
            ("a-1-cp312-cp312-manylinux_2_28_x86_64.whl", false),
            ("a-1-cp313-cp313-manylinux_2_99_x86_64.whl", false),
            ("a-1-cp313-cp313-manylinux_2_28_aarch64.whl", false),
            ("a-1-cp313-cp313-musllinux_1_2_x86_64.whl", false),
            ("a-1-2build-py3-none-manylinux1_x86_64.whl", true),
        ] {
            assert_eq!(FileName::parse(file).unwrap().fits(TRIXIE), fits, "{file}");
        }
        assert_eq!(FileName::parse("a-1-py3-none.whl"), None);
        assert_eq!(FileName::parse("a-1-x-py3-none-any.whl"), None);
        assert_eq!(FileName::parse("a-1-py3-none-any.zip"), None);
    }
}
