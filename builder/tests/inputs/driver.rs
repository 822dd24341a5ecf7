//! A GPU's driver whose modules are compiled: what `lock` must find, and what it says when it does not.

use crate::archive;
use crate::bench::Bench;

/// The small recipe with a driver of this source.
fn recipe(source: &str) -> String {
    let gpu = format!(
        r#"
[guest.canary]
path = "/v1"
body = "{{}}"
answer = "x"
seconds = 1

[gpu]
driver = "550.163.01"
rims-checked-at = "2025-03-01T00:00:00Z"

[[gpu.rim]]
source = "files/run"
sha256 = "{}"

[gpu.modules]
source = {source}
build = ["nvidia"]
"#,
        "0".repeat(64)
    );
    archive::recipe().replace("gpu = \"none\"", "gpu = \"h100\"") + &gpu
}

#[test]
fn lock_refuses_a_kernel_without_its_own_headers() {
    let bench = Bench::new();
    // The archive has headers of this release, of an earlier version.
    bench.write_recipe(&recipe(r#"{ suite = "test", package = "extra" }"#));
    bench.online(&["lock", "small"]).refused(&[
        "suite `test` has no `linux-headers-6.12.1-cloud-amd64` 6.12.1-1, which is the kernel's",
        "hint: the archive is between two kernels",
    ]);
    assert_eq!(bench.lock_text(), None);
}

#[test]
fn lock_names_a_source_that_the_suite_does_not_have() {
    let bench = Bench::new();
    bench.write_recipe(&recipe(r#"{ suite = "test", package = "exta" }"#));
    bench.online(&["lock", "small"]).refused(&[
        "packages for the sources of the driver's modules in suite `test`",
        "suite has no package `exta`",
        "did you mean `extra`?",
    ]);
}

#[test]
fn lock_says_which_archive_of_nvidia_is_missing() {
    let bench = Bench::new();
    let driver = b"not a driver, but the bytes that were pinned".repeat(1000);
    let sha256 = archive::sha256(&driver);
    let url = bench.server.url("files/driver.run");
    bench.write_recipe(&recipe(&format!(
        r#"{{ url = "{url}", sha256 = "{sha256}" }}"#
    )));
    bench.online(&["lock", "small"]).refused(&[
        &format!("NVIDIA's archive `{url}` (SHA-256 {sha256}) is not in the store"),
        "serve the file under an address of your own in `gpu.modules.source`; the digest stays",
    ]);
    let mut files = bench.archive.files();
    files.insert("files/driver.run".to_owned(), b"other bytes".to_vec());
    bench.server.set_files(files.clone());
    bench.online(&["lock", "small"]).refused(&[
        &format!("NVIDIA's archive `{url}`"),
        &format!("wanted SHA-256 {sha256}"),
    ]);
    files.insert("files/driver.run".to_owned(), driver);
    bench.server.set_files(files);
    bench.online(&["lock", "small"]).refused(&[
        "is in the store, but sources of modules cannot be taken out of it yet",
        "hint: use Debian's source",
    ]);
    assert_eq!(bench.lock_text(), None);
}
