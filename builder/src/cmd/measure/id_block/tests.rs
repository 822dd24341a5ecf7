//! The command line of ID blocks. That others accept what is signed here is tested in `tests/it`.

use clap::Parser;
use insta::assert_snapshot;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

const DIGEST: &str = "609fbd51322dbdfe054754c8fca66ad1ebfce6496b3dd7d9ea46efb2ae89db6a5693eb0705167a4cb58cfe67666fb89b";

fn parse(words: &[&str]) -> Result<Args, clap::Error> {
    let line = ["id-block", "--digest", DIGEST];
    Line::try_parse_from(line.iter().chain(words)).map(|line| line.args)
}

fn block(args: &Args) -> IdBlock {
    IdBlock {
        launch_digest: args.digest.unwrap(),
        family_id: args.family_id,
        image_id: args.image_id,
        guest_svn: args.guest_svn,
        policy: args.policy,
    }
}

fn made(words: &[&str]) -> Result<Made, KeyError> {
    let args = parse(words).unwrap();
    Made::new(block(&args), &args)
}

/// Writes a key made from `seed`, private and public.
fn key(folder: &Path, name: &str, seed: u8) -> (String, String) {
    use p384::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
    let secret = p384::SecretKey::from_slice(&[seed; 48]).unwrap();
    let write = |name: String, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let private = secret.to_pkcs8_pem(LineEnding::LF).unwrap();
    let public = secret
        .public_key()
        .to_public_key_pem(LineEnding::LF)
        .unwrap();
    (
        write(format!("{name}.pem"), &private),
        write(format!("{name}.pub"), &public),
    )
}

#[test]
fn json_of_an_unsigned_block_is_as_documented() {
    let words = [
        "--policy",
        "smt,single-socket",
        "--guest-svn",
        "0x10",
        "--family-id",
        &"fa".repeat(16),
    ];
    assert_snapshot!(format!("{:#}", made(&words).unwrap().json()));
}

#[test]
fn signatures_made_elsewhere_give_the_same_as_keys_here() {
    let folder = tempfile::tempdir().unwrap();
    let (id, id_public) = key(folder.path(), "id", 1);
    let (author, author_public) = key(folder.path(), "author", 2);
    let here = made(&["--id-key", &id, "--author-key", &author]).unwrap();
    let auth = here.auth.unwrap();
    let file = |name: &str, signature: cloister_measure::snp::IdSignature| {
        let path = folder.path().join(name);
        std::fs::write(&path, [signature.r, signature.s].concat()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let by_id = file("id.sig", auth.block_signature);
    let by_author = file("author.sig", auth.author.unwrap().0);
    let words = [
        "--signature",
        &by_id,
        "--public-key",
        &id_public,
        "--author-signature",
        &by_author,
        "--author-public-key",
        &author_public,
    ];
    let elsewhere = made(&words).unwrap();
    assert_eq!(elsewhere.auth, here.auth);
    assert_eq!(here.json()["author-key-enabled"], true);
    // A signature of something else, by someone else, and of no form.
    for (signature, public) in [(&by_author, &id_public), (&by_id, &author_public)] {
        let refused = made(&["--signature", signature, "--public-key", public]);
        assert!(matches!(
            refused,
            Err(KeyError::Mismatch { length: 96, .. })
        ));
    }
    let refused = made(&["--signature", &id, "--public-key", &id_public]);
    assert!(matches!(refused, Err(KeyError::Signature { .. })));
    let refused = made(&["--id-key", &id_public]);
    assert!(matches!(refused, Err(KeyError::Private { .. })));
    let refused = made(&["--signature", &by_id, "--public-key", &id]);
    assert!(matches!(refused, Err(KeyError::Public { .. })));
}

#[test]
fn an_author_cannot_sign_without_an_id_key() {
    let folder = tempfile::tempdir().unwrap();
    let (author, public) = key(folder.path(), "author", 2);
    assert!(matches!(
        made(&["--author-key", &author]),
        Err(KeyError::AuthorAlone)
    ));
    // The public key alone gives the bytes that the author is to sign, and the digest.
    let alone = made(&["--public-key", &public]).unwrap();
    assert!(alone.auth.is_none() && alone.id_key.is_some());
    alone.write(&folder.path().join("out")).unwrap();
    assert_eq!(
        std::fs::read(folder.path().join("out/id-key.bin"))
            .unwrap()
            .len(),
        1028
    );
    for words in [
        &["--signature", "a"][..],
        &["--id-key", "a", "--signature", "b", "--public-key", "c"],
        &["--author-public-key", "a"],
        &["--family-id", "00"],
        &["--policy", "0"],
        &["--policy", "fast"],
    ] {
        assert!(parse(words).is_err(), "{words:?}");
    }
}
