//! Map of the integration tests.
