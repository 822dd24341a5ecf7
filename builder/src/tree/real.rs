//! The tree stage on real packages and wheels, when a directory of them is at hand.
//!
//! `CLOISTER_PACKAGES` names a directory with `root/*.deb`, `kernel/*.deb`, `erofs/*.deb` and
//! `wheels/*.whl`; `scripts/test.sh` fills one from the machine's archives. Without it the tests
//! say that they are skipped.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::*;
use crate::deb::Deb;
use crate::lock::{Compression, Lock, LockedPackage, LockedWheel, Role};
use crate::recipe::Recipe;
use crate::store::{Digest, Store};
use crate::tool::Tool;

#[expect(
    clippy::disallowed_methods,
    reason = "where the test's inputs are is up to the machine"
)]
fn packages() -> Option<PathBuf> {
    let found = std::env::var("CLOISTER_PACKAGES").ok().map(PathBuf::from);
    if found.is_none() {
        println!("skipped: CLOISTER_PACKAGES names no directory of packages");
    }
    found
}

#[expect(clippy::disallowed_methods, reason = "sorted right here")]
fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    files
}

fn lock(directory: &Path, store: &Store) -> Lock {
    let mut packages: std::collections::BTreeMap<String, LockedPackage> =
        std::collections::BTreeMap::new();
    for (name, role) in [
        ("root", Role::Root),
        ("kernel", Role::Kernel),
        ("erofs", Role::Erofs),
    ] {
        for file in sorted(&directory.join(name)) {
            let bytes = std::fs::read(&file).unwrap();
            let control = Deb::read(&bytes).unwrap().control;
            let field = |name: &str| control.field(name).unwrap().to_owned();
            let package = packages
                .entry(field("Package"))
                .or_insert_with(|| LockedPackage {
                    name: field("Package"),
                    version: field("Version"),
                    architecture: field("Architecture"),
                    suite: "trixie".into(),
                    path: file.file_name().unwrap().to_string_lossy().into_owned(),
                    size: bytes.len() as u64,
                    sha256: store.put(&bytes).unwrap(),
                    roles: Vec::new(),
                });
            package.roles.push(role);
        }
    }
    let mut wheels = Vec::new();
    for file in sorted(&directory.join("wheels")) {
        let bytes = std::fs::read(&file).unwrap();
        let file = file.file_name().unwrap().to_string_lossy().into_owned();
        let mut parts = file.split('-');
        wheels.push(LockedWheel {
            name: parts.next().unwrap().replace('_', "-"),
            version: parts.next().unwrap().into(),
            size: bytes.len() as u64,
            sha256: store.put(&bytes).unwrap(),
            file,
        });
    }
    Lock {
        schema_version: 1,
        recipe: "demo".into(),
        recipe_sha256: Digest([0; 32]),
        epoch: 1_763_000_000,
        compression: Compression {
            zstd: "1.5.7".into(),
            level: 9,
        },
        releases: Vec::new(),
        packages: packages.into_values().collect(),
        wheels,
    }
}

struct Bench {
    _scratch: tempfile::TempDir,
    store: Store,
    lock: Lock,
    recipe: Recipe,
    directory: PathBuf,
}

impl Bench {
    fn new() -> Option<Bench> {
        let packages = packages()?;
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(scratch.path()).unwrap();
        let lock = lock(&packages, &store);
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/demo");
        let recipe =
            toml::from_str(&std::fs::read_to_string(directory.join("recipe.toml")).unwrap())
                .unwrap();
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
            lock: &self.lock,
            store: &self.store,
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
    tree.insert(path("opt/only"), Entry::directory(0o755, Origin::Guest));
    tree.insert(path("opt/only/libgomp.so.1.0.0"), entry);
    let conf = Content::new(b"/opt/only\n".to_vec());
    tree.insert(
        path("etc/ld.so.conf.d/only.conf"),
        Entry::file(0o644, conf, Origin::Guest),
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
    let program =
        "import ctypes; print(ctypes.CDLL('libgomp.so.1')._name, open('/proc/self/maps').read())";
    let output = Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c",
        "mount --rbind /proc \"$0/proc\" && exec chroot \"$0\" /usr/bin/python3.13 -S -c \"$1\""]).arg(scratch.path()).arg(program).output();
    let Some(output) = output
        .ok()
        .filter(|o| !String::from_utf8_lossy(&o.stderr).contains("unshare"))
    else {
        println!("skipped: no user namespaces here");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("/opt/only/libgomp.so.1.0.0"), "{output:?}");
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
        pyc.content().unwrap().bytes(),
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
