//! `azure/`: evidence of confidential VMs there, HCL reports by themselves, and a quote of a VM that is not confidential.

use cloister_evidence::tpm::{PcrSelection, PcrValues, Quote};
use cloister_measure::azure::{HclReport, TeeReport};
use cloister_measure::digest::{Bank, Digest};
use cloister_measure::reference::{Class, ReferenceValues, Register, SCHEMA_VERSION};
use cloister_verify::azure::{Beside, Evidence, Expected, MICROSOFT, QuoteFiles, appraise};
use cloister_verify::collateral::Collateral;
use cloister_verify::policy::{Hex, PolicyFile};
use cloister_verify::snp::{Product, Report, Tcb};
use cloister_verify::tpm::{BareQuote, QuotePolicy, appraise_quote};
use cloister_verify::verdict::{Outcome, Verdict};
use cloister_verify::x509::X509;
use serde_json::Value;

use crate::account::{Account, Stated};
use crate::snp::window;

/// 2026-11-22.
const NOW: u64 = 1_795_305_600;
/// When the collateral of the TDX evidence was current; its certificate of the attestation key is, too.
const TDX_TIME: u64 = 1_771_423_480;
/// 2053: every PCK certificate has expired.
const LATE: u64 = 2_636_154_000;

/// Reference values of a machine with these registers.
fn reference(platform: &str, pcrs: &[[u8; 32]], image: &[usize]) -> ReferenceValues {
    let register = |index: &usize| {
        let value = Digest::from_bytes(Bank::Sha256, &pcrs[*index]).unwrap();
        let name = format!("pcr{index}");
        (name, Register::single(Class::Image, value))
    };
    ReferenceValues {
        bank: Bank::Sha256,
        confidential: platform != "qemu-vtpm",
        inputs: Default::default(),
        launch_digests: Vec::new(),
        gpu: None,
        launch_policy: None,
        platform: platform.to_owned(),
        recipe: "demo".to_owned(),
        registers: image.iter().map(register).collect(),
        schema_version: SCHEMA_VERSION,
        unpredicted: Default::default(),
    }
}

/// Those of the machine that the evidence is of.
fn expected(account: &mut Account, item: &str, platform: &str) -> ReferenceValues {
    account.used("azure_hcl", item, &["pcrs"]);
    let row = account.row("azure_hcl", item);
    let value = |value: &Value| {
        let bytes = hex::decode(value.as_str().unwrap()).unwrap();
        bytes.try_into().unwrap()
    };
    let pcrs = row["pcrs"].as_array().unwrap();
    let pcrs: Vec<[u8; 32]> = pcrs.iter().map(value).collect();
    reference(platform, &pcrs, &[4, 9, 11, 12, 13, 15])
}

/// The default, with Milan named.
fn milan() -> PolicyFile {
    let mut policy = PolicyFile::default();
    policy.snp.products = Product::ALL.to_vec();
    policy
}

/// Takes what is old: reports of version 2, firmware before the floors, paravisors before the floor with the key of this one.
fn old(hcl: &[u8]) -> PolicyFile {
    let mut policy = milan();
    policy.snp.report_versions = vec![2, 3];
    policy.snp.platform_info_required = Vec::new();
    policy.snp.tcb_floor.insert(Product::Milan, Tcb::default());
    policy.azure.paravisor_minimum_guest_svn = 0;
    let report = HclReport::parse(hcl).unwrap();
    let TeeReport::Snp(facts) = &report.report else {
        panic!("no SNP report");
    };
    let digest = facts.id_key_digest.as_bytes().try_into().unwrap();
    policy.azure.paravisor_id_key_digests = vec![Hex(digest)];
    policy
}

/// Names the paravisor in the evidence, and lets Secure Boot be off where `secure_boot` is false.
fn tdx(evidence: &[u8], secure_boot: bool) -> PolicyFile {
    let evidence = Evidence::parse(evidence).unwrap();
    let report = HclReport::parse(&evidence.hcl_report).unwrap();
    let TeeReport::Tdx(facts) = &report.report else {
        panic!("no TDREPORT");
    };
    let mut policy = PolicyFile::default();
    policy.azure.paravisor_mrtds = vec![Hex(facts.mrtd.as_bytes().try_into().unwrap())];
    policy.azure.secure_boot = secure_boot;
    policy
}

fn outcome(verdict: &Verdict, name: &str) -> Outcome {
    verdict.check(name).unwrap().outcome
}

pub(crate) fn judge(account: &mut Account) {
    evidence_of_snp(account);
    hcl_report_of_snp(account);
    foreign_quote(account);
    wrong_chip(account);
    no_secure_boot(account);
    user_data_of_tdx(account);
    certified_tdx(account);
    trusted_launch(account);
}

fn evidence_of_snp(account: &mut Account) {
    let user_data = "982f5c6e45df0ed3f10b6f60b02f0c8390e281300f3805e2279c16168cd6ae9aa398f647caa2338748cd0fd9f5f819ef";
    let user_data = hex::decode(user_data).unwrap();
    for (name, nonce) in [
        ("snp-evidence-v0.json", b"challenge".as_slice()),
        ("snp-evidence-v1.json", b"challenge"),
        ("snp-evidence-v2.json", &user_data),
        ("snp-milan-v3-envelope.json", b""),
    ] {
        let item = format!("azure/{name}");
        let evidence = account.read(&item);
        let reference = expected(account, &item, "azure-snp");
        let appraised = |policy: &PolicyFile, nonce: &[u8], at: u64| {
            let expected = Expected {
                nonce: Some(nonce),
                reference: Some(&reference),
            };
            let beside = Beside::default();
            appraise(&evidence, &beside, &expected, policy, &MICROSOFT, at)
        };
        let (first, last) = window(account, "azure_hcl", &item);
        let default = PolicyFile::default();
        for (policy, nonce, at, stated) in [
            (milan(), nonce, first - 1, Stated::Expired(&["validity"])),
            (milan(), nonce, first, Stated::Accepted),
            (milan(), nonce, NOW, Stated::Accepted),
            (milan(), nonce, last, Stated::Accepted),
            (milan(), nonce, last + 1, Stated::Expired(&["validity"])),
            (default, nonce, NOW, Stated::Rejected(&["product-allowed"])),
            (milan(), b"other", NOW, Stated::Rejected(&["nonce"])),
        ] {
            let verdict = appraised(&policy, nonce, at);
            account.verdict(&item, at, stated, &verdict);
        }
        let verdict = appraised(&milan(), nonce, NOW);
        assert!(verdict.confidential, "{item}");
        let wanted = match name {
            "snp-evidence-v2.json" => Outcome::Pass,
            _ => Outcome::Skipped,
        };
        assert_eq!(outcome(&verdict, "user-data"), wanted, "{item}");
        let parsed = Evidence::parse(&evidence).unwrap();
        values(account, &item, &parsed, &verdict);
    }
}

/// The SNP part and the hash of the claims are right; there is no quote, and nothing to compare with.
fn hcl_report_of_snp(account: &mut Account) {
    let item = "azure/hcl-report-snp-v2.bin";
    let hcl = account.read(item);
    let vek = account.read("azure/hcl-report-snp-v2-vcek.pem");
    let beside = Beside {
        vek: Some(&vek),
        ..Beside::default()
    };
    let nothing = Expected::default();
    let (first, last) = window(account, "azure_hcl", item);
    let without = ["reference", "quote-format"];
    let expired = ["reference", "quote-format", "validity"];
    for (at, stated) in [
        (first - 1, Stated::Expired(&expired)),
        (NOW, Stated::Rejected(&without)),
        (last + 1, Stated::Expired(&expired)),
    ] {
        let verdict = appraise(&hcl, &beside, &nothing, &old(&hcl), &MICROSOFT, at);
        account.verdict(item, at, stated, &verdict);
    }
    let verdict = appraise(&hcl, &beside, &nothing, &milan(), &MICROSOFT, NOW);
    for name in [
        "report-version",
        "tcb-floor-launch",
        "paravisor-id-key",
        "paravisor-guest-svn",
    ] {
        assert_eq!(outcome(&verdict, name), Outcome::Fail, "{name}\n{verdict}");
    }
}

/// A quote of nine registers by another machine's key, with the HCL report above.
fn foreign_quote(account: &mut Account) {
    let item = "azure/tpm-quote-9pcr.msg";
    let hcl = account.read("azure/hcl-report-snp-v2.bin");
    let vek = account.read("azure/hcl-report-snp-v2-vcek.pem");
    let attest = account.read(item);
    let signature = account.read("azure/tpm-quote-9pcr.sig");
    let beside = Beside {
        quote: Some(QuoteFiles {
            attest: &attest,
            signature: &signature,
            pcrs: None,
        }),
        vek: Some(&vek),
        ..Beside::default()
    };
    let expected = Expected {
        nonce: Some(b"challenge"),
        reference: None,
    };
    let wanted = [
        "reference",
        "quote-signature",
        "pcr-selection",
        "pcr-digest",
    ];
    let mut policy = old(&hcl);
    let verdict = appraise(&hcl, &beside, &expected, &policy, &MICROSOFT, NOW);
    account.verdict(item, NOW, Stated::Rejected(&wanted), &verdict);
    let own = "azure/hcl-report-snp-v2.bin";
    let evidence = Evidence {
        hcl_report: hcl.clone(),
        vek: Some(vek.clone()),
        ..Evidence::default()
    };
    values(account, own, &evidence, &verdict);
    quoted(account, own, &Quote::parse(&attest).unwrap(), &verdict);
    policy.azure.pcrs = Some((0..24).collect());
    let verdict = appraise(&hcl, &beside, &expected, &policy, &MICROSOFT, NOW);
    account.verdict(item, NOW, Stated::Rejected(&wanted), &verdict);
    let expired = [wanted.as_slice(), &["validity"]].concat();
    let verdict = appraise(&hcl, &beside, &expected, &policy, &MICROSOFT, 0);
    account.verdict(item, 0, Stated::Expired(&expired), &verdict);
    // Without the certificate of the chip it is not known to be good or bad, were it not for the quote.
    let without = Beside {
        vek: None,
        ..beside
    };
    let verdict = appraise(&hcl, &without, &expected, &policy, &MICROSOFT, NOW);
    account.verdict(item, NOW, Stated::Rejected(&wanted), &verdict);
    let signature = verdict.check("signature").unwrap();
    assert_eq!(signature.missing.as_deref(), Some("vcek"));
}

/// The report of one chip, and the certificate of another.
fn wrong_chip(account: &mut Account) {
    let item = "azure/hcl-report-snp-2023.bin";
    let hcl = account.read(item);
    let vek = account.read("azure/wrong-chip-vcek-chain.pem");
    let beside = Beside {
        vek: Some(&vek),
        ..Beside::default()
    };
    let (policy, nothing) = (old(&hcl), Expected::default());
    let judged = |at| appraise(&hcl, &beside, &nothing, &policy, &MICROSOFT, at);
    let (first, last) = window(account, "azure_hcl", item);
    let wanted = ["reference", "quote-format", "hwid", "signature"];
    let expired = ["reference", "quote-format", "validity", "hwid", "signature"];
    for (at, stated) in [
        (first - 1, Stated::Expired(&expired)),
        (NOW, Stated::Rejected(&wanted)),
        (last + 1, Stated::Expired(&expired)),
    ] {
        account.verdict(item, at, stated, &judged(at));
    }
    let evidence = Evidence {
        hcl_report: hcl.clone(),
        vek: Some(vek.clone()),
        ..Evidence::default()
    };
    values(account, item, &evidence, &judged(NOW));
}

/// The claims say so, and hang together with the TDREPORT.
fn no_secure_boot(account: &mut Account) {
    let item = "azure/hcl-report-tdx-nosecureboot.bin";
    let hcl = account.read(item);
    let (nothing, beside) = (Expected::default(), Beside::default());
    let judged = |secure_boot| {
        appraise(
            &hcl,
            &beside,
            &nothing,
            &tdx(&hcl, secure_boot),
            &MICROSOFT,
            NOW,
        )
    };
    let verdict = judged(true);
    let stated = Stated::Rejected(&["reference", "secure-boot", "quote-format"]);
    account.verdict(item, NOW, stated, &verdict);
    let evidence = Evidence::parse(&hcl).unwrap();
    values(account, item, &evidence, &verdict);
    let stated = Stated::Rejected(&["reference", "quote-format"]);
    account.verdict(item, NOW, stated, &judged(false));
    account.timeless(
        item,
        "an HCL report with a TDREPORT and no certificate has no dates",
    );
}

/// The vTPM half is right; the TD quote is genuine and waits for collateral, which nobody recorded.
fn user_data_of_tdx(account: &mut Account) {
    let item = "azure/tdx-evidence-userdata.json";
    let evidence = account.read(item);
    let reference = expected(account, item, "azure-tdx");
    let expected = Expected {
        nonce: Some(b"attestation-test-fixture"),
        reference: Some(&reference),
    };
    let beside = Beside::default();
    let judged =
        |policy: &PolicyFile, at| appraise(&evidence, &beside, &expected, policy, &MICROSOFT, at);
    let verdict = judged(&tdx(&evidence, true), NOW);
    account.verdict(item, NOW, Stated::Missing("tcb-info"), &verdict);
    for name in ["user-data", "pck-chain", "td-quote-signature", "td-quote"] {
        assert_eq!(outcome(&verdict, name), Outcome::Pass, "{verdict}");
    }
    let parsed = Evidence::parse(&evidence).unwrap();
    values(account, item, &parsed, &verdict);
    let verdict = judged(&PolicyFile::default(), NOW);
    let stated = Stated::Rejected(&["paravisor-mrtd"]);
    account.verdict(item, NOW, stated, &verdict);
    let verdict = judged(&tdx(&evidence, true), LATE);
    let stated = Stated::Expired(&["pck-validity"]);
    account.verdict(item, LATE, stated, &verdict);
}

/// Evidence with the certificate that Microsoft issued for the attestation key, and Intel's collateral.
fn certified_tdx(account: &mut Account) {
    let item = "azure/tdx-evidence-1764662251.yaml";
    let evidence = account.read(item);
    let collateral = account.read("azure/tdx-collateral-1771423480.yaml");
    let collateral = Collateral::read(&collateral).unwrap().tdx;
    let parsed = Evidence::parse(&evidence).unwrap();
    let values = parsed.quote.unwrap().pcrs.unwrap();
    let pcrs: Vec<_> = values.0.values().copied().collect();
    let reference = reference("azure-tdx", &pcrs, &[4, 9, 11, 12, 13, 15]);
    let expected = Expected {
        nonce: Some(&[0; 32]),
        reference: Some(&reference),
    };
    let with = Beside {
        tdx: collateral.as_ref(),
        ..Beside::default()
    };
    let without = Beside::default();
    // The certificate of the key is valid to 2026-11-30T00:00:00Z.
    let last = 1_795_996_800;
    let expired = ["root-crl", "pck-crl", "collateral-current"];
    let long_expired = [&["ak-validity"], expired.as_slice()].concat();
    let missing = Stated::Missing("tcb-info");
    for (beside, secure_boot, at, stated) in [
        (&with, false, TDX_TIME, Stated::Accepted),
        (&with, false, last, Stated::Expired(&expired)),
        (&with, false, last + 1, Stated::Expired(&long_expired)),
        (&without, false, last, missing),
        (&without, false, last + 1, Stated::Expired(&["ak-validity"])),
        (&with, true, TDX_TIME, Stated::Rejected(&["secure-boot"])),
    ] {
        let policy = tdx(&evidence, secure_boot);
        let verdict = appraise(&evidence, beside, &expected, &policy, &MICROSOFT, at);
        account.verdict(item, at, stated, &verdict);
        assert_eq!(outcome(&verdict, "ak-certificate"), Outcome::Pass);
        assert_eq!(outcome(&verdict, "ak-chain"), Outcome::Skipped);
        assert_eq!(outcome(&verdict, "td-quote"), Outcome::Pass);
    }
}

/// A Trusted Launch VM is not confidential: its quote is genuine, it has no HCL report, and its quote fits nobody else's.
fn trusted_launch(account: &mut Account) {
    let item = "azure/trusted-launch-vtpm/quote.msg";
    let file = |name: &str| format!("azure/trusted-launch-vtpm/{name}");
    let names = [
        "quote.msg",
        "quote.sig",
        "ak.pub",
        "pcrs.bin",
        "akcert_0x01C101D0.der",
        "nonce.hex",
    ];
    let files = names.map(|name| account.read(&file(name)));
    let nothing = Expected::default();
    for (name, evidence) in names.iter().zip(&files).take(5) {
        let beside = Beside::default();
        let verdict = appraise(evidence, &beside, &nothing, &milan(), &MICROSOFT, NOW);
        let stated = Stated::Rejected(&["evidence-format", "reference"]);
        account.verdict(&file(name), NOW, stated, &verdict);
        let reason = "no HCL report, so that there is nothing with a date to judge";
        account.timeless(&file(name), reason);
    }
    let [attest, signature, ak, pcrs, certificate, nonce] = &files;
    let nonce = hex::decode(nonce.trim_ascii()).unwrap();
    let bare = BareQuote {
        attest,
        signature,
        ak,
        pcrs,
        event_log: None,
    };
    let own = PcrValues::from_tools(pcrs).unwrap();
    let own: Vec<_> = own.0.values().copied().collect();
    let reference = reference("qemu-vtpm", &own, &[4, 7]);
    let (few, default) = (
        QuotePolicy {
            pcrs: Some((0..8).collect()),
        },
        QuotePolicy::default(),
    );
    // PCRs 0 to 7 are too few unless they are named; the platform's own certificate is of another key.
    let other = BareQuote {
        ak: certificate,
        ..bare
    };
    for (quote, nonce, policy, stated) in [
        (bare, nonce.as_slice(), &few, Stated::Accepted),
        (bare, &nonce, &default, Stated::Rejected(&["pcr-selection"])),
        (bare, b"other", &few, Stated::Rejected(&["nonce"])),
        (other, &nonce, &few, Stated::Rejected(&["ak-format"])),
    ] {
        let expected = Expected {
            nonce: Some(nonce),
            reference: Some(&reference),
        };
        let verdict = appraise_quote(&quote, &expected, policy, NOW);
        account.verdict(item, NOW, stated, &verdict);
        assert!(!verdict.confidential);
        assert_eq!(outcome(&verdict, "confidential"), Outcome::Skipped);
    }
    with_the_report_of_another(account, &files, &nonce);
}

fn with_the_report_of_another(account: &mut Account, files: &[Vec<u8>; 6], nonce: &[u8]) {
    let name = "azure/snp-evidence-v1.json";
    let reference = expected(account, name, "azure-snp");
    let [attest, signature, _, pcrs, ..] = files;
    let beside = Beside {
        quote: Some(QuoteFiles {
            attest,
            signature,
            pcrs: Some(pcrs),
        }),
        ..Beside::default()
    };
    let expected = Expected {
        nonce: Some(nonce),
        reference: Some(&reference),
    };
    let evidence = account.read(name);
    let verdict = appraise(&evidence, &beside, &expected, &milan(), &MICROSOFT, NOW);
    for (name, wanted) in [
        ("quote-signature", Outcome::Fail),
        ("pcr-selection", Outcome::Fail),
        ("pcr-digest", Outcome::Pass),
        ("nonce", Outcome::Pass),
    ] {
        assert_eq!(outcome(&verdict, name), wanted, "{name}\n{verdict}");
    }
}

/// Values of the independent script about an HCL report and what comes with it.
fn values(account: &mut Account, item: &str, evidence: &Evidence, verdict: &Verdict) {
    const LIST: &str = "azure_hcl";
    let hcl = HclReport::parse(&evidence.hcl_report).unwrap();
    // The reader takes no other hash.
    account.used(LIST, item, &["file", "runtime_claims_hash_type"]);
    account.equal(LIST, item, "hcl_header_version", hcl.version);
    let bound = outcome(verdict, "claims-hash") == Outcome::Pass;
    account.equal(LIST, item, "report_data_binds_runtime_claims", bound);
    let ids: Vec<_> = hcl.claims.keys.iter().map(|key| key.kid.as_str()).collect();
    account.equal(LIST, item, "key_ids", ids);
    let row = account.row(LIST, item);
    // In either case, and none in claims of 2023.
    let wanted = row["user_data"].as_str().unwrap_or_default();
    let user_data = hex::encode(&hcl.claims.user_data);
    assert_eq!(user_data, wanted.to_ascii_lowercase(), "{item}");
    let found = &hcl.claims.vm_configuration;
    let wanted = &row["vm_configuration"];
    for (member, found) in [
        ("console-enabled", Some(found.console_enabled)),
        ("secure-boot", Some(found.secure_boot)),
        ("tpm-enabled", Some(found.tpm_enabled)),
        ("tpm-persisted", found.tpm_persisted),
        (
            "filtered-vpci-devices-allowed",
            found.filtered_vpci_devices_allowed,
        ),
    ] {
        assert_eq!(wanted[member].as_bool(), found, "{item} {member}");
    }
    assert_eq!(
        wanted["vmUniqueId"].as_str(),
        Some(found.vm_unique_id.as_str())
    );
    account.used(LIST, item, &["user_data", "vm_configuration"]);
    let kind = match &hcl.report {
        TeeReport::Snp(_) => "snp",
        TeeReport::Tdx(_) => "tdx",
    };
    account.equal(LIST, item, "report_type", kind);
    if kind == "snp" {
        let report = Report::parse(&hcl.hardware_report).unwrap();
        of_the_report(account, item, &report, verdict);
        let vek = X509::read_all(evidence.vek.as_deref().unwrap()).unwrap();
        let issuer = vek[0].issuer().to_string();
        let issuer = match issuer.contains("CN=SEV-Milan") {
            true => "SEV-Milan<-ARK-Milan",
            false => &issuer,
        };
        account.equal(LIST, item, "vek_issuer", issuer);
    }
    if let Some(given) = &evidence.quote {
        quoted(
            account,
            item,
            &Quote::parse(&given.attest).unwrap(),
            verdict,
        );
        let values = given.pcrs.as_ref().unwrap().0.values();
        let values: Vec<_> = values.map(hex::encode).collect();
        account.equal(LIST, item, "pcrs", values);
        let digest = outcome(verdict, "pcr-digest") == Outcome::Pass;
        account.equal(LIST, item, "pcr_digest_matches", digest);
    }
}

fn of_the_report(account: &mut Account, item: &str, report: &Report, verdict: &Verdict) {
    let cpuid = report.cpuid;
    let cpuid = cpuid.map_or([0; 3], |cpuid| [cpuid.family, cpuid.model, cpuid.stepping]);
    let signed = outcome(verdict, "signature") == Outcome::Pass;
    let found: [(&str, Value); 10] = [
        ("snp_version", report.version.into()),
        ("snp_guest_svn", report.guest_svn.into()),
        ("snp_policy", format!("{:#x}", report.policy).into()),
        ("snp_vmpl", report.vmpl.into()),
        ("snp_measurement", hex::encode(report.measurement).into()),
        (
            "snp_id_key_digest",
            hex::encode(report.id_key_digest).into(),
        ),
        ("reported_tcb_le", hex::encode(report.reported_tcb).into()),
        ("cpuid_fam_mod_step", hex::encode(cpuid).into()),
        ("chip_id", hex::encode(report.chip_id).into()),
        ("vek_signature_valid", signed.into()),
    ];
    for (member, found) in found {
        account.equal("azure_hcl", item, member, found);
    }
}

fn quoted(account: &mut Account, item: &str, quote: &Quote, verdict: &Verdict) {
    let selected = PcrSelection::sha256(&quote.pcr_select).unwrap();
    let found = serde_json::json!({
        // Magic and type: the reader takes no others.
        "magic": "0xff544347",
        "type": "0x8018",
        "extra": hex::encode(&quote.extra_data),
        "sel": [["0xb", selected]],
        "digest": hex::encode(&quote.pcr_digest),
        "fw": format!("{:016x}", quote.firmware_version),
    });
    account.equal("azure_hcl", item, "quote", found);
    let signed = outcome(verdict, "quote-signature") == Outcome::Pass;
    account.equal("azure_hcl", item, "quote_signed_by_HCLAkPub", signed);
}
