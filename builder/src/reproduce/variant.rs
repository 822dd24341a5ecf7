//! One environment of `cloister reproduce`, and the command that builds in it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::checkout::Style;

/// Where Debian and others install libfaketime.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// Everything a build must not depend on.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    /// Word for people: `first` or `second`.
    pub(crate) name: &'static str,
    /// Folder of the copy, relative to the scratch folder.
    pub(crate) folder: &'static str,
    /// How the copy is made.
    pub(crate) style: Style,
    /// Octal umask.
    pub(crate) umask: &'static str,
    /// `TZ`.
    pub(crate) time_zone: &'static str,
    /// `LANG` and `LC_ALL`.
    pub(crate) locale: &'static str,
    /// `--jobs`.
    pub(crate) jobs: usize,
    /// Other user, as the arguments of `unshare`.
    pub(crate) user: Option<&'static [&'static str]>,
    /// libfaketime and the shift of its clock.
    pub(crate) clock: Option<(PathBuf, &'static str)>,
}

/// What could not be varied on this machine, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotVaried {
    /// What stayed the same.
    pub(crate) what: &'static str,
    /// Why.
    pub(crate) why: String,
}

/// The two environments, as far as this machine can make them differ.
pub(crate) fn pair(root: bool) -> ([Variant; 2], Vec<NotVaried>) {
    let mut not_varied = Vec::new();
    let clock = FAKETIME
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file());
    if clock.is_none() {
        not_varied.push(NotVaried {
            what: "clock",
            why: "libfaketime is not installed (Debian: package `faketime`)".to_owned(),
        });
    }
    let other: &[&str] = if root {
        &["--user", "--map-user=1000", "--map-group=1000"]
    } else {
        &["--user", "--map-root-user"]
    };
    let user = match unshares(other) {
        Ok(()) => Some(other),
        Err(why) => {
            not_varied.push(NotVaried { what: "user", why });
            None
        }
    };
    let first = Variant {
        name: "first",
        folder: "a",
        style: Style::Ascending,
        umask: "022",
        time_zone: "UTC",
        locale: "C.UTF-8",
        jobs: 1,
        user: None,
        clock: None,
    };
    let second = Variant {
        name: "second",
        folder: "b/another path, with a comma",
        style: Style::Descending,
        umask: "077",
        time_zone: "Asia/Kathmandu",
        locale: "tr_TR.UTF-8",
        jobs: 3,
        user,
        clock: clock.map(|library| (library, "+400d")),
    };
    ([first, second], not_varied)
}

/// Whether a process may become another user here.
fn unshares(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("unshare")
        .args(arguments)
        .args(["--", "true"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`unshare` cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.trim().to_owned())
}

impl Variant {
    /// What this environment is, in one line.
    pub(crate) fn describe(&self) -> String {
        let user = self
            .user
            .map_or_else(|| "as is".to_owned(), |user| user.join(" "));
        let clock = self.clock.as_ref().map_or("true", |(_, shift)| shift);
        format!(
            "umask {}, TZ {}, LC_ALL {}, {} jobs, user {user}, clock {clock}, files {:?}",
            self.umask, self.time_zone, self.locale, self.jobs, self.style
        )
    }

    /// The command `program arguments...` in this environment, run in `directory` with its own home.
    ///
    /// `kept` are the only variables that come from this process.
    pub(crate) fn command(
        &self,
        program: &Path,
        arguments: &[OsString],
        directory: &Path,
        kept: &BTreeMap<&'static str, OsString>,
    ) -> Command {
        let mut words: Vec<&OsStr> = Vec::new();
        if let Some(user) = self.user {
            words.push("unshare".as_ref());
            words.extend(user.iter().map(OsStr::new));
            words.push("--".as_ref());
        }
        // A shell, because a process can only change its own umask.
        let shell = ["sh", "-c", "umask \"$0\" && exec \"$@\"", self.umask];
        words.extend(shell.iter().map(OsStr::new));
        words.push(program.as_os_str());
        words.extend(arguments.iter().map(OsString::as_os_str));
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .current_dir(directory)
            .env_clear()
            .envs(kept)
            .env("HOME", directory)
            .env("TZ", self.time_zone)
            .env("LANG", self.locale)
            .env("LC_ALL", self.locale)
            .stdin(Stdio::null());
        if let Some((library, shift)) = &self.clock {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME", shift)
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pair_differs_in_everything_it_can() {
        let ([first, second], not_varied) = pair(true);
        assert_ne!(first.style, second.style);
        assert_ne!(first.umask, second.umask);
        assert_ne!(first.time_zone, second.time_zone);
        assert_ne!(first.locale, second.locale);
        assert_ne!(first.jobs, second.jobs);
        let missing = |what| not_varied.iter().any(|entry| entry.what == what);
        assert_eq!(second.user.is_none(), missing("user"));
        assert_eq!(second.clock.is_none(), missing("clock"));
    }

    #[test]
    fn command_runs_with_its_umask_and_environment_only() {
        let ([_, mut second], _) = pair(true);
        second.user = None;
        second.clock = None;
        let kept = BTreeMap::from([("PATH", OsString::from("/usr/bin:/bin"))]);
        let script = "umask; echo $TZ $HOME $CARGO_MANIFEST_DIR";
        let arguments = ["-c".into(), script.into()];
        let output = second
            .command(Path::new("sh"), &arguments, Path::new("/tmp"), &kept)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "0077\nAsia/Kathmandu /tmp\n");
    }
}
