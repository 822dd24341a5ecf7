//! The tree stage on the real packages and wheels of `recipes/demo`.
//!
//! `CLOISTER_STORE` names a store that `cloister fetch demo` has filled; `scripts/test.sh` does so.
//! Without it, or when the committed lock names bytes that are gone, the tests say that they are
//! skipped.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::*;
use crate::lock::{Lock, LockedPackage, Role};
use crate::recipe::Recipe;
use crate::store::{Digest, Store};
use crate::tool::Tool;

#[expect(
    clippy::disallowed_methods,
    reason = "where the test's inputs are is up to the machine"
)]
fn filled_store() -> Option<Store> {
    let Ok(directory) = std::env::var("CLOISTER_STORE") else {
        println!("skipped: CLOISTER_STORE names no store");
        return None;
    };
    Some(Store::open(Path::new(&directory)).unwrap())
}

struct Bench {
    _scratch: tempfile::TempDir,
    store: Store,
    lock: Lock,
    recipe: Recipe,
    directory: PathBuf,
}

impl Bench {
    /// A store with the fetched bytes of another and nothing derived.
    fn new() -> Option<Bench> {
        let filled = filled_store()?;
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/demo");
        let text = std::fs::read_to_string(directory.join("recipe.toml")).unwrap();
        let recipe: Recipe = toml::from_str(&text).unwrap();
        let lock = Lock::read(&directory.join("recipe.lock"), "demo").unwrap();
        if let Some(gone) = lock
            .digests()
            .iter()
            .find(|digest| !filled.contains(digest))
        {
            println!(
                "skipped: the store lacks {gone} of the lock: `cloister fetch demo`, or `cloister lock demo`"
            );
            return None;
        }
        let scratch = filled.scratch().unwrap();
        std::os::unix::fs::symlink(filled.dir().join("sha256"), scratch.path().join("sha256"))
            .unwrap();
        let store = Store::open(scratch.path()).unwrap();
        Some(Bench {
            _scratch: scratch,
            store,
            lock,
            recipe,
            directory,
        })
    }

    fn source(&self) -> Source<'_> {
        Source {
            recipe: &self.recipe,
            directory: &self.directory,
            models: &[],
            lock: &self.lock,
            store: &self.store,
            modules: &[],
            cache: true,
        }
    }

    fn build(&self, threads: usize) -> Built {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let start = Instant::now();
        let built = pool.install(|| Built::from_lock(self.source())).unwrap();
        println!(
            "tree of {} entries with {threads} threads in {:?}",
            built.tree.len(),
            start.elapsed()
        );
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        println!(
            "{}",
            status
                .lines()
                .find(|l| l.starts_with("VmHWM"))
                .unwrap_or_default()
        );
        built
    }
}

fn tar(built: &Built) -> Vec<u8> {
    let mut bytes = Vec::new();
    built.tree.tar(&mut bytes, 1_763_000_000).unwrap();
    bytes
}

#[test]
fn real_tree_is_the_same_whatever_the_threads_and_the_cache() {
    let Some(bench) = Bench::new() else { return };
    let first = bench.build(2);
    let bytes = tar(&first);
    println!("{}", serde_json::to_string_pretty(&first.report).unwrap());
    for threads in [1, 2, 5] {
        let again = bench.build(threads);
        assert_eq!(again.tree, first.tree, "{threads} threads, warm cache");
        assert_eq!(again.report, first.report);
        assert_eq!(Digest::of(&tar(&again)), Digest::of(&bytes));
    }
    std::fs::remove_dir_all(bench.store.dir().join("derived/pyc")).unwrap();
    assert_eq!(bench.build(1).tree, first.tree, "bytecode made again");
    let names: Vec<_> = first
        .kernel
        .modules
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    assert!(names.ends_with(&["erofs"]), "{names:?}");
    println!("{names:?}");
}

#[test]
fn real_mkfs_writes_the_same_image_twice() {
    let Some(bench) = Bench::new() else { return };
    let packages: Vec<&LockedPackage> = bench.lock.with_role(Role::Erofs).collect();
    let tool = Tool::open(&bench.store, &packages).unwrap();
    let built = bench.build(2);
    let scratch = bench.store.scratch().unwrap();
    let image = |name: &str| {
        let path = scratch.path().join(name);
        let mut command = tool.command("usr/bin/mkfs.erofs").unwrap();
        command
            .args([
                "--quiet",
                "-x-1",
                "-T1763000000",
                "-Uabababab-abab-abab-abab-abababababab",
                "--tar=f",
            ])
            .arg(&path);
        Tool::run(&bench.store, "mkfs.erofs", command, |out| {
            built.tree.tar(out, 1_763_000_000)
        })
        .unwrap();
        Digest::of(&std::fs::read(path).unwrap())
    };
    assert_eq!(image("a"), image("b"));
    assert!(
        Tool::open(&bench.store, &packages).is_ok(),
        "a second time from the store"
    );
}

/// The loader of the image, in the image, finds a library that only our cache can lead it to.
#[test]
fn real_loader_uses_our_cache() {
    let Some(bench) = Bench::new() else { return };
    let mut tree = bench.build(2).tree;
    let library = path("usr/lib/x86_64-linux-gnu/libgomp.so.1");
    let (at, entry) = tree.follow(&library).map(|(p, e)| (p, e.clone())).unwrap();
    tree.remove(&at);
    tree.remove(&library);
    tree.insert(
        path("opt/only"),
        Entry::directory(0o755, Origin::Effect("test")),
    );
    tree.insert(path("opt/only/libgomp.so.1.0.0"), entry);
    let conf = Content::new(b"/opt/only\n".to_vec());
    tree.insert(
        path("etc/ld.so.conf.d/only.conf"),
        Entry::file(0o644, conf, Origin::Effect("test")),
    );
    let notes = crate::effects::after(&mut tree).unwrap();
    assert_eq!(
        notes,
        ["link `/opt/only/libgomp.so.1` -> `libgomp.so.1.0.0` made, as ldconfig would"]
    );
    let scratch = tempfile::tempdir().unwrap();
    let mut tarball = Vec::new();
    tree.tar(&mut tarball, 0).unwrap();
    let mut unpack = Command::new("tar")
        .args(["x", "--no-same-owner", "-C"])
        .arg(scratch.path())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    unpack.stdin.take().unwrap().write_all(&tarball).unwrap();
    assert!(unpack.wait().unwrap().success());
    let loader = "/usr/lib64/ld-linux-x86-64.so.2";
    let module = "/usr/lib/python3/dist-packages/xllamacpp/xllamacpp.abi3.so";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--root"])
        .arg(scratch.path())
        .args([loader, "--list", module])
        .output();
    let refused = |o: &std::process::Output| String::from_utf8_lossy(&o.stderr).contains("unshare");
    let Some(output) = output.ok().filter(|o| !refused(o)) else {
        println!("skipped: no user namespaces here");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("libgomp.so.1 => /opt/only/libgomp.so.1 "),
        "{output:?}"
    );
}

/// Bytecode of one file made alone equals that made after many others, and the guest's
/// interpreter takes it without looking at the source.
#[test]
fn real_bytecode_depends_on_its_source_alone() {
    let Some(bench) = Bench::new() else { return };
    let packages: Vec<&LockedPackage> = bench.lock.with_role(Role::Root).collect();
    let whole = bench.build(2).tree;
    let compiler = crate::pyc::Compiler {
        store: &bench.store,
        key: crate::tool::key(&packages),
        minor: 13,
        directories: vec![path("usr/lib/python3.13")],
        cache: false,
    };
    let open = || Tool::open(&bench.store, &packages);
    for module in [
        "argparse",
        "enum",
        "functools",
        "ast",
        "os",
        "re/_parser",
        "collections/__init__",
    ] {
        let source = path(&format!("usr/lib/python3.13/{module}.py"));
        let mut alone = Tree::new();
        alone.insert(source.clone(), whole.get(&source).unwrap().clone());
        assert_eq!(
            compiler.run(&mut alone, open).unwrap(),
            Vec::<String>::new()
        );
        let made: Vec<_> = alone
            .iter()
            .filter(|(p, _)| p.as_bytes().ends_with(b".pyc"))
            .collect();
        assert_eq!(made.len(), 1);
        assert_eq!(whole.get(made[0].0), Some(made[0].1), "{module}");
    }
    let tool = open().unwrap();
    let pyc = whole
        .get(&path(
            "usr/lib/python3.13/__pycache__/argparse.cpython-313.pyc",
        ))
        .unwrap();
    let scratch = bench.store.scratch().unwrap();
    std::fs::write(
        scratch.path().join("argparse.pyc"),
        pyc.content().unwrap().read().unwrap(),
    )
    .unwrap();
    let mut command = tool.command("usr/bin/python3.13").unwrap();
    let program = "import sys; sys.path.insert(0, sys.argv[1]); import argparse as a\n\
                   print(a.__cached__, a.ArgumentParser.__init__.__code__.co_filename)";
    command
        .args(["-I", "-S", "-c", program])
        .arg(scratch.path());
    let output = Tool::run(&bench.store, "python", command, |_| Ok(())).unwrap();
    let text = String::from_utf8(output).unwrap();
    assert!(
        text.trim_end()
            .ends_with("argparse.pyc /usr/lib/python3.13/argparse.py"),
        "{text}"
    );
}
