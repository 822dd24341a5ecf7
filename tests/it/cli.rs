//! Every verb says what it does; exit codes.

use crate::program::run;

const VERBS: [&str; 11] = [
    "lock",
    "fetch",
    "build",
    "measure",
    "inspect",
    "verify",
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
