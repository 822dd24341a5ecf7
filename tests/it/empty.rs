//! Holds no code: this package is its integration test, `it/main.rs`.
