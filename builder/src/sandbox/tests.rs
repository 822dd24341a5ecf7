//! The sandbox with real packages: what a program sees, and what it cannot do.

use std::net::TcpListener;
use std::time::Instant;

use super::*;
use crate::kernel_build::Bench;

const SOON: Duration = Duration::from_secs(60);

/// Runs a shell script in `work`.
fn script(
    bench: &Bench,
    work: &Path,
    text: &str,
    limit: Duration,
) -> Result<Vec<String>, SandboxError> {
    let sandbox = Sandbox::open(&bench.store, &bench.tools()).unwrap();
    let job = Job {
        words: &["sh", "-c", text],
        work,
        read: &[],
        variables: &[],
        epoch: 1_700_000_000,
        limit,
    };
    sandbox.run(&job, &|_| ())
}

#[test]
fn environment_and_names_are_exactly_the_list() {
    let Some(bench) = Bench::get() else { return };
    let work = tempfile::tempdir().unwrap();
    let text = "env | sort; id -u; cat /proc/sys/kernel/hostname; pwd; ls -d /*; cat; awk 'BEGIN { print 6 * 7 }'";
    let said = script(bench, work.path(), text, SOON).unwrap();
    let wanted = [
        "HOME=/build",
        "LC_ALL=C.UTF-8",
        "PATH=/names:/usr/bin:/usr/sbin",
        "PWD=/build",
        "SOURCE_DATE_EPOCH=1700000000",
        "TZ=UTC",
        "0",
        "cloister",
        "/build",
        "/bin",
        "/build",
        "/dev",
        "/lib",
        "/lib64",
        "/names",
        "/proc",
        "/sbin",
        "/tmp",
        "/usr",
        "42",
    ];
    assert_eq!(said, wanted);
}

#[test]
fn nothing_but_the_work_folder_can_be_written() {
    let Some(bench) = Bench::get() else { return };
    let work = tempfile::tempdir().unwrap();
    let text = "for f in /x /usr/x /usr/bin/sh /names/x /dev/null/x /proc/sys/kernel/hostname; do \
        (echo x > $f) 2>/dev/null && echo wrote $f; done; echo x > /tmp/x && echo x > /build/made && echo done";
    assert_eq!(script(bench, work.path(), text, SOON).unwrap(), ["done"]);
    assert_eq!(std::fs::read(work.path().join("made")).unwrap(), b"x\n");
}

#[test]
fn what_a_job_names_is_read_and_not_written() {
    let Some(bench) = Bench::get() else { return };
    let (work, given) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(given.path().join("a"), "in it\n").unwrap();
    let sandbox = Sandbox::open(&bench.store, &bench.tools()).unwrap();
    let text = "cat /given/a; echo $GIVEN $TZ; echo x 2>/dev/null > /given/a || echo refused";
    let job = Job {
        words: &["sh", "-c", text],
        work: work.path(),
        read: &[(given.path(), "/given")],
        variables: &[("GIVEN", "a b".to_owned()), ("TZ", "Asia/Tokyo".to_owned())],
        epoch: 0,
        limit: SOON,
    };
    let said = sandbox.run(&job, &|_| ()).unwrap();
    assert_eq!(said, ["in it", "a b Asia/Tokyo", "refused"]);
    assert_eq!(std::fs::read(given.path().join("a")).unwrap(), b"in it\n");
}

#[test]
fn files_and_processes_of_the_machine_are_not_seen() {
    let Some(bench) = Bench::get() else { return };
    let work = tempfile::tempdir().unwrap();
    let here = work.path().join("secret");
    std::fs::write(&here, "x").unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    for path in [
        &here,
        outside.path(),
        Path::new("/etc/passwd"),
        Path::new(env!("CARGO_MANIFEST_DIR")),
    ] {
        let text = format!(
            "if [ -e '{}' ]; then echo seen; else echo none; fi",
            path.display()
        );
        assert_eq!(
            script(bench, work.path(), &text, SOON).unwrap(),
            ["none"],
            "{}",
            path.display()
        );
    }
    // Its own processes alone: bubblewrap, the shell and `ls`.
    let text = "ls -d /proc/[0-9]* | wc -l; cat /proc/net/dev | grep -c :; grep CapEff /proc/self/status; cat /build/secret";
    let said = script(bench, work.path(), text, SOON).unwrap();
    let count: u32 = said[0].parse().unwrap();
    assert!(count <= 4, "{count} processes");
    assert_eq!(
        said[1..],
        ["1", "CapEff:\t0000000000000000", "x"],
        "a loopback, no capability"
    );
}

#[test]
fn no_address_can_be_reached() {
    let Some(bench) = Bench::get() else { return };
    let work = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let source = format!(
        "#include <stdio.h>\n#include <errno.h>\n#include <string.h>\n#include <arpa/inet.h>\n#include <sys/socket.h>\n\
         int main(void) {{ const char *to[] = {{ \"127.0.0.1\", \"192.0.2.1\" }}; for (int i = 0; i < 2; i++) {{ \
         struct sockaddr_in a = {{ .sin_family = AF_INET, .sin_port = htons({port}) }}; inet_pton(AF_INET, to[i], &a.sin_addr); \
         int s = socket(AF_INET, SOCK_STREAM, 0); int r = connect(s, (struct sockaddr *)&a, sizeof a); \
         printf(\"%s\\n\", r ? strerror(errno) : \"connected\"); }} }}\n"
    );
    // The machine's compiler, for a static program: the tools have no C library's headers.
    std::fs::write(work.path().join("c.c"), source).unwrap();
    let compiled = Command::new("cc")
        .current_dir(work.path())
        .args(["-static", "-o", "connect", "c.c"])
        .status()
        .unwrap();
    assert!(compiled.success());
    let said = script(bench, work.path(), "./connect", SOON).unwrap();
    assert_eq!(said, ["Connection refused", "Network is unreachable"]);
    drop(listener);
}

#[test]
fn a_time_limit_ends_the_program_and_its_children() {
    let Some(bench) = Bench::get() else { return };
    let work = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let text = "echo began; (while :; do echo x >> /build/alive; sleep 0.1; done) & sleep 600";
    let error = script(bench, work.path(), text, Duration::from_secs(1)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20));
    let SandboxError::TimeLimit {
        program,
        seconds: 1,
        output,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((program.as_str(), output.as_str()), ("sh", "began"));
    let alive = || std::fs::metadata(work.path().join("alive")).unwrap().len();
    std::thread::sleep(Duration::from_millis(500));
    let before = alive();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(alive(), before, "a child outlived the limit");
}

#[test]
fn children_end_with_their_program() {
    let Some(bench) = Bench::get() else { return };
    let work = tempfile::tempdir().unwrap();
    let text = "sleep 600 & echo over";
    assert_eq!(script(bench, work.path(), text, SOON).unwrap(), ["over"]);
}

#[test]
fn failure_says_how_and_what_was_said_last() {
    let Some(bench) = Bench::get() else { return };
    let work = tempfile::tempdir().unwrap();
    let text = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i >&2; done; exit 3";
    let error = script(bench, work.path(), text, SOON).unwrap_err();
    let SandboxError::Failed { status, output, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(status.code(), Some(3));
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(
        (lines.len(), lines[0], lines[39]),
        (40, "line 61", "line 100")
    );
    let sandbox = Sandbox::open(&bench.store, &bench.tools()).unwrap();
    let job = Job {
        words: &["no-such-program"],
        work: work.path(),
        read: &[],
        variables: &[],
        epoch: 0,
        limit: SOON,
    };
    let error = sandbox.run(&job, &|_| ()).unwrap_err();
    assert!(
        matches!(&error, SandboxError::Failed { output, .. } if output.contains("no-such-program")),
        "{error}"
    );
}

#[test]
fn a_machine_without_namespaces_is_told_apart_from_a_program_that_fails() {
    let Some(bench) = Bench::get() else { return };
    let work = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::open(&bench.store, &bench.tools()).unwrap();
    let job = Job {
        words: &["true"],
        work: work.path(),
        read: &[],
        variables: &[],
        epoch: 0,
        limit: SOON,
    };
    let inner = sandbox.command(&job).unwrap();
    // In a namespace that allows no further one.
    let mut command = Command::new("unshare");
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    command.args(["--user", "--map-root-user", "sh", "-c", forbid, "sh"]);
    command.arg(inner.get_program()).args(inner.get_args());
    let error = run::run(command, &job, &|_| ()).unwrap_err();
    let SandboxError::Namespaces { said, .. } = &error else {
        panic!("{error}");
    };
    assert!(said.contains("max_*_namespaces exceeded"), "{said}");
    assert!(error.hint().is_some());
}

#[test]
fn the_setting_that_forbids_namespaces_is_named() {
    let setting = |name: &'static str, value: &'static str| {
        forbidding(move |path| (path == Path::new(name)).then(|| value.to_owned()))
    };
    assert_eq!(
        setting("/proc/sys/user/max_user_namespaces", "0\n"),
        Some(("user.max_user_namespaces", "15000"))
    );
    assert_eq!(
        setting(
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1\n"
        ),
        Some(("kernel.apparmor_restrict_unprivileged_userns", "0"))
    );
    assert_eq!(
        setting("/proc/sys/kernel/unprivileged_userns_clone", "1\n"),
        None
    );
    let error = SandboxError::Namespaces {
        said: "setting up uid map: Permission denied".to_owned(),
        setting: setting("/proc/sys/kernel/unprivileged_userns_clone", "0\n"),
    };
    assert_eq!(
        error.hint().unwrap(),
        "allow them with `sysctl -w kernel.unprivileged_userns_clone=1` as root"
    );
}

#[test]
fn names_come_from_packages() {
    let cc = Some(("cc", "/usr/bin/gcc-14".to_owned()));
    assert_eq!(name_of("gcc-14"), cc);
    assert_eq!(name_of("gcc-14-base"), None);
    assert_eq!(name_of("mawk"), Some(("awk", "/usr/bin/mawk".to_owned())));
    assert_eq!(name_of("gcc-"), None);
}
