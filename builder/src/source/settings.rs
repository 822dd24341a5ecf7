//! Locations, from flags, the user's configuration and the machine's own package tools.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use thiserror::Error;

use crate::cmd::Hinted;
use crate::collateral::Services;

/// Prints pip's default index as the last resort: the machine's pip knows it, this program does not.
const PIP_DEFAULT: &str = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";

/// Flags of every verb that reaches the network.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Locations {
    /// Debian archive root, instead of those this machine is configured for; may be repeated
    #[arg(long, value_name = "URL")]
    pub(crate) archive: Vec<String>,
    /// Python package index, instead of those this machine is configured for; may be repeated
    #[arg(long, value_name = "URL")]
    pub(crate) index: Vec<String>,
}

/// `cloister/config.toml` in the user's configuration directory.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct UserFile {
    #[serde(default)]
    archives: Vec<String>,
    #[serde(default)]
    indexes: Vec<String>,
    #[serde(default)]
    collateral: Services,
}

/// Everything that says where bytes may be, in the order in which it is tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Debian archive roots, without a slash at the end.
    pub(crate) archives: Vec<String>,
    /// Python package indexes, without a slash at the end.
    pub(crate) indexes: Vec<String>,
    /// Directories that hold wheels.
    pub(crate) wheel_directories: Vec<PathBuf>,
    /// Extra certificate roots, PEM.
    pub(crate) certificates: Option<PathBuf>,
    /// Whether this machine's apt accepts suites past their `Valid-Until`, because its archive stands still.
    pub(crate) frozen_archive: bool,
}

/// Why locations are not known.
#[derive(Debug, Error)]
pub(crate) enum SettingsError {
    /// No Debian archive.
    #[error("no Debian archive is configured")]
    NoArchive,
    /// No Python package index.
    #[error("no Python package index is configured")]
    NoIndex,
    /// The user's configuration cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The user's configuration is malformed.
    #[error("`{}` is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl Hinted for SettingsError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoArchive => {
                "give `--archive URL`, put `archives = [\"URL\"]` into `cloister/config.toml` in your configuration directory, \
                 or configure apt on this machine"
            }
            Self::NoIndex => {
                "give `--index URL`, put `indexes = [\"URL\"]` into `cloister/config.toml` in your configuration directory, \
                 or configure pip on this machine"
            }
            Self::Malformed { .. } => {
                "it may have `archives` and `indexes`, both lists of URLs, and a table `collateral` with `kds`, `pcs` and `root-crl`"
            }
            Self::Read { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

impl Settings {
    /// Collects the locations: flags alone if there are any, or else the user's file and then the machine's tools.
    pub(crate) fn collect(
        flags: &Locations,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, SettingsError> {
        let file = user_file(environment)?;
        let pip = pip_configuration();
        let mut settings = Self {
            archives: flags.archive.clone(),
            indexes: flags.index.clone(),
            certificates: pip.last("cert").map(PathBuf::from),
            ..Self::default()
        };
        if settings.archives.is_empty() {
            settings.archives = file.archives;
            settings.archives.extend(apt_archives());
            settings.frozen_archive = apt_accepts_expired();
        }
        if settings.indexes.is_empty() {
            settings.indexes = file.indexes;
            settings.add_pip(&pip);
        }
        trim(&mut settings.archives);
        trim(&mut settings.indexes);
        Ok(settings)
    }

    /// The archive roots, of which there is at least one.
    pub(crate) fn archives(&self) -> Result<&[String], SettingsError> {
        if self.archives.is_empty() {
            Err(SettingsError::NoArchive)
        } else {
            Ok(&self.archives)
        }
    }

    fn add_pip(&mut self, pip: &PipConfiguration) {
        let no_index = pip
            .last("no-index")
            .is_some_and(|v| matches!(v, "1" | "true" | "True" | "yes" | "on"));
        if !no_index {
            match pip.last("index-url") {
                Some(url) => self.indexes.push(url.to_owned()),
                None => self.indexes.extend(
                    output("python3", &["-c", PIP_DEFAULT]).map(|url| url.trim().to_owned()),
                ),
            }
            self.indexes.extend(pip.all("extra-index-url"));
        }
        for place in pip.all("find-links") {
            let path = place.strip_prefix("file://").unwrap_or(&place);
            if path.starts_with('/') {
                self.wheel_directories.push(PathBuf::from(path));
            }
        }
    }
}

/// Where the user's file says that collateral comes from.
pub(crate) fn collateral_services(
    environment: &BTreeMap<String, String>,
) -> Result<Services, SettingsError> {
    Ok(user_file(environment)?.collateral)
}

fn trim(urls: &mut Vec<String>) {
    let mut known: Vec<String> = Vec::new();
    for url in urls.drain(..) {
        let url = url.trim_end_matches('/').to_owned();
        if !url.is_empty() && !known.contains(&url) {
            known.push(url);
        }
    }
    *urls = known;
}

fn user_file(environment: &BTreeMap<String, String>) -> Result<UserFile, SettingsError> {
    let set = |name: &str| environment.get(name).filter(|value| value.starts_with('/'));
    let directory = set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(home).join(".config")));
    let Some(path) = directory.map(|directory| directory.join("cloister/config.toml")) else {
        return Ok(UserFile::default());
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).map_err(|source| SettingsError::Malformed {
            path,
            source: Box::new(source),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(UserFile::default()),
        Err(source) => Err(SettingsError::Read { path, source }),
    }
}

/// Archive roots of apt's configured package indices, in apt's order; none where there is no apt.
fn apt_archives() -> Vec<String> {
    let arguments = [
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Identifier: Packages",
    ];
    let listed = output("apt-get", &arguments).unwrap_or_default();
    listed
        .lines()
        .map(str::trim)
        .filter(|url| url.starts_with("http://") || url.starts_with("https://"))
        .map(str::to_owned)
        .collect()
}

fn apt_accepts_expired() -> bool {
    output(
        "apt-config",
        &["shell", "CHECK", "Acquire::Check-Valid-Until/b"],
    )
    .is_some_and(|text| text.contains("false"))
}

/// pip's settings in ascending priority: files first, `PIP_*` variables last.
#[derive(Debug, Default, PartialEq, Eq)]
struct PipConfiguration(Vec<(String, String)>);

impl PipConfiguration {
    /// Reads the output of `pip config list`: `global.index-url='URL'`, `:env:.cert='FILE'`.
    fn parse(text: &str) -> Self {
        let mut settings = Vec::new();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
            let value = value.trim().trim_matches(['\'', '"']).replace("\\n", "\n");
            let rank = match section {
                "global" => 0,
                ":env:" => 2,
                "install" | "download" => 1,
                _ => continue,
            };
            settings.push((rank, name.to_owned(), value));
        }
        settings.sort_by_key(|(rank, ..)| *rank);
        Self(
            settings
                .into_iter()
                .map(|(_, name, value)| (name, value))
                .collect(),
        )
    }

    fn last(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.last(name)
            .into_iter()
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect()
    }
}

fn pip_configuration() -> PipConfiguration {
    let listed = output(
        "python3",
        &["-m", "pip", "--disable-pip-version-check", "config", "list"],
    );
    PipConfiguration::parse(&listed.unwrap_or_default())
}

/// Standard output of a program that ended well; `None` where it is missing or failed.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_settings_of_the_environment_win_over_files() {
        let text = ":env:.index-url='https://a.example/simple'\nglobal.index-url='https://b.example/simple'\n\
                    global.find-links='/x\\n/y'\nfreeze.all='1'\n";
        let pip = PipConfiguration::parse(text);
        assert_eq!(pip.last("index-url"), Some("https://a.example/simple"));
        assert_eq!(pip.all("find-links"), ["/x", "/y"]);
        assert_eq!(pip.last("all"), None);
    }

    #[test]
    fn flags_replace_what_the_machine_is_configured_for() {
        let flags = Locations {
            archive: vec!["http://a.example/debian/".into()],
            index: vec!["http://i.example".into()],
        };
        let settings = Settings::collect(&flags, &BTreeMap::new()).unwrap();
        assert_eq!(settings.archives, ["http://a.example/debian"]);
        assert_eq!(settings.indexes, ["http://i.example"]);
        assert!(settings.wheel_directories.is_empty());
    }

    #[test]
    fn user_file_refuses_unknown_keys() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".config/cloister/config.toml");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let environment = BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
        std::fs::write(&path, "archives = [\"http://a.example\"]\n").unwrap();
        assert_eq!(
            user_file(&environment).unwrap().archives,
            ["http://a.example"]
        );
        std::fs::write(&path, "archive = \"http://a.example\"\n").unwrap();
        assert!(matches!(
            user_file(&environment),
            Err(SettingsError::Malformed { .. })
        ));
    }
}
