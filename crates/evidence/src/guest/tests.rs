//! The documented form, its one spelling, and every way to damage it.

use super::*;

fn demo() -> GuestConfiguration {
    GuestConfiguration {
        recipe: "demo".into(),
        modules: vec!["/cloister/modules/00-virtio_blk.ko".into()],
        network: Network::Dhcp,
        root: RootPartitions {
            data: "11111111-2222-3333-4444-555555555555".into(),
            hash: "11111111-2222-3333-4444-666666666666".into(),
            data_blocks: 7,
        },
        listen: 443,
        gpu: GpuPolicy::None,
        workload: Workload {
            uid: 1000,
            gid: 1000,
            directory: "/".into(),
            exec: vec!["/usr/bin/python3".into(), "a b%".into(), String::new()],
            environment: [("A".into(), "ü\n".into()), ("B".into(), String::new())].into(),
            socket: "http.sock".into(),
            memory_max: 0,
            tmp_max: 0,
            shm_max: 0,
        },
        canary: None,
    }
}

const DEMO: &str = "cloister-guest 1
recipe demo
module /cloister/modules/00-virtio_blk.ko
network dhcp
root 11111111-2222-3333-4444-555555555555 11111111-2222-3333-4444-666666666666 7
listen 443
gpu none
workload-user 1000 1000
workload-directory /
workload-exec /usr/bin/python3
workload-exec a%20b%25
workload-exec \nworkload-environment A %C3%BC%0A
workload-environment B \nworkload-socket http.sock
workload-memory-max 0
";

#[test]
fn encode_writes_the_documented_lines() {
    assert_eq!(String::from_utf8(demo().encode()).unwrap(), DEMO);
    assert_eq!(GuestConfiguration::parse(DEMO.as_bytes()), Ok(demo()));
}

fn with_gpu() -> GuestConfiguration {
    GuestConfiguration {
        gpu: GpuPolicy::H100 {
            golden_sha256: [0xab; 32],
        },
        canary: Some(Canary {
            path: "/v1/completions".into(),
            body: r#"{"prompt":"a"}"#.into(),
            answer: " b".into(),
            seconds: 600,
        }),
        ..demo()
    }
}

#[test]
fn encode_writes_a_gpu_with_its_canary() {
    let text = String::from_utf8(with_gpu().encode()).unwrap();
    let canary = "canary-path /v1/completions
canary-body %7B%22prompt%22:%22a%22%7D
canary-answer %20b
canary-seconds 600
";
    let wanted = DEMO.replace("gpu none", &format!("gpu h100 {}", "ab".repeat(32))) + canary;
    assert_eq!(text, wanted);
    assert_eq!(GuestConfiguration::parse(text.as_bytes()), Ok(with_gpu()));
    let without_gpu = text.replace(&format!("h100 {}", "ab".repeat(32)), "none");
    assert!(GuestConfiguration::parse(without_gpu.as_bytes()).is_ok());
}

#[test]
fn sizes_of_writable_memory_are_lines_of_their_own_or_none() {
    let mut configuration = demo();
    configuration.workload.tmp_max = 1 << 30;
    let one = DEMO.to_owned() + "workload-tmp-max 1073741824\n";
    assert_eq!(configuration.encode(), one.as_bytes());
    configuration.workload.shm_max = 4096;
    let both = one + "workload-shm-max 4096\n";
    assert_eq!(configuration.encode(), both.as_bytes());
    let read = GuestConfiguration::parse(both.as_bytes()).unwrap();
    assert_eq!(read, configuration);
    let cases = [
        ("workload-tmp-max 0\n", "`workload-tmp-max BYTES`, not 0"),
        ("workload-tmp-max 1k\n", "`workload-tmp-max BYTES`, not 0"),
        ("workload-shm-max -1\n", "`workload-shm-max BYTES`, not 0"),
        ("workload-shm-max 1\nworkload-tmp-max 1\n", "end of file"),
    ];
    for (lines, wanted) in cases {
        let error = GuestConfiguration::parse((DEMO.to_owned() + lines).as_bytes()).unwrap_err();
        let GuestConfigurationError::Line { wanted: found, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(found, wanted, "{lines}");
    }
    let leading = DEMO.to_owned() + "workload-tmp-max 01\n";
    let error = GuestConfiguration::parse(leading.as_bytes()).unwrap_err();
    assert_eq!(error, GuestConfigurationError::NotCanonical);
}

#[test]
fn parse_names_what_is_wrong_with_a_gpu_or_canary() {
    let text = String::from_utf8(with_gpu().encode()).unwrap();
    let without = text.split("canary").next().unwrap().to_owned();
    let digest = "ab".repeat(32);
    let cases = [
        (without, 17, "`canary-path /PATH`, as there is a GPU"),
        (
            text.replace(&digest, &"ab".repeat(31)),
            7,
            "`gpu none` or `gpu h100 SHA256`",
        ),
        (
            text.replace("canary-path /", "canary-path "),
            17,
            "`canary-path /PATH`",
        ),
        (
            text.replace("path /v1/", "path /v1%20/"),
            17,
            "`canary-path /PATH`",
        ),
        (
            text.replace("canary-answer %20b", "canary-answer "),
            19,
            "`canary-answer TEXT`",
        ),
        (
            text.replace("seconds 600", "seconds 0"),
            20,
            "`canary-seconds NUMBER`, not 0",
        ),
        (
            text.replace("canary-seconds 600\n", ""),
            20,
            "`canary-seconds NUMBER`, not 0",
        ),
    ];
    for (text, line, wanted) in cases {
        let found = GuestConfiguration::parse(text.as_bytes());
        let Err(GuestConfigurationError::Line {
            line: l, wanted: w, ..
        }) = found
        else {
            panic!("{wanted}: {found:?}")
        };
        assert_eq!((l, w), (line, wanted));
    }
    let upper = text.replace(&digest, &digest.to_uppercase());
    let found = GuestConfiguration::parse(upper.as_bytes());
    assert_eq!(found, Err(GuestConfigurationError::NotCanonical));
}

#[test]
fn parse_reads_static_network() {
    let mut conf = demo();
    conf.network = Network::Static {
        address: Ipv4Addr::new(10, 0, 2, 15),
        prefix: 24,
        gateway: Ipv4Addr::new(10, 0, 2, 2),
    };
    assert_eq!(GuestConfiguration::parse(&conf.encode()), Ok(conf));
}

#[test]
fn parse_names_the_line_and_what_it_wanted() {
    for (from, to, line, wanted) in [
        (
            "cloister-guest 1",
            "cloister-guest 2",
            1,
            "`cloister-guest 1`",
        ),
        ("recipe demo", "recipe De mo", 2, "`recipe NAME`"),
        ("/cloister/modules", "/../modules", 3, "`module /PATH`"),
        (
            "network dhcp",
            "network any",
            4,
            "`network dhcp` or `network static A/P G`",
        ),
        (
            "-666666666666 7",
            "-666666666666 0",
            5,
            "`root DATA HASH BLOCKS`",
        ),
        ("listen 443", "listen 0", 6, "`listen PORT`"),
        ("gpu none", "gpu any", 7, "`gpu none` or `gpu h100 SHA256`"),
        (
            "user 1000",
            "user 0",
            8,
            "`workload-user UID GID`, not 0, not 65533",
        ),
        (
            "1000\n",
            "65533\n",
            8,
            "`workload-user UID GID`, not 0, not 65533",
        ),
        (
            "exec /usr",
            "exec usr",
            10,
            "`workload-exec /PATH`, then one line for each argument",
        ),
        (
            "http.sock",
            "../http.sock",
            15,
            "`workload-socket FILE-NAME`",
        ),
        ("max 0\n", "max 0\nextra 1\n", 17, "end of file"),
    ] {
        let found = GuestConfiguration::parse(DEMO.replacen(from, to, 1).as_bytes());
        let Err(GuestConfigurationError::Line {
            line: l, wanted: w, ..
        }) = found
        else {
            panic!("{from} -> {to}: {found:?}")
        };
        assert_eq!((l, w), (line, wanted), "{from} -> {to}");
    }
}

#[test]
fn parse_refuses_a_second_spelling() {
    for (from, to) in [
        ("listen 443", "listen 0443"),
        ("%20", "%62"),
        ("%C3", "%c3"),
        ("max 0\n", "max 0"),
        ("listen 443\n", "listen 443\r\n"),
        (
            "environment A %C3%BC%0A\nworkload-environment B ",
            "environment B \nworkload-environment A %0A",
        ),
        ("environment A %C3%BC%0A", "environment B %0A"),
    ] {
        let found = GuestConfiguration::parse(DEMO.replacen(from, to, 1).as_bytes());
        assert_eq!(
            found,
            Err(GuestConfigurationError::NotCanonical),
            "{from} -> {to}"
        );
    }
}

#[test]
fn parse_survives_every_truncation_and_byte_flip() {
    for cut in 0..DEMO.len() {
        assert!(
            GuestConfiguration::parse(&DEMO.as_bytes()[..cut]).is_err(),
            "{cut}"
        );
        let mut flipped = DEMO.as_bytes().to_vec();
        flipped[cut] ^= 0x80;
        assert!(GuestConfiguration::parse(&flipped).is_err(), "{cut}");
    }
}
