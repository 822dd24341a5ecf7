//! Azure: real evidence with the verdicts of its README, and made one behind a PKI and a paravisor of the tests' own.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod live;
#[cfg(test)]
mod mutation;
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
mod vectors;
#[cfg(test)]
mod vtpm;
