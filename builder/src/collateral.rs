//! Collateral from the vendors' services: AMD's key server for an SNP report, Intel's certification service for a TD quote.
//!
//! Specs: AMD 57230 (KDS paths), Intel PCS API version 4 and PCCS (`rootcacrl`). No service is built in: base addresses come from
//! flags, or else from table `collateral` of the user's `cloister/config.toml`. What arrives is held to its format and written to a
//! cache; whether it is genuine is for the verdict that uses it.

mod http;
mod intel;
mod kds;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloister_verify::collateral::{CollateralError, SnpCollateral, TdxCollateral};
use cloister_verify::snp::{Product, Report, ReportError, TcbError};
use cloister_verify::tdx::PlatformError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::cmd::Hinted;
use crate::store::{StoreError, write_atomically};

pub(crate) use http::{Agent, HttpError};

/// Base addresses of services.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Services {
    /// Base address of AMD's key server or a mirror, what stands before `/vcek/v1`
    #[arg(long, value_name = "URL")]
    pub(crate) kds: Option<String>,
    /// Base address of Intel's certification service or a cache of it (PCCS), what stands before `/tdx/certification/v4`
    #[arg(long, value_name = "URL")]
    pub(crate) pcs: Option<String>,
    /// Whole address of the Intel root's revocation list [default: `/sgx/certification/v4/rootcacrl` under `--pcs`]
    #[arg(long, value_name = "URL")]
    pub(crate) root_crl: Option<String>,
}

impl Services {
    /// These, and those of `others` for what is not set.
    pub(crate) fn or(self, others: Services) -> Services {
        Services {
            kds: self.kds.or(others.kds),
            pcs: self.pcs.or(others.pcs),
            root_crl: self.root_crl.or(others.root_crl),
        }
    }
}

/// Why there is no collateral.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// No address.
    #[error("no address of {service} is configured")]
    NotConfigured {
        /// Who would be asked.
        service: &'static str,
        /// Key and flag.
        key: &'static str,
    },
    /// The report does not parse.
    #[error("report cannot be read")]
    Report(#[from] ReportError),
    /// The report's TCB does not parse.
    #[error("report cannot be read")]
    Tcb(#[from] TcbError),
    /// The report does not tell, or of a line without a key server.
    #[error("report does not say which product made it")]
    Product,
    /// The chip does not name itself.
    #[error("report has a masked CHIP_ID, for which no key server has a certificate")]
    MaskedChip,
    /// The quote does not parse.
    #[error("quote cannot be read")]
    Quote(#[from] PlatformError),
    /// The service failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The service answered something else.
    #[error("`{url}` was answered with something else than {wanted}: {reason}")]
    Content {
        /// What was asked for.
        url: String,
        /// What it should be.
        wanted: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Offline, and not in the cache.
    #[error("{what} is not in the cache, and `--offline` forbids to fetch it")]
    Offline {
        /// What is missing.
        what: &'static str,
    },
    /// The cache holds something else than an answer.
    #[error("`{}` in the cache is malformed", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
    },
    /// The cache cannot be written.
    #[error("the cache cannot be written")]
    Store(#[from] StoreError),
}

impl Hinted for FetchError {
    fn hint(&self) -> Option<String> {
        match self {
            FetchError::NotConfigured { key, .. } => Some(format!(
                "give `--{key} URL`, or put `{key} = \"URL\"` into table `[collateral]` of `cloister/config.toml` in your \
                 configuration directory"
            )),
            FetchError::Product => Some(
                "reports of version 2 do not tell: name it with `--product`, as in `--product Milan`"
                    .to_owned(),
            ),
            FetchError::Offline { .. } => {
                Some("run the same command once with a network, without `--offline`".to_owned())
            }
            FetchError::Cache { .. } => Some("delete the file".to_owned()),
            FetchError::Http(error) => error.hint(),
            _ => None,
        }
    }
}

/// Something to be fetched.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    /// For people.
    what: &'static str,
    url: &'a str,
    /// Header with an issuer chain, where the service gives one.
    chain: Option<&'static str>,
    /// Whether the answer stays right for ever, so that the cache will do.
    lasting: bool,
}

/// An answer, as the cache keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// What was asked for.
    url: String,
    /// The issuer chain, PEM.
    chain: Option<String>,
    /// Base64.
    body: String,
}

/// Fetches, with a cache on disk.
pub(crate) struct Fetcher {
    pub(crate) agent: Agent,
    /// Directory of the cache.
    pub(crate) cache: PathBuf,
    /// Whether the network is forbidden.
    pub(crate) offline: bool,
}

impl Fetcher {
    /// Collateral of an SNP report; `product` for reports that do not name theirs.
    pub(crate) fn snp(
        &self,
        report: &[u8],
        product: Option<Product>,
        services: &Services,
    ) -> Result<SnpCollateral, FetchError> {
        let base = base(services.kds.as_deref(), "AMD's key server", "kds")?;
        kds::fetch(self, &Report::parse(report)?, product, base)
    }

    /// Collateral of a TD quote.
    pub(crate) fn tdx(
        &self,
        quote: &[u8],
        services: &Services,
    ) -> Result<TdxCollateral, FetchError> {
        let base = base(
            services.pcs.as_deref(),
            "Intel's certification service",
            "pcs",
        )?;
        intel::fetch(self, quote, base, services.root_crl.as_deref())
    }

    /// Gives an answer that `check` takes: from the cache where that will do, or else from the service.
    fn get<T, E: std::fmt::Display>(
        &self,
        wanted: Wanted<'_>,
        format: &'static str,
        check: impl Fn(&[u8], Option<String>) -> Result<T, E>,
    ) -> Result<T, FetchError> {
        let place = self.place(wanted.url);
        let kept = match self.offline || wanted.lasting {
            true => read(&place, wanted.url)?,
            false => None,
        };
        let fresh = kept.is_none();
        let (body, chain) = match kept {
            Some(kept) => kept,
            None if self.offline => return Err(FetchError::Offline { what: wanted.what }),
            None => self.agent.get(wanted.url, wanted.chain)?,
        };
        let checked = check(&body, chain.clone()).map_err(|error| FetchError::Content {
            url: wanted.url.to_owned(),
            wanted: format,
            reason: error.to_string(),
        })?;
        if fresh {
            let answer = Answer {
                url: wanted.url.to_owned(),
                chain,
                body: STANDARD.encode(body),
            };
            // Two strings and an option of one: serialisation has nothing to fail on.
            let text = serde_json::to_string_pretty(&answer).unwrap_or_default();
            write_atomically(&place, text.as_bytes())?;
        }
        Ok(checked)
    }

    /// One file for each address.
    fn place(&self, url: &str) -> PathBuf {
        let name = hex::encode(Sha256::digest(url));
        self.cache.join(name + ".json")
    }
}

/// Body and chain.
type Kept = (Vec<u8>, Option<String>);

fn read(place: &Path, url: &str) -> Result<Option<Kept>, FetchError> {
    let bad = || FetchError::Cache {
        path: place.to_owned(),
    };
    let text = match std::fs::read(place) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(bad()),
    };
    let answer: Answer = serde_json::from_slice(&text).map_err(|_| bad())?;
    let body = STANDARD.decode(answer.body).map_err(|_| bad())?;
    match answer.url == url {
        true => Ok(Some((body, answer.chain))),
        false => Err(bad()),
    }
}

fn base<'a>(
    url: Option<&'a str>,
    service: &'static str,
    key: &'static str,
) -> Result<&'a str, FetchError> {
    let url = url.ok_or(FetchError::NotConfigured { service, key })?;
    Ok(url.trim_end_matches('/'))
}

/// A revocation list, DER or the same in hex.
fn crl(body: &[u8]) -> Result<Vec<u8>, CollateralError> {
    let unhexed = hex::decode(body.trim_ascii()).ok();
    let der = unhexed.unwrap_or_else(|| body.to_vec());
    match cloister_verify::x509::Crl::from_der(&der) {
        Ok(_) => Ok(der),
        Err(_) => Err(CollateralError::Hex {
            what: "the answer",
            wanted: "one revocation list in DER, or that in hex",
        }),
    }
}

#[cfg(test)]
mod tests;
