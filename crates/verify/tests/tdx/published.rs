//! What a made-up Intel publishes about a platform that it made.

use cloister_test_pki::tdx::Made;
use cloister_verify::collateral::{Der, Signed, TdxCollateral};

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
