//! Names like a mistyped one.

/// At most three of `known` that are few edits away from `name` or contain it, best first.
pub(super) fn names<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut near: Vec<(usize, &String)> = known
        .filter_map(|other| {
            let edits = distance(name, other);
            let close = edits <= 1 + name.len() / 4;
            let part = name.len() >= 4
                && (other.contains(name) || name.contains(other.as_str()) && other.len() >= 4);
            (close || part).then_some((edits, other))
        })
        .collect();
    near.sort();
    near.dedup();
    near.into_iter()
        .take(3)
        .map(|(_, other)| other.clone())
        .collect()
}

/// The tail of an error message.
pub(super) fn phrase(near: &[String]) -> String {
    match near {
        [] => String::new(),
        names => format!("; near names: `{}`", names.join("`, `")),
    }
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (slot, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let above = *slot;
            let best = (diagonal + usize::from(x != y))
                .min(left + 1)
                .min(above + 1);
            (diagonal, *slot, left) = (above, best, best);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn names_are_sorted_by_distance() {
        let known: Vec<String> = ["virtio_blk", "virtio_net", "ext4", "dm_verity"]
            .map(String::from)
            .into();
        assert_eq!(
            names("virtio_bkl", known.iter()),
            ["virtio_blk", "virtio_net"]
        );
        assert_eq!(names("verity", known.iter()), ["dm_verity"]);
        assert_eq!(phrase(&[]), "");
    }
}
