//! Policy: what a verifier may demand beyond the format. A policy can only tighten.

use cloister_evidence::binding::MAX_LEAF_VALIDITY;

/// What the verifier demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Longest validity of a leaf in seconds; the format's own limit of 24 h stays in force.
    pub max_leaf_validity: u64,
    /// Reject platforms that cannot keep the host out, such as `qemu-vtpm`.
    pub require_confidential: bool,
}

impl Default for Policy {
    /// The format's own limits. Which platform is accepted is then decided by the reference values,
    /// which name it.
    fn default() -> Self {
        Self {
            max_leaf_validity: MAX_LEAF_VALIDITY,
            require_confidential: false,
        }
    }
}
