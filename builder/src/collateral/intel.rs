//! Intel's certification service: TCB info by FMSPC, QE identity, revocation lists of PCK CA and root.

use cloister_verify::collateral::{CollateralError, Der, Signed, TdxCollateral};
use cloister_verify::tdx::platform;

use super::{FetchError, Fetcher, Wanted, crl};

pub(super) fn fetch(
    fetcher: &Fetcher,
    quote: &[u8],
    base: &str,
    root_crl: Option<&str>,
) -> Result<TdxCollateral, FetchError> {
    let platform = platform(quote)?;
    let (tdx, sgx) = (
        format!("{base}/tdx/certification/v4"),
        format!("{base}/sgx/certification/v4"),
    );
    let url = format!("{tdx}/tcb?fmspc={}", hex::encode_upper(platform.fmspc));
    let tcb_info = signed(fetcher, "TCB info", &url, "TCB-Info-Issuer-Chain", |body| {
        Signed::tcb_info(body)
    })?;
    let url = format!("{tdx}/qe/identity");
    let header = "SGX-Enclave-Identity-Issuer-Chain";
    let qe_identity = signed(fetcher, "QE identity", &url, header, |body| {
        Signed::qe_identity(body)
    })?;
    let url = format!("{sgx}/pckcrl?ca={}&encoding=der", platform.ca.name());
    let pck_crl = list(fetcher, "revocation list of the PCK CA", &url)?;
    let default = format!("{sgx}/rootcacrl");
    let url = root_crl.unwrap_or(&default);
    let root_crl = list(fetcher, "revocation list of the root", url)?;
    Ok(TdxCollateral {
        tcb_info: Some(tcb_info),
        qe_identity: Some(qe_identity),
        pck_crl: Some(pck_crl),
        root_crl: Some(root_crl),
    })
}

fn signed(
    fetcher: &Fetcher,
    what: &'static str,
    url: &str,
    header: &'static str,
    parse: impl Fn(&[u8]) -> Result<Signed, CollateralError>,
) -> Result<Signed, FetchError> {
    let wanted = Wanted {
        what,
        url,
        chain: Some(header),
        lasting: false,
    };
    fetcher.get(wanted, "a signed document", |body, chain| {
        let mut signed = parse(body)?;
        signed.issuer_chain = chain;
        Ok::<_, CollateralError>(signed)
    })
}

fn list(fetcher: &Fetcher, what: &'static str, url: &str) -> Result<Der, FetchError> {
    let wanted = Wanted {
        what,
        url,
        chain: None,
        lasting: false,
    };
    let list = fetcher.get(wanted, "a revocation list", |body, _| crl(body));
    Ok(Der(list?))
}
