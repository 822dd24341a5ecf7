//! The extensions of a VCEK or VLEK: which chip, which firmware levels, which cloud.
//!
//! Spec: AMD 57230, "VCEK Certificate and KDS Interface", tables of X.509 v3 extensions; arc 1.3.6.1.4.1.3704.1.

use thiserror::Error;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier, OctetStringRef};

use super::{Product, SigningKey, Tcb};
use crate::x509::X509;

const ARC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1");
const SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3");
/// HWID of Milan and Genoa, in bytes.
const HWID: usize = 64;
/// HWID of Turin, in bytes.
pub(super) const SHORT_HWID: usize = 8;

/// What a VCEK or VLEK says about its platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vek {
    /// structVersion: 0, on Turin 1.
    pub struct_version: u8,
    /// productName, as in `Milan-B0`.
    pub product_name: String,
    /// The levels that the key is derived from.
    pub tcb: Tcb,
    /// HWID, 64 bytes or on Turin 8; absent in a VLEK.
    pub hwid: Option<Vec<u8>>,
    /// CSP_ID; absent in a VCEK.
    pub csp_id: Option<String>,
}

/// Why a certificate's extensions are not those of a VCEK or VLEK.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VekError {
    /// An extension that must be there.
    #[error("extension {name} is missing")]
    Missing {
        /// AMD's name.
        name: &'static str,
    },
    /// A value with another encoding.
    #[error("extension {name} is badly encoded")]
    Encoding {
        /// AMD's name.
        name: &'static str,
    },
    /// A level of a component that the product does not have.
    #[error("extension {oid} is {found}, wanted 0 or none: the product has no such component")]
    Spare {
        /// Object identifier.
        oid: String,
        /// The level.
        found: u8,
    },
    /// productName of another line.
    #[error("productName is `{found}`, wanted {wanted}")]
    Product {
        /// The line of the report.
        wanted: Product,
        /// The name in the certificate.
        found: String,
    },
    /// An extension of the other kind of key.
    #[error("extension {name} has no place in a certificate of a {kind}")]
    Foreign {
        /// AMD's name.
        name: &'static str,
        /// The kind of key.
        kind: &'static str,
    },
    /// structVersion of another layout.
    #[error("structVersion is {found}, wanted {wanted}")]
    StructVersion {
        /// What the product has.
        wanted: u8,
        /// What was found.
        found: u8,
    },
}

impl Vek {
    /// Reads the extensions, in the layout of `product`.
    ///
    /// # Errors
    /// See [`VekError`].
    pub fn parse(certificate: &X509, product: Product) -> Result<Self, VekError> {
        let product_name = string(certificate, 2, "productName")?;
        let product_name = product_name.ok_or(VekError::Missing {
            name: "productName",
        })?;
        if Product::from_name(&product_name) != Some(product) {
            return Err(VekError::Product {
                wanted: product,
                found: product_name,
            });
        }
        let struct_version = integer(certificate, &arc(&ARC, 1), "structVersion")?;
        let wanted = u8::from(product == Product::Turin);
        let found = struct_version.ok_or(VekError::Missing {
            name: "structVersion",
        })?;
        if found != wanted {
            return Err(VekError::StructVersion { wanted, found });
        }
        Ok(Self {
            struct_version: found,
            product_name,
            tcb: levels(certificate, product)?,
            hwid: hwid(certificate, product)?,
            csp_id: string(certificate, 5, "CSP_ID")?,
        })
    }

    /// Checks that a VCEK names a chip and no cloud, and a VLEK the other way round.
    ///
    /// # Errors
    /// [`VekError::Missing`] and [`VekError::Foreign`].
    pub fn of_kind(self, kind: SigningKey) -> Result<Self, VekError> {
        let (hwid, csp_id) = ("HWID", "CSP_ID");
        let (has, lacks) = match kind {
            SigningKey::Vcek => ((hwid, self.hwid.is_some()), (csp_id, self.csp_id.is_some())),
            SigningKey::Vlek => ((csp_id, self.csp_id.is_some()), (hwid, self.hwid.is_some())),
        };
        match (has, lacks) {
            ((name, false), _) => Err(VekError::Missing { name }),
            (_, (name, true)) => Err(VekError::Foreign {
                name,
                kind: kind.name(),
            }),
            _ => Ok(self),
        }
    }
}

fn levels(certificate: &X509, product: Product) -> Result<Tcb, VekError> {
    let spl = |number, name| {
        integer(certificate, &arc(&SPL, number), name)?.ok_or(VekError::Missing { name })
    };
    let (fmc, known): (u8, &[u32]) = match product {
        Product::Turin => (spl(9, "fmcSPL")?, &[1, 2, 3, 8, 9]),
        Product::Milan | Product::Genoa => (0, &[1, 2, 3, 8]),
    };
    for extension in certificate.extensions() {
        let oid = &extension.extn_id;
        let level = oid.parent() == Some(SPL);
        let component = oid.arcs().last().unwrap_or_default();
        if level && !known.contains(&component) {
            let found = integer(certificate, oid, "spare SPL")?.unwrap_or_default();
            if found != 0 {
                let oid = oid.to_string();
                return Err(VekError::Spare { oid, found });
            }
        }
    }
    Ok(Tcb {
        fmc,
        bootloader: spl(1, "blSPL")?,
        tee: spl(2, "teeSPL")?,
        snp: spl(3, "snpSPL")?,
        microcode: spl(8, "ucodeSPL")?,
    })
}

/// HWID stands raw in most certificates and as an OCTET STRING in newer ones.
fn hwid(certificate: &X509, product: Product) -> Result<Option<Vec<u8>>, VekError> {
    let Some(value) = certificate.extension(&arc(&ARC, 4)) else {
        return Ok(None);
    };
    let length = match product {
        Product::Turin => SHORT_HWID,
        Product::Milan | Product::Genoa => HWID,
    };
    let fits = |bytes: &[u8]| bytes.len() == length;
    if fits(value) {
        return Ok(Some(value.to_vec()));
    }
    let string = OctetStringRef::from_der(value).map(|string| string.as_bytes());
    match string {
        Ok(bytes) if fits(bytes) => Ok(Some(bytes.to_vec())),
        _ => Err(VekError::Encoding { name: "HWID" }),
    }
}

fn string(certificate: &X509, number: u32, name: &'static str) -> Result<Option<String>, VekError> {
    let value = certificate.extension(&arc(&ARC, number));
    let string = value.map(Ia5StringRef::from_der).transpose();
    let string = string.map_err(|_| VekError::Encoding { name })?;
    Ok(string.map(|string| string.to_string()))
}

fn integer(
    certificate: &X509,
    oid: &ObjectIdentifier,
    name: &'static str,
) -> Result<Option<u8>, VekError> {
    let value = certificate.extension(oid).map(u8::from_der);
    value.transpose().map_err(|_| VekError::Encoding { name })
}

/// An object identifier below `parent`; all of ours fit.
fn arc(parent: &ObjectIdentifier, number: u32) -> ObjectIdentifier {
    parent.push_arc(number).unwrap_or(*parent)
}
