//! What the parser does not say of a tag: of a prefix that one tag binds twice it keeps the first without a word.
//!
//! Spec: XML 1.0 (fifth edition) 3.1, "Unique Att Spec". The text has been parsed and found well-formed but for this, so that markup is
//! told apart by how it starts.

use std::collections::BTreeSet;

use super::Position;

/// Markup in which nothing is bound: how it starts behind `<`, and how it ends.
const OTHERS: [(&str, &str); 4] = [("!--", "-->"), ("![CDATA[", "]]>"), ("?", "?>"), ("/", ">")];

/// The first binding that stands twice in one tag, as it is written, and where that tag starts.
pub(super) fn bound_twice(text: &str) -> Option<(Position, &str)> {
    let mut rest = text;
    while let Some((_, markup)) = rest.split_once('<') {
        let other = OTHERS
            .iter()
            .find_map(|(start, end)| Some((markup.strip_prefix(start)?, *end)));
        rest = match other {
            Some((inside, end)) => behind(inside, end),
            None => match tag(markup) {
                Ok(rest) => rest,
                Err(name) => return Some((position(text, markup), name)),
            },
        };
    }
    None
}

fn behind<'t>(text: &'t str, end: &str) -> &'t str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

/// What stands behind a tag, or the name in it that binds a prefix again.
fn tag(markup: &str) -> Result<&str, &str> {
    let mut seen = BTreeSet::new();
    let mut rest = markup;
    loop {
        let Some((before, quote, value)) = next_value(rest) else {
            return Ok(behind(rest, ">"));
        };
        let name = before.trim_ascii_end().trim_end_matches('=');
        let name = name.split_ascii_whitespace().next_back().unwrap_or("");
        if (name == "xmlns" || name.starts_with("xmlns:")) && !seen.insert(name) {
            return Err(name);
        }
        rest = value.split_once(quote).map_or("", |(_, rest)| rest);
    }
}

/// What stands before the next value of the tag, the quote of that value, and what stands behind the quote; none where the tag ends before.
fn next_value(rest: &str) -> Option<(&str, char, &str)> {
    let mut characters = rest.char_indices();
    let (at, quote) = characters.find(|(_, found)| ['"', '\'', '>'].contains(found))?;
    let (before, _) = rest.split_at_checked(at)?;
    (quote != '>').then_some((before, quote, characters.as_str()))
}

/// Where the `<` before `markup` stands, of which `text` ends with the rest.
fn position(text: &str, markup: &str) -> Position {
    let before = text.strip_suffix(markup).unwrap_or(text);
    let before = before.strip_suffix('<').unwrap_or(before);
    let last = before.rsplit('\n').next().unwrap_or(before);
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1);
    Position {
        line: count(before.matches('\n').count()),
        column: count(last.chars().count()),
    }
}
