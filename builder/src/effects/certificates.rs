//! `/etc/ssl/certs/ca-certificates.crt`, the bundle that update-ca-certificates(8) would make.
//!
//! All `*.crt` below `/usr/share/ca-certificates`, sorted by path; the same list goes to
//! `/etc/ca-certificates.conf`. Not covered: links by subject hash (openssl-rehash(1)).

use super::{EffectError, put, read};
use crate::tree::{Content, Entry, Origin, Tree, TreePath};

const EFFECT: &str = "ca-certificates";

/// Writes bundle and list when the image has certificates.
pub(super) fn write(tree: &mut Tree) -> Result<(), EffectError> {
    let directory = TreePath::new(b"usr/share/ca-certificates")?;
    let mut bundle = Vec::new();
    let mut list = String::new();
    for (path, entry) in tree.iter() {
        let Some(content) = entry.content() else {
            continue;
        };
        if !path.is_below(&directory) || !path.as_bytes().ends_with(b".crt") {
            continue;
        }
        bundle.extend_from_slice(&read(path, content)?);
        if !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
        let name = path.to_string();
        list.push_str(
            name.strip_prefix("usr/share/ca-certificates/")
                .unwrap_or(&name),
        );
        list.push('\n');
    }
    if bundle.is_empty() {
        return Ok(());
    }
    for (path, bytes) in [
        ("etc/ssl/certs/ca-certificates.crt", bundle),
        ("etc/ca-certificates.conf", list.into_bytes()),
    ] {
        let entry = Entry::file(0o644, Content::new(bytes), Origin::Effect(EFFECT));
        put(tree, EFFECT, TreePath::new(path.as_bytes())?, entry)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::path;

    #[test]
    fn bundle_is_sorted_and_keeps_lines_apart() {
        let mut tree = Tree::new();
        write(&mut tree).unwrap();
        assert_eq!(tree.len(), 0, "no certificates, no bundle");
        for (name, body) in [("b.crt", "B"), ("a.crt", "A\n"), ("README", "x")] {
            let at = path(&format!("usr/share/ca-certificates/{name}"));
            tree.insert(
                at,
                Entry::file(0o644, Content::new(body.into()), Origin::Effect("test")),
            );
        }
        write(&mut tree).unwrap();
        let read = |at: &str| {
            tree.get(&path(at))
                .unwrap()
                .content()
                .unwrap()
                .read()
                .unwrap()
                .to_vec()
        };
        assert_eq!(read("etc/ssl/certs/ca-certificates.crt"), b"A\nB\n");
        assert_eq!(read("etc/ca-certificates.conf"), b"a.crt\nb.crt\n");
    }
}
