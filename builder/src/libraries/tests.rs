use std::process::Command;

use super::*;
use crate::tree::{Entry, path};

/// What the host's compiler makes of C text.
pub(super) fn compiled(text: &str, flags: &[&str]) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let (source, out) = (scratch.path().join("source.c"), scratch.path().join("out"));
    std::fs::write(&source, text).unwrap();
    let mut cc = Command::new("cc");
    cc.arg("-o").arg(&out).arg(&source).arg("-fPIC").args(flags);
    assert!(cc.status().unwrap().success());
    std::fs::read(out).unwrap()
}

/// A library of this `DT_SONAME` that needs others and looks for them along `run_path`.
fn library(soname: &str, needs: &[&str], run_path: Option<&str>) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let mut flags = vec![
        "-shared".to_owned(),
        "-nostdlib".to_owned(),
        "-Wl,--no-as-needed".to_owned(),
    ];
    flags.push(format!("-Wl,-soname,{soname}"));
    flags.extend(run_path.map(|path| format!("-Wl,--enable-new-dtags,-rpath,{path}")));
    for need in needs {
        let stub = scratch.path().join(need);
        std::fs::write(
            &stub,
            compiled(
                "",
                &["-shared", "-nostdlib", &format!("-Wl,-soname,{need}")],
            ),
        )
        .unwrap();
        flags.push(stub.display().to_string());
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    compiled("int x;", &flags)
}

fn package() -> Origin {
    Origin::Effect("package libx1")
}

fn wheel(name: &str) -> Origin {
    Origin::Wheel {
        name: name.to_owned(),
        version: "12.8".to_owned(),
        sha256: crate::store::Digest([0; 32]),
    }
}

fn tree(files: &[(&str, Vec<u8>, Origin)]) -> Tree {
    let mut tree = Tree::new();
    for (name, bytes, origin) in files {
        let entry = Entry::file(0o644, Content::new(bytes.clone()), origin.clone());
        tree.insert(path(name), entry);
    }
    tree
}

/// The demo's recipe with more of `[root]`.
fn recipe(unresolved: &[&str]) -> Recipe {
    let demo = include_str!("../../../recipes/demo/recipe.toml");
    let mut recipe: Recipe = toml::from_str(demo).unwrap();
    let accept = |library: &&str| crate::recipe::Unresolved {
        libraries: vec![(*library).to_owned()],
        reason: "no RDMA here".to_owned(),
    };
    recipe.root.unresolved = unresolved.iter().map(accept).collect();
    recipe
}

fn judge(tree: &Tree, recipe: &Recipe) -> Result<Found, LibraryError> {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(scratch.path()).unwrap();
    check(tree, recipe, &store, true)
}

/// Where a library is, and whether a file of a package and one of a wheel find it there without help.
const PLACES: [(&str, Option<&str>, bool, bool); 8] = [
    ("usr/lib/libx.so.1", None, true, true),
    ("usr/lib/x86_64-linux-gnu/libx.so.1", None, true, true),
    ("opt/near/libx.so.1", Some("$ORIGIN"), true, true),
    (
        "opt/x/lib/libx.so.1",
        Some("/nowhere:$ORIGIN/../x/lib"),
        true,
        true,
    ),
    (
        "opt/x/lib/libx.so.1",
        Some("${ORIGIN}/../x/lib/."),
        true,
        true,
    ),
    ("opt/x/lib/libx.so.1", Some("/opt/x"), false, true),
    ("opt/x/lib/libx.so.1", None, false, true),
    ("opt/x/lib/libx.so.2", Some("/opt/x/lib"), false, false),
];

#[test]
fn library_is_found_where_the_loader_looks_and_among_wheels() {
    for (place, run_path, by_package, by_wheel) in PLACES {
        let own = library("libx.so", &[], None);
        let needs = library("liba.so.1", &["libx.so.1"], run_path);
        for (origin, found) in [(package(), by_package), (wheel("a"), by_wheel)] {
            let files = [
                (place, own.clone(), wheel("x")),
                ("opt/near/liba.so.1", needs.clone(), origin),
            ];
            let judged = judge(&tree(&files), &recipe(&[]));
            assert_eq!(judged.is_ok(), found, "{place} {run_path:?} {judged:?}");
            assert_eq!(judged.map_or(2, |found| found.files), 2);
        }
    }
}

#[test]
fn configured_directory_and_that_of_the_workload_are_searched() {
    let needs = library("liba.so.1", &["libx.so.1"], None);
    let files = [
        (
            "opt/x/libx.so.1",
            library("libx.so.1", &[], None),
            package(),
        ),
        ("usr/bin/a", needs, package()),
    ];
    let mut tree = tree(&files);
    assert!(judge(&tree, &recipe(&[])).is_err());
    let mut recipe = recipe(&[]);
    let environment = &mut recipe.guest.workload.environment;
    environment.insert("LD_LIBRARY_PATH".to_owned(), "/opt/y:/opt/x".to_owned());
    assert!(judge(&tree, &recipe).is_ok());
    recipe.guest.workload.environment.clear();
    let text = Entry::file(0o644, Content::new(b"/opt/x\n".to_vec()), package());
    tree.insert(path("etc/ld.so.conf.d/x.conf"), text);
    assert!(judge(&tree, &recipe).is_ok());
}

/// A torch without the wheel of its cuSPARSELt: the case that issue 6 asks for.
#[test]
fn missing_cuda_library_is_refused_with_who_needs_it_and_what_to_change() {
    let torch = library(
        "libtorch_cuda.so",
        &["libcusparseLt.so.0", "libcudart.so.12"],
        Some("$ORIGIN/../../nvidia/cuda_runtime/lib"),
    );
    let site = "usr/lib/python3/dist-packages";
    let at = |name: &str| format!("{site}/{name}");
    let (cuda, runtime) = (
        at("torch/lib/libtorch_cuda.so"),
        at("nvidia/cuda_runtime/lib/libcudart.so.12"),
    );
    let files = [
        (cuda.as_str(), torch, wheel("torch")),
        (
            runtime.as_str(),
            library("libcudart.so.12", &[], None),
            wheel("nvidia-cuda-runtime-cu12"),
        ),
    ];
    let tree = tree(&files);
    let mut recipe = recipe(&[]);
    let python = recipe.python.as_mut().unwrap();
    python.exclude = vec!["sentry-sdk".to_owned(), "nvidia-cusparselt-cu12".to_owned()];
    let error = judge(&tree, &recipe).unwrap_err();
    assert_eq!(
        error.to_string(),
        "shared libraries are nowhere in the image: `libcusparseLt.so.0`, needed by \
         `/usr/lib/python3/dist-packages/torch/lib/libtorch_cuda.so` (wheel torch)"
    );
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("`python.exclude` leaves out nvidia-cusparselt-cu12)"),
        "{hint}"
    );
    assert!(hint.contains("`[[root.unresolved]]`"), "{hint}");
}

#[test]
fn accepted_library_is_reported_and_one_that_nothing_needs_too() {
    let needs = library("liba.so.1", &["libmlx5.so.1", "libz.so.9"], None);
    let files: Vec<(String, Vec<u8>, Origin)> = (0..5)
        .map(|number| (format!("opt/{number}/liba.so"), needs.clone(), package()))
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes, origin)| (name.as_str(), bytes.clone(), origin.clone()))
        .collect();
    let tree = tree(&files);
    let error = judge(&tree, &recipe(&["libmlx5.so.1"]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`libz.so.9`, needed by `/opt/0/liba.so`"),
        "{error}"
    );
    assert!(
        error.ends_with("`/opt/2/liba.so` (effect package libx1) and 2 more"),
        "{error}"
    );
    assert!(!error.contains("libmlx5"), "{error}");
    let found = judge(&tree, &recipe(&["libmlx5.so.1", "libz.so.9", "libq.so.1"])).unwrap();
    assert_eq!(
        found.notes,
        [
            "library `libmlx5.so.1` is not in the image, 5 files need it: no RDMA here",
            "library `libz.so.9` is not in the image, 5 files need it: no RDMA here",
            "`root.unresolved` accepts `libq.so.1`, which the image has or nothing needs",
        ]
    );
}

#[test]
fn large_files_are_read_once_and_kept_by_their_digest() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(scratch.path()).unwrap();
    let mut large = library("liba.so.1", &["libx.so.1"], None);
    large.resize(usize::try_from(LARGE).unwrap(), 0);
    let content = Content::new(large);
    let read = kept(&content, &store, true).unwrap().unwrap();
    assert_eq!(read.needed, ["libx.so.1"]);
    let other = Dynamic {
        soname: Some("liba.so.1".to_owned()),
        ..Dynamic::default()
    };
    let text = serde_json::to_vec(&Some(&other)).unwrap();
    let digest = store.put(&text).unwrap();
    store.set_derived(KIND, &content.sha256(), &digest).unwrap();
    assert_eq!(kept(&content, &store, true).unwrap(), Some(other));
    // Without the cache, and after that, it is read from the file.
    assert_eq!(kept(&content, &store, false).unwrap(), Some(read.clone()));
    assert_eq!(kept(&content, &store, true).unwrap(), Some(read));
}
