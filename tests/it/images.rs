//! The images that tests share, each built once in a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cloister_measure::reference::ReferenceValues;

use crate::program::{repository, run, scratch, succeed};

/// A built image.
#[derive(Debug)]
pub(crate) struct Image {
    /// Folder of the recipe it was built from.
    pub(crate) recipe: PathBuf,
    /// Folder of its files.
    pub(crate) out: PathBuf,
}

impl Image {
    /// File of its reference values on QEMU with a software TPM.
    pub(crate) fn expected(&self) -> PathBuf {
        self.expected_on("qemu-vtpm")
    }

    /// Its reference values on QEMU with a software TPM.
    pub(crate) fn reference(&self) -> ReferenceValues {
        self.reference_on("qemu-vtpm")
    }

    /// File of its reference values on `platform`.
    pub(crate) fn expected_on(&self, platform: &str) -> PathBuf {
        self.out.join(format!("measurements/{platform}.json"))
    }

    /// Its reference values on `platform`.
    pub(crate) fn reference_on(&self, platform: &str) -> ReferenceValues {
        let bytes = fs::read(self.expected_on(platform)).expect("reference values");
        ReferenceValues::from_json(&bytes).expect("reference values are well formed")
    }
}

/// The image of `recipes/demo`, from the committed lock if its bytes can still be had.
pub(crate) fn demo() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let committed = repository().join("recipes/demo");
        let fetched = run(["fetch".as_ref(), committed.as_os_str()]);
        if fetched.code == 0 {
            return build(committed, "demo");
        }
        eprintln!(
            "the committed lock of `demo` cannot be used any more, locking afresh:\n{}",
            fetched.stderr
        );
        build(lock_afresh(&committed), "demo")
    })
}

/// The image of the test workload, locked afresh: the smallest recipe that boots.
pub(crate) fn probe() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| build(probe_recipe(), "probe"))
}

/// A locked copy of the test workload's recipe; locked once in a run.
pub(crate) fn probe_recipe() -> PathBuf {
    static RECIPE: OnceLock<PathBuf> = OnceLock::new();
    RECIPE
        .get_or_init(|| lock_afresh(&repository().join("tests/recipes/probe")))
        .clone()
}

/// Copies a recipe, and the archive keys beside it, into `recipes` and gives the copy.
pub(crate) fn copy_recipe(from: &Path, recipes: &Path) -> PathBuf {
    let to = recipes.join(from.file_name().expect("a recipe has a name"));
    copy_folder(&repository().join("recipes/keys"), &recipes.join("keys"));
    copy_folder(from, &to);
    to
}

fn lock_afresh(recipe: &Path) -> PathBuf {
    let copy = copy_recipe(recipe, &scratch().join("recipes"));
    succeed(["lock".as_ref(), copy.as_os_str()]);
    succeed(["fetch".as_ref(), copy.as_os_str()]);
    copy
}

fn build(recipe: PathBuf, name: &str) -> Image {
    let out = scratch().join("out").join(name);
    succeed([
        "build".as_ref(),
        recipe.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ]);
    Image { recipe, out }
}

/// Copies a folder over what is there.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in walk(from) {
        let target = to.join(entry.file_name().expect("an entry has a name"));
        if entry.is_dir() {
            copy_folder(&entry, &target);
        } else {
            fs::copy(&entry, &target).expect("file");
        }
    }
}

/// Entries of a folder, sorted.
#[expect(clippy::disallowed_methods, reason = "sorted here")]
pub(crate) fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    entries.sort();
    entries
}
