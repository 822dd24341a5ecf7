//! `snp/` and `kbs/`: reports, certificates of their keys, and roots.

use cloister_verify::Verdict;
use cloister_verify::snp::{
    AMD, Endorsements, Expected, Image, KbsEvidence, Policy, Product, Report, SigningKey, Tcb,
    appraise,
};
use cloister_verify::x509::X509;
use serde_json::Value;

use crate::account::{Account, Stated};

/// 2026-11-22.
const NOW: u64 = 1_795_305_600;
/// 2025-06-01, within the VLEK's year.
const VLEK_TIME: u64 = 1_748_736_000;

/// Takes what the default refuses: old reports, Milan, its firmware before the floors.
fn lenient() -> Policy {
    let mut policy = Policy {
        report_versions: vec![2, 3, 5],
        platform_info_required: Vec::new(),
        ..milan()
    };
    policy.tcb_floor.insert(Product::Milan, Tcb::default());
    policy
}

fn milan() -> Policy {
    Policy {
        products: Product::ALL.to_vec(),
        ..Policy::default()
    }
}

fn vlek(vmpl: u32) -> Policy {
    Policy {
        signing_keys: vec![SigningKey::Vlek],
        vmpl,
        ..milan()
    }
}

/// Judges a report with its own measurement and report data as what is wanted.
fn appraised(report: &[u8], vek: &[u8], chain: &[&[u8]], policy: &Policy, at: u64) -> Verdict {
    let fields = Report::parse(report).unwrap();
    let expected = Expected {
        image: Some(Image::Measurement(fields.measurement)),
        report_data: Some(fields.report_data),
        signature_only: false,
    };
    let endorsements = Endorsements {
        vek: Some(vek),
        chain,
        crls: &[],
    };
    appraise(report, &endorsements, &expected, policy, &AMD, at)
}

/// Report, certificate, policy that takes it, and what else the README states: policy, time, checks that fail.
type Case = (
    &'static str,
    &'static str,
    Policy,
    Vec<(Policy, u64, Stated<'static>)>,
);

fn cases() -> Vec<Case> {
    let old = [
        "report-version",
        "product-allowed",
        "tcb-floor-committed",
        "tcb-floor-launch",
        "platform-info",
    ]
    .as_slice();
    let default = Policy::default;
    vec![
        (
            "snp/milan-v2/report.hex",
            "snp/milan-v2/vcek.der",
            lenient(),
            vec![(default(), NOW, Stated::Rejected(old))],
        ),
        (
            "snp/milan-v3-vlek/report.bin",
            "snp/milan-v3-vlek/vlek.der",
            vlek(1),
            vec![
                (vlek(0), VLEK_TIME, Stated::Rejected(&["vmpl"])),
                (
                    milan(),
                    VLEK_TIME,
                    Stated::Rejected(&["signing-key", "vmpl"]),
                ),
                (vlek(1), NOW, Stated::Expired(&["validity"])),
            ],
        ),
        (
            "snp/milan-v3-aci/report.bin",
            "snp/milan-v3-aci/vcek.pem",
            milan(),
            vec![(default(), NOW, Stated::Rejected(&["product-allowed"]))],
        ),
        (
            "snp/genoa-v3-aci/report.bin",
            "snp/genoa-v3-aci/vcek.pem",
            default(),
            vec![],
        ),
        (
            "snp/turin-v5-aci/report.bin",
            "snp/turin-v5-aci/vcek.pem",
            default(),
            vec![],
        ),
    ]
}

pub(crate) fn judge(account: &mut Account) {
    for (item, vek, policy, others) in cases() {
        let (report, vek) = (report(account, item), account.read(vek));
        let line = item.split(['/', '-']).nth(1).unwrap();
        let chain = account.read(&format!("snp/roots/{line}_ask_ark_asvk.pem"));
        let (first, last) = window(account, "snp", item);
        let times = [
            (first - 1, Stated::Expired(&["validity"])),
            (first, Stated::Accepted),
            (last, Stated::Accepted),
            (last + 1, Stated::Expired(&["validity"])),
        ];
        let times = times.map(|(at, stated)| (policy.clone(), at, stated));
        for (policy, at, stated) in times.into_iter().chain(others) {
            let verdict = appraised(&report, &vek, &[], &policy, at);
            account.verdict(item, at, stated, &verdict);
            // The chain that is given is AMD's own; nothing changes with it.
            let given = appraised(&report, &vek, &[&chain], &policy, at);
            assert_eq!(given, verdict, "{item} at {at}");
        }
        values(account, item, &vek);
    }
    debugged(account);
    unbound(account);
    certificates(account);
    roots(account);
    kbs(account);
}

fn report(account: &mut Account, item: &str) -> Vec<u8> {
    let report = account.read(item);
    match item.ends_with(".hex") {
        true => hex::decode(report.trim_ascii()).unwrap(),
        false => report,
    }
}

/// First and last second of the certificate by `expected.json`.
pub(crate) fn window(account: &mut Account, list: &str, item: &str) -> (u64, u64) {
    let members = ["vek_not_before", "vek_not_after"];
    account.used(list, item, &members);
    let row = account.row(list, item);
    let [first, last] = members.map(|member| {
        let text = row[member].as_str().unwrap();
        let digits =
            |range: core::ops::Range<usize>| text.get(range).unwrap().parse::<u16>().unwrap();
        let [month, day, hour, minute, second] =
            [5..7, 8..10, 11..13, 14..16, 17..19].map(|range| u8::try_from(digits(range)).unwrap());
        let time = x509_cert::der::DateTime::new(digits(0..4), month, day, hour, minute, second);
        time.unwrap().unix_duration().as_secs()
    });
    (first, last)
}

/// Genuine, with DEBUG set.
fn debugged(account: &mut Account) {
    let item = "snp/milan-v2-debug-policy/report.bin";
    let report = account.read(item);
    let vek = account.read("snp/milan-v2-debug-policy/vcek.der");
    let (first, last) = window(account, "snp", item);
    let (debug, expired) = (["debug"].as_slice(), ["validity", "debug"].as_slice());
    for (at, stated) in [
        (first - 1, Stated::Expired(expired)),
        (NOW, Stated::Rejected(debug)),
        (last + 1, Stated::Expired(expired)),
    ] {
        let verdict = appraised(&report, &vek, &[], &lenient(), at);
        account.verdict(item, at, stated, &verdict);
    }
    values(account, item, &vek);
}

/// REPORT_DATA of zeros binds nothing.
fn unbound(account: &mut Account) {
    for line in ["milan-v3", "genoa-v3", "turin-v5"] {
        let item = format!("snp/{line}-aci/report.bin");
        let report = account.read(&item);
        let vek = account.read(&format!("snp/{line}-aci/vcek.pem"));
        let fields = Report::parse(&report).unwrap();
        let expected = Expected {
            image: Some(Image::Measurement(fields.measurement)),
            report_data: Some([7; 64]),
            signature_only: false,
        };
        let endorsements = Endorsements {
            vek: Some(&vek),
            ..Endorsements::default()
        };
        let verdict = appraise(&report, &endorsements, &expected, &milan(), &AMD, NOW);
        account.verdict(&item, NOW, Stated::Rejected(&["report-data"]), &verdict);
    }
}

/// Certificates for the Milan report: another issue of the right one, and two whose extensions parse, in both encodings of the HWID, but
/// whose signature is not ASK-Milan's.
fn certificates(account: &mut Account) {
    let report = account.read("snp/milan-v3-aci/report.bin");
    let earlier = "snp/milan-v3-aci/vcek-earlier-issue.pem";
    let vek = account.read(earlier);
    let (first, last) = X509::read_all(&vek).unwrap()[0].validity();
    for (at, stated) in [
        (first - 1, Stated::Expired(&["validity"])),
        (NOW, Stated::Accepted),
        (last + 1, Stated::Expired(&["validity"])),
    ] {
        let verdict = appraised(&report, &vek, &[], &milan(), at);
        account.verdict(earlier, at, stated, &verdict);
    }
    let others = ["chain", "hwid", "tcb-vek", "signature"];
    for item in BAD {
        let vek = account.read(item);
        let verdict = appraised(&report, &vek, &[], &milan(), NOW);
        account.verdict(item, NOW, Stated::Rejected(&others), &verdict);
        let extensions = verdict.check("vek-extensions").unwrap();
        assert_eq!(extensions.outcome, cloister_verify::Outcome::Pass, "{item}");
        let chain = verdict.check("chain").unwrap();
        assert!(chain.found.ends_with("one that does not verify"));
        let reason = "a certificate of another issuer is refused before its dates are looked at";
        account.timeless(item, reason);
    }
}

const BAD: [&str; 2] = [
    "snp/bad-vcek/vcek-invalid-legacy.der",
    "snp/bad-vcek/vcek-invalid-new.der",
];

/// The roots are those pinned, and hang together.
fn roots(account: &mut Account) {
    for (root, line) in [
        (AMD.milan, "milan"),
        (AMD.genoa, "genoa"),
        (AMD.turin, "turin"),
    ] {
        let pem = account.read(&format!("snp/roots/{line}_ask_ark_asvk.pem"));
        let found = X509::read_all(&pem).unwrap();
        let [ask, ark, asvk] = found.as_slice() else {
            panic!("{line} has {} certificates", found.len());
        };
        let ders = [ask, ark, asvk].map(X509::der);
        assert_eq!(ders, [root.ask, root.ark, root.asvk], "{line}");
        for issued in [ask, ark, asvk] {
            assert_eq!(issued.issued_by(ark, 1), Ok(()), "{line}");
        }
    }
    for (file, der) in [
        ("snp/turin-v5-aci/ask.pem", AMD.turin.ask),
        ("snp/turin-v5-aci/ark.pem", AMD.turin.ark),
    ] {
        let pem = account.read(file);
        assert_eq!(X509::read_all(&pem).unwrap()[0].der(), der, "{file}");
    }
}

/// The `sev` crate's JSON; its VCEK's dates are in the README.
fn kbs(account: &mut Account) {
    let item = "kbs/snp-bergamo-v3-evidence.json";
    let evidence = KbsEvidence::from_json(&account.read(item)).unwrap();
    let chain: Vec<&[u8]> = evidence.chain.iter().map(Vec::as_slice).collect();
    let vek = evidence.vek.as_deref().unwrap();
    let (first, last) = X509::from_der(vek).unwrap().validity();
    // 2025-05-27 and 2032-05-27.
    assert_eq!((first / 86_400, last / 86_400), (20_235, 22_792));
    for (at, stated) in [
        (first - 1, Stated::Expired(&["validity"])),
        (NOW, Stated::Accepted),
        (last + 1, Stated::Expired(&["validity"])),
    ] {
        let verdict = appraised(&evidence.report, vek, &chain, &Policy::default(), at);
        account.verdict(item, at, stated, &verdict);
    }
}

/// Each field of the report, and of its certificate as far as the verdict shows it.
fn values(account: &mut Account, item: &str, vek: &[u8]) {
    let bytes = report(account, item);
    let report = Report::parse(&bytes).unwrap();
    account.used("snp", item, &["report", "vek"]);
    let vector = |value: Option<u64>| hex::encode(value.unwrap_or_default().to_le_bytes());
    let key = match report.key_info >> 2 & 7 {
        0 => "VCEK",
        _ => "VLEK",
    };
    let cpuid = report.cpuid;
    let cpuid = cpuid.map_or([0; 3], |cpuid| [cpuid.family, cpuid.model, cpuid.stepping]);
    let found: [(&str, Value); 20] = [
        ("version", report.version.into()),
        ("guest_svn", report.guest_svn.into()),
        ("policy", format!("{:#x}", report.policy).into()),
        ("vmpl", report.vmpl.into()),
        // The reader takes no other.
        ("sig_algo", 1.into()),
        ("signing_key", key.into()),
        (
            "platform_info",
            format!("{:#x}", report.platform_info).into(),
        ),
        ("current_tcb_le", hex::encode(report.current_tcb).into()),
        ("reported_tcb_le", hex::encode(report.reported_tcb).into()),
        ("committed_tcb_le", hex::encode(report.committed_tcb).into()),
        ("launch_tcb_le", hex::encode(report.launch_tcb).into()),
        ("cpuid_fam_mod_step", hex::encode(cpuid).into()),
        (
            "launch_mit_vector_le",
            vector(report.launch_mit_vector).into(),
        ),
        (
            "current_mit_vector_le",
            vector(report.current_mit_vector).into(),
        ),
        ("report_data", hex::encode(report.report_data).into()),
        ("measurement", hex::encode(report.measurement).into()),
        ("host_data", hex::encode(report.host_data).into()),
        ("id_key_digest", hex::encode(report.id_key_digest).into()),
        (
            "author_key_digest",
            hex::encode(report.author_key_digest).into(),
        ),
        ("chip_id", hex::encode(report.chip_id).into()),
    ];
    for (member, found) in found {
        account.equal("snp", item, member, found);
    }
    of_the_certificate(account, item, &bytes, vek);
}

/// Values of the independent script about the certificate, which the checks of the verdict repeat.
fn of_the_certificate(account: &mut Account, item: &str, report: &[u8], vek: &[u8]) {
    let row = account.row("snp", item);
    let certificate = X509::read_all(vek).unwrap().remove(0);
    let issuer = row["vek_issuer"].as_str().unwrap();
    let (signer, _) = issuer.split_once("<-").unwrap();
    let found = certificate.issuer().to_string();
    assert!(found.contains(&format!("CN={signer}")), "{found}");
    let at = certificate.validity().0;
    let verdict = appraised(report, vek, &[], &lenient(), at);
    let passes = |name: &str| {
        verdict.check(name).map(|check| check.outcome) == Some(cloister_verify::Outcome::Pass)
    };
    account.equal("snp", item, "signature_valid", passes("signature"));
    let extension = |oid: &str| {
        let oid = oid.parse().unwrap();
        certificate.extension(&oid).map(hex::encode)
    };
    // HWID is raw or in an OCTET STRING.
    let hwid = extension("1.3.6.1.4.1.3704.1.4");
    let wanted = row["hwid_extension"].as_str();
    assert!(
        hwid.unwrap_or_default()
            .ends_with(wanted.unwrap_or_default())
    );
    let csp = extension("1.3.6.1.4.1.3704.1.5");
    account.equal("snp", item, "csp_id_extension", csp);
    let hwid = wanted.map(|_| passes("hwid"));
    account.equal("snp", item, "hwid_matches", hwid);
    // `tcb-vek` compares the security versions of the certificate with the report's.
    account.used("snp", item, &["vek_issuer", "hwid_extension", "vek_spl"]);
    assert!(passes("tcb-vek"), "{verdict}");
}
