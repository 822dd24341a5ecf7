//! Recipes and locks that no tree can be made of, and one that it can.

use std::path::Path;

use super::*;
use crate::deb::tests::deb;
use crate::lock::Compression;
use crate::store::Digest;
use crate::tree::path;

const RECIPE: &str = r#"
schema-version = 1
name = "t"
platforms = []
[base]
suite = "s"
architecture = "amd64"
keys = []
packages = ["p"]
[kernel]
package = "k"
modules = []
cmdline = []
[tools]
erofs = { suite = "s", package = "e" }
stub = { suite = "s", package = "t" }
[guest]
listen = 443
network = { mode = "dhcp" }
gpu = "none"
model = "root"
[guest.workload]
exec = ["/x"]
user = "u"
socket = "s"
"#;

struct Case {
    scratch: tempfile::TempDir,
    store: Store,
    recipe: Recipe,
    lock: Lock,
}

impl Case {
    fn new(extra: &str) -> Case {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("store")).unwrap();
        let recipe = toml::from_str(&format!("{RECIPE}\n{extra}")).unwrap();
        let lock = Lock {
            schema_version: 1,
            recipe: "t".into(),
            recipe_sha256: Digest([0; 32]),
            epoch: 1,
            compression: Compression {
                zstd: "1.5.7".into(),
                level: 1,
            },
            releases: Vec::new(),
            packages: Vec::new(),
            wheels: Vec::new(),
        };
        let mut case = Case {
            scratch,
            store,
            recipe,
            lock,
        };
        case.package(
            "k",
            Role::Kernel,
            &[
                ("./boot/vmlinuz-6", b'0', "", b"kernel"),
                ("./usr/lib/modules/6/", b'5', "", b""),
            ],
        );
        case
    }

    fn package(&mut self, name: &str, role: Role, data: &[(&str, u8, &str, &[u8])]) {
        let bytes = deb(name, "", "", data);
        self.lock.packages.push(LockedPackage {
            name: name.into(),
            version: "1".into(),
            architecture: "all".into(),
            suite: "s".into(),
            path: "p".into(),
            size: bytes.len() as u64,
            sha256: self.store.put(&bytes).unwrap(),
            roles: vec![role],
        });
    }

    fn build(&self) -> Result<Built, TreeError> {
        let directory: &Path = self.scratch.path();
        Built::from_lock(Source {
            recipe: &self.recipe,
            directory,
            lock: &self.lock,
            store: &self.store,
            modules: &[],
            cache: true,
        })
    }
}

#[test]
fn tree_is_made_of_packages_files_and_effects() {
    let mut case = Case::new(
        "[[user]]\nname = \"u\"\nuid = 1000\ngid = 1000\nhome = \"/\"\n\
         [[file]]\npath = \"/lib/a\"\nsource = \"a.txt\"\nmode = \"0755\"\n\
         [root]\ndrop = [\"/usr/share/doc/**\", \"/nothing\"]\n",
    );
    std::fs::write(case.scratch.path().join("a.txt"), "a").unwrap();
    case.package(
        "p",
        Role::Root,
        &[
            ("./usr/lib/", b'5', "", b""),
            ("./usr/share/doc/p/x", b'0', "", b"x"),
            ("./bin/tool", b'0', "", b"tool"),
        ],
    );
    let built = case.build().unwrap();
    assert_eq!(built.tree.get(&path("usr/lib/a")).unwrap().mode, 0o755);
    assert_eq!(
        built
            .tree
            .get(&path("usr/bin/tool"))
            .unwrap()
            .origin
            .label(),
        "package p"
    );
    assert!(built.tree.get(&path("usr/share")).is_none());
    assert!(built.tree.get(&path("etc/passwd")).is_some());
    assert_eq!(
        built.report.warnings,
        ["pattern `/nothing` of `[root]` matches nothing"]
    );
    assert_eq!(built.kernel.release, "6");
    assert_eq!(case.build().unwrap().tree, built.tree);
}

#[test]
fn files_of_a_recipe_cannot_leave_its_directory_or_the_image() {
    let with = |path: &str, source: &str, mode: &str| {
        Case::new(&format!(
            "[[file]]\npath = \"{path}\"\nsource = \"{source}\"\nmode = \"{mode}\""
        ))
        .build()
        .unwrap_err()
    };
    assert!(matches!(
        with("/a", "../../etc/passwd", "0644"),
        TreeError::Path { .. }
    ));
    assert!(matches!(
        with("/a", "/etc/passwd", "0644"),
        TreeError::Path { .. }
    ));
    assert!(matches!(with("/../a", "x", "0644"), TreeError::Path { .. }));
    assert!(matches!(with("a", "x", "0644"), TreeError::Path { .. }));
    assert!(matches!(with("/a", "x", "0999"), TreeError::Mode { .. }));
    assert!(matches!(with("/a", "x", "77777"), TreeError::Mode { .. }));
    assert!(matches!(
        with("/a", "missing", "0644"),
        TreeError::File { .. }
    ));
}

#[test]
fn file_over_a_package_is_refused_by_name() {
    let mut case = Case::new("[[file]]\npath = \"/etc/x\"\nsource = \"x\"");
    std::fs::write(case.scratch.path().join("x"), "mine").unwrap();
    case.package("p", Role::Root, &[("./etc/x", b'0', "", b"theirs")]);
    let error = case.build().unwrap_err().to_string();
    assert_eq!(
        error,
        "`/etc/x` comes from package p and, with other content, from file x"
    );
}

#[test]
fn missing_bytes_and_missing_modules_have_hints() {
    let mut case = Case::new("");
    case.recipe.kernel.modules = vec!["erofs".into()];
    let error = case.build().unwrap_err();
    assert!(error.hint().unwrap().contains("`modules`"), "{error}");
    case.package("p", Role::Root, &[("./a", b'0', "", b"a")]);
    std::fs::remove_file(case.store.path(&case.lock.packages[1].sha256)).unwrap();
    let error = case.build().unwrap_err();
    assert!(error.hint().unwrap().contains("cloister fetch"), "{error}");
}

#[test]
fn damaged_store_file_is_noticed() {
    let case = Case::new("");
    let file = case.store.path(&case.lock.packages[0].sha256);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = case.build().unwrap_err();
    assert!(
        matches!(&error, TreeError::Unpack(UnpackError::Store { source, .. })
        if matches!(**source, StoreError::Damaged { .. })),
        "{error}"
    );
}
