//! Mistakes as people read them: message, file and line, the line itself with the place marked, a suggestion.

use std::path::Path;

use super::check::Mistake;

/// All mistakes of the file at `path`, in its order, without a line feed at the end.
pub(super) fn render(mistakes: &[Mistake], path: &Path, text: &str) -> String {
    let mut mistakes: Vec<_> = mistakes.iter().collect();
    mistakes.sort_by_key(|mistake| mistake.span.start);
    let one = |mistake: &&Mistake| one(mistake, path, text);
    let mut out: Vec<String> = mistakes.iter().map(one).collect();
    out.push(match mistakes.len() {
        1 => format!(
            "error: `{}` has 1 mistake; nothing was done",
            path.display()
        ),
        count => format!(
            "error: `{}` has {count} mistakes; nothing was done",
            path.display()
        ),
    });
    out.join("\n\n")
}

fn one(mistake: &Mistake, path: &Path, text: &str) -> String {
    let start = mistake.span.start.min(text.len());
    let before = text.get(..start).unwrap_or_default();
    let number = before.matches('\n').count() + 1;
    let begin = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text
        .get(begin..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default();
    let column = before.get(begin..).unwrap_or_default().chars().count();
    let marked = text
        .get(start..mistake.span.end.min(text.len()))
        .unwrap_or_default();
    let marked = marked
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        .max(1);
    let margin = " ".repeat(number.to_string().len());
    let mut out = format!(
        "error: {}\n{margin}--> {}:{number}:{}",
        mistake.message,
        path.display(),
        column + 1
    );
    if !mistake.span.is_empty() {
        let (pad, carets) = (" ".repeat(column), "^".repeat(marked));
        out.push_str(&format!(
            "\n{margin} |\n{number} | {line}\n{margin} | {pad}{carets}"
        ));
    }
    if let Some(hint) = &mistake.hint {
        out.push_str(&format!("\n{margin} = hint: {hint}"));
    }
    out
}
