//! `cloister check` and `cloister deploy` as programs: exit codes and what is refused.

#[cfg(test)]
mod clouds {
    use std::process::Command;

    /// Exit code, standard output, standard error.
    fn run(arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_cloister"))
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    const AZURE: [&str; 7] = [
        "deploy",
        "azure",
        "out/none",
        "--resource-group",
        "g",
        "--location",
        "l",
    ];

    #[test]
    fn deploy_without_dry_run_is_refused_before_anything_is_read() {
        let (code, stdout, stderr) = run(&AZURE);
        assert_eq!((code, stdout.as_str()), (2, ""));
        let wanted = "error: `deploy azure` runs no command of a cloud in this version\n\
                      hint: add `--dry-run` and read what it prints; \
                      `cloister deploy azure --dry-run ... | sh` runs that\n";
        assert_eq!(stderr, wanted);
    }

    #[test]
    fn directory_without_a_build_ends_with_2_and_a_hint() {
        let deploy = [&AZURE[..], &["--dry-run"]].concat();
        for arguments in [&deploy[..], &["check", "out/none", "--cloud", "gcp"]] {
            let (code, stdout, stderr) = run(arguments);
            assert_eq!((code, stdout.as_str()), (2, ""));
            assert!(stderr.starts_with("error: `out/none/manifest.json` could not be read\n"));
            assert!(stderr.ends_with(
                "hint: name an output directory of `cloister build`, such as `out/demo`\n"
            ));
        }
    }

    #[test]
    fn unknown_cloud_and_bad_name_are_usage_errors() {
        let (code, _, stderr) = run(&["check", "out/none", "--cloud", "moon"]);
        assert_eq!(code, 2);
        assert!(
            stderr.contains("azure") && stderr.contains("gcp"),
            "{stderr}"
        );
        let bad = [&AZURE[..], &["--dry-run", "--name", "$(id)"]].concat();
        let (code, _, stderr) = run(&bad);
        assert_eq!(code, 2);
        assert!(stderr.contains("wanted at most 50 of `a-z`"), "{stderr}");
    }
}
