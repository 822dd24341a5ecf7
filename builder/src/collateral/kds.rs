//! AMD's key server: `/vcek/v1/PRODUCT/HWID?levels`, `/cert_chain`, `/crl`.

use cloister_verify::collateral::{Der, SnpCollateral};
use cloister_verify::snp::{Product, Report, Tcb};
use cloister_verify::x509::{X509, X509Error};

use super::{FetchError, Fetcher, Wanted, crl};

/// SIGNING_KEY of a report that a VLEK signed.
const VLEK: u32 = 1;

pub(super) fn fetch(
    fetcher: &Fetcher,
    report: &Report,
    product: Option<Product>,
    base: &str,
) -> Result<SnpCollateral, FetchError> {
    let named = report.cpuid.as_ref();
    let named = named.and_then(|cpuid| Product::from_cpuid(cpuid.family, cpuid.model));
    let product = named.or(product).ok_or(FetchError::Product)?;
    // Only the cloud that holds a VLEK gives its certificate; chain and list are public.
    let (kind, vek) = match report.signing_key() {
        VLEK => ("vlek", None),
        _ => ("vcek", Some(vcek(fetcher, report, product, base)?)),
    };
    let of_kind = format!("{base}/{kind}/v1/{product}");
    let url = format!("{of_kind}/cert_chain");
    let chain = fetcher.get(
        lasting("certificate chain", &url),
        "certificates",
        |body, _| certificates(body),
    )?;
    let url = format!("{of_kind}/crl");
    let wanted = Wanted {
        what: "revocation list",
        url: &url,
        chain: None,
        lasting: false,
    };
    let list = fetcher.get(wanted, "a revocation list", |body, _| crl(body))?;
    Ok(SnpCollateral {
        vek,
        chain,
        crls: vec![Der(list)],
    })
}

fn vcek(
    fetcher: &Fetcher,
    report: &Report,
    product: Product,
    base: &str,
) -> Result<Der, FetchError> {
    let tcb = Tcb::parse("REPORTED_TCB", report.reported_tcb, product)?;
    let (hwid, fmc) = match product {
        Product::Turin => (
            report.chip_id.get(..8).unwrap_or_default(),
            format!("fmcSPL={:02}&", tcb.fmc),
        ),
        _ => (report.chip_id.as_slice(), String::new()),
    };
    if hwid.iter().all(|byte| *byte == 0) {
        return Err(FetchError::MaskedChip);
    }
    let url = format!(
        "{base}/vcek/v1/{product}/{}?{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
        hex::encode(hwid),
        tcb.bootloader,
        tcb.tee,
        tcb.snp,
        tcb.microcode
    );
    fetcher.get(lasting("VCEK", &url), "one certificate", |body, _| {
        X509::from_der(body).map(|certificate| Der(certificate.der().to_vec()))
    })
}

fn lasting<'a>(what: &'static str, url: &'a str) -> Wanted<'a> {
    Wanted {
        what,
        url,
        chain: None,
        lasting: true,
    }
}

fn certificates(body: &[u8]) -> Result<Vec<Der>, X509Error> {
    let all = X509::read_all(body)?;
    Ok(all
        .iter()
        .map(|certificate| Der(certificate.der().to_vec()))
        .collect())
}
