//! The cases of [`crate::checks`]: one thing made right in another way, or wrong.

use cloister_test_pki::tdx::{DATES, NOT_BEFORE, Part, put, qe_identity, sgx, tcb_info};
use cloister_test_pki::{Extension, Parameters};
use cloister_verify::policy::Hex;
use cloister_verify::tdx::TcbStatus;

use crate::scene::Scene;

/// What a case changes, and which checks then fail.
pub(crate) type Case = (&'static str, fn(&mut Scene), &'static [&'static str]);

pub(crate) fn attributes(scene: &mut Scene, bits: u64) {
    let bits = bits | 1 << 28;
    put(&mut scene.unsigned.body, 120, &bits.to_le_bytes());
}

fn body(scene: &mut Scene, offset: usize, bytes: &[u8]) {
    put(&mut scene.unsigned.body, offset, bytes);
}

fn forge(scene: &mut Scene, part: Part) {
    scene.unsigned.forged = Some(part);
}

fn replace(text: &mut String, from: &str, to: &str) {
    assert!(text.contains(from), "{from}");
    *text = text.replace(from, to);
}

pub(crate) const ACCEPTED: &[Case] = &[
    ("as it is", |_| {}, &[]),
    ("zeros behind", |s| s.unsigned.padding = vec![0; 3000], &[]),
    ("chain without root", |s| s.unsigned.chain.truncate(2), &[]),
    (
        "status that the policy names",
        |s| {
            s.unsigned.tcb_info = tcb_info("SWHardeningNeeded", "OutOfDate");
            s.policy.tcb_statuses = vec![TcbStatus::UpToDate, TcbStatus::SWHardeningNeeded]
        },
        &[],
    ),
    (
        "level below, named",
        |s| {
            s.unsigned.tcb_info = tcb_info("UpToDate", "OutOfDate");
            s.unsigned.pck.extensions = vec![sgx([1; 16], 11)];
            s.policy.tcb_statuses = vec![TcbStatus::OutOfDate]
        },
        &[],
    ),
    (
        "floor reached",
        |s| s.policy.minimum_tcb_evaluation = 17,
        &[],
    ),
    (
        "perfmon allowed",
        |s| {
            attributes(s, 1 << 63);
            s.policy.allow_perfmon = true
        },
        &[],
    ),
    (
        "key locker allowed",
        |s| {
            attributes(s, 1 << 31);
            s.policy.allow_key_locker = true
        },
        &[],
    ),
    (
        "module that the policy names",
        |s| s.policy.mr_seam = vec![Hex([1; 48]), Hex([0x5e; 48])],
        &[],
    ),
    (
        "owner",
        |s| {
            body(s, 184, &[1; 144]);
            s.policy.mr_config_id = Hex([1; 48]);
            s.policy.mr_owner = Hex([1; 48]);
            s.policy.mr_owner_config = Hex([1; 48])
        },
        &[],
    ),
    (
        "lists with others",
        |s| {
            s.unsigned.root_crl.revoked = vec![vec![9]];
            s.unsigned.pck_crl.revoked = vec![vec![2], vec![4]]
        },
        &[],
    ),
    ("first second", |s| s.at = 1_793_491_200, &[]),
    // `dcap-qvl` holds the second of nextUpdate to be too late for a list, and in time for a document.
    (
        "last second",
        |s| {
            s.at = 1_796_083_200;
            s.unsigned.root_crl.next_update = Some(s.at + 1);
            s.unsigned.pck_crl.next_update = Some(s.at + 1)
        },
        &[],
    ),
];

pub(crate) const REJECTED: &[Case] = &[
    (
        "one byte behind",
        |s| s.unsigned.padding = vec![0, 0, 1],
        &["td-quote-format"],
    ),
    (
        "version 3",
        |s| put(&mut s.unsigned.header, 0, &[3]),
        &["td-quote-format"],
    ),
    (
        "sgx",
        |s| put(&mut s.unsigned.header, 4, &[0]),
        &["tee-type"],
    ),
    (
        "p-384",
        |s| put(&mut s.unsigned.header, 2, &[3]),
        &["tee-type"],
    ),
    (
        "another vendor",
        |s| put(&mut s.unsigned.header, 12, &[0]),
        &["tee-type"],
    ),
    ("pck by a stranger", |s| forge(s, Part::Pck), &["pck-chain"]),
    ("ca by a stranger", |s| forge(s, Part::Ca), &["pck-chain"]),
    (
        "no ca",
        |s| s.unsigned.chain = vec![Part::Pck, Part::Root],
        &["pck-chain"],
    ),
    (
        "signer instead of the ca",
        |s| s.unsigned.chain = vec![Part::Pck, Part::Signer, Part::Root],
        &["pck-chain"],
    ),
    (
        "one certificate too many",
        |s| s.unsigned.chain.push(Part::Root),
        &["pck-chain"],
    ),
    (
        "foreign root at the end",
        |s| s.unsigned.chain[2] = Part::Signer,
        &["pck-chain"],
    ),
    (
        "ca without the flag",
        |s| s.unsigned.ca.extensions.clear(),
        &["pck-chain"],
    ),
    (
        "no sgx extension",
        |s| s.unsigned.pck.extensions.clear(),
        &["pck-chain"],
    ),
    (
        "algorithms differ",
        |s| s.unsigned.pck.outer = Parameters::EcdsaSha384,
        &["pck-chain"],
    ),
    (
        "pck not yet valid",
        |s| s.unsigned.pck.validity.0 = s.at + 1,
        &["pck-validity"],
    ),
    (
        "ca expired",
        |s| s.unsigned.ca.validity.1 = s.at - 1,
        &["pck-validity"],
    ),
    (
        "report by a stranger",
        |s| forge(s, Part::QeReport),
        &["qe-report"],
    ),
    (
        "report of another key",
        |s| put(&mut s.unsigned.qe_report, 320, &[1]),
        &["qe-report"],
    ),
    (
        "more in the report",
        |s| put(&mut s.unsigned.qe_report, 352, &[1]),
        &["qe-report"],
    ),
    (
        "quote by a stranger",
        |s| forge(s, Part::Quote),
        &["td-quote-signature"],
    ),
    (
        "root's list by a stranger",
        |s| forge(s, Part::RootCrl),
        &["root-crl"],
    ),
    (
        "root's list out of date",
        |s| s.unsigned.root_crl.next_update = Some(s.at - 1),
        &["root-crl"],
    ),
    (
        "ca revoked",
        |s| s.unsigned.root_crl.revoked = vec![vec![2]],
        &["root-crl"],
    ),
    (
        "signer revoked",
        |s| s.unsigned.root_crl.revoked = vec![vec![4]],
        &["root-crl"],
    ),
    (
        "ca's list by a stranger",
        |s| forge(s, Part::PckCrl),
        &["pck-crl"],
    ),
    (
        "ca's list from the future",
        |s| s.unsigned.pck_crl.this_update = s.at + 1,
        &["pck-crl"],
    ),
    (
        "pck revoked",
        |s| s.unsigned.pck_crl.revoked = vec![vec![3]],
        &["pck-crl"],
    ),
    (
        "list of the root for both",
        |s| s.after = |made| made.pck_crl = made.root_crl.clone(),
        &["pck-crl"],
    ),
    (
        "tcb info by a stranger",
        |s| forge(s, Part::TcbInfo),
        &["tcb-info"],
    ),
    (
        "tcb info changed",
        |s| s.after = |made| replace(&mut made.tcb_info.0, "\"pcesvn\":11", "\"pcesvn\":10"),
        &["tcb-info"],
    ),
    (
        "identity by a stranger",
        |s| forge(s, Part::QeIdentity),
        &["qe-identity"],
    ),
    (
        "signer by a stranger",
        |s| forge(s, Part::Signer),
        &["tcb-info", "qe-identity"],
    ),
    (
        "signer is another",
        |s| s.unsigned.signer.subject = "Intel SGX Attestation Report Signing".to_owned(),
        &["tcb-info", "qe-identity"],
    ),
    (
        "tcb info expired",
        |s| {
            let late =
                "\"issueDate\":\"2026-10-01T00:00:00Z\",\"nextUpdate\":\"2026-11-01T00:00:00Z\"";
            replace(&mut s.unsigned.tcb_info, DATES, late)
        },
        &["collateral-current"],
    ),
    (
        "identity from the future",
        |s| {
            let early =
                "\"issueDate\":\"2026-12-01T00:00:00Z\",\"nextUpdate\":\"2027-01-01T00:00:00Z\"";
            replace(&mut s.unsigned.qe_identity, DATES, early)
        },
        &["collateral-current"],
    ),
    (
        "no date",
        |s| replace(&mut s.unsigned.tcb_info, "2026-11-01T00:00:00Z", "soon"),
        &["collateral-current"],
    ),
    (
        "signer expired",
        |s| s.unsigned.signer.validity = (NOT_BEFORE, s.at - 1),
        &["collateral-current"],
    ),
    (
        "collateral from before the floor",
        |s| s.policy.minimum_tcb_evaluation = 18,
        &["tcb-evaluation"],
    ),
    (
        "another enclave",
        |s| put(&mut s.unsigned.qe_report, 128, &[0]),
        &["qe-enclave"],
    ),
    (
        "enclave of another product",
        |s| put(&mut s.unsigned.qe_report, 256, &[1]),
        &["qe-enclave"],
    ),
    (
        "enclave in debug mode",
        |s| put(&mut s.unsigned.qe_report, 48, &[0x13]),
        &["qe-enclave"],
    ),
    (
        "enclave too old for any level",
        |s| put(&mut s.unsigned.qe_report, 258, &[3]),
        &["qe-enclave"],
    ),
    (
        "platform below every level",
        |s| s.unsigned.pck.extensions = vec![sgx([0; 16], 11)],
        &["tcb-level"],
    ),
    (
        "another fmspc",
        |s| replace(&mut s.unsigned.tcb_info, "5C066F000000", "5C066F000001"),
        &["tcb-level"],
    ),
    (
        "tcb info of sgx",
        |s| replace(&mut s.unsigned.tcb_info, "\"id\":\"TDX\"", "\"id\":\"SGX\""),
        &["tcb-level"],
    ),
    (
        "out of date",
        |s| s.unsigned.tcb_info = tcb_info("OutOfDate", "OutOfDate"),
        &["tcb-status"],
    ),
    (
        "hardening needed",
        |s| s.unsigned.tcb_info = tcb_info("SWHardeningNeeded", "OutOfDate"),
        &["tcb-status"],
    ),
    (
        "revoked",
        |s| {
            s.unsigned.tcb_info = tcb_info("Revoked", "Revoked");
            s.policy.tcb_statuses = TcbStatus::ALL.to_vec()
        },
        &["tcb-status"],
    ),
    (
        "enclave out of date",
        |s| s.unsigned.qe_identity = qe_identity("OutOfDate"),
        &["tcb-status"],
    ),
    (
        "advisory",
        |s| {
            s.unsigned.tcb_info = tcb_info("SWHardeningNeeded", "OutOfDate");
            s.policy.tcb_statuses = vec![TcbStatus::SWHardeningNeeded];
            s.policy.refused_advisories = vec!["INTEL-SA-00001".to_owned()]
        },
        &["advisories"],
    ),
    ("debug", |s| attributes(s, 1), &["debug"]),
    ("profiling", |s| attributes(s, 1 << 4), &["debug"]),
    // `dcap-qvl` refuses reserved bits and migration itself.
    (
        "reserved bit",
        |s| attributes(s, 1 << 40),
        &["tcb-level", "td-attributes"],
    ),
    (
        "migratable",
        |s| attributes(s, 1 << 29),
        &["tcb-level", "migratable"],
    ),
    (
        "injected exceptions",
        |s| body(s, 123, &[0]),
        &["tcb-level", "sept-ve-disable"],
    ),
    ("perfmon", |s| attributes(s, 1 << 63), &["perfmon"]),
    ("key locker", |s| attributes(s, 1 << 31), &["key-locker"]),
    ("xfam", |s| body(s, 129, &[1]), &["xfam"]),
    (
        "module by another",
        |s| body(s, 64, &[1]),
        &["tcb-level", "mr-signer-seam"],
    ),
    (
        "another module",
        |s| s.policy.mr_seam = vec![Hex([1; 48])],
        &["mr-seam"],
    ),
    (
        "service td may be bound",
        |s| attributes(s, 1 << 17),
        &["tcb-level", "mr-servicetd"],
    ),
    ("config id", |s| body(s, 184, &[1]), &["mr-config-id"]),
    ("owner", |s| body(s, 232, &[1]), &["mr-owner"]),
    (
        "owner's config",
        |s| body(s, 280, &[1]),
        &["mr-owner-config"],
    ),
    ("firmware", |s| body(s, 136, &[1]), &["mrtd"]),
    ("no firmware", |s| s.mrtd = None, &["mrtd", "rtmr"]),
    ("report data", |s| body(s, 583, &[1]), &["report-data"]),
    ("no report data", |s| s.report_data = None, &["report-data"]),
];

/// Kept apart: an authority whose path would be too long.
pub(crate) fn long_path(scene: &mut Scene) {
    scene.unsigned.root.extensions =
        vec![Extension::authority(Some(0)), Extension::key_usage(true)];
}
