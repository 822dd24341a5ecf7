//! Links that update-alternatives(1) would make, read from the scripts that would have called it.
//!
//! For each name the highest priority wins, at equal priority the first path by name. Followers
//! (`--slave`) are linked when their path is in the tree.

use std::collections::BTreeMap;

use super::{EffectError, put};
use crate::deb::scripts::Alternative;
use crate::tree::{Entry, Origin, Tree, TreePath};

const EFFECT: &str = "alternatives";

/// Makes the links; reports alternatives whose path is not in the tree.
pub(super) fn write(tree: &mut Tree, found: &[Alternative]) -> Result<Vec<String>, EffectError> {
    let mut warnings = Vec::new();
    let mut chosen: BTreeMap<&str, &Alternative> = BTreeMap::new();
    for alternative in found {
        if tree
            .follow(&TreePath::from_absolute(&alternative.path)?)
            .is_none()
        {
            warnings.push(format!(
                "alternative `{}` leads to `{}`, which is not there",
                alternative.name, alternative.path
            ));
            continue;
        }
        let best = chosen.entry(&alternative.name).or_insert(alternative);
        if (best.priority, &alternative.path) < (alternative.priority, &best.path) {
            *best = alternative;
        }
    }
    for alternative in chosen.values() {
        link(
            tree,
            &alternative.link,
            &alternative.name,
            &alternative.path,
        )?;
        for (at, name, path) in &alternative.followers {
            if tree.follow(&TreePath::from_absolute(path)?).is_some() {
                link(tree, at, name, path)?;
            }
        }
    }
    Ok(warnings)
}

/// `link` -> `/etc/alternatives/name` -> `path`, unless the package ships `link` itself.
fn link(tree: &mut Tree, link: &str, name: &str, path: &str) -> Result<(), EffectError> {
    let at = TreePath::from_absolute(link)?;
    let middle = TreePath::new(b"etc/alternatives")?.join(name.as_bytes())?;
    if tree.follow(&at).is_some() {
        return Ok(());
    }
    let target = middle.absolute();
    put(
        tree,
        EFFECT,
        middle,
        Entry::symlink(path.as_bytes(), Origin::Effect(EFFECT)),
    )?;
    put(
        tree,
        EFFECT,
        at,
        Entry::symlink(target.as_bytes(), Origin::Effect(EFFECT)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, path};

    #[test]
    fn highest_priority_wins_and_followers_follow() {
        let mut tree = Tree::new();
        for at in ["usr/bin/mawk", "usr/bin/gawk", "usr/share/man/gawk.1"] {
            tree.insert(
                path(at),
                Entry::file(0o755, Content::new(Vec::new()), Origin::Effect("test")),
            );
        }
        let awk = |path: &str, priority| Alternative {
            link: "/usr/bin/awk".into(),
            name: "awk".into(),
            path: path.into(),
            priority,
            followers: vec![(
                "/usr/share/man/awk.1".into(),
                "awk.1".into(),
                "/usr/share/man/gawk.1".into(),
            )],
        };
        let found = [
            awk("/usr/bin/mawk", 5),
            awk("/usr/bin/gawk", 10),
            awk("/usr/bin/none", 99),
        ];
        let warnings = write(&mut tree, &found).unwrap();
        assert_eq!(
            warnings,
            ["alternative `awk` leads to `/usr/bin/none`, which is not there"]
        );
        assert_eq!(
            tree.follow(&path("usr/bin/awk")).unwrap().0,
            path("usr/bin/gawk")
        );
        assert_eq!(
            tree.follow(&path("usr/share/man/awk.1")).unwrap().0,
            path("usr/share/man/gawk.1")
        );
        assert!(tree.get(&path("etc/alternatives/awk")).is_some());
    }
}
