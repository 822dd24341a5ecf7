//! Real quotes: of a Trusted Launch VM on Azure, and of a software TPM through tpm2-tools.

use std::path::{Path, PathBuf};

use cloister_evidence::tpm::PcrValues;
use cloister_verify::tpm::{BareQuote, Expected, QuotePolicy, appraise_quote};
use cloister_verify::verdict::Outcome;

use crate::scene::{NONCE, NOW, failed, reference};
use crate::swtpm::SoftwareTpm;

/// The quote of a Trusted Launch VM; without vectors the test is skipped, and fails under `CI`.
fn directory() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut candidates = vec![
        workspace.join("../shared/vectors"),
        workspace.join("../../shared/vectors"),
    ];
    candidates.extend(environment("CLOISTER_VECTORS").map(PathBuf::from));
    let found = candidates
        .iter()
        .rev()
        .map(|path| path.join("attestation/azure/trusted-launch-vtpm"))
        .find(|path| path.is_dir());
    if found.is_none() {
        assert!(environment("CI").is_none(), "no vectors, and CI is set");
        println!("skipped: no attestation vectors; set CLOISTER_VECTORS");
    }
    found
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests find their vectors by the environment"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[test]
fn quote_of_trusted_launch_is_genuine_and_not_confidential() {
    let Some(directory) = directory() else { return };
    let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
    let [attest, signature, ak, pcrs] = ["quote.msg", "quote.sig", "ak.pub", "pcrs.bin"].map(read);
    let nonce = hex::decode(read("nonce.hex").trim_ascii()).unwrap();
    let evidence = BareQuote {
        attest: &attest,
        signature: &signature,
        ak: &ak,
        pcrs: &pcrs,
        event_log: None,
    };
    let values = PcrValues::from_tools(&pcrs).unwrap();
    let values: Vec<_> = values.0.values().copied().collect();
    let reference = reference(&values);
    let judge = |evidence: &BareQuote<'_>, nonce: &[u8], policy: &QuotePolicy| {
        let expected = Expected {
            nonce: Some(nonce),
            reference: Some(&reference),
        };
        appraise_quote(evidence, &expected, policy, NOW)
    };
    // PCRs 0 to 7 are too few unless they are named.
    let verdict = judge(&evidence, &nonce, &QuotePolicy::default());
    assert_eq!(failed(&verdict), ["pcr-selection"], "{verdict}");
    assert_eq!(verdict.check("pcr-selection").unwrap().found, "PCRs 0-7");
    let policy = QuotePolicy {
        pcrs: Some((0..8).collect()),
    };
    let verdict = judge(&evidence, &nonce, &policy);
    assert!(verdict.accepted && !verdict.confidential, "{verdict}");
    assert_eq!(
        verdict.check("confidential").unwrap().outcome,
        Outcome::Skipped
    );
    let verdict = judge(&evidence, b"other", &policy);
    assert_eq!(failed(&verdict), ["nonce"]);
    // The platform's own certificate is of another key: the one in the evidence was made in the guest.
    let certificate = read("akcert_0x01C101D0.der");
    let other = BareQuote {
        ak: &certificate,
        ..evidence
    };
    assert_eq!(failed(&judge(&other, &nonce, &policy)), ["ak-format"]);
}

#[test]
fn quotes_of_a_software_tpm_are_accepted_with_keys_of_both_kinds() {
    for algorithm in ["rsa2048:rsassa-sha256:null", "ecc256:ecdsa-sha256:null"] {
        let Some(tpm) = SoftwareTpm::start() else {
            return;
        };
        tpm.create_ak(algorithm);
        tpm.run(&format!("tpm2_pcrextend 4:sha256={}", "0a".repeat(32)));
        tpm.run("tpm2_readpublic -c ak.ctx -f pem -o ak.pem");
        tpm.run("tpm2_flushcontext -t");
        let judge = |ak: &str| {
            let [attest, signature, ak, pcrs] =
                ["attest", "signature", ak, "pcrs"].map(|name| tpm.read(name));
            let evidence = BareQuote {
                attest: &attest,
                signature: &signature,
                ak: &ak,
                pcrs: &pcrs,
                event_log: None,
            };
            let mut image = [[0; 32]; 24];
            image[4] = extended([0x0a; 32]);
            let reference = reference(&image);
            let expected = Expected {
                nonce: Some(&NONCE),
                reference: Some(&reference),
            };
            appraise_quote(&evidence, &expected, &QuotePolicy::default(), NOW)
        };
        let all: Vec<_> = (0..16).map(|pcr: u8| pcr.to_string()).collect();
        tpm.quote("ak.ctx", &format!("sha256:{}", all.join(",")), &NONCE);
        for ak in ["ak.pub", "ak.pem"] {
            let verdict = judge(ak);
            assert!(verdict.accepted, "{algorithm} {ak}\n{verdict}");
        }
        tpm.quote("ak.ctx", "sha256:0,4,7", &NONCE);
        let verdict = judge("ak.pub");
        assert_eq!(
            failed(&verdict),
            ["pcr-selection"],
            "{algorithm}\n{verdict}"
        );
        tpm.quote("ak.ctx", "sha384:0,4,7", &NONCE);
        let verdict = judge("ak.pub");
        assert_eq!(
            failed(&verdict),
            ["pcr-list", "pcr-selection"],
            "{algorithm}\n{verdict}"
        );
    }
}

/// A register of zeros after one extend.
fn extended(digest: [u8; 32]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest([[0; 32], digest].as_flattened()).into()
}
