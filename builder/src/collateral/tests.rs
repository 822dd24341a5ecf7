//! Against a server of the tests' own on 127.0.0.1, which can misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cloister_test_pki::snp::Amd;
use cloister_test_pki::tdx::{Intel, Scene};
use cloister_verify::collateral::Collateral;

use super::*;

/// What the server does with a request.
#[derive(Clone)]
enum Reply {
    /// Status line, headers, body.
    Answer(&'static str, Vec<(&'static str, String)>, Vec<u8>),
    /// Announces more than it sends.
    Truncated,
    /// Says nothing for longer than any attempt lasts.
    Hang,
}

/// A server that answers by path, with each reply of a list once and the last for ever.
struct Server {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(mut replies: BTreeMap<String, Vec<Reply>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut first = String::new();
                reader.read_line(&mut first).unwrap();
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap_or(0) > 2 {
                    line.clear();
                }
                let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                log.lock().unwrap().push(path.clone());
                let reply = match replies.get_mut(&path) {
                    Some(replies) if replies.len() > 1 => replies.remove(0),
                    Some(replies) => replies[0].clone(),
                    None => Reply::Answer("404 Not Found", Vec::new(), Vec::new()),
                };
                match reply {
                    Reply::Answer(status, headers, body) => {
                        let headers: String = headers
                            .iter()
                            .map(|(name, value)| format!("{name}: {value}\r\n"))
                            .collect();
                        let length = body.len();
                        let head = format!(
                            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
                        );
                        let _ = stream.write_all(&[head.as_bytes(), &body].concat());
                    }
                    Reply::Truncated => {
                        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 900\r\n\r\nshort";
                        let _ = stream.write_all(head.as_bytes());
                    }
                    Reply::Hang => {
                        std::thread::spawn(move || {
                            std::thread::sleep(Duration::from_secs(5));
                            drop(stream);
                        });
                    }
                }
            }
        });
        Self { base, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn ok(body: impl Into<Vec<u8>>) -> Vec<Reply> {
    vec![Reply::Answer("200 OK", Vec::new(), body.into())]
}

fn fetcher(cache: &Path, offline: bool) -> Fetcher {
    const SHORT: [Duration; 4] = [Duration::from_millis(5); 4];
    Fetcher {
        agent: Agent::with_pauses(Duration::from_millis(400), &SHORT).unwrap(),
        cache: cache.to_owned(),
        offline,
    }
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

const TCB: &str = "/tdx/certification/v4/tcb?fmspc=5C066F000000";
const IDENTITY: &str = "/tdx/certification/v4/qe/identity";
const PCK_CRL: &str = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der";
const ROOT_CRL: &str = "/sgx/certification/v4/rootcacrl";

/// A made quote, and a service that has its collateral.
fn intel() -> (Vec<u8>, BTreeMap<String, Vec<Reply>>, TdxCollateral) {
    let made = Scene::new().make(&Intel::new().unwrap()).unwrap();
    let document = |member: &str, header, (body, signature): &(String, [u8; 64])| {
        let signature = hex::encode(signature);
        let text = format!("{{\"{member}\":{body},\"signature\":\"{signature}\"}}");
        let chain = vec![(header, escaped(&made.issuer_chain))];
        vec![Reply::Answer("200 OK", chain, text.into_bytes())]
    };
    let tcb = document("tcbInfo", "TCB-Info-Issuer-Chain", &made.tcb_info);
    let header = "SGX-Enclave-Identity-Issuer-Chain";
    let identity = document("enclaveIdentity", header, &made.qe_identity);
    let replies = BTreeMap::from([
        (TCB.to_owned(), tcb),
        (IDENTITY.to_owned(), identity),
        (PCK_CRL.to_owned(), ok(made.pck_crl.clone())),
        (ROOT_CRL.to_owned(), ok(hex::encode(&made.root_crl))),
    ]);
    let signed = |(body, signature): &(String, [u8; 64])| cloister_verify::collateral::Signed {
        body: body.clone(),
        signature: *signature,
        issuer_chain: Some(made.issuer_chain.clone()),
    };
    let wanted = TdxCollateral {
        tcb_info: Some(signed(&made.tcb_info)),
        qe_identity: Some(signed(&made.qe_identity)),
        pck_crl: Some(cloister_verify::collateral::Der(made.pck_crl.clone())),
        root_crl: Some(cloister_verify::collateral::Der(made.root_crl.clone())),
    };
    (made.quote, replies, wanted)
}

fn pcs(base: &str) -> Services {
    Services {
        pcs: Some(format!("{base}/")),
        ..Services::default()
    }
}

#[test]
fn quote_gets_its_collateral_and_then_offline_from_the_cache() {
    let (quote, replies, wanted) = intel();
    let server = Server::new(replies);
    let cache = tempfile::tempdir().unwrap();
    let services = pcs(&server.base);
    let offline = fetcher(cache.path(), true);
    let missing = offline.tdx(&quote, &services).unwrap_err();
    assert!(matches!(missing, FetchError::Offline { what: "TCB info" }));
    assert_eq!(server.asked(), [""; 0]);
    let online = fetcher(cache.path(), false);
    assert_eq!(online.tdx(&quote, &services).unwrap(), wanted);
    assert_eq!(server.asked(), [TCB, IDENTITY, PCK_CRL, ROOT_CRL]);
    assert_eq!(offline.tdx(&quote, &services).unwrap(), wanted);
    assert_eq!(server.asked().len(), 4);
    // What expires is asked for again.
    online.tdx(&quote, &services).unwrap();
    assert_eq!(server.asked().len(), 8);
    let bundle = Collateral {
        snp: None,
        tdx: Some(wanted),
    };
    let text = bundle.to_json().unwrap();
    assert_eq!(Collateral::read(text.as_bytes()), Ok(bundle));
}

#[test]
fn root_list_may_stand_elsewhere() {
    let (quote, mut replies, wanted) = intel();
    let list = replies.remove(ROOT_CRL).unwrap();
    replies.insert("/root.crl".to_owned(), list);
    let server = Server::new(replies);
    let cache = tempfile::tempdir().unwrap();
    let services = Services {
        root_crl: Some(format!("{}/root.crl", server.base)),
        ..pcs(&server.base)
    };
    let fetched = fetcher(cache.path(), false).tdx(&quote, &services);
    assert_eq!(fetched.unwrap(), wanted);
}

#[test]
fn busy_service_is_asked_again_when_it_says() {
    let (quote, mut replies, wanted) = intel();
    let busy = |seconds: &str| {
        let header = vec![("Retry-After", seconds.to_owned())];
        Reply::Answer("429 Too Many Requests", header, Vec::new())
    };
    let all = replies.get_mut(TCB).unwrap();
    all.insert(0, busy("1"));
    all.insert(
        0,
        Reply::Answer("503 Service Unavailable", Vec::new(), Vec::new()),
    );
    let server = Server::new(replies);
    let cache = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let fetched = fetcher(cache.path(), false).tdx(&quote, &pcs(&server.base));
    assert_eq!(fetched.unwrap(), wanted);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.asked().iter().filter(|path| *path == TCB).count(), 3);
    // Longer than anybody waits.
    let (quote, mut replies, _) = intel();
    replies.insert(TCB.to_owned(), vec![busy("86400")]);
    let server = Server::new(replies);
    let refused = fetcher(cache.path(), false).tdx(&quote, &pcs(&server.base));
    let Err(FetchError::Http(HttpError::Busy {
        status: 429,
        seconds: 86_400,
        ..
    })) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(server.asked().len(), 1);
}

/// A reply, what becomes of it, and how often it is asked for.
type Misbehaviour = (&'static str, Reply, fn(&FetchError) -> bool, usize);

fn http(error: &FetchError) -> Option<&HttpError> {
    match error {
        FetchError::Http(error) => Some(error),
        _ => None,
    }
}

fn status(error: &FetchError, wanted: u16) -> bool {
    matches!(http(error), Some(HttpError::Status { status, .. }) if *status == wanted)
}

fn content(error: &FetchError) -> bool {
    matches!(error, FetchError::Content { .. })
}

fn misbehaviour() -> [Misbehaviour; 9] {
    let redirect = vec![("Location", "http://127.0.0.1:1/elsewhere".to_owned())];
    let answer = |status, body: &[u8]| Reply::Answer(status, Vec::new(), body.to_vec());
    let ok = |body| answer("200 OK", body);
    let list: &[u8] = b"\x30\x82\x01\x20\x30";
    [
        (
            "truncated",
            Reply::Truncated,
            |error| matches!(http(error), Some(HttpError::Interrupted { .. })),
            5,
        ),
        (
            "hang",
            Reply::Hang,
            |error| matches!(http(error), Some(HttpError::Unreachable { .. })),
            5,
        ),
        (
            "redirect",
            Reply::Answer("302 Found", redirect, Vec::new()),
            |error| matches!(http(error), Some(HttpError::Redirect { .. })),
            1,
        ),
        ("gone", answer("404 Not Found", b""), |e| status(e, 404), 1),
        ("broken", answer("500 Oops", b""), |e| status(e, 500), 5),
        ("a page", ok(b"<html>log in</html>"), content, 1),
        ("nothing", ok(b""), content, 1),
        ("a list cut short", ok(list), content, 1),
        (
            "too much",
            ok(&vec![b'0'; 2 << 20]),
            |error| matches!(http(error), Some(HttpError::TooLarge { .. })),
            1,
        ),
    ]
}

#[test]
fn misbehaving_service_gives_an_error_and_leaves_nothing_in_the_cache() {
    for (name, reply, wanted, times) in misbehaviour() {
        let (quote, mut replies, _) = intel();
        replies.insert(PCK_CRL.to_owned(), vec![reply]);
        let server = Server::new(replies);
        let cache = tempfile::tempdir().unwrap();
        let fetcher = fetcher(cache.path(), false);
        let error = fetcher.tdx(&quote, &pcs(&server.base)).unwrap_err();
        assert!(wanted(&error), "{name}: {error:?}");
        let asked = server.asked();
        let asked = asked.iter().filter(|path| *path == PCK_CRL);
        assert_eq!(asked.count(), times, "{name}");
        // The documents before it, and nothing of the list.
        let kept = |path: &str| fetcher.place(&(server.base.clone() + path)).exists();
        let kept = [TCB, IDENTITY, PCK_CRL, ROOT_CRL].map(kept);
        assert_eq!(kept, [true, true, false, false], "{name}");
    }
}

#[test]
fn document_without_its_chain_is_refused() {
    let (quote, mut replies, _) = intel();
    let Reply::Answer(status, _, body) = replies[TCB][0].clone() else {
        panic!()
    };
    replies.insert(
        TCB.to_owned(),
        vec![Reply::Answer(status, Vec::new(), body)],
    );
    let server = Server::new(replies);
    let cache = tempfile::tempdir().unwrap();
    let error = fetcher(cache.path(), false)
        .tdx(&quote, &pcs(&server.base))
        .unwrap_err();
    let FetchError::Http(HttpError::Header { header, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(header, "TCB-Info-Issuer-Chain");
}

#[test]
fn malformed_cache_is_an_error_and_not_an_answer() {
    let (quote, replies, _) = intel();
    let server = Server::new(replies);
    let cache = tempfile::tempdir().unwrap();
    fetcher(cache.path(), false)
        .tdx(&quote, &pcs(&server.base))
        .unwrap();
    let place = fetcher(cache.path(), true).place(&(server.base.clone() + TCB));
    assert!(place.exists());
    std::fs::write(place, "{\"url\":\"x\",\"chain\":null,\"body\":\"\"}").unwrap();
    let error = fetcher(cache.path(), true)
        .tdx(&quote, &pcs(&server.base))
        .unwrap_err();
    assert!(matches!(error, FetchError::Cache { .. }), "{error:?}");
}

/// A report of version 3 with these bytes, and a key server that has its certificate at `path`.
fn amd(cpuid: [u8; 3], tcb: [u8; 8], signing_key: u8) -> Vec<u8> {
    let mut report = cloister_test_pki::snp::Report::new(3, cpuid, tcb, [0xc1; 64]);
    report.set(0x48, &[signing_key << 2]);
    if cpuid[0] == 0x1a {
        report.set(0x1a8, &[0; 56]);
    }
    report
        .sign(&cloister_test_pki::Key::p384().unwrap())
        .unwrap()
}

#[test]
fn report_gets_its_certificate_by_product_chip_and_levels() {
    let amd_keys = Amd::new("Genoa").unwrap();
    let ark = amd_keys
        .ark_certificate()
        .sign(&amd_keys.ark, &amd_keys.ark)
        .unwrap();
    let list = amd_keys.crl().sign(&amd_keys.ark).unwrap();
    let chip = "c1".repeat(64);
    let genoa = format!("/vcek/v1/Genoa/{chip}?blSPL=10&teeSPL=00&snpSPL=23&ucodeSPL=84");
    let turin =
        "/vcek/v1/Turin/c1c1c1c1c1c1c1c1?fmcSPL=01&blSPL=01&teeSPL=02&snpSPL=04&ucodeSPL=81";
    let cases: [(&str, Vec<u8>, Option<&str>); 3] = [
        (
            "vcek/v1/Genoa",
            amd([0x19, 0x11, 1], [10, 0, 0, 0, 0, 0, 23, 84], 0),
            Some(&genoa),
        ),
        (
            "vcek/v1/Turin",
            amd([0x1a, 2, 1], [1, 1, 2, 4, 0, 0, 0, 81], 0),
            Some(turin),
        ),
        (
            "vlek/v1/Genoa",
            amd([0x19, 0x11, 1], [10, 0, 0, 0, 0, 0, 23, 84], 1),
            None,
        ),
    ];
    for (of_kind, report, vek) in cases {
        let mut replies = BTreeMap::from([
            (format!("/{of_kind}/cert_chain"), ok(ark.clone())),
            (format!("/{of_kind}/crl"), ok(list.clone())),
        ]);
        replies.extend(vek.map(|path| (path.to_owned(), ok(ark.clone()))));
        let server = Server::new(replies);
        let services = Services {
            kds: Some(server.base.clone()),
            ..Services::default()
        };
        let cache = tempfile::tempdir().unwrap();
        let online = fetcher(cache.path(), false);
        let fetched = online.snp(&report, None, &services).unwrap();
        assert_eq!(fetched.vek.is_some(), vek.is_some(), "{of_kind}");
        assert_eq!((fetched.chain.len(), fetched.crls.len()), (1, 1));
        // Certificates last: the second time only the list is asked for.
        let before = server.asked().len();
        online.snp(&report, None, &services).unwrap();
        assert_eq!(server.asked()[before..], [format!("/{of_kind}/crl")]);
    }
}

#[test]
fn report_that_names_no_chip_or_product_has_no_certificate() {
    let cache = tempfile::tempdir().unwrap();
    let fetcher = fetcher(cache.path(), false);
    let services = Services {
        kds: Some("http://127.0.0.1:1".to_owned()),
        ..Services::default()
    };
    let mut masked = cloister_test_pki::snp::Report::new(3, [0x19, 0x11, 1], [0; 8], [0; 64]);
    masked.set(0x48, &[0]);
    let masked = masked
        .sign(&cloister_test_pki::Key::p384().unwrap())
        .unwrap();
    let error = fetcher.snp(&masked, None, &services).unwrap_err();
    assert!(matches!(error, FetchError::MaskedChip), "{error:?}");
    let unknown = amd([0x19, 0x50, 1], [0; 8], 0);
    let error = fetcher.snp(&unknown, None, &services).unwrap_err();
    assert!(matches!(error, FetchError::Product), "{error:?}");
    let error = fetcher
        .snp(&unknown, None, &Services::default())
        .unwrap_err();
    assert!(matches!(
        error,
        FetchError::NotConfigured { key: "kds", .. }
    ));
    assert!(error.hint().unwrap().contains("--kds URL"));
    let error = fetcher
        .tdx(&[0; 9], &pcs("http://127.0.0.1:1"))
        .unwrap_err();
    assert!(matches!(error, FetchError::Quote(_)), "{error:?}");
}
