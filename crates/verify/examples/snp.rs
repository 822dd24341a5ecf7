//! `snp REPORT VEK ROOTS_PEM [ITERATIONS]`: how long an SNP report takes.
//!
//! `full`: parse report and certificates, check the given ARK and ASK, and make every check of the verdict.
//! `warm`: the same with the built-in ASK, so that no certificate but the key's is read from outside.
//! `report`: only parse the report and check its signature with the key of a certificate that is parsed already.
//! Prints the median and the range of seven batches, in microseconds.

use std::time::Instant;

use cloister_verify::Verdict;
use cloister_verify::signature::Scheme;
use cloister_verify::snp::{AMD, Endorsements, Expected, Image, Policy, Product, Report, appraise};
use cloister_verify::x509::X509;

/// 2026-11-22.
const AT: u64 = 1_795_305_600;

fn time(name: &str, iterations: u32, work: impl Fn() -> bool) -> Option<()> {
    let mut batches = Vec::new();
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..iterations {
            work().then_some(())?;
        }
        batches.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(iterations));
    }
    batches.sort_by(f64::total_cmp);
    let [least, _, _, median, _, _, most] = batches.as_slice() else {
        return None;
    };
    println!("cloister {name}: {median:.0} us ({least:.0}-{most:.0})");
    Some(())
}

fn judge(report: &[u8], vek: &[u8], chain: &[&[u8]], policy: &Policy) -> Option<Verdict> {
    let fields = Report::parse(report).ok()?;
    let expected = Expected {
        image: Some(Image::Measurement(fields.measurement)),
        report_data: Some(fields.report_data),
        signature_only: false,
    };
    let endorsements = Endorsements {
        vek: Some(vek),
        chain,
        crls: &[],
    };
    let verdict = appraise(report, &endorsements, &expected, policy, &AMD, AT);
    Some(verdict)
}

fn run(arguments: &[String]) -> Option<()> {
    let read = |at: usize| std::fs::read(arguments.get(at)?).ok();
    let (report, vek, roots) = (read(1)?, read(2)?, read(3)?);
    let iterations = arguments
        .get(4)
        .map_or(Some(50), |text| text.parse().ok())?;
    let policy = Policy {
        products: Product::ALL.to_vec(),
        ..Policy::default()
    };
    let text = judge(&report, &vek, &[&roots], &policy)?;
    if !text.accepted {
        eprintln!("{text}");
        return None;
    }
    // ASK and ARK, as the peers read them.
    let pair = X509::read_all(&roots).ok()?;
    let pair: Vec<&[u8]> = pair.iter().take(2).map(X509::der).collect();
    let accepted = |chain: &[&[u8]]| {
        judge(&report, &vek, chain, &policy).is_some_and(|verdict| verdict.accepted)
    };
    time("full", iterations, || accepted(&pair))?;
    time("warm", iterations, || accepted(&[]))?;
    let certificate = X509::read_all(&vek).ok()?;
    let key = certificate.first()?.key();
    time("report", iterations, || {
        let report = Report::parse(&report).ok();
        report.is_some_and(|report| {
            let (signed, signature) = (&report.signed, &report.signature);
            key.verify(Scheme::EcdsaSha384, signed, signature).is_ok()
        })
    })
}

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match run(&arguments) {
        Some(()) => std::process::ExitCode::SUCCESS,
        None => {
            eprintln!("usage: snp REPORT VEK ROOTS_PEM [ITERATIONS]; the report must be accepted");
            std::process::ExitCode::from(2)
        }
    }
}
