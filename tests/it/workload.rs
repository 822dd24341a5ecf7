//! What a workload can reach, see and print, as it reports itself from inside a booted guest.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::guest;
use crate::peer::Peer;

/// The workload's report, made once; the host listens meanwhile and tells whether anybody came.
fn report() -> &'static (Value, bool) {
    static REPORT: OnceLock<(Value, bool)> = OnceLock::new();
    REPORT.get_or_init(|| {
        let host = TcpListener::bind("127.0.0.1:0").expect("a port");
        host.set_nonblocking(true).expect("a listener");
        let port = host.local_addr().expect("a port").port();
        let answer =
            Peer::connect(guest::probe().port).ask("GET", &format!("/report?port={port}"), b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        let came = host.accept().is_ok();
        (serde_json::from_slice(&answer.body).expect("JSON"), came)
    })
}

#[test]
fn the_workload_reaches_its_own_loopback_and_nothing_else() {
    let (report, came) = report();
    assert_eq!(report["own loopback"], "ok", "{report:#}");
    for (name, outcome) in report["connect"].as_object().expect("outcomes") {
        assert_ne!(outcome, "ok", "{name}: {report:#}");
    }
    for name in ["host", "resolver", "guest", "elsewhere"] {
        assert_eq!(report["connect"][name], "ENETUNREACH", "{report:#}");
    }
    assert_eq!(
        report["connect"]["gateway on loopback"], "ECONNREFUSED",
        "{report:#}"
    );
    assert!(!came, "the workload reached the host");
    assert_eq!(
        report["interfaces"],
        serde_json::json!(["lo"]),
        "{report:#}"
    );
    assert_ne!(report["raw socket"], "ok", "{report:#}");
}

#[test]
fn the_workload_cannot_open_the_tpm_or_other_devices() {
    let (report, _) = report();
    for (path, outcome) in report["open"].as_object().expect("outcomes") {
        assert_ne!(outcome, "ok", "{path}: {report:#}");
    }
    assert_eq!(report["open"]["/dev/tpmrm0"], "ENOENT", "{report:#}");
    assert_ne!(report["device node"], "ok", "{report:#}");
    let devices: BTreeSet<&str> = report["devices"]
        .as_array()
        .expect("devices")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let allowed = BTreeSet::from([
        "full", "null", "random", "urandom", "zero", "shm", "fd", "stdin", "stdout", "stderr",
    ]);
    assert!(devices.is_subset(&allowed), "{devices:?}");
}

#[test]
fn the_workload_sees_processors_in_sys_and_nothing_of_the_hosts() {
    let (report, _) = report();
    let wanted = serde_json::json!({ "class/net": ["lo"], "firmware": [] });
    assert_eq!(report["sys"], wanted, "{report:#}");
    assert_eq!(report["processors"], "ok", "{report:#}");
    assert_ne!(report["write to sys"], "ok", "{report:#}");
}

#[test]
fn the_workload_sees_the_environment_it_was_given_only() {
    let (report, _) = report();
    let mut environment = report["environment"]
        .as_object()
        .expect("an environment")
        .clone();
    assert_eq!(environment.remove("GIVEN"), Some("by the recipe".into()));
    // The fixed list of docs/guest-configuration.md; Python adds `LC_CTYPE` to its own environment.
    let fixed = ["HOME", "LC_CTYPE", "PATH", "USER"];
    let more: Vec<&String> = environment
        .keys()
        .filter(|name| !fixed.contains(&name.as_str()))
        .collect();
    assert!(more.is_empty(), "{environment:#?}");
}

#[test]
fn the_workload_runs_as_its_user_and_cannot_write_the_root() {
    let (report, _) = report();
    for id in report["ids"].as_array().expect("ids") {
        assert_eq!(*id, 1000, "{report:#}");
    }
    assert_ne!(report["write to the root"], "ok", "{report:#}");
}

#[test]
fn the_workloads_output_does_not_reach_the_console() {
    report();
    std::thread::sleep(Duration::from_secs(2));
    let text = guest::probe().text();
    assert!(text.contains("cloister-init:"), "{text}");
    assert!(!text.contains("MARKER-OF-THE-WORKLOAD"), "{text}");
}

#[test]
fn events_arrive_one_by_one() {
    let guest = guest::probe();
    let mut peer = Peer::connect(guest.port);
    let arrivals = peer.arrivals("/events");
    assert_eq!(
        arrivals
            .iter()
            .map(|(_, data)| data.matches("data:").count())
            .sum::<usize>(),
        5
    );
    let (first, last) = (arrivals[0].0, arrivals[arrivals.len() - 1].0);
    assert!(arrivals.len() >= 4, "{arrivals:?}");
    assert!(last - first > Duration::from_millis(800), "{arrivals:?}");
}

#[test]
fn a_client_that_goes_away_is_noticed_by_the_workload() {
    let port = guest::probe().port;
    let aborted = || {
        let answer = Peer::connect(port).ask("GET", "/aborted", b"");
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        answer["aborted"].as_u64().expect("a count")
    };
    let before = aborted();
    let mut peer = Peer::connect(port);
    peer.begin("/events");
    drop(peer);
    let start = Instant::now();
    while aborted() == before {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the workload went on"
        );
    }
}
