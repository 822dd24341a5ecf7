//! A made-up Intel, and what it publishes about the platforms it made.

use std::sync::OnceLock;

use cloister_test_pki::tdx::{Intel, Made};
use cloister_verify::collateral::{Der, Signed, TdxCollateral};

/// The keys, made once.
pub(crate) fn intel() -> &'static Intel {
    static INTEL: OnceLock<Intel> = OnceLock::new();
    INTEL.get_or_init(|| Intel::new().unwrap())
}

pub(crate) fn collateral(made: &Made) -> TdxCollateral {
    let signed = |(body, signature): &(String, [u8; 64])| Signed {
        body: body.clone(),
        signature: *signature,
        issuer_chain: Some(made.issuer_chain.clone()),
    };
    TdxCollateral {
        tcb_info: Some(signed(&made.tcb_info)),
        qe_identity: Some(signed(&made.qe_identity)),
        pck_crl: Some(Der(made.pck_crl.clone())),
        root_crl: Some(Der(made.root_crl.clone())),
    }
}
