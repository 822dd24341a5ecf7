//! `azure/`: evidence of real Azure VMs, and the fields of the HCL reports in it.

use serde_json::{Value, json};

use super::ledger::{Fate, Ledger, Place};
use crate::azure::{HclReport, SnpFacts, TdxFacts, TeeReport};
use crate::digest::Bank;

/// Origin: fields as readers in other languages list them. What the hardware or the TPM vouches for is compared with
/// it: claims with REPORT_DATA, registers with the digest in the quote.
pub(super) fn check(ledger: &Ledger) {
    for (name, wanted) in ledger.json("azure/expected-values.json").members() {
        wanted.get("source").skip(Fate::Prose);
        let evidence = ledger.json(&format!("azure/{name}"));
        evidence.get("version").skip(Fate::Prose);
        evidence.get("vcek").skip(Fate::Signature);
        let quote = evidence.get("tpm_quote");
        quote.get("signature").skip(Fate::Signature);
        registers(&quote, &wanted.get("pcrs_sha256"));
        let bytes = base64url(evidence.get("hcl_report").text());
        let report = HclReport::parse(&bytes).unwrap();
        wanted.get("hcl").equals(header(&bytes, &report));
        match &report.report {
            TeeReport::Snp(facts) => wanted.get("snp").equals(snp(facts)),
            TeeReport::Tdx(facts) => wanted.get("tdx").equals(tdx(facts)),
        }
        let configuration = &report.claims.vm_configuration;
        assert!(configuration.secure_boot && configuration.console_enabled);
        assert!(configuration.tpm_enabled);
        let (keys, user_data) = (&report.claims.keys, &report.claims.user_data);
        assert_eq!((keys.len(), user_data.len()), (2, 64));
        assert!(report.claims.attestation_key().unwrap().n.len() > 300);
    }
}

/// The quote ends with the digest of the registers that it signs: here all 24.
fn registers(quote: &Place<'_>, wanted: &Place<'_>) {
    let pcrs = quote.get("pcrs").peek().as_array().unwrap();
    let bytes: Vec<Vec<u8>> = pcrs
        .iter()
        .map(|pcr| hex::decode(pcr.as_str().unwrap()).unwrap())
        .collect();
    let message = hex::decode(quote.get("message").text()).unwrap();
    let digest = Bank::Sha256.hash(&[&bytes.concat()]);
    assert_eq!(&message[message.len() - 32..], digest.as_bytes());
    quote.get("pcrs").equals(pcrs);
    let numbered: serde_json::Map<String, Value> = (0..)
        .zip(pcrs)
        .map(|(index, pcr): (u32, _)| (index.to_string(), pcr.clone()))
        .collect();
    wanted.equals(numbered);
}

/// Fields that the parser demands stand here as what it demands; sizes as what it needs.
fn header(bytes: &[u8], report: &HclReport) -> Value {
    let size = (0..=bytes.len()).find(|length| HclReport::parse(&bytes[..*length]).is_ok());
    let report_type = match report.report {
        TeeReport::Snp(_) => 2,
        TeeReport::Tdx(_) => 4,
    };
    let banks = [Bank::Sha256, Bank::Sha384, Bank::Sha512];
    let bank = banks
        .iter()
        .position(|bank| *bank == report.claims_digest.bank());
    // Header, hardware's report, the fixed part of the request data, and four bytes more in version 2.
    let before = 32 + 1184 + 20 + 4 * (report.request_version as usize - 1);
    json!({
        "signature": "HCLA",
        "version": report.version,
        "report_size": size,
        "request_type": 2,
        "report_type": report_type,
        "hash_type": bank.map(|position| position + 1),
        "variable_size": size.map(|size| size - before),
        "variable_sha256": report.claims_digest,
    })
}

fn snp(snp: &SnpFacts) -> Value {
    json!({
        "version": snp.version,
        "guest_svn": snp.guest_svn,
        "policy": format!("{:#x}", snp.policy),
        "family_id": hex::encode(snp.family_id),
        "image_id": hex::encode(snp.image_id),
        "vmpl": snp.vmpl,
        "report_data": hex::encode(snp.report_data),
        "measurement": snp.measurement,
        "host_data": hex::encode(snp.host_data),
        "id_key_digest": snp.id_key_digest,
        "author_key_digest": snp.author_key_digest,
    })
}

fn tdx(tdx: &TdxFacts) -> Value {
    json!({
        "report_data": hex::encode(tdx.report_data),
        "attributes": format!("{:#x}", tdx.attributes),
        "mrtd": tdx.mrtd,
        "config": tdx.config,
        "rtmrs": tdx.rtmrs,
    })
}

/// base64url without padding, as the vectors have it.
fn base64url(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |byte: u8| alphabet.iter().position(|known| *known == byte).unwrap();
    let digits: Vec<usize> = text
        .bytes()
        .filter(|byte| *byte != b'=')
        .map(digit)
        .collect();
    let group = |four: &[usize]| {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        (0..four.len() - 1)
            .map(|n| u8::try_from(bits >> (16 - 8 * n) & 0xff).unwrap())
            .collect::<Vec<u8>>()
    };
    digits.chunks(4).flat_map(group).collect()
}
