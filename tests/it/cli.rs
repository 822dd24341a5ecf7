//! Every verb says what it does; exit codes.

use crate::program::{command, repository, run};

const VERBS: [&str; 12] = [
    "lock",
    "fetch",
    "build",
    "measure",
    "inspect",
    "verify",
    "gpu",
    "diff",
    "reproduce",
    "boot",
    "connect",
    "store",
];

#[test]
fn help_names_every_verb_and_every_verb_explains_itself() {
    let help = run(["--help"]);
    assert_eq!(help.code, 0);
    for verb in VERBS {
        assert!(
            help.stdout
                .lines()
                .any(|line| line.trim_start().starts_with(verb)),
            "{verb}: {}",
            help.stdout
        );
        let own = run([verb, "--help"]);
        assert!(
            own.code == 0 && own.stdout.contains("Usage:"),
            "{verb}: {own:#?}"
        );
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_so_on_stderr() {
    for words in [
        &["verify"][..],
        &["boot", "demo", "--port", "x"],
        &["connect", "http://a", "--expect", "f"],
    ] {
        let said = run(words);
        assert_eq!(said.code, 2, "{words:?}: {said:#?}");
        assert!(
            said.stdout.is_empty() && said.stderr.contains("error:"),
            "{words:?}: {said:#?}"
        );
    }
}

#[test]
fn an_unknown_recipe_is_named() {
    for verb in ["build", "fetch", "boot", "reproduce"] {
        let said = run([verb, "no-such-recipe"]);
        assert_eq!(said.code, 2, "{verb}: {said:#?}");
        assert!(said.stderr.contains("no-such-recipe"), "{verb}: {said:#?}");
    }
}

#[test]
fn connect_listens_on_loopback_addresses_only() {
    let said = run([
        "connect",
        "https://localhost",
        "--expect",
        "f",
        "--listen",
        "0.0.0.0:8000",
    ]);
    assert_eq!(said.code, 2);
    assert!(said.stderr.contains("not a loopback address"), "{said:#?}");
}

/// Judging and computing need no store: neither a place for one nor the right to make it.
#[test]
fn verbs_that_use_no_store_run_without_a_home() {
    let vectors = repository().join("tests/vectors/snp");
    let file = |name: &str| vectors.join(name).display().to_string();
    let (firmware, kernel) = (file("enforcing.fd"), file("kernel"));
    let mut measure = vec![
        "measure",
        "snp",
        "--firmware",
        &firmware,
        "--kernel",
        &kernel,
    ];
    measure.extend(["--vcpus", "1", "--vcpu-model", "EPYC-v4"]);
    let live = ["verify", "https://127.0.0.1:1", "--expect", &kernel];
    let verbs: [(&[&str], i32, &str); 3] = [
        (&measure, 0, ""),
        (&["inspect", &firmware], 0, ""),
        (&live, 2, "reference values"),
    ];
    for (words, code, wanted) in verbs {
        let output = command(words).env_clear().output();
        let output = output.expect("cloister starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(
            said.contains(wanted) && !said.contains("HOME"),
            "{words:?}: {said}"
        );
    }
    let output = command(["store", "path"]).env_clear().output();
    let said = output.expect("cloister starts").stderr;
    assert!(String::from_utf8_lossy(&said).contains("neither `HOME` nor `XDG_CACHE_HOME` is set"));
}
