//! Azure: evidence behind a PKI and a paravisor of the tests' own. Real evidence is in `tests/vectors`.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod checks;
#[cfg(test)]
#[path = "../snp/coverage.rs"]
mod coverage;
#[cfg(test)]
mod given;
#[cfg(test)]
mod live;
#[cfg(test)]
mod mutation;
#[cfg(test)]
#[path = "../tdx/published.rs"]
mod published;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod shapes;
#[cfg(test)]
#[path = "../appraisal/support.rs"]
#[expect(dead_code, reason = "the tests of bare TPMs use more of it")]
mod support;
#[cfg(test)]
#[path = "../tpm/swtpm.rs"]
mod swtpm;
#[cfg(test)]
mod vtpm;
