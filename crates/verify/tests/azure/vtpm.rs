//! A software TPM provisioned like Azure's: the attestation key at its handle, the HCL report in its NV index, quotes by the TPM itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloister_evidence::azure::{AK_HANDLE, HCL_REPORT_INDEX};
use cloister_evidence::tpm::{PcrValues, RsaAttestationKey};
use cloister_verify::azure::{Beside, QuoteFiles};
use serde_json::json;

use crate::scene::{NONCE, Scene, failed, reference};
use crate::swtpm::SoftwareTpm;

/// The machine whose vTPM this is.
pub(crate) fn provision(tpm: &SoftwareTpm) -> Scene {
    tpm.create_ak("rsa2048:rsassa-sha256:null");
    tpm.run(&format!(
        "tpm2_evictcontrol -C o -c ak.ctx {AK_HANDLE:#010x}"
    ));
    let public = tpm.read("ak.pub");
    let key = RsaAttestationKey::parse(&public[2..]).unwrap();
    let mut scene = Scene::snp();
    // As in claims of 2023, which fit the 2048 bytes that this TPM has for an index: one key, no user data.
    scene.claims["keys"] = json!([{
        "kid": "HCLAkPub",
        "kty": "RSA",
        "e": "AQAB",
        "n": URL_SAFE_NO_PAD.encode(key.modulus),
    }]);
    scene.claims.as_object_mut().unwrap().remove("user-data");
    let end = 1236 + scene.claims.to_string().len();
    std::fs::write(tpm.path("hcl"), &scene.hcl()[..end]).unwrap();
    let attributes = "ownerread|ownerwrite|authread|authwrite";
    tpm.run(&format!(
        "tpm2_nvdefine {HCL_REPORT_INDEX:#010x} -C o -s {end} -a {attributes}"
    ));
    tpm.run(&format!(
        "tpm2_nvwrite {HCL_REPORT_INDEX:#010x} -C o -i hcl"
    ));
    scene
}

#[test]
fn quote_of_a_provisioned_tpm_is_accepted_with_the_report_in_it() {
    let Some(tpm) = SoftwareTpm::start() else {
        return;
    };
    let mut scene = provision(&tpm);
    for pcr in [4, 9, 11, 15] {
        tpm.run(&format!("tpm2_pcrextend {pcr}:sha256={}", "0a".repeat(32)));
    }
    let key = format!("{AK_HANDLE:#010x}");
    let all: Vec<_> = (0..24).map(|pcr: u8| pcr.to_string()).collect();
    let all = format!("sha256:{}", all.join(","));
    tpm.quote(&key, &all, &NONCE);
    tpm.run(&format!(
        "tpm2_nvread {HCL_REPORT_INDEX:#010x} -C o -o hcl.read"
    ));
    let values = PcrValues::from_tools(&tpm.read("pcrs")).unwrap();
    scene.pcrs = values.0.values().copied().collect();
    scene.reference = Some(reference("azure-snp", &scene.pcrs));
    let vek = scene.vcek();
    let judge = |scene: &Scene| {
        let [attest, signature, pcrs] = ["attest", "signature", "pcrs"].map(|name| tpm.read(name));
        let beside = Beside {
            quote: Some(QuoteFiles {
                attest: &attest,
                signature: &signature,
                pcrs: Some(&pcrs),
            }),
            vek: vek.as_deref(),
            ..Beside::default()
        };
        scene.judge_beside(&tpm.read("hcl.read"), &beside, &[])
    };
    let verdict = judge(&scene);
    assert!(verdict.accepted, "{verdict}");
    // Registers that software can reset, with the values of the image, instead of those that it cannot.
    for selection in ["sha256:4,9,11,12,13,15", "sha256:16,23", "sha256:0+sha1:0"] {
        tpm.quote(&key, selection, &NONCE);
        let verdict = judge(&scene);
        let failed = failed(&verdict);
        match selection {
            // A list of two banks is no list of ours.
            "sha256:0+sha1:0" => assert_eq!(failed, ["evidence-format"], "{verdict}"),
            _ => assert!(failed.contains(&"pcr-selection"), "{selection}\n{verdict}"),
        }
    }
    // Another key of the same TPM.
    tpm.quote("ak.ctx", &all, &NONCE);
    assert!(judge(&scene).accepted, "the handle is of this key");
    tpm.run("tpm2_createprimary -C e -g sha256 -G rsa2048:rsassa-sha256:null -a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign -c other.ctx");
    tpm.run("tpm2_flushcontext -t");
    tpm.quote("other.ctx", &all, &NONCE);
    assert_eq!(failed(&judge(&scene)), ["quote-signature"]);
}
