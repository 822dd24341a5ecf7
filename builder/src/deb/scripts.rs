//! What a maintainer script would have done, found by reading it.
//!
//! Nothing here runs a script. A line is cut into simple commands; those that only ask, print or
//! steer are passed over, those that a built-in effect covers are passed over too, and the rest
//! is reported in the script's own words. It is a reading aid for the build report, not a shell:
//! where it cannot tell, it reports.

use std::collections::BTreeSet;

/// Commands that change nothing in an image, or belong to an init system, to upgrades or to
/// debconf, none of which exists there.
const HARMLESS: &[&str] = &[
    ".",
    ":",
    "[",
    "awk",
    "basename",
    "break",
    "case",
    "cd",
    "command",
    "continue",
    "cut",
    "deb-systemd-helper",
    "deb-systemd-invoke",
    "dirname",
    "do",
    "done",
    "dpkg",
    "dpkg-maintscript-helper",
    "dpkg-query",
    "dpkg-trigger",
    "echo",
    "egrep",
    "elif",
    "else",
    "error",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "expr",
    "false",
    "fgrep",
    "fi",
    "for",
    "function",
    "getent",
    "grep",
    "head",
    "id",
    "if",
    "in",
    "invoke-rc.d",
    "ischroot",
    "kill",
    "local",
    "ls",
    "printf",
    "pwd",
    "read",
    "readlink",
    "realpath",
    "restorecon",
    "return",
    "sed",
    "set",
    "shift",
    "sort",
    "sync",
    "systemctl",
    "systemd-tmpfiles",
    "tail",
    "telinit",
    "test",
    "then",
    "touch-nothing",
    "tr",
    "trap",
    "true",
    "umask",
    "uname",
    "unset",
    "update-rc.d",
    "wc",
    "which",
    "while",
    "{",
    "}",
    "date",
    "sleep",
    "debconf-loadtemplate",
];

/// Commands whose work a built-in effect does.
const COVERED: &[&str] = &[
    "ldconfig",
    "py3clean",
    "py3compile",
    "update-ca-certificates",
];

/// Files that a built-in effect writes.
const COVERED_FILES: &[&str] = &["/etc/hosts"];

/// An alternative that a script registers, all in literal words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alternative {
    /// The generic path, for example `/usr/bin/awk`.
    pub(crate) link: String,
    /// Name under `/etc/alternatives`.
    pub(crate) name: String,
    /// The path it leads to.
    pub(crate) path: String,
    /// The highest wins.
    pub(crate) priority: i64,
    /// Further `(link, name, path)` that follow this choice.
    pub(crate) followers: Vec<(String, String, String)>,
}

/// What reading a script brought to light.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Alternatives, in the script's order.
    pub(crate) alternatives: Vec<Alternative>,
    /// Commands that no effect covers, each once, in the script's order.
    pub(crate) uncovered: Vec<String>,
}

/// Reads a script that dpkg would run at installation.
pub(crate) fn inspect(script: &[u8]) -> Findings {
    let mut findings = Findings::default();
    let Some(text) = shell_text(script) else {
        let first =
            String::from_utf8_lossy(script.split(|&b| b == b'\n').next().unwrap_or_default())
                .into_owned();
        findings.uncovered.push(format!(
            "a script that is not for a shell: {}",
            shorten(&first)
        ));
        return findings;
    };
    let lines = logical_lines(text);
    let functions: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| function_name(line))
        .collect();
    for line in &lines {
        for command in commands(line) {
            let words: Vec<&str> = command.split_whitespace().collect();
            judge(&words, &functions, &mut findings);
        }
    }
    let mut seen = BTreeSet::new();
    findings
        .uncovered
        .retain(|command| seen.insert(command.clone()));
    findings
}

fn judge(words: &[&str], functions: &BTreeSet<&str>, findings: &mut Findings) {
    let Some((first, arguments)) = words.split_first() else {
        return;
    };
    let first = first.rsplit('/').next().unwrap_or(first);
    if first == "update-alternatives" {
        match alternative(arguments) {
            Some(found) => findings.alternatives.push(found),
            None if arguments.contains(&"--install") => {
                findings.uncovered.push(shorten(&words.join(" ")))
            }
            None => {}
        }
        return;
    }
    let writes = redirections(words).any(|target| !COVERED_FILES.contains(&target));
    let edits = first == "sed"
        && arguments
            .iter()
            .any(|a| a.starts_with("-i") || *a == "--in-place");
    let known = HARMLESS.contains(&first)
        || COVERED.contains(&first)
        || functions.contains(first)
        || first == "cat"
        || first.starts_with("db_")
        || (first.starts_with("python3") && arguments.iter().any(|a| a.ends_with("py_compile.py")));
    if writes || edits || !known {
        findings.uncovered.push(shorten(&words.join(" ")));
    }
}

fn alternative(arguments: &[&str]) -> Option<Alternative> {
    let literal = |word: &str| !word.contains(['$', '`', '*', '"', '\'']);
    let start = arguments.iter().position(|a| *a == "--install")?;
    let (link, name, path, priority, mut rest) = match arguments.get(start + 1..)? {
        [link, name, path, priority, rest @ ..] => (*link, *name, *path, *priority, rest),
        _ => return None,
    };
    let mut followers = Vec::new();
    while let ["--slave", link, name, path, tail @ ..] = rest {
        if ![*link, *name, *path].iter().all(|w| literal(w)) {
            return None;
        }
        followers.push(((*link).to_owned(), (*name).to_owned(), (*path).to_owned()));
        rest = tail;
    }
    if ![link, name, path].iter().all(|w| literal(w)) {
        return None;
    }
    let priority = priority.parse().ok()?;
    Some(Alternative {
        link: link.to_owned(),
        name: name.to_owned(),
        path: path.to_owned(),
        priority,
        followers,
    })
}

/// The files that a command's `>` and `>>` write, those that throw away left out.
fn redirections<'a>(words: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    words.iter().enumerate().filter_map(|(index, word)| {
        let digits = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let target = digits
            .strip_prefix(">>")
            .or_else(|| digits.strip_prefix('>'))?;
        let target = if target.is_empty() {
            words.get(index + 1).copied()?
        } else {
            target
        };
        (!target.starts_with('&') && target != "/dev/null").then_some(target)
    })
}

/// The script as text when its first line names a shell.
fn shell_text(script: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(script).ok()?;
    let first = text.lines().next().unwrap_or_default();
    let program = first.strip_prefix("#!")?.split_whitespace().next()?;
    matches!(program.rsplit('/').next(), Some("sh" | "bash" | "dash")).then_some(text)
}

/// Lines without comments and here-documents, continued lines joined.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = String::new();
    let mut until: Option<String> = None;
    for line in text.lines() {
        if let Some(end) = &until {
            if line.trim() == end {
                until = None;
            }
            continue;
        }
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        if let Some(start) = line.strip_suffix('\\') {
            pending.push_str(start);
            pending.push(' ');
            continue;
        }
        pending.push_str(line);
        until = heredoc_end(&pending);
        lines.push(std::mem::take(&mut pending));
    }
    if !pending.is_empty() {
        lines.push(pending);
    }
    lines
}

fn heredoc_end(line: &str) -> Option<String> {
    let (_, after) = line.split_once("<<")?;
    let word = after
        .trim_start_matches(['-', ' '])
        .split([' ', ';', '|', '>'])
        .next()?;
    let word = word.trim_matches(['\'', '"']);
    (!word.is_empty() && !word.starts_with('<')).then(|| word.to_owned())
}

fn function_name(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('(')?;
    let name = name.trim();
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    (plain && !name.is_empty() && line.contains("()")).then_some(name)
}

/// Cuts a line into simple commands; separators inside quotes do not count.
fn commands(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current = String::new();
    let mut quote = None;
    let mut previous = ' ';
    for c in strip_label(line).chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == '#' && previous.is_whitespace() => break,
            None if c == ';' || c == '|' || (c == '&' && previous != '>') => {
                found.push(std::mem::take(&mut current));
                previous = c;
                continue;
            }
            None => {}
        }
        current.push(c);
        previous = c;
    }
    found.push(current);
    found
        .iter()
        .map(|command| strip_prefixes(command).to_owned())
        .filter(|c| !c.is_empty())
        .collect()
}

/// Takes a `case` label such as `configure|abort-remove)` off the front.
fn strip_label(line: &str) -> &str {
    match line.split_once(')') {
        Some((label, rest))
            if !label.contains(['(', '=', ';', '&']) && label.split_whitespace().count() <= 1 =>
        {
            rest
        }
        _ => line,
    }
}

/// Takes off `if`, `!`, `then`, assignments and `case` labels that stand before the command.
fn strip_prefixes(command: &str) -> &str {
    let mut rest = command.trim();
    loop {
        let word = rest.split_whitespace().next().unwrap_or_default();
        let steering = [
            "if", "elif", "while", "until", "then", "else", "do", "!", "(", "{", "exec", "time",
        ]
        .contains(&word);
        let assignment = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        });
        let label = word.ends_with(')') && !word.contains('(');
        if assignment && (word.contains("$(") || word.contains('`') || word.contains(['"', '\''])) {
            return ""; // a value made by a command or with blanks in it: an assignment, no effect
        }
        if word.contains("()") || (word.is_empty() || word == ")") {
            return rest
                .split_once("()")
                .map_or("", |(_, body)| body.trim().trim_start_matches('{').trim());
        }
        if rest.starts_with("case ") || rest.starts_with("for ") {
            return "";
        }
        if !(steering || assignment || label) {
            return rest
                .trim_start_matches('(')
                .trim_end_matches(|c| c == ')' && !rest.contains('('));
        }
        rest = rest.get(word.len()..).unwrap_or_default().trim_start();
    }
}

fn shorten(command: &str) -> String {
    const LIMIT: usize = 120;
    match command.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{} ...", command.get(..end).unwrap_or_default()),
        None => command.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inspect_finds_alternatives_with_followers() {
        let found = inspect(
            b"#!/bin/sh\nset -e\ncase \"$1\" in\n configure|abort-remove)\n  update-alternatives --install /usr/sbin/rmt rmt \
              /usr/sbin/rmt-tar 50 \\\n   --slave /usr/share/man/man8/rmt.8.gz rmt.8.gz \\\n  /usr/share/man/man8/rmt-tar.8.gz\n ;;\nesac\n",
        );
        assert_eq!(found.uncovered, Vec::<String>::new());
        assert_eq!(found.alternatives.len(), 1);
        let first = &found.alternatives[0];
        assert_eq!(
            (first.link.as_str(), first.path.as_str(), first.priority),
            ("/usr/sbin/rmt", "/usr/sbin/rmt-tar", 50)
        );
        assert_eq!(first.followers[0].1, "rmt.8.gz");
    }

    #[test]
    fn inspect_reports_what_no_effect_covers() {
        let found = inspect(
            b"#! /bin/sh -e\nif [ ! -e /usr/lib/ssl ]\nthen\n  echo Linking\n  ln -sf /etc/ssl /usr/lib/ssl\nfi\n\
              grep x y 2>/dev/null >&2 || true\ncat > /etc/hosts <<-EOF\n rm -rf /\nEOF\ncat > /etc/networks <<EOF\nx\nEOF\n\
              ldconfig\nadduser --system demo\nX=$(ls)\nY=1 mkdir -p /var/x && chmod 1777 /var/x\n",
        );
        assert_eq!(
            found.uncovered,
            [
                "ln -sf /etc/ssl /usr/lib/ssl",
                "cat > /etc/networks <<EOF",
                "adduser --system demo",
                "mkdir -p /var/x",
                "chmod 1777 /var/x"
            ]
        );
    }

    #[test]
    fn inspect_knows_functions_and_other_languages() {
        let found = inspect(b"#!/bin/sh\nhelper() {\n  sed -i s/a/b/ /etc/x\n}\nhelper\n");
        assert_eq!(found.uncovered, ["sed -i s/a/b/ /etc/x"]);
        let found = inspect(b"#!/usr/bin/perl\nunlink;\n");
        assert_eq!(
            found.uncovered,
            ["a script that is not for a shell: #!/usr/bin/perl"]
        );
        assert_eq!(
            inspect(b"#!/bin/sh\nupdate-alternatives --install $x y z 1\n")
                .uncovered
                .len(),
            1
        );
    }
}
