//! init library
