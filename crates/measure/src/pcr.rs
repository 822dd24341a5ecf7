//! Extending and replaying measurement registers.
//!
//! Spec: TPM 2.0 Library part 1, section 17.2: `new = H(old || digest)`, starting from zeros.
//! The RTMRs of TDX follow the same rule with SHA-384.

use crate::digest::{Bank, Digest};
use crate::transcript::{Register, Step, Transcript};

/// The digest of a `EV_SEPARATOR` event: four zero bytes (PC Client Profile, on `EV_SEPARATOR`).
pub fn separator(bank: Bank) -> Digest {
    bank.hash(&[&[0; 4]])
}

/// Returns the register value after `value` is extended with `digest`.
///
/// A digest of another bank gives the value in the register's own bank: the bytes are hashed as
/// they are, which is what a TPM would do with them.
#[must_use]
pub fn extend(value: &Digest, digest: &Digest) -> Digest {
    value.bank().hash(&[value.as_bytes(), digest.as_bytes()])
}

/// One register being extended, with the account of how it came to its value.
#[derive(Debug, Clone)]
pub struct Extension {
    register: Register,
    value: Digest,
    steps: Vec<Step>,
}

impl Extension {
    /// Starts `register` at zero in `bank`.
    pub fn new(register: Register, bank: Bank) -> Extension {
        Extension::starting_at(register, Digest::zero(bank))
    }

    /// Starts `register` at another value, for TPMs started at a locality other than 0.
    pub fn starting_at(register: Register, value: Digest) -> Extension {
        Extension {
            register,
            value,
            steps: Vec::new(),
        }
    }

    /// Returns the bank of the register.
    pub fn bank(&self) -> Bank {
        self.value.bank()
    }

    /// Extends with the digest of `bytes`. `what` names the event, `input` where the bytes came from.
    pub fn measure(&mut self, bytes: &[u8], what: impl Into<String>, input: impl Into<String>) {
        let digest = self.bank().hash(&[bytes]);
        self.extend(digest, what, input);
    }

    /// Extends with a digest that was computed elsewhere.
    pub fn extend(&mut self, digest: Digest, what: impl Into<String>, input: impl Into<String>) {
        self.value = extend(&self.value, &digest);
        self.steps.push(Step {
            register: self.register.clone(),
            what: what.into(),
            input: input.into(),
            digest,
            value: self.value,
        });
    }

    /// Returns the value so far.
    pub fn value(&self) -> Digest {
        self.value
    }

    /// Returns the extends so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Appends the account to `transcript` and returns the final value.
    pub fn finish(self, transcript: &mut Transcript) -> Digest {
        transcript.steps.extend(self.steps);
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Origin: PCR 2, 3 and 6 of a GCE SEV-SNP machine, recorded in `ubuntu-2404-amd-sevsnp.bin`
    /// of google/go-tpm-tools @ 67670e5; each holds one separator and nothing else.
    #[test]
    fn extend_gives_the_recorded_separator_only_register() {
        for (bank, wanted) in [
            (
                Bank::Sha256,
                "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969",
            ),
            (
                Bank::Sha384,
                "518923b0f955d08da077c96aaba522b9decede61c599cea6c41889cfbea4ae4d50529d96fe4d1afd\
                 afb65e7f95bf23c4",
            ),
        ] {
            let value = extend(&Digest::zero(bank), &separator(bank));
            assert_eq!(value.to_string(), wanted);
        }
    }

    #[test]
    fn extension_records_each_step_with_its_value() {
        let mut extension = Extension::new(Register::Pcr(4), Bank::Sha256);
        extension.measure(&[0; 4], "separator", "constant");
        let mut transcript = Transcript::default();
        let value = extension.finish(&mut transcript);
        assert_eq!(transcript.steps.len(), 1);
        assert_eq!(transcript.steps[0].value, value);
        assert_eq!(transcript.steps[0].digest, separator(Bank::Sha256));
    }
}
