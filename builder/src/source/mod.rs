//! Where bytes come from: archive and index locations, and HTTP.
//!
//! No location is built in. They come from flags, or else from the user's `cloister/config.toml` and then from what this
//! machine already uses (apt's sources, pip's configuration). What arrives is believed for its hash or signature only.

mod http;
mod settings;
mod simple;

pub(crate) use http::{Client, HttpError, pauses, tls};
pub(crate) use settings::{Locations, Settings, SettingsError, collateral_services};
pub(crate) use simple::{ACCEPT, IndexFile, SimpleError, normalised, parse_page};
