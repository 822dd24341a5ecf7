//! The cases of [`crate::checks`]: one thing made right in another way, or wrong.

use cloister_test_pki::snp::{NOT_AFTER, NOT_BEFORE};
use cloister_test_pki::tdx::Part;
use cloister_verify::policy::Hex;
use serde_json::json;

use crate::scene::{EVENT_LOG, NONCE, Scene, ak_chain, jwk, pcrs, purpose, reference, world};

/// What a case changes, and which checks then fail.
pub(crate) type Case = (&'static str, fn(&mut Scene), &'static [&'static str]);

fn configuration(scene: &mut Scene, member: &str, value: bool) {
    scene.claims["vm-configuration"][member] = value.into();
}

fn user_data(scene: &mut Scene, start: &[u8]) {
    let mut bytes = start.to_vec();
    bytes.resize(64, 0);
    scene.claims["user-data"] = hex::encode_upper(bytes).into();
}

fn select(scene: &mut Scene, count: usize, bitmap: [u8; 3]) {
    scene.pcrs.truncate(count);
    scene.requote();
    scene.attest.banks = vec![(0x000b, bitmap.to_vec())];
}

pub(crate) const ACCEPTED: &[Case] = &[
    ("as it is", |_| {}, &[]),
    ("16 registers", |s| select(s, 16, [0xff, 0xff, 0]), &[]),
    (
        "registers by name",
        |s| {
            select(s, 17, [0xff, 0xff, 1]);
            s.policy.azure.pcrs = Some((0..17).collect())
        },
        &[],
    ),
    ("event log", |s| s.event_log = Some(EVENT_LOG.to_vec()), &[]),
    (
        "secure boot off, as the policy has it",
        |s| {
            configuration(s, "secure-boot", false);
            s.policy.azure.secure_boot = false
        },
        &[],
    ),
    (
        "no console, as the policy has it",
        |s| {
            configuration(s, "console-enabled", false);
            s.policy.azure.console = false
        },
        &[],
    ),
    (
        "console with input, as the policy has it",
        |s| {
            configuration(s, "interactive-console-enabled", true);
            s.policy.azure.interactive_console = true
        },
        &[],
    ),
    (
        "devices, as the policy has it",
        |s| {
            configuration(s, "filtered-vpci-devices-allowed", true);
            s.policy.azure.vpci_devices = true
        },
        &[],
    ),
    ("user data", |s| user_data(s, &NONCE), &[]),
    (
        "user data of wire version 2",
        |s| {
            s.version = 2;
            user_data(s, &NONCE)
        },
        &[],
    ),
    ("certificate of the key", |s| s.ak = Some(ak_chain()), &[]),
    (
        "last second of the certificate",
        |s| {
            s.ak = Some(ak_chain());
            s.at = NOT_AFTER
        },
        &[],
    ),
    (
        "first second of the certificate",
        |s| {
            s.ak = Some(ak_chain());
            s.at = NOT_BEFORE
        },
        &[],
    ),
    (
        "nothing behind the certificate",
        |s| {
            s.ak = Some(ak_chain());
            s.ak_behind.clear()
        },
        &[],
    ),
    (
        "certificates above not given",
        |s| {
            s.ak = Some(ak_chain());
            (s.ak_above, s.ak_root_pinned) = (false, false)
        },
        &[],
    ),
    (
        "paravisor's measurement",
        |s| s.policy.azure.paravisor_measurements = vec![Hex([1; 48]), Hex([0x3e; 48])],
        &[],
    ),
    (
        "floor reached",
        |s| s.policy.azure.paravisor_minimum_guest_svn = 65_547,
        &[],
    ),
    (
        "another guest policy, as the policy has it",
        |s| {
            s.report.set(8, &0x3_0020_u64.to_le_bytes());
            s.policy.azure.paravisor_guest_policy = 0x3_0020
        },
        &[],
    ),
];

pub(crate) const REJECTED: &[Case] = &[
    (
        "no reference values",
        |s| s.reference = None,
        &["reference"],
    ),
    (
        "reference values of another platform",
        |s| s.reference = Some(reference("qemu-vtpm", &s.pcrs)),
        &["reference"],
    ),
    (
        "reference values of the other hardware",
        |s| s.reference = Some(reference("azure-tdx", &s.pcrs)),
        &["reference"],
    ),
    (
        "reference values that are not confidential",
        |s| s.reference.as_mut().unwrap().confidential = false,
        &["reference"],
    ),
    (
        "reference values without a register",
        |s| drop(s.reference.as_mut().unwrap().registers.remove("pcr12")),
        &["reference"],
    ),
    (
        "another image",
        |s| {
            s.pcrs[4] = [4; 32];
            s.requote()
        },
        &["pcr4"],
    ),
    ("wire version", |s| s.version = 3, &["evidence-format"]),
    (
        "another signature of the hcl report",
        |s| s.hcl_edit = Some((0, b'h')),
        &["hcl-format"],
    ),
    (
        "hcl report's reserved byte",
        |s| s.hcl_edit = Some((21, 1)),
        &["hcl-format"],
    ),
    (
        "byte behind the claims",
        |s| s.hcl_edit = Some((2599, 1)),
        &["hcl-format"],
    ),
    (
        "claims that are no claims",
        |s| s.claims = json!({"keys": []}),
        &["hcl-format"],
    ),
    (
        "claims of another machine",
        |s| s.report_data = Some([7; 64]),
        &["claims-hash"],
    ),
    (
        "hash of the claims without zeros",
        |s| {
            use sha2::Digest as _;
            let mut bound = [1; 64];
            bound[..32].copy_from_slice(&sha2::Sha256::digest(s.claims.to_string()));
            s.report_data = Some(bound)
        },
        &["claims-hash"],
    ),
    (
        "no attestation key",
        |s| s.claims["keys"] = json!([jwk("HCLEkPub", &world().ak)]),
        &["attestation-key"],
    ),
    (
        "two attestation keys",
        |s| {
            s.claims["keys"] = json!([
                jwk("HCLAkPub", &world().ak),
                jwk("HCLAkPub", &world().stranger)
            ])
        },
        &["attestation-key"],
    ),
    (
        "an attestation key that is not rsa",
        |s| s.claims["keys"][0]["kty"] = "EC".into(),
        &["attestation-key"],
    ),
    (
        "an attestation key of 1024 bits",
        |s| s.claims["keys"][0]["n"] = "gA".repeat(86).into(),
        &["attestation-key"],
    ),
    (
        "no tpm",
        |s| configuration(s, "tpm-enabled", false),
        &["tpm-enabled"],
    ),
    (
        "secure boot off",
        |s| configuration(s, "secure-boot", false),
        &["secure-boot"],
    ),
    ("console", |s| s.policy.azure.console = false, &["console"]),
    (
        "console with input",
        |s| configuration(s, "interactive-console-enabled", true),
        &["console"],
    ),
    (
        "devices",
        |s| configuration(s, "filtered-vpci-devices-allowed", true),
        &["vpci-devices"],
    ),
    (
        "not made by a tpm",
        |s| s.attest.magic = 0,
        &["quote-format"],
    ),
    ("no quote", |s| s.attest.kind = 0x8017, &["quote-format"]),
    (
        "quote by a stranger",
        |s| s.signer = Some(&world().stranger),
        &["quote-signature"],
    ),
    (
        "another key in the claims",
        |s| s.claims["keys"][0] = jwk("HCLAkPub", &world().stranger),
        &["quote-signature"],
    ),
    ("no nonce to compare with", |s| s.nonce = None, &["nonce"]),
    ("another nonce", |s| s.nonce = Some(vec![1; 32]), &["nonce"]),
    (
        "the start of the nonce",
        |s| s.nonce = Some(NONCE[..31].to_vec()),
        &["nonce"],
    ),
    (
        "nine registers",
        |s| select(s, 24, [0xff, 0x40, 0]),
        &["pcr-selection", "pcr-digest"],
    ),
    (
        "fifteen registers",
        |s| select(s, 15, [0xff, 0x7f, 0]),
        &["pcr-selection", "pcr15"],
    ),
    (
        "all registers where sixteen are named",
        |s| s.policy.azure.pcrs = Some((0..16).collect()),
        &["pcr-selection"],
    ),
    (
        "sixteen registers where all are named",
        |s| {
            select(s, 16, [0xff, 0xff, 0]);
            s.policy.azure.pcrs = Some((0..24).collect())
        },
        &["pcr-selection"],
    ),
    (
        "another bank",
        |s| s.attest.banks = vec![(0x000c, vec![0xff; 3])],
        &["pcr-selection"],
    ),
    (
        "two banks",
        |s| s.attest.banks = vec![(0x000b, vec![0xff; 3]), (0x0004, vec![1, 0, 0])],
        &["pcr-selection"],
    ),
    (
        "a long bitmap",
        |s| s.attest.banks = vec![(0x000b, vec![0xff, 0xff, 0xff, 0])],
        &["pcr-selection"],
    ),
    ("other values", |s| s.pcrs[16] = [1; 32], &["pcr-digest"]),
    (
        "values of registers that are not quoted",
        |s| s.attest.banks = vec![(0x000b, vec![0xff, 0xff, 0])],
        &["pcr-digest"],
    ),
    (
        "event log of another boot",
        |s| {
            s.event_log = Some(EVENT_LOG.to_vec());
            s.pcrs[0] = [1; 32];
            s.requote()
        },
        &["event-log"],
    ),
    (
        "event log cut off",
        |s| s.event_log = Some(EVENT_LOG[..EVENT_LOG.len() - 1].to_vec()),
        &["event-log"],
    ),
    (
        "other user data",
        |s| user_data(s, &[1; 32]),
        &["user-data"],
    ),
    (
        "more user data",
        |s| user_data(s, &[NONCE, [1; 32]].concat()),
        &["user-data"],
    ),
    (
        "the start as user data",
        |s| user_data(s, &NONCE[..31]),
        &["user-data"],
    ),
    (
        "no user data in wire version 2",
        |s| s.version = 2,
        &["user-data"],
    ),
    (
        "no user data where the policy wants it",
        |s| s.policy.azure.user_data = true,
        &["user-data"],
    ),
    (
        "bytes behind the certificate of the key",
        |s| {
            s.ak = Some(ak_chain());
            s.ak_above = false;
            s.ak_behind = vec![0, 1]
        },
        &["ak-certificate"],
    ),
    (
        "certificate of another kind of vm",
        |s| {
            let mut chain = ak_chain();
            chain.leaf.subject = "0.TrustedVM.Azure.windows.net".to_owned();
            s.ak = Some(chain)
        },
        &["ak-certificate"],
    ),
    (
        "certificate for another purpose",
        |s| {
            let mut chain = ak_chain();
            chain.leaf.extensions = vec![purpose(&[0x67, 0x81, 5, 8, 1])];
            s.ak = Some(chain)
        },
        &["ak-certificate"],
    ),
    (
        "certificate without purpose",
        |s| {
            let mut chain = ak_chain();
            chain.leaf.extensions = Vec::new();
            s.ak = Some(chain)
        },
        &["ak-certificate"],
    ),
    (
        "certificate of another key",
        |s| {
            s.ak = Some(ak_chain());
            s.claims["keys"][0] = jwk("HCLAkPub", &world().stranger);
            s.signer = Some(&world().stranger)
        },
        &["ak-certificate"],
    ),
    (
        "certificate expired",
        |s| {
            let mut chain = ak_chain();
            chain.leaf.validity.1 = s.at - 1;
            s.ak = Some(chain)
        },
        &["ak-validity"],
    ),
    (
        "issuer's certificate expired",
        |s| {
            let mut chain = ak_chain();
            chain.issuer.validity.1 = s.at - 1;
            s.ak = Some(chain)
        },
        &["ak-validity"],
    ),
    (
        "root not pinned",
        |s| {
            s.ak = Some(ak_chain());
            s.ak_root_pinned = false
        },
        &["ak-chain"],
    ),
    (
        "issuer without ca flag",
        |s| {
            let mut chain = ak_chain();
            chain.issuer.extensions.remove(0);
            s.ak = Some(chain)
        },
        &["ak-chain"],
    ),
    (
        "issuer of another root",
        |s| {
            let mut chain = ak_chain();
            chain.issuer.issuer = "Other Root".to_owned();
            s.ak = Some(chain)
        },
        &["ak-chain", "chain"],
    ),
    // What the paravisor is.
    (
        "the guest's own report",
        |s| {
            s.report.set(0x30, &[2]);
            s.policy.snp.vmpl = 2
        },
        &["paravisor-vmpl"],
    ),
    (
        "another signer",
        |s| s.report.set(0xe0, &[0x1e; 48]),
        &["paravisor-id-key"],
    ),
    (
        "no signer named",
        |s| s.policy.azure.paravisor_id_key_digests = Vec::new(),
        &["paravisor-id-key"],
    ),
    (
        "an old paravisor",
        |s| s.report.set(4, &9_u32.to_le_bytes()),
        &["paravisor-guest-svn"],
    ),
    (
        "another guest policy",
        |s| s.report.set(8, &0x3_0000_u64.to_le_bytes()),
        &["paravisor-guest-policy"],
    ),
    (
        "another paravisor",
        |s| s.policy.azure.paravisor_measurements = vec![Hex([1; 48])],
        &["paravisor-measurement"],
    ),
    // That the checks of the report are made at all; each has its cases in the tests of SNP.
    (
        "a paravisor that can be debugged",
        |s| {
            s.report.set(8, &0xb_001f_u64.to_le_bytes());
            s.policy.azure.paravisor_guest_policy = 0xb_001f
        },
        &["debug"],
    ),
    (
        "certificate of another chip",
        |s| s.vek.as_mut().unwrap().hwid = Some(vec![0xc2; 64]),
        &["hwid"],
    ),
    (
        "a level below the certificate's",
        |s| s.report.set(0x180, &[9]),
        &["tcb-vek"],
    ),
    (
        "after the certificates",
        |s| s.at = NOT_AFTER + 1,
        &["validity"],
    ),
    (
        "a processor that is not taken",
        |s| s.policy.snp.products = Vec::new(),
        &["product-allowed"],
    ),
];

/// On TDX. The checks of the TD quote itself have more cases in its own tests.
pub(crate) const ON_TDX: &[Case] = &[
    ("as it is", |_| {}, &[]),
    (
        "registers of the paravisor",
        |s| s.tdreport[720..912].fill(0x77),
        &[],
    ),
    (
        "another paravisor",
        |s| s.tdreport[528] = 1,
        &["paravisor-mrtd"],
    ),
    (
        "no paravisor named",
        |s| s.policy.azure.paravisor_mrtds = Vec::new(),
        &["paravisor-mrtd"],
    ),
    ("debug", |s| s.tdreport[512] = 1, &["debug"]),
    (
        "reserved debug bit",
        |s| s.tdreport[512] = 0x80,
        &["tcb-level", "debug"],
    ),
    (
        "migration",
        |s| s.tdreport[515] = 0x30,
        &["tcb-level", "migratable"],
    ),
    ("owner", |s| s.tdreport[624] = 1, &["mr-owner"]),
    (
        "another policy of owners",
        |s| {
            s.tdreport[624..672].fill(9);
            s.policy.tdx.mr_owner = Hex([9; 48]);
        },
        &[],
    ),
    (
        "quote of other report data",
        |s| s.td_edit = |td| td.body[520] ^= 1,
        &["td-quote"],
    ),
    (
        "quote with more in its report data",
        |s| s.td_edit = |td| td.body[583] = 1,
        &["td-quote"],
    ),
    (
        "quote of another paravisor",
        |s| s.td_edit = |td| td.body[136] ^= 1,
        &["td-quote"],
    ),
    (
        "quote of other features",
        |s| s.td_edit = |td| td.body[128] = 3,
        &["td-quote"],
    ),
    (
        "quote of other registers",
        |s| s.td_edit = |td| td.body[519] = 1,
        &["td-quote"],
    ),
    (
        "quote signed by a stranger",
        |s| s.td_edit = |td| td.forged = Some(Part::Quote),
        &["td-quote-signature"],
    ),
    (
        "platform of a stranger",
        |s| s.td_edit = |td| td.forged = Some(Part::Pck),
        &["pck-chain"],
    ),
    ("another root", |s| s.intel_pinned = false, &["pck-chain"]),
    (
        "cut quote",
        |s| s.td_edit = |td| td.header[0] = 6,
        &["td-quote-format"],
    ),
    (
        "status that the policy does not take",
        |s| s.policy.tdx.tcb_statuses = Vec::new(),
        &["tcb-status"],
    ),
    (
        "late",
        |s| s.at = 1_796_083_201,
        &["root-crl", "pck-crl", "collateral-current"],
    ),
    (
        "reference values of the other hardware",
        |s| s.reference = Some(reference("azure-snp", &pcrs())),
        &["reference"],
    ),
    (
        "quote by a stranger",
        |s| s.signer = Some(&world().stranger),
        &["quote-signature"],
    ),
];
