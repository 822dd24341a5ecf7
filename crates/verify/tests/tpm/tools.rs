//! Real quotes of a software TPM, through tpm2-tools.

use cloister_verify::tpm::{BareQuote, Expected, QuotePolicy, appraise_quote};

use crate::scene::{NONCE, NOW, failed, reference};
use crate::swtpm::SoftwareTpm;

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
