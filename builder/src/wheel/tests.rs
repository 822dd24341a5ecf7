//! Wheels made here, good and bad.

use std::io::{Cursor, Seek as _, Write};

use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;

use super::*;
use crate::tree::path;

const INFO: &str = "demo-1.0.dist-info";

fn target() -> Target {
    Target {
        interpreter: Interpreter {
            minor: 13,
            glibc: 41,
        },
        command: "/usr/bin/python3".into(),
        site: path("usr/lib/python3/dist-packages"),
    }
}

/// A wheel of `files`, with a right RECORD unless `record` is given.
fn wheel(files: &[(&str, &[u8])], metadata: &str, record: Option<&str>) -> Vec<u8> {
    let info = |name: &str| format!("{INFO}/{name}");
    let mut all: Vec<(String, Vec<u8>)> = files
        .iter()
        .map(|(n, b)| ((*n).to_owned(), b.to_vec()))
        .collect();
    all.push((
        info("WHEEL"),
        b"Wheel-Version: 1.0\nTag: py3-none-any\n".to_vec(),
    ));
    all.push((
        info("METADATA"),
        format!("Name: demo\nVersion: 1.0\n{metadata}\n").into_bytes(),
    ));
    let mut right = Record::default();
    for (name, body) in &all {
        right.set(name.clone(), &Content::new(body.to_vec()));
    }
    let right = right.encode(&info("RECORD"));
    all.push((
        info("RECORD"),
        record.map_or(right, |r| r.as_bytes().to_vec()),
    ));
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, body) in &all {
        let mode = if name.ends_with("tool") { 0o755 } else { 0o600 };
        zip.start_file(
            name.as_str(),
            SimpleFileOptions::default().unix_permissions(mode),
        )
        .unwrap();
        zip.write_all(body).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A file of these bytes.
fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn run(bytes: Vec<u8>) -> Result<Installed, WheelError> {
    let locked = Locked {
        name: "demo",
        version: "1.0",
        file: "demo-1.0-py3-none-any.whl",
        sha256: Digest([7; 32]),
    };
    install(file(&bytes), locked, &target())
}

fn text(installed: &Installed, at: &str) -> String {
    let (_, entry) = installed
        .files
        .iter()
        .find(|(p, _)| *p == path(at))
        .unwrap_or_else(|| panic!("no {at}"));
    let bytes = entry.content().unwrap().read().unwrap();
    String::from_utf8(bytes.into_owned()).unwrap()
}

#[test]
fn install_places_schemes_commands_and_record() {
    let bytes = wheel(
        &[
            ("demo/__init__.py", b"x = 1\n"),
            ("demo-1.0.data/scripts/tool", b"#!python\nprint(1)\n"),
            ("demo-1.0.data/purelib/extra.py", b""),
            ("demo-1.0.data/data/share/demo/a", b"a"),
            ("demo-1.0.data/headers/demo.h", b"h"),
            ("demo-1.0.dist-info/licenses/LICENSE", b"words"),
            ("demo-1.0.dist-info/NOTICE", b"words"),
            (
                "demo-1.0.dist-info/entry_points.txt",
                b"[console_scripts]\ndemo = demo:main\n",
            ),
        ],
        "License-Expression: MIT\nLicense-File: LICENSE\nLicense-File: NOTICE\nLicense-File: gone\nRequires-Dist: other>=2\nRequires-Dist: t; extra == 'test'",
        None,
    );
    let installed = run(bytes).unwrap();
    let site = "usr/lib/python3/dist-packages";
    assert_eq!(
        text(&installed, &format!("{site}/demo/__init__.py")),
        "x = 1\n"
    );
    let mut commands = installed.files.iter();
    assert!(commands.all(|(p, e)| !p.as_bytes().starts_with(b"usr/bin/") || e.mode == 0o755));
    assert_eq!(
        text(&installed, "usr/bin/tool"),
        "#!/usr/bin/python3\nprint(1)\n"
    );
    assert_eq!(text(&installed, &format!("{site}/extra.py")), "");
    assert_eq!(text(&installed, "usr/share/demo/a"), "a");
    assert_eq!(text(&installed, "usr/include/python3.13/demo/demo.h"), "h");
    assert!(
        text(&installed, "usr/bin/demo")
            .starts_with("#!/usr/bin/python3\nimport sys\nfrom demo import main\n")
    );
    assert_eq!(
        text(&installed, &format!("{site}/{INFO}/INSTALLER")),
        "cloister\n"
    );
    let record = text(&installed, &format!("{site}/{INFO}/RECORD"));
    assert!(record.contains("../../../bin/demo,sha256="), "{record}");
    assert!(
        record.contains(&format!("{INFO}/INSTALLER,sha256=")),
        "{record}"
    );
    assert!(record.ends_with(&format!("{INFO}/RECORD,,\n")), "{record}");
    assert_eq!(
        installed
            .requirements
            .iter()
            .map(|r| r.name.as_str())
            .collect::<Vec<_>>(),
        ["other"]
    );
    assert_eq!(installed.licence.names, ["MIT"]);
    let texts = ["licenses/LICENSE", "NOTICE"].map(|file| format!("/{site}/{INFO}/{file}"));
    assert_eq!(installed.licence.files, texts);
}

#[test]
fn licence_is_the_expression_or_words_or_classifiers() {
    let osi =
        "Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: MIT License";
    for (metadata, wanted) in [
        (
            "License-Expression: MIT OR Zlib\nLicense: other",
            &["MIT OR Zlib"][..],
        ),
        ("License: BSD", &["BSD"]),
        ("License: UNKNOWN", &[]),
        ("License: a whole\n  text", &[]),
        (osi, &["MIT License"]),
        (
            "Classifier: License :: Other/Proprietary License",
            &["Other/Proprietary License"],
        ),
        ("", &[]),
    ] {
        assert_eq!(
            run(wheel(&[], metadata, None)).unwrap().licence.names,
            wanted,
            "{metadata}"
        );
    }
}

#[test]
fn metadata_is_found_without_unpacking_the_rest() {
    let bytes = wheel(
        &[("a.py", b"x")],
        "Requires-Dist: b>=2\nRequires-Dist: c; extra == 'x'",
        None,
    );
    let metadata = metadata_of(Cursor::new(bytes)).unwrap();
    let requirements = requirements_of(&metadata, &Environment::new(13, None)).unwrap();
    assert_eq!(
        requirements
            .iter()
            .map(|r| r.text.as_str())
            .collect::<Vec<_>>(),
        ["b>=2"]
    );
    assert!(metadata_of(Cursor::new(b"no zip".to_vec())).is_err());
}

#[test]
fn install_refuses_paths_that_leave_the_target() {
    for name in [
        "../evil.py",
        "demo/../../evil.py",
        "/etc/evil",
        "demo-1.0.data/data/../../etc/x",
        "demo//x",
    ] {
        let error = run(wheel(&[(name, b"x")], "", None)).unwrap_err();
        assert!(matches!(error, WheelError::Path(_)), "{name}: {error}");
    }
}

#[test]
fn install_refuses_a_record_that_does_not_match() {
    let hash = |body: &[u8]| {
        let mut record = Record::default();
        record.set("x".into(), &Content::new(body.to_vec()));
        String::from_utf8(record.encode("y"))
            .unwrap()
            .lines()
            .next()
            .unwrap()[2..]
            .to_owned()
    };
    let common = format!(
        "{INFO}/WHEEL,{}\n{INFO}/METADATA,{}\n{INFO}/RECORD,,\n",
        hash(b"Wheel-Version: 1.0\nTag: py3-none-any\n"),
        hash(b"Name: demo\nVersion: 1.0\n\n")
    );
    let with = |row: &str| {
        run(wheel(
            &[("a.py", b"good")],
            "",
            Some(&format!("{row}{common}")),
        ))
    };
    assert!(with(&format!("a.py,{}\n", hash(b"good"))).is_ok());
    assert!(matches!(
        with(&format!("a.py,{}\n", hash(b"evil"))),
        Err(WheelError::Record(RecordError::Hash { .. }))
    ));
    assert!(matches!(
        with(""),
        Err(WheelError::Record(RecordError::NotListed(_)))
    ));
    assert!(matches!(
        with("a.py,,\n"),
        Err(WheelError::Record(RecordError::Algorithm { .. }))
    ));
    assert!(matches!(
        with("a.py,md5=x,4\n"),
        Err(WheelError::Record(RecordError::Algorithm { .. }))
    ));
    let more = format!("a.py,{}\nb.py,{}\n", hash(b"good"), hash(b""));
    assert!(matches!(with(&more), Err(WheelError::Record(RecordError::Absent(p))) if p == "b.py"));
}

#[test]
fn install_refuses_other_versions_tags_and_schemes() {
    assert!(matches!(
        run(wheel(&[], "Requires-Python: >=3.14", None)),
        Err(WheelError::Python { .. })
    ));
    let scheme = run(wheel(&[("demo-1.0.data/etc/x", b"")], "", None));
    assert!(matches!(scheme, Err(WheelError::Scheme(_))));
    let bytes = wheel(&[], "", None);
    let mut locked = Locked {
        name: "demo",
        version: "1.0",
        file: "demo-1.0-cp312-cp312-linux_x86_64.whl",
        sha256: Digest([7; 32]),
    };
    assert!(matches!(
        install(file(&bytes), locked, &target()),
        Err(WheelError::Tags { .. })
    ));
    locked.file = "demo-1.0-py3-none-any.whl";
    locked.version = "2.0";
    assert!(matches!(
        install(file(&bytes), locked, &target()),
        Err(WheelError::Field { .. })
    ));
    locked.file = "demo-2.0-py3-none-any.whl";
    assert!(matches!(
        install(file(&bytes), locked, &target()),
        Err(WheelError::Missing(_))
    ));
}

#[test]
fn install_refuses_links_bombs_and_damage() {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink("link", "/etc/passwd", SimpleFileOptions::default())
        .unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    assert!(matches!(run(bytes), Err(WheelError::Kind(p)) if p == "link"));

    let zeros = vec![0_u8; 100 << 20];
    let error = run(wheel(&[("zeros", &zeros)], "", None)).unwrap_err();
    assert!(matches!(error, WheelError::Bomb { .. }), "{error}");

    let good = wheel(&[("demo/a.py", b"hello hello hello")], "", None);
    for end in 0..good.len() {
        assert!(
            run(good[..end].to_vec()).is_err(),
            "accepted the first {end} bytes"
        );
    }
    let sha = Sha256::digest(&good);
    assert_eq!(
        sha,
        Sha256::digest(wheel(&[("demo/a.py", b"hello hello hello")], "", None))
    );
}
