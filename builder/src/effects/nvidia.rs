//! Links to the libraries of NVIDIA's driver, which Debian keeps in a directory of their own.
//!
//! The package `nvidia-alternative` chooses among several installed drivers with a shell function that no reading of its text
//! brings to light. An image has one driver, so each name that programs load is linked where it would be after that choice:
//! `LIBDIR/libcuda.so.1` -> `nvidia/current/libcuda.so.1`. Anything that stands there already wins.

use super::{EffectError, put};
use crate::tree::{Entry, Origin, Tree, TreePath};

const EFFECT: &str = "NVIDIA libraries";
/// Where Debian's libraries are.
const LIBRARIES: &[u8] = b"usr/lib/x86_64-linux-gnu";
/// Where its packages of the driver put theirs, below that.
const CURRENT: &[u8] = b"nvidia/current";

/// Makes the links.
pub(super) fn write(tree: &mut Tree) -> Result<(), EffectError> {
    let libraries = TreePath::new(LIBRARIES)?;
    let current = TreePath::new(&[LIBRARIES, b"/", CURRENT].concat())?;
    let found = tree.below(&current).map(|(path, _)| path);
    let found = found.filter(|path| path.parent().as_ref() == Some(&current));
    let names: Vec<Vec<u8>> = found
        .map(|path| path.file_name().to_vec())
        .filter(|name| is_loaded(name))
        .collect();
    for name in names {
        let at = libraries.join(&name)?;
        if tree.get(&at).is_none() {
            let target = [CURRENT, b"/", &name].concat();
            put(
                tree,
                EFFECT,
                at,
                Entry::symlink(&target, Origin::Effect(EFFECT)),
            )?;
        }
    }
    Ok(())
}

/// A name such as `libcuda.so.1`, not `libcuda.so.550.163.01`, and not `libcuda.so`, which only compilers ask for.
fn is_loaded(name: &[u8]) -> bool {
    let Some(version) = name.strip_prefix(b"lib").and_then(|name| {
        name.windows(4)
            .position(|part| part == b".so.")
            .and_then(|at| name.get(at + 4..))
    }) else {
        return false;
    };
    !version.is_empty() && version.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, path};

    #[test]
    fn names_that_programs_load_are_linked_unless_something_stands_there() {
        let mut tree = Tree::new();
        let below = |name: &str| path(&format!("usr/lib/x86_64-linux-gnu/{name}"));
        let file = || Entry::file(0o644, Content::new(Vec::new()), Origin::Effect("test"));
        let link = |to: &str| Entry::symlink(to.as_bytes(), Origin::Effect("test"));
        tree.insert(below("nvidia/current/libcuda.so.550.163.01"), file());
        tree.insert(
            below("nvidia/current/libcuda.so.1"),
            link("libcuda.so.550.163.01"),
        );
        tree.insert(below("nvidia/current/libcuda.so"), link("libcuda.so.1"));
        tree.insert(below("nvidia/current/libnvidia-ml.so.1"), file());
        tree.insert(below("nvidia/current/deeper/libx.so.1"), file());
        tree.insert(below("libnvidia-ml.so.1"), file());
        write(&mut tree).unwrap();
        let cuda = tree.follow(&below("libcuda.so.1")).unwrap().0;
        assert_eq!(cuda, below("nvidia/current/libcuda.so.550.163.01"));
        let own = tree.follow(&below("libnvidia-ml.so.1")).unwrap().0;
        assert_eq!(own, below("libnvidia-ml.so.1"));
        for absent in ["libcuda.so", "libcuda.so.550.163.01", "libx.so.1"] {
            assert!(tree.get(&below(absent)).is_none(), "{absent}");
        }
        let all = tree.iter().count();
        write(&mut tree).unwrap();
        assert_eq!(tree.iter().count(), all);
    }
}
