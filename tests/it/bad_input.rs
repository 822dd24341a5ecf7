//! Mistakes get a clear error and change nothing.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::images::{self, copy_recipe, walk};
use crate::program::{Said, cloister, command, repository, run, said, succeed};

/// A copy of the test workload's locked recipe that a test may spoil.
struct Bench {
    _folder: TempDir,
    recipe: PathBuf,
    out: PathBuf,
    store: PathBuf,
}

impl Bench {
    fn new() -> Bench {
        // Below the repository, so that the guest's sources are found.
        let folder = tempfile::tempdir_in(crate::program::scratch()).expect("a folder");
        let recipe = copy_recipe(&images::probe_recipe(), &folder.path().join("recipes"));
        Bench {
            recipe,
            out: folder.path().join("out"),
            store: folder.path().join("store"),
            _folder: folder,
        }
    }

    /// Replaces text in a file of the recipe; it must be there.
    fn alter(&self, file: &str, from: &str, to: &str) {
        let path = self.recipe.join(file);
        let text = fs::read_to_string(&path).expect("file");
        assert!(text.contains(from), "{file} does not hold {from}");
        fs::write(&path, text.replacen(from, to, 1)).expect("file");
    }

    fn build(&self) -> Said {
        run([
            "build".as_ref(),
            self.recipe.as_os_str(),
            "--out".as_ref(),
            self.out.as_os_str(),
        ])
    }

    /// Runs `fetch` into an own store.
    fn fetch<'a>(&'a self, more: &[&'a OsStr]) -> Said {
        let words = [
            "fetch".as_ref(),
            self.recipe.as_os_str(),
            "--store".as_ref(),
            self.store.as_os_str(),
        ];
        run(words.into_iter().chain(more.iter().copied()))
    }

    /// Insists that a build is refused before it changes anything.
    fn refused(&self) -> String {
        let before = contents(&self.recipe);
        let said = self.build();
        assert_eq!(said.code, 2, "{said:#?}");
        assert!(said.stderr.starts_with("error: "), "{said:#?}");
        assert!(
            !self.out.join("manifest.json").exists(),
            "something was built"
        );
        assert_eq!(contents(&self.recipe), before, "the recipe was changed");
        said.stderr
    }
}

/// Names and contents of a folder's files.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for path in walk(folder) {
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).expect("file");
            found.push((path, bytes));
        }
    }
    found
}

/// A store with everything the test workload's lock names, beside the default one.
fn export() -> PathBuf {
    static EXPORT: OnceLock<PathBuf> = OnceLock::new();
    EXPORT
        .get_or_init(|| {
            let to = crate::program::scratch().join("export");
            let recipe = images::probe_recipe();
            succeed([
                "fetch".as_ref(),
                recipe.as_os_str(),
                "--to".as_ref(),
                to.as_os_str(),
            ]);
            to
        })
        .clone()
}

/// Files in a store whose name is the digest of what they hold, or should be.
fn stored(store: &Path) -> Vec<PathBuf> {
    let folder = store.join("sha256");
    if !folder.is_dir() {
        return Vec::new();
    }
    contents(&folder)
        .into_iter()
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn two_mistakes_are_reported_at_once_with_their_lines() {
    let bench = Bench::new();
    bench.alter("recipe.toml", "[root]\n", "[root]\ncolour = \"red\"\n");
    bench.alter(
        "recipe.toml",
        "socket = \"http.sock\"",
        "socket = \"../http.sock\"",
    );
    let text = bench.refused();
    let recipe = fs::read_to_string(bench.recipe.join("recipe.toml")).expect("recipe");
    for mistake in ["colour", "../http.sock"] {
        assert!(text.contains(mistake), "{mistake}: {text}");
        let line = recipe
            .lines()
            .position(|line| line.contains(mistake))
            .expect("a line")
            + 1;
        assert!(
            text.contains(&format!("recipe.toml:{line}")),
            "line {line}: {text}"
        );
    }
}

#[test]
fn a_recipe_without_a_lock_names_the_verb_that_makes_one() {
    let bench = Bench::new();
    fs::remove_file(bench.recipe.join("recipe.lock")).expect("lock");
    let text = bench.refused();
    assert!(
        text.contains("recipe.lock") && text.contains("cloister lock"),
        "{text}"
    );
}

#[test]
fn a_stale_lock_is_refused() {
    let bench = Bench::new();
    bench.alter(
        "recipe.toml",
        "\"python3.13-minimal\"]",
        "\"python3.13-minimal\", \"libgomp1\"]",
    );
    let text = bench.refused();
    assert!(
        text.contains("stale") && text.contains("cloister lock"),
        "{text}"
    );
}

#[test]
fn a_missing_source_file_is_named() {
    let bench = Bench::new();
    fs::remove_file(bench.recipe.join("files/probe.py")).expect("file");
    let text = bench.refused();
    assert!(text.contains("files/probe.py"), "{text}");
}

/// The limit takes neither another lock nor another root.
#[test]
fn a_disk_larger_than_the_recipe_allows_is_refused() {
    // The guest's programs are in the store then: a compiler's lines would stand before the error.
    images::probe();
    let bench = Bench::new();
    bench.alter("recipe.toml", "esp-mib = 64", "esp-mib = 64\nmax-mib = 70");
    let said = bench.refused();
    assert!(
        said.contains("`max-mib` of the recipe's `[disk]` is 70"),
        "{said}"
    );
    assert!(said.contains("hint: raise `disk.max-mib`"), "{said}");
    bench.alter("recipe.toml", "max-mib = 70", "max-mib = 4096");
    assert_eq!(bench.build().code, 0);
}

#[test]
fn an_empty_store_names_the_verb_that_fills_it() {
    let bench = Bench::new();
    let words = [
        "build".as_ref(),
        bench.recipe.as_os_str(),
        "--out".as_ref(),
        bench.out.as_os_str(),
    ];
    let said = run(words
        .into_iter()
        .chain(["--store".as_ref(), bench.store.as_os_str()]));
    assert_eq!(said.code, 2, "{said:#?}");
    assert!(said.stderr.contains("cloister fetch"), "{said:#?}");
    assert!(!bench.out.join("manifest.json").exists());
}

#[test]
fn a_damaged_store_file_is_named_and_fetch_replaces_it() {
    let bench = Bench::new();
    let from = export();
    let filled = bench.fetch(&["--from".as_ref(), from.as_os_str()]);
    assert_eq!(filled.code, 0, "{filled:#?}");
    let lock = fs::read_to_string(bench.recipe.join("recipe.lock")).expect("lock");
    let kernel = lock
        .split("[[package]]")
        .find(|text| text.contains("name = \"linux-image-"))
        .expect("a kernel");
    let digest = kernel.split("sha256 = \"").nth(1).expect("a digest")[..64].to_owned();
    let damaged = bench.store.join("sha256").join(&digest[..2]).join(&digest);
    let mut bytes = fs::read(&damaged).expect("stored file");
    bytes[1000] ^= 1;
    fs::remove_file(&damaged).expect("stored file");
    fs::write(&damaged, bytes).expect("stored file");
    let words = [
        "build".as_ref(),
        bench.recipe.as_os_str(),
        "--out".as_ref(),
        bench.out.as_os_str(),
    ];
    let said = run(words
        .into_iter()
        .chain(["--store".as_ref(), bench.store.as_os_str()]));
    assert_eq!(said.code, 2, "{said:#?}");
    assert!(
        said.stderr.contains("damaged") && said.stderr.contains(&digest),
        "{said:#?}"
    );
    assert!(said.stderr.contains("cloister fetch"), "{said:#?}");
    let again = bench.fetch(&["--from".as_ref(), from.as_os_str()]);
    assert_eq!(again.code, 0, "{again:#?}");
    let found = said_digest(&damaged);
    assert_eq!(found, digest, "fetch did not replace the file");
}

fn said_digest(path: &Path) -> String {
    let output = Command::new("sha256sum")
        .arg(path)
        .output()
        .expect("sha256sum starts");
    said(output).stdout[..64].to_owned()
}

/// What a spoilt archive answers to every request.
#[derive(Clone, Copy)]
enum Archive {
    /// It has moved on: 404.
    MovedOn,
    /// Other bytes than the lock names.
    Other,
    /// The connection breaks in the middle of the body.
    Breaks,
}

/// Serves a spoilt archive; gives its address.
fn serve(archive: Archive) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let reader = BufReader::new(client.try_clone().expect("a socket"));
            reader
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .for_each(drop);
            let answer = match archive {
                Archive::MovedOn => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
                Archive::Other => {
                    let body = "these are not the bytes";
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
                }
                Archive::Breaks => "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n!<arch>\n".to_owned(),
            };
            client.write_all(answer.as_bytes()).ok();
        }
    });
    format!("http://127.0.0.1:{port}/debian")
}

/// Fetches from a spoilt archive into an empty store, which must stay empty.
fn fetch_fails(archive: Archive) -> String {
    let bench = Bench::new();
    let url = serve(archive);
    let said = bench.fetch(&["--archive".as_ref(), url.as_ref()]);
    assert_eq!(said.code, 2, "{said:#?}");
    assert_eq!(stored(&bench.store), Vec::<PathBuf>::new(), "{said:#?}");
    said.stderr
}

#[test]
fn a_superseded_package_is_named_with_the_way_out() {
    let text = fetch_fails(Archive::MovedOn);
    assert!(text.contains("cloister lock"), "{text}");
    assert!(
        text.contains(".deb") || text.contains("superseded"),
        "{text}"
    );
}

#[test]
fn other_bytes_than_the_locked_ones_are_refused() {
    let text = fetch_fails(Archive::Other);
    assert!(text.contains("SHA-256") || text.contains("bytes"), "{text}");
}

#[test]
fn an_interrupted_download_leaves_nothing_in_the_store() {
    let text = fetch_fails(Archive::Breaks);
    assert!(text.contains("error:"), "{text}");
}

/// Runs a command as root of its own user and mount namespace.
fn in_namespace(script: &str, words: &[&OsStr]) -> Option<Said> {
    let possible = Command::new("unshare")
        .args(["-rm", "--", "true"])
        .stderr(Stdio::null())
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("skipped: user namespaces are not permitted here");
        return None;
    }
    let output = Command::new("unshare")
        .args(["-rm", "--", "sh", "-ec", script, "sh"])
        .args(words)
        .current_dir(repository())
        .stdin(Stdio::null())
        .output();
    Some(said(output.expect("unshare starts")))
}

#[test]
fn a_full_disk_is_said_and_leaves_no_half_written_file() {
    let bench = Bench::new();
    fs::create_dir_all(&bench.store).expect("folder");
    let (from, program) = (export(), cloister());
    let script = r#"mount -t tmpfs -o size=4m none "$1"
        set +e; "$2" fetch "$3" --store "$1" --from "$4"; code=$?
        find "$1/sha256" -type f 2>/dev/null | while read -r file; do
            [ "$(sha256sum < "$file" | cut -c1-64)" = "$(basename "$file")" ] || echo "half-written: $file"
        done; exit $code"#;
    let words = [
        bench.store.as_os_str(),
        program.as_os_str(),
        bench.recipe.as_os_str(),
        from.as_os_str(),
    ];
    let Some(said) = in_namespace(script, &words) else {
        return;
    };
    assert_eq!(said.code, 2, "{said:#?}");
    assert!(said.stderr.contains("no space left"), "{said:#?}");
    assert!(!said.stdout.contains("half-written"), "{said:#?}");
}

#[test]
fn a_machine_without_an_archive_is_told_where_to_name_one() {
    let bench = Bench::new();
    let program = cloister();
    let script = r#"mount -t tmpfs none /etc/apt; export HOME="$1" XDG_CONFIG_HOME="$1" XDG_CACHE_HOME="$1"
        exec "$2" lock "$3""#;
    let words = [
        bench.out.as_os_str(),
        program.as_os_str(),
        bench.recipe.as_os_str(),
    ];
    let before = contents(&bench.recipe);
    let Some(said) = in_namespace(script, &words) else {
        return;
    };
    assert_eq!(said.code, 2, "{said:#?}");
    assert!(
        said.stderr.contains("archive") && said.stderr.contains("--archive"),
        "{said:#?}"
    );
    assert_eq!(contents(&bench.recipe), before, "the lock was changed");
}

#[test]
fn two_builds_of_one_directory_at_once_both_end_well() {
    let bench = Bench::new();
    let start = || {
        command([
            "build".as_ref(),
            bench.recipe.as_os_str(),
            "--out".as_ref(),
            bench.out.as_os_str(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cloister starts")
    };
    let (first, second) = (start(), start());
    for child in [first, second] {
        let said = said(child.wait_with_output().expect("an end"));
        assert_eq!(said.code, 0, "{said:#?}");
    }
    let expected = fs::read(images::probe().out.join("disk.raw")).expect("disk");
    assert!(
        fs::read(bench.out.join("disk.raw")).expect("disk") == expected,
        "another disk came out"
    );
}

#[test]
fn reference_values_that_are_none_are_refused_before_connecting() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("values.json");
    for text in ["", "{}", "[1]"] {
        fs::write(&file, text).expect("file");
        let words = [
            "verify".as_ref(),
            "https://127.0.0.1:9".as_ref(),
            "--expect".as_ref(),
            file.as_os_str(),
        ];
        let said = run(words);
        assert_eq!(said.code, 2, "{said:#?}");
        assert!(said.stderr.contains("reference values"), "{said:#?}");
    }
}
