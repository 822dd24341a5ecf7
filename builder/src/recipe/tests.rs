//! Tests of reading whole recipes.

use std::path::Path;

use super::find::{RecipeError, find};

const GOOD: &str = r#"schema-version = 1
name = "small"
platforms = ["qemu-vtpm"]

[base]
suite = "trixie"
architecture = "amd64"
keys = ["a.asc"]
packages = ["libc6"]

[kernel]
package = "linux-image-cloud-amd64"
modules = ["virtio_blk"]
cmdline = ["console=ttyS0"]

[tools]
erofs = { suite = "trixie", package = "erofs-utils" }
stub = { suite = "trixie", package = "systemd-boot-efi", file = "usr/lib/stub" }

[[user]]
name = "workload"
uid = 1000
gid = 1000
home = "/"

[[file]]
path = "/opt/run"
source = "files/run"

[guest]
listen = 443
network = { mode = "dhcp" }
gpu = "none"
model = "root"

[guest.workload]
exec = ["/opt/run"]
user = "workload"
socket = "http.sock"
"#;

/// Writes a recipe `small` below `recipes/` of a new directory.
fn written(text: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("recipes/small");
    std::fs::create_dir_all(directory.join("files")).unwrap();
    std::fs::create_dir_all(root.path().join("recipes/keys")).unwrap();
    std::fs::write(root.path().join("recipes/keys/a.asc"), "").unwrap();
    std::fs::write(directory.join("files/run"), "").unwrap();
    std::fs::write(directory.join("recipe.toml"), text).unwrap();
    root
}

/// What is said about a recipe, with the directory's name taken out.
fn said(text: &str) -> String {
    let root = written(text);
    match find("small", root.path()).unwrap_err() {
        RecipeError::Mistakes(text) => text.replace(&root.path().display().to_string(), "ROOT"),
        other => panic!("{other}"),
    }
}

#[test]
fn find_accepts_a_name_a_directory_and_a_file() {
    let root = written(GOOD);
    let directory = root.path().join("recipes/small");
    for (argument, from) in [
        ("small", root.path()),
        ("small", directory.as_path()),
        ("recipes/small", root.path()),
        ("recipes/small/recipe.toml", root.path()),
        (directory.to_str().unwrap(), Path::new("/")),
    ] {
        let (recipe, found) = find(argument, from).unwrap();
        assert_eq!(
            (recipe.name.as_str(), found),
            ("small", directory.clone()),
            "{argument}"
        );
    }
    for argument in ["other", "", "..", "recipes"] {
        let error = find(argument, root.path()).unwrap_err();
        assert!(matches!(error, RecipeError::NotFound { .. }), "{argument}");
    }
}

#[test]
fn every_mistake_is_reported_with_its_line_and_a_suggestion() {
    let text = GOOD
        .replace("packages = ", "pakages = ")
        .replace("gpu = \"none\"", "gpu = \"h10\"")
        .replace("user = \"workload\"\n", "user = \"worklaod\"\n");
    assert_eq!(
        said(&text),
        r#"error: key `base.packages` is missing
 --> ROOT/recipes/small/recipe.toml:5:1
  |
5 | [base]
  | ^^^^^^
  = hint: add `packages = [...]`

error: unknown key `base.pakages`
 --> ROOT/recipes/small/recipe.toml:9:1
  |
9 | pakages = ["libc6"]
  | ^^^^^^^
  = hint: did you mean `packages`?

error: `guest.gpu` has `h10`, wanted one of `none`, `h100`
  --> ROOT/recipes/small/recipe.toml:33:7
   |
33 | gpu = "h10"
   |       ^^^^^
   = hint: did you mean `h100`?

error: `guest.workload.user`: the recipe has no user `worklaod`
  --> ROOT/recipes/small/recipe.toml:38:8
   |
38 | user = "worklaod"
   |        ^^^^^^^^^^
   = hint: did you mean `workload`?

error: `ROOT/recipes/small/recipe.toml` has 4 mistakes; nothing was done"#
    );
}

/// One mistake each: what of the good recipe becomes what, and what is said.
const REPLACED: &[(&str, &str, &str)] = &[
    (
        "schema-version = 1",
        "schema-version = 2",
        "`schema-version` is 2, wanted 1",
    ),
    ("name = \"small\"\n", "", "key `name` is missing"),
    (
        "listen = 443",
        "listen = \"443\"",
        "`guest.listen` is a string, wanted a whole number",
    ),
    (
        "listen = 443",
        "listen = 70000",
        "`guest.listen` is 70000, wanted a number from 1 to 65535",
    ),
    ("\"qemu-vtpm\"", "\"qemu-tpm\"", "did you mean `qemu-vtpm`?"),
    (
        "[\"a.asc\"]",
        "[\"b.asc\"]",
        "`base.keys`: `b.asc` is not in `ROOT/recipes/keys`",
    ),
    (
        "[\"a.asc\"]",
        "[]",
        "`base.keys` is empty, wanted at least 1",
    ),
    (
        "console=ttyS0",
        "init=/bin/sh",
        "the guest refuses other words",
    ),
    (
        "\"files/run\"",
        "\"files/gone\"",
        "files/gone`: No such file",
    ),
    (
        "\"files/run\"",
        "\"../../../etc/passwd\"",
        "wanted a relative path",
    ),
    ("\"files/run\"", "\"files\"", "is not a regular file"),
    (
        "exec = [\"/opt/run\"]",
        "exec = [\"run\"]",
        "program `run` is not an absolute path",
    ),
    (
        "uid = 1000",
        "uid = 0",
        "`user.uid` is 0, wanted a number from 1 to 65532",
    ),
    (
        "{ mode = \"dhcp\" }",
        "{ mode = \"static\" }",
        "key `guest.network.address` is missing",
    ),
    (
        "[kernel]",
        "[python]\ninterpreter = \"python3\"\nwheels = [\"a>=1\"]\nsite = \"/x\"\n[kernel]",
        "wanted `name==version`",
    ),
    (
        "[kernel]",
        "[python]\ninterpreter = \"python3\"\nsite = \"/x\"\n[kernel]",
        "`python` has neither `wheels` nor `lock`",
    ),
    (
        "[kernel]",
        "[python]\ninterpreter = \"python3\"\nsite = \"/x\"\nlock = \"gone.toml\"\n[kernel]",
        "`python.lock`: `ROOT/recipes/small/gone.toml`: No such file",
    ),
    (
        "[kernel]",
        "[python]\ninterpreter = \"python3\"\nsite = \"/x\"\nlock = \"../../keys/a.asc\"\n[kernel]",
        "wanted a relative path",
    ),
    (
        "[kernel]",
        "[python]\ninterpreter = \"python3\"\nsite = \"/x\"\nwheels = [\"a==1\"]\nexclude = [\"b\"]\n[kernel]",
        "`python.exclude` means nothing without `python.lock`",
    ),
    (
        "[kernel]",
        "[python]\ninterpreter = \"python3\"\nsite = \"/x\"\nlock = \"files/run\"\nexclude = [\"b_c\", \"B.C\"]\n[kernel]",
        "`python.exclude` has `b-c` twice",
    ),
    (
        "[kernel]",
        "[python]\ninterpreter = \"python3\"\nsite = \"/x\"\nwheels = [\"a==1\"]\nalias = [{ name = \"A\", of = \"b\" }]\n[kernel]",
        "`python.alias.name` is `a`, which `python.wheels` installs",
    ),
    (
        "[kernel]",
        "[python]\ninterpreter = \"python3\"\nsite = \"/x\"\nwheels = []\noverride = [{ requirement = \"torch\", version = \"1\", reason = \"x\" }]\n[kernel]",
        "wanted a requirement as a wheel states it",
    ),
    (
        "[kernel]",
        "[python]\ninterpreter = \"python3\"\nsite = \"/x\"\nwheels = []\noverride = [{ requirement = \"torch==2\", version = \"1\" }]\n[kernel]",
        "key `python.override.reason` is missing",
    ),
    ("[kernel]", "[kernel", "has 1 mistake"),
];

/// The same by something added at the end.
const ADDED: &[(&str, &str)] = &[
    (
        "\n[[user]]\nname = \"workload\"\nuid = 1\ngid = 1\nhome = \"/\"\n",
        "`user.name` `workload` is used twice",
    ),
    (
        "\n[disk]\nesp-mib = 1\n",
        "`disk.esp-mib` is 1, wanted a number from 34 to 4096",
    ),
];

#[test]
fn single_mistakes_are_named() {
    let replaced = REPLACED.iter().map(|(from, to, wanted)| {
        assert!(GOOD.contains(from), "{from}");
        (GOOD.replace(from, to), wanted)
    });
    let added = ADDED
        .iter()
        .map(|(text, wanted)| (format!("{GOOD}{text}"), wanted));
    let mut checked = 0;
    for (text, wanted) in replaced.chain(added) {
        let said = said(&text);
        assert!(said.contains(wanted), "wanted {wanted}, said {said}");
        assert!(said.contains("ROOT/recipes/small/recipe.toml:"), "{said}");
        checked += 1;
    }
    assert_eq!(checked, 26);
}

/// The good recipe with a GPU.
fn with_gpu() -> String {
    let canary = r#"
[guest.canary]
path = "/v1/completions"
body = '{"prompt":"The capital of France is"}'
answer = " Paris"
seconds = 600

[gpu]
driver = "550.144.03"
rims-checked-at = "2025-06-01T00:00:00Z"

[[gpu.rim]]
source = "files/run"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"#;
    GOOD.replace("gpu = \"none\"", "gpu = \"h100\"") + canary
}

/// What of the recipe with a GPU becomes what, and what is said.
const GPU_REPLACED: &[(&str, &str, &str)] = &[
    (
        "gpu = \"h100\"",
        "gpu = \"none\"",
        "`guest.gpu` is `none`, and there is a table `[gpu]`",
    ),
    (
        "[guest.canary]\n",
        "[canary]\n",
        "key `guest.canary` is missing",
    ),
    ("body = '{", "body = '", ": wanted JSON"),
    (
        "seconds = 600",
        "seconds = 0",
        "`guest.canary.seconds` is 0, wanted a number from 1 to 86400",
    ),
    ("\" Paris\"", "\"\"", "wanted a text that is not empty"),
    (
        "\"550.144.03\"",
        "\"550\"",
        "wanted the version of a driver",
    ),
    (
        "2025-06-01T00:00:00Z",
        "yesterday",
        "wanted a time as in `2026-11-22T00:00:00Z`",
    ),
    (
        "rims-checked-at",
        "rim-checked-at",
        "did you mean `rims-checked-at`?",
    ),
    (
        "rims-checked-at = \"2025-06-01T00:00:00Z\"\n",
        "",
        "key `gpu.rims-checked-at` is missing, and there is a `[[gpu.rim]]`",
    ),
    (
        "[[gpu.rim]]\nsource = \"files/run\"\nsha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n",
        "",
        "`gpu.rims-checked-at` without a `[[gpu.rim]]`",
    ),
    (
        "source = \"files/run\"\nsha256",
        "source = \"files/gone\"\nsha256",
        "`gpu.rim.source`: `ROOT/recipes/small/files/gone`: No such file",
    ),
];

#[test]
fn gpu_and_canary_stand_or_fall_with_the_guests_gpu() {
    let good = with_gpu();
    let (recipe, _) = find("small", written(&good).path()).unwrap();
    let gpu = recipe.gpu.unwrap();
    assert_eq!((gpu.driver.as_str(), gpu.rims.len()), ("550.144.03", 1));
    assert_eq!(recipe.guest.canary.unwrap().answer, " Paris");
    for (from, to, wanted) in GPU_REPLACED {
        assert!(good.contains(from), "{from}");
        let said = said(&good.replace(from, to));
        assert!(said.contains(wanted), "wanted {wanted}, said {said}");
    }
    assert_eq!(GPU_REPLACED.len(), 11);
    let (undescribed, _) = good.split_once("[gpu]").unwrap();
    let said = said(undescribed);
    assert!(said.contains("key `gpu` is missing"), "{said}");
    assert!(said.contains("has 1 mistake;"), "{said}");
    // A canary is welcome without a GPU.
    let without = good.replace("gpu = \"h100\"", "gpu = \"none\"");
    let (without, _) = without.split_once("[gpu]").unwrap();
    let (recipe, _) = find("small", written(without).path()).unwrap();
    assert!(recipe.guest.canary.is_some() && recipe.gpu.is_none());
}

#[test]
fn modules_of_a_driver_have_one_source_and_patches_that_exist() {
    let modules = |source: &str| {
        format!(
            "{}\n[gpu.modules]\nsource = {source}\nbuild = [\"nvidia\"]\n",
            with_gpu()
        )
    };
    let package = r#"{ suite = "sid", package = "nvidia-open-kernel-source" }"#;
    let (recipe, _) = find("small", written(&modules(package)).path()).unwrap();
    let found = recipe.gpu.unwrap().modules.unwrap();
    assert_eq!(found.build, ["nvidia"]);
    assert!(matches!(found.source, super::DriverSource::Package { suite, .. } if suite == "sid"));
    let sha256 = "0".repeat(64);
    let archive =
        format!(r#"{{ url = "https://driver.example/nvidia.run", sha256 = "{sha256}" }}"#);
    let (recipe, _) = find("small", written(&modules(&archive)).path()).unwrap();
    let found = recipe.gpu.unwrap().modules.unwrap();
    assert!(matches!(found.source, super::DriverSource::Archive { .. }));
    for source in [
        "{}",
        r#"{ suite = "sid" }"#,
        r#"{ url = "https://driver.example/nvidia.run" }"#,
        &archive.replace(
            '{',
            r#"{ suite = "sid", package = "nvidia-open-kernel-source","#,
        ),
    ] {
        let said = said(&modules(source));
        assert!(
            said.contains("is neither a package of a suite nor an archive"),
            "{said}"
        );
    }
    let patched = modules(package) + "patches = [\"a.patch\"]\n";
    assert!(said(&patched).contains(
        "there is neither `patches/a.patch` below the recipe nor `ROOT/recipes/patches/a.patch`"
    ));
    let root = written(&patched);
    std::fs::create_dir(root.path().join("recipes/patches")).unwrap();
    std::fs::write(root.path().join("recipes/patches/a.patch"), "").unwrap();
    assert!(find("small", root.path()).is_ok());
    assert!(said(&modules(package).replace("[\"nvidia\"]", "[]")).contains("gpu.modules.build"));
}

#[test]
fn links_out_of_the_recipe_are_refused() {
    let root = written(GOOD);
    let link = root.path().join("recipes/small/files/run");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    let error = find("small", root.path()).unwrap_err().to_string();
    assert!(
        error.contains("leads out of the recipe's directory"),
        "{error}"
    );
}

#[test]
fn recipes_of_this_repository_have_no_mistakes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in super::find::names(&root).unwrap() {
        find(&name, &root).unwrap();
    }
}
