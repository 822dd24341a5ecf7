//! Builds a recipe twice in environments that differ in everything a build must not depend on.
//!
//! | module | holds |
//! |---|---|
//! | [`checkout`] | a copy of the sources, files created in another order and with other permissions |
//! | [`variant`] | one environment and the command that builds in it |
//! | [`compare`] | two output directories, byte by byte |

pub(crate) mod checkout;
pub(crate) mod compare;
pub(crate) mod variant;
