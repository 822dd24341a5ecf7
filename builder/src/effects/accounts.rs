//! `/etc/passwd`, `/etc/group` and `/etc/shadow` from a short base list and the recipe's users.
//!
//! Spec: passwd(5), group(5), shadow(5). Sorted by number, no password, no date of a last change
//! (shadow's third field is empty), no backup files.

use std::collections::BTreeMap;

use super::{EffectError, put};
use crate::recipe::User;
use crate::tree::{Content, Entry, Origin, Tree, TreePath};

const EFFECT: &str = "accounts";

/// Why users cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccountError {
    /// A name that the files cannot hold.
    #[error(
        "user name `{0}` is not lower-case letters, digits, `-` and `_`, starting with a letter or `_`"
    )]
    Name(String),
    /// A home that the files cannot hold.
    #[error("home `{home}` of user `{name}` is not an absolute path without `:`")]
    Home {
        /// The user.
        name: String,
        /// The home.
        home: String,
    },
    /// A name or number is taken.
    #[error("user `{name}` ({uid}) and user `{other}` have the same name or number")]
    Taken {
        /// The user.
        name: String,
        /// Its number.
        uid: u32,
        /// The other user.
        other: String,
    },
}

/// Users and groups of every Debian system that an image needs; the names and numbers are those
/// of Debian's base-passwd.
const BASE_USERS: [(&str, u32, u32, &str); 2] = [
    ("root", 0, 0, "/root"),
    ("nobody", 65534, 65534, "/nonexistent"),
];
const BASE_GROUPS: [(&str, u32); 2] = [("root", 0), ("nogroup", 65534)];

/// Writes the three files and missing home directories.
pub(super) fn write(tree: &mut Tree, users: &[User]) -> Result<(), EffectError> {
    let mut by_uid: BTreeMap<u32, User> = BTreeMap::new();
    let base = BASE_USERS.map(|(name, uid, gid, home)| User {
        name: name.into(),
        uid,
        gid,
        home: home.into(),
    });
    for user in base.iter().chain(users) {
        check(user)?;
        let same = by_uid
            .values()
            .find(|other| other.name == user.name || other.uid == user.uid);
        if let Some(other) = same {
            let (name, uid, other) = (user.name.clone(), user.uid, other.name.clone());
            return Err(AccountError::Taken { name, uid, other }.into());
        }
        by_uid.insert(user.uid, user.clone());
    }
    let mut groups: BTreeMap<u32, &str> = BASE_GROUPS
        .iter()
        .map(|(name, gid)| (*gid, *name))
        .collect();
    for user in by_uid.values() {
        groups.entry(user.gid).or_insert(&user.name);
    }
    let passwd = by_uid.values().map(|u| {
        format!(
            "{}:x:{}:{}::{}:/usr/sbin/nologin\n",
            u.name, u.uid, u.gid, u.home
        )
    });
    let shadow = by_uid.values().map(|u| format!("{}:*:::::::\n", u.name));
    let group = groups
        .iter()
        .map(|(gid, name)| format!("{name}:x:{gid}:\n"));
    for (path, mode, text) in [
        ("etc/passwd", 0o644, passwd.collect::<String>()),
        ("etc/group", 0o644, group.collect()),
        ("etc/shadow", 0o600, shadow.collect()),
    ] {
        let entry = Entry::file(
            mode,
            Content::new(text.into_bytes()),
            Origin::Effect(EFFECT),
        );
        put(tree, EFFECT, TreePath::new(path.as_bytes())?, entry)?;
    }
    for user in users.iter().filter(|user| user.home != "/") {
        let home = TreePath::from_absolute(&user.home)?;
        if tree.follow(&home).is_none() {
            let entry = Entry {
                uid: user.uid,
                gid: user.gid,
                ..Entry::directory(0o700, Origin::Effect(EFFECT))
            };
            put(tree, EFFECT, home, entry)?;
        }
    }
    Ok(())
}

fn check(user: &User) -> Result<(), AccountError> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let start = user
        .name
        .starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if !start || user.name.len() > 32 || !user.name.bytes().all(good) {
        return Err(AccountError::Name(user.name.clone()));
    }
    if !user.home.starts_with('/') || user.home.contains([':', '\n']) {
        return Err(AccountError::Home {
            name: user.name.clone(),
            home: user.home.clone(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::path;

    fn user(name: &str, uid: u32, home: &str) -> User {
        User {
            name: name.into(),
            uid,
            gid: uid,
            home: home.into(),
        }
    }

    fn text(tree: &Tree, at: &str) -> String {
        String::from_utf8(
            tree.get(&path(at))
                .unwrap()
                .content()
                .unwrap()
                .read()
                .unwrap()
                .to_vec(),
        )
        .unwrap()
    }

    #[test]
    fn accounts_are_sorted_and_have_no_dates() {
        let mut tree = Tree::new();
        write(
            &mut tree,
            &[user("b", 2000, "/srv/b"), user("a", 1000, "/")],
        )
        .unwrap();
        assert_eq!(
            text(&tree, "etc/passwd"),
            "root:x:0:0::/root:/usr/sbin/nologin\na:x:1000:1000::/:/usr/sbin/nologin\n\
             b:x:2000:2000::/srv/b:/usr/sbin/nologin\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"
        );
        assert_eq!(
            text(&tree, "etc/group"),
            "root:x:0:\na:x:1000:\nb:x:2000:\nnogroup:x:65534:\n"
        );
        assert_eq!(
            text(&tree, "etc/shadow"),
            "root:*:::::::\na:*:::::::\nb:*:::::::\nnobody:*:::::::\n"
        );
        assert_eq!(tree.get(&path("etc/shadow")).unwrap().mode, 0o600);
        let home = tree.get(&path("srv/b")).unwrap();
        assert_eq!((home.uid, home.mode), (2000, 0o700));
    }

    #[test]
    fn accounts_refuse_bad_and_taken_names() {
        let refused = |users: &[User]| write(&mut Tree::new(), users).unwrap_err();
        assert!(matches!(
            refused(&[user("a:b", 1, "/")]),
            EffectError::Account(AccountError::Name(_))
        ));
        assert!(matches!(
            refused(&[user("a", 1, "x")]),
            EffectError::Account(AccountError::Home { .. })
        ));
        assert!(matches!(
            refused(&[user("root", 1, "/")]),
            EffectError::Account(AccountError::Taken { .. })
        ));
        assert!(matches!(
            refused(&[user("a", 0, "/")]),
            EffectError::Account(AccountError::Taken { .. })
        ));
    }
}
