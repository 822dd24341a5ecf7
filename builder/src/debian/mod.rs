//! The Debian archive: signed suites, package indices, dependency resolution.
//!
//! Nothing here reaches the network: bytes come in, facts go out.

mod index;
mod relation;
mod release;
mod resolve;

pub(crate) use index::{Index, IndexError, Package};
pub(crate) use release::{Release, ReleaseError, verify_release};
pub(crate) use resolve::{ResolveError, resolve};
