//! The gateway of the guest with a fixed certificate and a TCP upstream, for `scripts/bench-gateway.sh`.
//!
//! `gateway --listen ADDR:PORT --to ADDR:PORT --cert FILE.pem --key FILE.pem`

use cloister_init::serve::{Endpoint, Limits, run_fixed};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::error::Error;
use std::net::TcpListener;

fn argument(name: &str) -> Result<String, String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).ok_or(format!("`{name}` is missing"))
}

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(argument("--listen")?)?;
    let endpoint = Endpoint::Tcp(argument("--to")?.parse()?);
    let chain = CertificateDer::pem_file_iter(argument("--cert")?)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(argument("--key")?)?;
    match run_fixed(listener, endpoint, Limits::default(), chain, key)? {}
}
