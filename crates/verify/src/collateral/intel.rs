//! TDX collateral in the forms that others write.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{CollateralError, Der, MAX_BODY, MAX_CHAIN, Signed, TdxCollateral, json, text};

/// The members of `sgx_ql_qve_collateral_t`; DER and signatures in hex.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flat {
    /// Given by the quote too, and taken from there.
    #[serde(default, rename = "pck_crl_issuer_chain")]
    _pck_crl_issuer_chain: Option<String>,
    #[serde(default, rename = "pck_certificate_chain")]
    _pck_certificate_chain: Option<String>,
    root_ca_crl: Option<String>,
    pck_crl: Option<String>,
    tcb_info_issuer_chain: Option<String>,
    tcb_info: Option<String>,
    tcb_info_signature: Option<String>,
    qe_identity_issuer_chain: Option<String>,
    qe_identity: Option<String>,
    qe_identity_signature: Option<String>,
}

pub(super) fn from_json(text: &str) -> Result<TdxCollateral, CollateralError> {
    flat(serde_json::from_str(text).map_err(json)?)
}

/// The one kind of YAML that holds these members: `name: |-` with an indented block, or `name: value`.
pub(super) fn from_yaml(text: &str) -> Result<TdxCollateral, CollateralError> {
    let mut members: BTreeMap<&str, String> = BTreeMap::new();
    let mut block: Option<&str> = None;
    for (at, row) in text.lines().enumerate() {
        let wrong = |reason| CollateralError::Yaml {
            line: at + 1,
            reason,
        };
        if row.trim().is_empty() || row == "---" {
            continue;
        }
        if let Some(content) = row.strip_prefix("  ") {
            let name = block.ok_or_else(|| wrong("indented, but in no block"))?;
            let body = members.entry(name).or_default();
            if !body.is_empty() {
                body.push('\n');
            }
            body.push_str(content);
            continue;
        }
        let (name, value) = row
            .split_once(": ")
            .ok_or_else(|| wrong("neither `name: value` nor indented"))?;
        let opens = value == "|-";
        let value = if opens {
            String::new()
        } else {
            value.to_owned()
        };
        if members.insert(name, value).is_some() {
            return Err(wrong("the second of its name"));
        }
        block = opens.then_some(name);
    }
    let members = members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), serde_json::Value::String(value)));
    let object = serde_json::Value::Object(members.collect());
    flat(serde_json::from_value(object).map_err(json)?)
}

pub(super) fn from_files(
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<TdxCollateral, CollateralError> {
    let file = |name: &str| files.get(name).map(Vec::as_slice);
    let chain = |name: &str| {
        let chain = file(name).map(|bytes| text("issuer chain", bytes, MAX_CHAIN));
        Ok(chain.transpose()?.map(str::to_owned))
    };
    let mut tcb_info = file("tcb_info.json").map(Signed::tcb_info).transpose()?;
    if let Some(signed) = &mut tcb_info {
        signed.issuer_chain = chain("tcb_info_issuer_chain.pem")?;
    }
    let mut qe_identity = file("qe_identity.json")
        .map(Signed::qe_identity)
        .transpose()?;
    if let Some(signed) = &mut qe_identity {
        signed.issuer_chain = chain("qe_identity_issuer_chain.pem")?;
    }
    let der = |name: &str| file(name).map(|bytes| Der(bytes.to_vec()));
    Ok(TdxCollateral {
        tcb_info,
        qe_identity,
        pck_crl: der("pck_crl.der"),
        root_crl: der("root_crl.der"),
    })
}

/// Body and signature of a response. The frame is compared as text: a body that would parse otherwise is not what was signed.
pub(super) fn response(
    what: &'static str,
    member: &'static str,
    response: &[u8],
) -> Result<Signed, CollateralError> {
    let text = text(what, response, MAX_BODY)?.trim();
    let split = || {
        let rest = text
            .strip_prefix("{\"")?
            .strip_prefix(member)?
            .strip_prefix("\":")?;
        let (body, signature) = rest.rsplit_once(",\"signature\":\"")?;
        let mut bytes = [0; 64];
        hex::decode_to_slice(signature.strip_suffix("\"}")?, &mut bytes).ok()?;
        Some((body.to_owned(), bytes))
    };
    let (body, signature) = split().ok_or(CollateralError::Response { what, member })?;
    Ok(Signed {
        body,
        signature,
        issuer_chain: None,
    })
}

fn flat(flat: Flat) -> Result<TdxCollateral, CollateralError> {
    let list = |what, hex: Option<String>| {
        let wanted = "DER in hex";
        let der = hex.map(|hex| hex::decode(hex.trim_end()));
        let der = der.transpose();
        let der = der.map_err(|_| CollateralError::Hex { what, wanted })?;
        Ok(der.map(Der))
    };
    let collateral = TdxCollateral {
        tcb_info: signed(
            "tcb_info_signature",
            flat.tcb_info,
            flat.tcb_info_signature,
            flat.tcb_info_issuer_chain,
        )?,
        qe_identity: signed(
            "qe_identity_signature",
            flat.qe_identity,
            flat.qe_identity_signature,
            flat.qe_identity_issuer_chain,
        )?,
        pck_crl: list("pck_crl", flat.pck_crl)?,
        root_crl: list("root_ca_crl", flat.root_ca_crl)?,
    };
    Ok(collateral)
}

/// A document without its signature is none.
fn signed(
    what: &'static str,
    body: Option<String>,
    signature: Option<String>,
    issuer_chain: Option<String>,
) -> Result<Option<Signed>, CollateralError> {
    let (Some(body), Some(hex)) = (body, signature) else {
        return Ok(None);
    };
    let mut signature = [0; 64];
    let wanted = "64 bytes in hex";
    hex::decode_to_slice(hex.trim_end(), &mut signature)
        .map_err(|_| CollateralError::Hex { what, wanted })?;
    Ok(Some(Signed {
        body,
        signature,
        issuer_chain,
    }))
}
