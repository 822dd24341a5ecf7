//! Locks of Python packages as an input of `lock`.

use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;

use crate::archive::{recipe, sha256};
use crate::bench::Bench;

/// Name of the imported lock.
const LOCK: &str = "packages.txt";

/// A file of an index: its name, and what its `METADATA` requires.
type Listed = (&'static str, &'static str);

/// Projects of the index with their files.
const PROJECTS: &[(&str, &[Listed])] = &[
    (
        "app-cpu",
        &[(
            "app_cpu-2.0-py3-none-any.whl",
            "Requires-Dist: fast>=1\nRequires-Dist: big\n",
        )],
    ),
    (
        "fast",
        &[
            ("fast-1.0-cp313-cp313-manylinux_2_28_x86_64.whl", ""),
            (
                "fast-1.0-py3-none-any.whl",
                "Requires-Dist: big; extra == 'gpu'\n",
            ),
            ("fast-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", ""),
            ("fast-1.0-cp313-cp313-win_amd64.whl", ""),
            ("fast-1.0-cp313-cp313-manylinux_2_99_x86_64.whl", ""),
            ("fast-1.0.tar.gz", ""),
        ],
    ),
    ("big", &[("big-3.0-py3-none-any.whl", "")]),
    ("source-only", &[("source_only-1.0.tar.gz", "")]),
];

/// A wheel with this `METADATA`; anything else is only bytes.
fn content(file: &str, requires: &str) -> (Vec<u8>, Vec<u8>) {
    let metadata = format!("Metadata-Version: 2.1\nName: x\nVersion: 1\n{requires}").into_bytes();
    let Some(stem) = file.strip_suffix(".whl") else {
        return (file.repeat(100).into_bytes(), metadata);
    };
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let name = format!("{}.dist-info/METADATA", stem.split("-py3").next().unwrap());
    // Larger than what is read of a wheel's end, where `METADATA` is.
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file(file, stored).unwrap();
    zip.write_all(&file.repeat(8000).into_bytes()).unwrap();
    zip.start_file(name, stored).unwrap();
    zip.write_all(&metadata).unwrap();
    (zip.finish().unwrap().into_inner(), metadata)
}

/// SHA-256 of a file of the index.
fn digest(file: &str) -> String {
    let mut all = PROJECTS.iter().flat_map(|(_, files)| *files);
    let (_, requires) = all.find(|(name, _)| *name == file).unwrap();
    sha256(&content(file, requires).0)
}

/// A bench whose index has all projects, and a recipe that imports `text`.
fn bench(text: &str, python: &str) -> Bench {
    let bench = Bench::new();
    let mut files = bench.archive.files();
    for (project, listed) in PROJECTS {
        let mut entries = Vec::new();
        for (name, requires) in *listed {
            let (bytes, metadata) = content(name, requires);
            entries.push(format!(
                r#"{{"filename":"{name}","url":"../../files/{name}","hashes":{{"sha256":"{}"}},"size":{},"core-metadata":{{"sha256":"{}"}}}}"#,
                sha256(&bytes),
                bytes.len(),
                sha256(&metadata)
            ));
            files.insert(format!("files/{name}"), bytes);
            files.insert(format!("files/{name}.metadata"), metadata);
        }
        let page = format!(r#"{{"meta":{{}},"files":[{}]}}"#, entries.join(","));
        files.insert(format!("simple/{project}/"), page.into_bytes());
    }
    bench.server.set_files(files);
    import(&bench, text, python);
    bench
}

fn import(bench: &Bench, text: &str, python: &str) {
    std::fs::write(bench.recipe().join(LOCK), text).unwrap();
    let lock = format!("lock = \"{LOCK}\"\n{python}");
    bench.write_recipe(&recipe().replace("wheels = [\"Tiny_Model==1.0\"]\n", &lock));
}

fn line(pin: &str, files: &[&str]) -> String {
    let hashes = files
        .iter()
        .map(|file| format!(" \\\n    --hash=sha256:{}", digest(file)));
    format!("{pin}{}\n", hashes.collect::<String>())
}

const CP313: &str = "fast-1.0-cp313-cp313-manylinux_2_28_x86_64.whl";
const ANY: &str = "fast-1.0-py3-none-any.whl";
const APP: &str = "app_cpu-2.0-py3-none-any.whl";
const BIG: &str = "big-3.0-py3-none-any.whl";

fn good() -> [String; 3] {
    [
        line("App_CPU==2.0 ; sys_platform == 'linux'", &[APP]),
        line("fast==1.0", &[CP313, ANY, "fast-1.0.tar.gz"]),
        line("big==3.0", &[BIG]),
    ]
}

fn files(bench: &Bench) -> Vec<String> {
    let lock: toml::Table = bench.lock_text().unwrap().parse().unwrap();
    let wheels = lock["wheel"].as_array().unwrap().iter();
    wheels
        .map(|wheel| wheel["file"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn lock_takes_the_best_file_that_the_imported_lock_has() {
    let bench = bench(&good().concat(), "");
    bench.online(&["lock", "small"]).ok();
    assert_eq!(files(&bench), [APP, BIG, CP313]);
    bench.online(&["fetch", "small"]).ok();
    bench.online(&["lock", "small", "--check"]).ok();

    let only_any = [line("app-cpu==2.0", &[APP]), line("fast==1.0", &[ANY])];
    import(&bench, &only_any.concat(), "wheels = [\"big==3.0\"]\n");
    bench.online(&["lock", "small"]).ok();
    assert_eq!(files(&bench), [APP, BIG, ANY]);
}

#[test]
fn order_and_comments_of_an_imported_lock_do_not_change_the_lock() {
    let [a, b, c] = good();
    let bench = bench(&[a.as_str(), &b, &c].concat(), "");
    bench.online(&["lock", "small"]).ok();
    let text = bench.lock_text().unwrap();
    for order in [[&b, &a, &c], [&c, &b, &a], [&b, &c, &a]] {
        let shuffled: String = order.map(|line| format!("# before\n{line}\n")).concat();
        import(&bench, &shuffled, "");
        bench.online(&["lock", "small", "--check"]).ok();
        bench.online(&["fetch", "small"]).ok();
    }
    import(&bench, &[a, line("fast==1.0", &[ANY]), c].concat(), "");
    bench
        .online(&["fetch", "small"])
        .refused(&["is stale", "hint: `cloister lock small`"]);
    let ran = bench.online(&["lock", "small", "--check"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(
        ran.out.contains("~ fast (wheel) 1.0: other bytes"),
        "{}",
        ran.out
    );
    assert_eq!(bench.lock_text().unwrap(), text);
}

#[test]
fn complete_pylock_needs_no_page_of_an_index() {
    let entry = |name: &str, version: &str, file: &str| {
        let project = PROJECTS.iter().flat_map(|(_, files)| *files);
        let (_, requires) = project.clone().find(|(known, _)| *known == file).unwrap();
        format!(
            "[[packages]]\nname = \"{name}\"\nversion = \"{version}\"\nwheels = [{{ url = \"https://elsewhere.example/{file}\", \
             size = {}, hashes = {{ sha256 = \"{}\" }} }}]\n",
            content(file, requires).0.len(),
            digest(file)
        )
    };
    let bench = bench("", "");
    let text = format!(
        "lock-version = \"1.0\"\n{}{}",
        entry("app-cpu", "2.0", APP),
        entry("fast", "1", CP313)
    );
    std::fs::write(bench.recipe().join("pylock.toml"), text).unwrap();
    let with = "lock = \"pylock.toml\"\n";
    bench.write_recipe(&recipe().replace("wheels = [\"Tiny_Model==1.0\"]\n", with));
    bench.online(&["lock", "small"]).ok();
    assert_eq!(files(&bench), [APP, CP313]);
    assert!(bench.server.requests("simple/fast/").is_empty());
    let text = bench.lock_text().unwrap();
    assert!(
        !text.contains("elsewhere") && !text.contains("http"),
        "{text}"
    );
    bench.online(&["fetch", "small"]).ok();
    assert!(bench.contents().iter().all(|(_, whole)| *whole));
}

#[test]
fn lock_says_what_exclusions_save_and_who_asks_for_them() {
    let bench = bench(&good().concat(), "exclude = [\"Big\"]\n");
    let ran = bench.online(&["lock", "small"]).ok();
    for words in [
        "left out: big 3.0, ",
        "required by app-cpu (`python.exclude`)",
        "`python.exclude` saves ",
    ] {
        assert!(ran.err.contains(words), "wanted {words}, said {}", ran.err);
    }
    assert_eq!(files(&bench), [APP, CP313]);
    let lock: toml::Table = bench.lock_text().unwrap().parse().unwrap();
    let left_out = &lock["left-out-wheel"][0];
    assert_eq!(left_out["name"].as_str(), Some("big"));
    let size = usize::try_from(left_out["size"].as_integer().unwrap()).unwrap();
    assert_eq!(size, content(BIG, "").0.len());
    bench.online(&["fetch", "small"]).ok();
    assert!(bench.server.requests(&format!("files/{BIG}")).is_empty());
    // From the store: the index is not asked for `METADATA` again.
    let asked = || {
        bench
            .server
            .requests(&format!("files/{APP}.metadata"))
            .len()
    };
    let before = asked();
    let ran = bench.online(&["lock", "small", "--json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["left-out-wheels"][0]["required-by"][0], "app-cpu");
    assert_eq!((before, asked()), (1, 1));
    let changed = format!("files/{APP}.metadata");
    bench.offline(&["store", "gc", "--all"]).ok();
    bench.server.alter(&changed, |bytes| bytes.push(b'x'));
    bench
        .online(&["lock", "small"])
        .refused(&["`METADATA` from", "wanted SHA-256"]);
}

#[test]
fn requirements_are_read_from_the_end_of_a_wheel() {
    let bench = bench(&good().concat(), "exclude = [\"big\"]\n");
    for file in [APP, CP313] {
        bench.server.remove(&format!("files/{file}.metadata"));
    }
    let ran = bench.online(&["lock", "small"]).ok();
    assert!(ran.err.contains("required by app-cpu"), "{}", ran.err);
    assert!(!ran.err.contains("is known only"), "{}", ran.err);
    let starts = bench.server.requests(&format!("files/{APP}"));
    let length = content(APP, PROJECTS[0].1[0].1).0.len();
    assert_eq!(starts, [length - (128 << 10)], "not the whole wheel");
    // Where nothing can be read, that is said.
    bench
        .server
        .alter(&format!("files/{APP}"), |bytes| bytes.fill(0));
    let ran = bench.online(&["lock", "small"]).ok();
    assert!(
        ran.err.contains("what 1 wheels require is known only"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("no wheel is known to require it"),
        "{}",
        ran.err
    );
}

#[test]
fn excluded_package_may_be_replaced_by_a_pin() {
    let [app, fast, _] = good();
    let other = format!("big==2.0 --hash=sha256:{}\n", "0".repeat(64));
    let text = [app, fast, other].concat();
    let bench = bench(&text, "wheels = [\"big==3.0\"]\n");
    bench.online(&["lock", "small"]).refused(&[
        "`big` is in `python.wheels` and in `packages.txt`",
        "hint: take it out of `python.wheels`; to replace",
    ]);
    import(
        &bench,
        &text,
        "wheels = [\"big==3.0\"]\nexclude = [\"big\"]\n",
    );
    let ran = bench.online(&["lock", "small"]).ok();
    assert!(!ran.err.contains("left out: big"), "{}", ran.err);
    assert_eq!(files(&bench), [APP, BIG, CP313]);
}

/// What is imported, what is said, what to change.
type Refusal = (String, [&'static str; 3]);

/// Hashes of files that cannot be taken.
fn unfit_files() -> Vec<Refusal> {
    let fast = |file| line("fast==1.0", &[file]);
    let foreign = "no locked wheel is for CPython 3.13 on x86-64 Linux with glibc 2.41; locked are `fast-1.0-cp31";
    let hint =
        "hint: make the lock for the image, for example with `uv pip compile --python-version 3.13";
    vec![
        (
            fast("fast-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"),
            ["`fast` 1.0: ", foreign, hint],
        ),
        (
            fast("fast-1.0-cp313-cp313-win_amd64.whl"),
            ["win_amd64", foreign, hint],
        ),
        (
            fast("fast-1.0-cp313-cp313-manylinux_2_99_x86_64.whl"),
            ["manylinux_2_99", foreign, hint],
        ),
        (
            fast("fast-1.0.tar.gz"),
            [
                "line 1: `fast` 1.0: only a source distribution is there",
                "no sdist is ever built",
                "hint: lock a version that has a wheel",
            ],
        ),
        (
            line("source-only==1.0", &["source_only-1.0.tar.gz"]),
            [
                "`source-only` 1.0: ",
                "no sdist is ever built",
                "`python.exclude`",
            ],
        ),
    ]
}

/// Lines that are not a pin with the hash of a file.
fn bad_lines() -> Vec<Refusal> {
    let zeros = "0".repeat(64);
    vec![
        (
            "fast==1.0\n".into(),
            [
                "`packages.txt`",
                "no SHA-256 is given",
                "hint: make the lock with",
            ],
        ),
        (
            format!("fast==1.0 --hash=sha256:{zeros}\n"),
            [
                "`fast` 1.0: none of its 1 hashes is that of a file",
                "(6 of this version are)",
                "hint: make the lock again",
            ],
        ),
        (
            line("unknown==1.0", &[ANY]),
            [
                "`unknown` 1.0: none of its 1 hashes",
                "(0 of this version are)",
                "`--index URL`",
            ],
        ),
        (
            "fast>=1.0\n".into(),
            ["`fast>=1.0` is not", "`name==version`", "hint: "],
        ),
        (
            "--extra-index-url https://x.example\n".into(),
            [
                "option `--extra-index-url`",
                "locations never stand in a recipe",
                "hint: take it out",
            ],
        ),
        (
            [line("fast==1.0", &[ANY]), line("Fast==1.0", &[CP313])].concat(),
            [
                "`fast` 1.0: ",
                "locked twice for this image",
                "hint: make the lock for one",
            ],
        ),
    ]
}

#[test]
fn bad_imports_are_refused_by_their_words_before_anything_is_fetched() {
    let bench = bench("", "");
    let mut checked = 0;
    for (text, words) in unfit_files().into_iter().chain(bad_lines()) {
        import(&bench, &text, "");
        bench.online(&["lock", "small"]).refused(&words);
        assert_eq!(bench.lock_text(), None, "{text}");
        checked += 1;
    }
    assert_eq!(checked, 11);
    for file in [CP313, ANY, "fast-1.0.tar.gz"] {
        assert!(bench.server.requests(&format!("files/{file}")).is_empty());
    }
    let [app, fast, _] = good();
    for (python, words) in [
        (
            "exclude = [\"bigg\"]\n",
            "`python.exclude` has `bigg`, which `packages.txt` does not lock",
        ),
        ("exclude = [\"fsat\"]\n", "`python.exclude` has `fsat`"),
        (
            "alias = [{ name = \"app\", of = \"ap-cpu\" }]\n",
            "alias `app` is of `ap-cpu`, which is not locked\nhint: did you mean `app-cpu`?",
        ),
        (
            "alias = [{ name = \"fast\", of = \"app-cpu\" }]\n",
            "alias `fast`: a wheel of this name is locked, too",
        ),
    ] {
        import(&bench, &[app.as_str(), &fast].concat(), python);
        bench.online(&["lock", "small"]).refused(&[words]);
    }
}

#[test]
fn pins_name_what_there_is_instead() {
    let bench = bench("", "");
    for (pin, words) in [
        (
            "source-only==1.0",
            [
                "no wheel of `source-only` 1.0 fits",
                "no sdist is ever built",
            ],
        ),
        (
            "fast==2.0",
            [
                "no wheel of `fast` 2.0",
                "versions with a fitting wheel: 1.0",
            ],
        ),
    ] {
        bench.write_recipe(&recipe().replace("Tiny_Model==1.0", pin));
        bench.online(&["lock", "small"]).refused(&words);
    }
}
