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
            left_out_wheels: Vec::new(),
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
        self.add(name, "1", role, &bytes);
    }

    /// The C library, whose version decides which wheels fit; the fixture knows version 1 alone, in a plain `tar`.
    fn libc(&mut self) {
        let bytes = deb(
            "libc6",
            "X: abcdefgh\n",
            "",
            &[("./usr/lib/", b'5', "", b"")],
        );
        let from = b"Version: 1\nArchitecture: all\nX: abcdefgh\n";
        let to = b"Version: 2.41-1\nArchitecture: all\nX: abc\n";
        let at = bytes.windows(from.len()).position(|part| part == from);
        let (before, after) = bytes.split_at(at.unwrap());
        let bytes = [before, to, &after[from.len()..]].concat();
        self.add("libc6", "2.41-1", Role::Root, &bytes);
    }

    fn add(&mut self, name: &str, version: &str, role: Role, bytes: &[u8]) {
        self.lock.packages.push(LockedPackage {
            name: name.into(),
            version: version.into(),
            architecture: "all".into(),
            suite: "s".into(),
            path: "p".into(),
            size: bytes.len() as u64,
            sha256: self.store.put(bytes).unwrap(),
            roles: vec![role],
        });
    }

    fn build(&self) -> Result<Built, TreeError> {
        let directory: &Path = self.scratch.path();
        Built::from_lock(Source {
            recipe: &self.recipe,
            directory,
            models: &[],
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

/// A wheel of nothing but its `.dist-info`.
fn wheel(name: &str, version: &str, requires: &str) -> Vec<u8> {
    let info = format!("{name}-{version}.dist-info");
    let metadata = format!(
        "Name: {name}\nVersion: {version}\nLicense-File: COPYING\nClassifier: License :: OSI Approved :: MIT License\n{requires}"
    );
    let files = [
        ("WHEEL", "Wheel-Version: 1.0\n"),
        ("METADATA", &metadata),
        ("licenses/COPYING", "words"),
    ];
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut record = String::new();
    for (file, text) in files {
        let digest = base64::Engine::encode(
            &base64::prelude::BASE64_URL_SAFE_NO_PAD,
            Digest::of(text.as_bytes()).0,
        );
        record.push_str(&format!("{info}/{file},sha256={digest},{}\n", text.len()));
        zip_file(&mut zip, &format!("{info}/{file}"), text);
    }
    record.push_str(&format!("{info}/RECORD,,\n"));
    zip_file(&mut zip, &format!("{info}/RECORD"), &record);
    zip.finish().unwrap().into_inner()
}

fn zip_file(zip: &mut zip::ZipWriter<std::io::Cursor<Vec<u8>>>, name: &str, text: &str) {
    zip.start_file(name, zip::write::SimpleFileOptions::default())
        .unwrap();
    std::io::Write::write_all(zip, text.as_bytes()).unwrap();
}

/// A tree with Python, two wheels and one left out; `tables` end the recipe.
fn with_wheels(tables: &str) -> Case {
    let mut case = Case::new(&format!(
        "[python]\ninterpreter = \"python3.13\"\nsite = \"/site\"\n{tables}"
    ));
    let python: &[(&str, u8, &str, &[u8])] = &[("./usr/bin/python3.13", b'0', "", b"python")];
    case.package("python3.13-minimal", Role::Root, python);
    case.libc();
    for (name, version, requires) in [
        (
            "app-cpu",
            "0.32.0",
            "Requires-Dist: torch==2.13.0+cpu\nRequires-Dist: app>=0.32\nRequires-Dist: cv\nRequires-Dist: gone<2\n",
        ),
        ("torch", "2.13.0", "Requires-Dist: x; extra == 'y'\n"),
    ] {
        let bytes = wheel(&name.replace('-', "_"), version, requires);
        case.lock.wheels.push(LockedWheel {
            name: name.into(),
            version: version.into(),
            file: format!("{}-{version}-py3-none-any.whl", name.replace('-', "_")),
            size: bytes.len() as u64,
            sha256: case.store.put(&bytes).unwrap(),
        });
    }
    case.lock.left_out_wheels = vec![crate::lock::LeftOutWheel {
        name: "cv".into(),
        version: "5".into(),
        size: Some(61),
    }];
    case
}

const OVERRIDE: &str = "[[python.override]]\nrequirement = \"torch == 2.13.0+cpu\"\nversion = \"2.13.0\"\nreason = \"x\"\n";
const ALIAS: &str = "[[python.alias]]\nname = \"app\"\nof = \"App_CPU\"\n";

#[test]
fn report_says_what_wheels_lack() {
    let built = with_wheels("").build().unwrap();
    let unmet = [
        "wheel `app-cpu` requires `app>=0.32`: it is not locked",
        "wheel `app-cpu` requires `gone<2`: it is not locked",
        "wheel `app-cpu` requires `torch==2.13.0+cpu`: 2.13.0 is locked",
    ];
    assert_eq!(built.report.unmet_requirements, unmet);
    let left_out = serde_json::to_value(&built.report.left_out_wheels).unwrap();
    let wanted = r#"[{"bytes":61,"name":"cv","required-by":["app-cpu"],"version":"5"}]"#;
    assert_eq!(left_out.to_string(), wanted);
    assert!(built.tree.get(&path("site/app-0.32.0.dist-info")).is_none());
}

#[test]
fn overrides_and_aliases_meet_requirements() {
    let case = with_wheels(&format!("{OVERRIDE}{ALIAS}"));
    let built = case.build().unwrap();
    let unmet = ["wheel `app-cpu` requires `gone<2`: it is not locked"];
    assert_eq!(built.report.unmet_requirements, unmet);
    let metadata = built
        .tree
        .get(&path("site/app-0.32.0.dist-info/METADATA"))
        .unwrap();
    assert_eq!(metadata.origin.label(), "effect python-alias");
    let other = OVERRIDE.replace("torch == 2.13.0+cpu", "numpy==1");
    let built = with_wheels(&other).build().unwrap();
    let warning = built.report.warnings.first().unwrap();
    assert!(warning.starts_with("override of `numpy==1` by 2.13.0 is not needed"));
}

#[test]
fn alias_of_an_installed_name_is_refused() {
    for (from, to, wanted) in [
        (
            "\"app\"",
            "\"Torch\"",
            "alias `torch`: a wheel of this name is locked, too",
        ),
        (
            "App_CPU",
            "app",
            "alias `app` is of `app`, which is not locked",
        ),
    ] {
        let error = with_wheels(&ALIAS.replace(from, to)).build().unwrap_err();
        assert_eq!(error.to_string(), wanted);
        assert!(error.hint().is_some());
    }
}

#[test]
fn sbom_has_licences_of_wheels() {
    let case = with_wheels("");
    let built = case.build().unwrap();
    let bytes = crate::sbom::write(&case.lock, &built, None).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let components = document["components"].as_array().unwrap();
    let torch = components
        .iter()
        .find(|one| one["name"] == "torch")
        .unwrap();
    assert_eq!(torch["purl"], "pkg:pypi/torch@2.13.0");
    assert_eq!(torch["licenses"][0]["license"]["name"], "MIT License");
    let text = serde_json::json!([{
        "name": "cloister:licence-file", "value": "/site/torch-2.13.0.dist-info/licenses/COPYING",
    }]);
    assert_eq!(torch["properties"], text);
    assert!(
        !components.iter().any(|one| one["name"] == "cv"),
        "it is left out"
    );
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
