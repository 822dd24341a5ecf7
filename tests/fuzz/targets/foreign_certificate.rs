//! Certificates of others: values of the extensions, tables and envelopes of any bytes, and certificates of any bytes in each form.
//! None of them is accepted: no bytes that a fuzzer finds are signed by AMD.
#![no_main]

use cloister_verify::cert::pgae::Envelope;
use cloister_verify::cert::privasys::{self, Expected};
use cloister_verify::cert::{Leaf, Quote, ccc, form, wrapped};
use cloister_verify::snp::{AMD, Endorsements, Image, Policy, Table};
use cloister_verify::tdx::{self, Carried, INTEL};
use libfuzzer_sys::fuzz_target;

/// 2026-11-22.
const AT: u64 = 1_795_305_600;

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    match what % 6 {
        0 => drop(ccc::Tagged::parse(rest)),
        1 => drop(ccc::Claims::parse(rest)),
        2 => drop(Envelope::parse(rest)),
        3 => drop(Table::parse(rest)),
        4 => drop(Quote::parse(rest)),
        _ => certificate(rest),
    }
});

fn certificate(der: &[u8]) {
    let _ = form(der);
    let leaf = Leaf { der, issuers: &[] };
    let td = Carried {
        collateral: None,
        reference: None,
        mrtd: Some([0x3e; 48]),
        policy: &tdx::Policy::default(),
        roots: &INTEL,
    };
    let expected = Expected {
        image: Some(Image::Measurement([0x3e; 48])),
        endorsements: Endorsements::default(),
        policy: &Policy::default(),
        roots: &AMD,
        tdx: td,
    };
    assert!(!privasys::appraise(&leaf, &expected, AT).accepted);
    assert!(!ccc::appraise(&leaf, None, &td, AT).accepted);
    assert!(!wrapped::appraise(&leaf, AT).accepted);
}
