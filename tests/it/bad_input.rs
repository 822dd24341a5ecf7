//! Mistakes get a clear error and change nothing.
