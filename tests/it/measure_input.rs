//! Every file that `measure`, `inspect` and `diff` take is refused when it is the wrong one: with an error that says what to
//! do, soon, and in memory that does not grow with the file.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::{cloister, repository, said};

/// Address space that a run may use, in KiB: far less than a file of [`HUGE`] bytes.
const MEMORY: &str = "1500000";
/// A run that reads little takes milliseconds; this is for machines under load.
const SOON: Duration = Duration::from_secs(20);
/// Size of a sparse file, in bytes.
const HUGE: u64 = 1 << 40;

/// What each option makes of a file that is no file of its kind.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    /// A format: nothing else will do.
    Format,
    /// Any bytes, but at least one.
    Some,
    /// Any bytes, or none.
    Any,
}

/// Wrong files: name, and what is wrong with them.
const WRONG: [(&str, Wrong); 7] = [
    ("empty", Wrong::Empty),
    ("/dev/null", Wrong::Empty),
    ("one", Wrong::Short),
    ("directory", Wrong::Unreadable),
    ("missing", Wrong::Unreadable),
    ("/proc/self/mem", Wrong::Unreadable),
    ("huge", Wrong::Huge),
];

#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    Empty,
    Short,
    Unreadable,
    Huge,
}

/// Command lines with `FILE` in each place where `measure` and its like take one. Other words in capitals are [`word`]s.
const LINES: [(&str, Takes); 23] = [
    ("measure snp VCPU --firmware FILE", Takes::Format),
    (
        "measure snp VCPU --firmware-digest DIGEST --firmware FILE",
        Takes::Format,
    ),
    (
        "measure snp VCPU --firmware FIRMWARE --kernel FILE",
        Takes::Some,
    ),
    (
        "measure snp VCPU --firmware FIRMWARE --kernel KERNEL --initrd FILE",
        Takes::Any,
    ),
    (
        "measure snp VCPU --firmware FIRMWARE --kernel KERNEL --cmdline-file FILE",
        Takes::Any,
    ),
    (
        "measure explain --digest DIGEST --firmware FILE",
        Takes::Format,
    ),
    (
        "measure id-block --digest DIGEST --id-key FILE",
        Takes::Format,
    ),
    (
        "measure id-block --digest DIGEST --public-key FILE",
        Takes::Format,
    ),
    ("measure tdx --firmware FILE", Takes::Format),
    ("measure tdx --memory 4096 --kernel FILE", Takes::Format),
    (
        "measure tdx --memory 4096 --kernel LINUX --initrd FILE",
        Takes::Any,
    ),
    (
        "measure tdx --memory 4096 --kernel LINUX --cmdline-file FILE",
        Takes::Any,
    ),
    ("measure tdx --ccel FILE", Takes::Format),
    ("measure igvm FILE", Takes::Format),
    ("measure azure --evidence FILE", Takes::Format),
    ("measure uki FILE", Takes::Format),
    ("measure uki UKI --disk FILE", Takes::Format),
    ("measure pe FILE", Takes::Format),
    ("measure image FILE", Takes::Format),
    ("measure image directory --expect FILE", Takes::Format),
    ("measure replay FILE", Takes::Format),
    ("measure export --corim out FILE", Takes::Format),
    ("inspect FILE", Takes::Format),
];

/// What a word of [`LINES`] stands for.
fn word(word: &str, file: &str) -> Vec<String> {
    let tests = |path| repository().join("tests").join(path).display().to_string();
    let word = match word {
        "VCPU" => {
            return ["--vcpus", "1", "--vcpu-model", "EPYC-v4"]
                .map(str::to_owned)
                .into();
        }
        "FILE" => file.to_owned(),
        "DIGEST" => "00".repeat(48),
        "FIRMWARE" => tests("vectors/snp/enforcing.fd"),
        "KERNEL" => tests("vectors/snp/kernel"),
        "LINUX" => tests("vectors/tdx-kernel-modern.bin"),
        "UKI" => tests("fuzz/seeds/uki/plain"),
        plain => plain.to_owned(),
    };
    vec![word]
}

/// A folder with the wrong files.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty"), "").expect("file");
    fs::write(path("one"), "x").expect("file");
    fs::create_dir(path("directory")).expect("folder");
    let huge = fs::File::create(path("huge")).expect("file");
    huge.set_len(HUGE).expect("a sparse file");
    folder
}

/// Runs the program in `folder` with little memory; gives the exit code and what it said on stderr.
fn run(folder: &Path, words: &[String]) -> (i32, String) {
    let script = format!("ulimit -v {MEMORY}; exec \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh"])
        .arg(cloister())
        .args(words);
    command.current_dir(folder).stdin(Stdio::null());
    let begin = Instant::now();
    let said = said(command.output().expect("sh starts"));
    let took = begin.elapsed();
    assert!(took < SOON, "{words:?} took {took:?}");
    (said.code, said.stderr)
}

#[test]
fn every_wrong_file_is_refused_with_a_hint() {
    let folder = folder();
    let (mut refused, mut taken) = (0, 0);
    for (line, takes) in LINES {
        for (file, wrong) in WRONG {
            let words: Vec<String> = line.split(' ').flat_map(|it| word(it, file)).collect();
            let (code, stderr) = run(folder.path(), &words);
            let fine = match wrong {
                Wrong::Empty => takes == Takes::Any,
                Wrong::Short => takes != Takes::Format,
                Wrong::Unreadable | Wrong::Huge => false,
            };
            if fine {
                assert_eq!(code, 0, "{words:?}: {stderr}");
                taken += 1;
                continue;
            }
            assert_eq!(code, 2, "{words:?}: {stderr}");
            assert!(stderr.starts_with("error: "), "{words:?}: {stderr}");
            assert!(stderr.contains("\nhint: "), "{words:?}: {stderr}");
            refused += 1;
        }
    }
    assert_eq!((refused, taken), (148, 13));
}

#[test]
fn diff_says_what_to_do_about_files_that_it_cannot_read() {
    let folder = folder();
    for (a, b) in [
        ("missing", "one"),
        ("one", "missing"),
        ("directory", "directory"),
        ("directory", "one"),
        ("/proc/self/mem", "one"),
    ] {
        let (code, stderr) = run(folder.path(), &["diff", a, b].map(str::to_owned));
        assert_eq!(code, 2, "{a} {b}: {stderr}");
        assert!(stderr.contains("\nhint: "), "{a} {b}: {stderr}");
    }
}

#[test]
fn a_number_of_vcpus_that_no_guest_has_is_refused_at_once() {
    let firmware = repository().join("tests/vectors/snp/enforcing.fd");
    let firmware = firmware.to_str().expect("a path");
    for count in [
        "0",
        "4097",
        "4294967295",
        "18446744073709551616",
        "1-4294967295",
        "-1",
        "x",
        "",
    ] {
        let words = [
            "measure",
            "snp",
            "--firmware",
            firmware,
            "--vcpu-model",
            "EPYC",
            "--vcpus",
        ];
        let words: Vec<String> = words
            .iter()
            .chain([&count])
            .map(|word| (*word).to_owned())
            .collect();
        let (code, stderr) = run(Path::new("."), &words);
        assert_eq!(code, 2, "{count}: {stderr}");
        assert!(stderr.starts_with("error: "), "{count}: {stderr}");
    }
}
