//! `lock`, `fetch` and `store` of the real program against a small signed archive on this machine.
//!
//! | module | what it is |
//! |---|---|
//! | [`archive`] | a Debian archive and a wheel index, signed by a key made by the test |
//! | [`server`] | serves files over HTTP, and misbehaves as told |
//! | [`good`] | what must work: lock, fetch, export, import, two at once, resume, repair, collect |
//! | [`bad`] | what must be refused, with which words |
//! | [`real`] | the real archive, where it can be reached |

mod archive;
mod bad;
mod good;
mod real;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use archive::Archive;
use server::Server;
use tempfile::TempDir;

/// An archive, its server, and a recipe `small` that uses it.
struct Bench {
    archive: Archive,
    server: Server,
    root: TempDir,
}

impl Bench {
    /// Everything in its good state; nothing is locked yet.
    fn new() -> Bench {
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

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn recipe(&self) -> PathBuf {
        self.path("recipes/small")
    }

    fn write_recipe(&self, text: &str) {
        std::fs::write(self.recipe().join("recipe.toml"), text).unwrap();
    }

    fn lock_text(&self) -> Option<String> {
        std::fs::read_to_string(self.recipe().join("recipe.lock")).ok()
    }

    /// The program with this bench's store and no configuration of the machine in reach.
    fn command(&self, arguments: &[&str]) -> Command {
        self.wrapped(Path::new(env!("CARGO_BIN_EXE_cloister")), &[], arguments)
    }

    fn wrapped(&self, program: &Path, before: &[&str], arguments: &[&str]) -> Command {
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
    fn online(&self, arguments: &[&str]) -> Ran {
        let (archive, index) = (self.server.url("debian"), self.server.url("simple"));
        let arguments = [arguments, &["--archive", &archive, "--index", &index]].concat();
        ran(self.command(&arguments).output().unwrap())
    }

    fn offline(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().unwrap())
    }

    /// Every file below the store's `sha256/`, and whether its bytes match its name.
    fn contents(&self) -> Vec<(PathBuf, bool)> {
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
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn ok(self) -> Ran {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self
    }

    /// Asserts the exit code 2 and that stderr has all of `words`.
    fn refused(self, words: &[&str]) -> Ran {
        assert_eq!(self.code, 2, "{}\n{}", self.out, self.err);
        assert!(self.err.contains("error: "), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "wanted `{word}` in:\n{}", self.err);
        }
        self
    }
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[expect(clippy::disallowed_methods, reason = "sorted right below")]
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
