//! An archive, its server and a recipe that uses them; running the program beside them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::archive::{self, Archive};
use crate::server::Server;
use tempfile::TempDir;

/// An archive, its server, and a recipe `small` that uses it.
pub(crate) struct Bench {
    pub(crate) archive: Archive,
    pub(crate) server: Server,
    pub(crate) root: TempDir,
}

impl Bench {
    /// Everything in its good state; nothing is locked yet.
    pub(crate) fn new() -> Bench {
        let archive = Archive::new();
        let server = Server::start(archive.files());
        let root = TempDir::new().unwrap();
        let bench = Bench {
            archive,
            server,
            root,
        };
        std::fs::create_dir_all(bench.recipe().join("files")).unwrap();
        std::fs::create_dir_all(bench.path("recipes/keys")).unwrap();
        std::fs::create_dir_all(bench.path("home")).unwrap();
        std::fs::write(
            bench.path("recipes/keys/archive.asc"),
            bench.archive.public_key(),
        )
        .unwrap();
        std::fs::write(bench.recipe().join("files/run"), "#!/bin/sh\n").unwrap();
        bench.write_recipe(&archive::recipe());
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn recipe(&self) -> PathBuf {
        self.path("recipes/small")
    }

    pub(crate) fn write_recipe(&self, text: &str) {
        std::fs::write(self.recipe().join("recipe.toml"), text).unwrap();
    }

    pub(crate) fn lock_text(&self) -> Option<String> {
        std::fs::read_to_string(self.recipe().join("recipe.lock")).ok()
    }

    /// The program with this bench's store and no configuration of the machine in reach.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.wrapped(Path::new(env!("CARGO_BIN_EXE_cloister")), &[], arguments)
    }

    pub(crate) fn wrapped(&self, program: &Path, before: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.root.path()).env_clear();
        command
            .env("HOME", self.path("home"))
            .env("PATH", self.path("home"));
        command
            .args(before)
            .arg("--store")
            .arg(self.path("store"))
            .args(arguments);
        command
    }

    /// Runs a verb that reaches this bench's archive and index.
    pub(crate) fn online(&self, arguments: &[&str]) -> Ran {
        let (archive, index) = (self.server.url("debian"), self.server.url("simple"));
        let arguments = [arguments, &["--archive", &archive, "--index", &index]].concat();
        ran(self.command(&arguments).output().unwrap())
    }

    pub(crate) fn offline(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().unwrap())
    }

    /// Every file below the store's `sha256/`, and whether its bytes match its name.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, bool)> {
        let mut found = Vec::new();
        for shelf in entries(&self.path("store/sha256")) {
            for file in entries(&shelf) {
                let name = file.file_name().unwrap().to_str().unwrap().to_owned();
                let whole = archive::sha256(&std::fs::read(&file).unwrap()) == name;
                found.push((file, whole));
            }
        }
        found
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn ok(self) -> Ran {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self
    }

    /// Asserts the exit code 2 and that stderr has all of `words`.
    pub(crate) fn refused(self, words: &[&str]) -> Ran {
        assert_eq!(self.code, 2, "{}\n{}", self.out, self.err);
        assert!(self.err.contains("error: "), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "wanted `{word}` in:\n{}", self.err);
        }
        self
    }
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[expect(clippy::disallowed_methods, reason = "sorted right below")]
pub(crate) fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
