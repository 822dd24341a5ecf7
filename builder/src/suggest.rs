//! Suggestions for misspelt words.

/// The word that differs least from `word`, if it differs by little.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let ranked = known.map(|known| (distance(word, known), known));
    ranked
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, above), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().copied().unwrap_or_default();
            next.push(
                (left + 1)
                    .min(above + 1)
                    .min(diagonal + usize::from(from != *to)),
            );
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_suggests_only_what_is_near() {
        let known = ["packages", "platforms", "keys"];
        assert_eq!(nearest("pakages", known.into_iter()), Some("packages"));
        assert_eq!(nearest("key", known.into_iter()), Some("keys"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}
