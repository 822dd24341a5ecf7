//! RIMs that the tests sign. Every draft is written in its canonical form by hand, so that what is hashed and signed needs no canonicaliser.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloister_test_pki::{Certificate, Extension, Key, Parameters};
use sha2::{Digest as _, Sha384};

use crate::{Rim, RimError, RootKey, verify};

/// When every certificate of the tests is valid.
pub(crate) const AT: u64 = 1_700_000_000;
const NAMESPACES: &str = r#" xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ns0="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384""#;
const SIGNED_INFO: &str = r#"<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2006/12/xml-c14n11"></ds:CanonicalizationMethod><ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"></ds:SignatureMethod><ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></ds:Transform><ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"></ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>"#;

/// Root, authority, L3 and leaf.
pub(crate) struct Pki {
    keys: [Key; 4],
    pub(crate) certificates: [Certificate; 4],
}

impl Pki {
    pub(crate) fn new() -> Self {
        let names = ["Root", "Authority", "L3", "Signer"];
        let certificate = |place: usize| Certificate {
            version: 2,
            serial: vec![1],
            issuer: names[place.saturating_sub(1)].to_owned(),
            subject: names[place].to_owned(),
            validity: (AT - 1000, AT + 1000 - 100 * place as u64),
            extensions: match place {
                3 => vec![Extension::critical("2.5.29.15", vec![3, 2, 7, 0x80])],
                2 => vec![Extension::authority(Some(0)), Extension::key_usage(false)],
                _ => vec![Extension::authority(None), Extension::key_usage(true)],
            },
            inner: Parameters::EcdsaSha384,
            outer: Parameters::EcdsaSha384,
        };
        Self {
            keys: [(); 4].map(|()| Key::p384().unwrap()),
            certificates: [0, 1, 2, 3].map(certificate),
        }
    }

    pub(crate) fn root(&self) -> RootKey {
        let spki = self.keys[0].spki().unwrap();
        RootKey(spki.subject_public_key.raw_bytes().try_into().unwrap())
    }

    /// DER, leaf first.
    pub(crate) fn chain(&self) -> Vec<Vec<u8>> {
        let sign = |place: usize| {
            let issuer = &self.keys[place.saturating_sub(1)];
            self.certificates[place].sign(&self.keys[place], issuer)
        };
        [3, 2, 1, 0].map(|place| sign(place).unwrap()).to_vec()
    }

    pub(crate) fn verify(&self, file: &str) -> Result<Rim, RimError> {
        verify(file.as_bytes(), &[self.root()], AT)
    }
}

/// One measurement in canonical form: attributes without namespace by name, then the digests.
pub(crate) fn resource(index: u8, active: &str, digests: &[&str]) -> String {
    let count = digests.len();
    let hashes: String = (0..)
        .zip(digests)
        .map(|(number, digest): (u8, _)| format!(r#" ns2:Hash{number}="{digest}""#))
        .collect();
    format!(
        r#"<ns0:Resource active="{active}" alternatives="{count}" index="{index}" name="M" size="48" type="Measurement"{hashes}></ns0:Resource>"#
    )
}

/// What is signed, and by whom.
pub(crate) struct Draft {
    /// Attributes of the outer element.
    pub(crate) outer: String,
    pub(crate) meta: String,
    pub(crate) resources: Vec<String>,
    /// Behind the payload.
    pub(crate) extra: String,
    /// `{digest}` stands for the digest.
    pub(crate) signed_info: String,
    pub(crate) chain: Vec<Vec<u8>>,
}

impl Draft {
    /// A small VBIOS RIM: two active measurements, one inactive.
    pub(crate) fn new(pki: &Pki) -> Self {
        let (one, two) = ("11".repeat(48), "22".repeat(48));
        let zero = "00".repeat(48);
        Self {
            outer: r#" corpus="false" patch="false" supplemental="false" tagId="tag""#.to_owned(),
            meta: r#"<ns0:Meta PayloadType="direct" colloquialVersion="96.00.5E.00.01" product="GH100"></ns0:Meta>"#.to_owned(),
            resources: vec![
                resource(0, "True", &[&one]),
                resource(1, "False", &[&zero]),
                resource(63, "True", &[&one, &two]),
            ],
            extra: String::new(),
            signed_info: SIGNED_INFO.to_owned(),
            chain: pki.chain(),
        }
    }

    fn content(&self) -> String {
        let Self { meta, extra, .. } = self;
        let resources = self.resources.concat();
        format!("\n {meta}<ns0:Payload>{resources}</ns0:Payload>{extra}\n")
    }

    /// The canonical form without signature, which is what the digest is of.
    pub(crate) fn canonical(&self) -> String {
        let (outer, content) = (&self.outer, self.content());
        format!("<SoftwareIdentity{NAMESPACES}{outer}>{content}</SoftwareIdentity>")
    }

    /// The signed file.
    pub(crate) fn sign(&self, pki: &Pki) -> String {
        let digest = STANDARD.encode(Sha384::digest(self.canonical()));
        let info = self.signed_info.replace("{digest}", &digest);
        let namespaces = NAMESPACES.replace(
            " xmlns:ns0",
            r#" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:ns0"#,
        );
        let signed = format!("<ds:SignedInfo{namespaces}>{info}</ds:SignedInfo>");
        let value = pki.keys[3].sign_report(signed.as_bytes()).unwrap();
        let value = STANDARD.encode(value);
        let certificate = |der: &Vec<u8>| {
            format!(
                "<ds:X509Certificate>{}</ds:X509Certificate>",
                STANDARD.encode(der)
            )
        };
        let certificates: String = self.chain.iter().map(certificate).collect();
        let signature = format!(
            r#"<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>{info}</ds:SignedInfo><ds:SignatureValue>{value}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature></SoftwareIdentity>"#
        );
        let canonical = self.canonical();
        canonical.replace("</SoftwareIdentity>", &signature)
    }
}
