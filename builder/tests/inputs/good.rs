//! What must work.

use std::time::{Duration, Instant};

use crate::bench::{Bench, entries};
use crate::server::Fault;

const APP: &str = "debian/pool/app_1.0-1_amd64.deb";

#[test]
fn lock_pins_closures_by_role_and_is_the_same_twice() {
    let bench = Bench::new();
    let ran = bench.online(&["lock", "small"]).ok();
    let text = bench.lock_text().unwrap();
    let lock: toml::Table = text.parse().unwrap();
    let packages: Vec<_> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            format!(
                "{} {} {}",
                p["name"].as_str().unwrap(),
                p["version"].as_str().unwrap(),
                p["roles"]
            )
        })
        .collect();
    assert_eq!(
        packages,
        [
            r#"app 1.0-1 ["root"]"#,
            r#"erofs-utils 1.8-1 ["erofs"]"#,
            r#"libc6 2.41-1 ["root", "erofs"]"#,
            r#"linux-image-6.12.1-cloud-amd64 6.12.1-1 ["kernel"]"#,
            r#"python3.13-minimal 3.13.5-1 ["root"]"#,
            r#"systemd-boot-efi 257-1 ["stub"]"#,
        ]
    );
    assert_eq!(
        lock["wheel"][0]["file"].as_str(),
        Some("tiny_model-1.0-py3-none-any.whl")
    );
    assert_eq!(lock["epoch"].as_integer(), Some(1_794_738_093));
    assert!(ran.out.contains("+ app:amd64 (test) 1.0-1"), "{}", ran.out);
    assert!(
        ran.err
            .contains("left out: extra, which python3.13-minimal depends on"),
        "{}",
        ran.err
    );
    assert!(
        !text.contains("127.0.0.1") && !text.contains("http"),
        "a location is in the lock"
    );

    let again = bench.online(&["lock", "small"]).ok();
    assert!(again.out.contains("unchanged"), "{}", again.out);
    bench.online(&["lock", "small", "--check"]).ok();
    assert_eq!(bench.lock_text().unwrap(), text);
}

#[test]
fn lock_check_reports_and_writes_nothing() {
    let bench = Bench::new();
    let ran = bench.online(&["lock", "small", "--check"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.out.contains("would change"), "{}", ran.out);
    assert_eq!(bench.lock_text(), None);
}

#[test]
fn fetch_fills_the_store_once_and_then_needs_no_network() {
    let bench = Bench::new();
    bench.online(&["lock", "small"]).ok();
    let ran = bench.online(&["fetch", "small"]).ok();
    assert!(
        ran.out.contains("7 contents") && ran.out.contains("7 brought"),
        "{}",
        ran.out
    );
    assert!(bench.contents().iter().all(|(_, whole)| *whole));
    let ran = bench.offline(&["fetch", "small", "--json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["brought"], 0);
    assert_eq!(bench.server.requests(APP).len(), 1);
}

#[test]
fn fetch_exports_to_a_store_and_imports_from_one() {
    let bench = Bench::new();
    bench.online(&["lock", "small"]).ok();
    let carried = bench.path("carried");
    bench
        .online(&["fetch", "small", "--to", carried.to_str().unwrap()])
        .ok();
    std::fs::remove_dir_all(bench.path("store")).unwrap();
    bench
        .offline(&["fetch", "small", "--from", carried.to_str().unwrap()])
        .ok();
    assert_eq!(bench.contents().len(), 7);
}

#[test]
fn interrupted_connections_are_continued_in_the_same_run() {
    let bench = Bench::new();
    bench.online(&["lock", "small"]).ok();
    bench.server.fault(APP, Some(Fault::CutOnce(100_000)));
    bench.server.fault(
        "files/tiny_model-1.0-py3-none-any.whl",
        Some(Fault::Busy(2)),
    );
    bench.online(&["fetch", "small"]).ok();
    assert_eq!(bench.server.requests(APP), [0, 100_000]);
    assert!(bench.contents().iter().all(|(_, whole)| *whole));
}

#[test]
fn killed_fetch_is_continued_by_the_next_run() {
    let bench = Bench::new();
    bench.online(&["lock", "small"]).ok();
    bench.server.fault(APP, Some(Fault::Stall(100_000)));
    let (archive, index) = (bench.server.url("debian"), bench.server.url("simple"));
    let arguments = ["fetch", "small", "--archive", &archive, "--index", &index];
    let mut child = bench.command(&arguments).spawn().unwrap();
    let begun = Instant::now();
    let stalled = || {
        let partial = entries(&bench.path("store/partial"));
        partial.iter().any(|path| {
            path.metadata()
                .is_ok_and(|metadata| metadata.len() == 100_000)
        })
    };
    while !stalled() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the download never stalled"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(bench.contents().iter().all(|(_, whole)| *whole));

    bench.server.fault(APP, None);
    bench.online(&["fetch", "small"]).ok();
    assert_eq!(bench.server.requests(APP), [0, 100_000]);
    assert_eq!(
        bench.contents().len(),
        8,
        "seven inputs and the package index"
    );
    assert!(bench.contents().iter().all(|(_, whole)| *whole));
    assert!(entries(&bench.path("store/partial")).is_empty());
}

#[test]
fn two_fetches_at_once_bring_each_content_once() {
    let bench = Bench::new();
    bench.online(&["lock", "small"]).ok();
    let ran = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| bench.online(&["fetch", "small"])));
        both.map(|run| run.join().unwrap())
    });
    for one in ran {
        one.ok();
    }
    assert!(bench.contents().iter().all(|(_, whole)| *whole));
    assert_eq!(bench.server.requests(APP).len(), 1);
}

#[test]
fn damaged_content_is_found_and_replaced() {
    let bench = Bench::new();
    bench.online(&["lock", "small"]).ok();
    bench.online(&["fetch", "small"]).ok();
    let (victim, _) = bench.contents().swap_remove(0);
    let mut bytes = std::fs::read(&victim).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&victim, bytes).unwrap();
    let ran = bench.offline(&["store", "verify"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.out.contains(victim.to_str().unwrap()), "{}", ran.out);
    let name = victim.file_name().unwrap().to_str().unwrap();
    bench
        .offline(&["store", "path", name])
        .refused(&["is damaged", "hint: run `cloister fetch`"]);
    bench.online(&["lock", "small"]).ok();
    bench.online(&["fetch", "small"]).ok();
    bench.offline(&["store", "verify"]).ok();
}

#[test]
fn store_gc_keeps_what_locks_need() {
    let bench = Bench::new();
    bench.online(&["lock", "small"]).ok();
    bench.online(&["fetch", "small"]).ok();
    assert_eq!(bench.contents().len(), 8);
    let ran = bench.offline(&["store", "gc"]).ok();
    assert!(
        ran.out.contains("removed 1 contents") && ran.out.contains("kept 7"),
        "{}",
        ran.out
    );
    bench.offline(&["fetch", "small"]).ok();
    let ran = bench.offline(&["store", "gc", "--all"]).ok();
    assert!(ran.out.contains("kept 0"), "{}", ran.out);
    let ran = bench.offline(&["store", "list"]).ok();
    assert_eq!(ran.out, "");
}
