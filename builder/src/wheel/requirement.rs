//! Requirements of a distribution (`Requires-Dist`) as far as reporting needs them.
//!
//! Spec: PEP 508. The name and an exact pin are read, and markers are evaluated for CPython on
//! x86-64 Linux. Nothing is resolved: what the recipe lists is what the image gets.

use super::metadata::normalised;

/// One requirement that applies to this image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// Normalised project name.
    pub(crate) name: String,
    /// The version of a single `==` pin.
    pub(crate) pin: Option<String>,
    /// The requirement as written.
    pub(crate) text: String,
}

/// Reads one `Requires-Dist`; `None` when its marker says that it does not apply. A marker that
/// cannot be understood applies: reporting too much is better than too little.
pub(crate) fn applicable(text: &str, python_minor: u32) -> Option<Requirement> {
    let (requirement, marker) = text.split_once(';').unwrap_or((text, ""));
    if !marker.trim().is_empty() && evaluate(marker, python_minor) == Some(false) {
        return None;
    }
    let requirement = requirement.trim();
    let end = requirement
        .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
        .unwrap_or(requirement.len());
    let (name, rest) = requirement.split_at_checked(end)?;
    let rest = rest.split_once(']').map_or(rest, |(_, after)| after);
    let specifier = rest.trim().trim_matches(['(', ')']).trim();
    let pin = specifier
        .strip_prefix("==")
        .filter(|v| !v.contains([',', '*']))
        .map(|v| v.trim().to_owned());
    Some(Requirement {
        name: normalised(name),
        pin,
        text: text.trim().to_owned(),
    })
}

/// Whether a Python version satisfies `Requires-Python`, by its minor version alone; a clause that
/// is not understood counts as satisfied.
pub(crate) fn python_satisfies(specifier: &str, minor: u32) -> bool {
    specifier.split(',').map(str::trim).all(|clause| {
        let digits = clause
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(clause.len());
        let Some((operator, version)) = clause.split_at_checked(digits) else {
            return true;
        };
        let mut numbers = version.split('.').map(|n| n.parse::<u32>().ok());
        let wanted = match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => (major, minor),
            (Some(major), None) => (major, 0),
            _ => return true,
        };
        let has = (3, minor);
        let micro = version
            .split('.')
            .nth(2)
            .is_some_and(|m| m != "*" && m != "0");
        match operator.trim() {
            ">=" | "~=" => has >= wanted,
            ">" => has > wanted || (has == wanted && micro),
            "<" => has < wanted || (has == wanted && micro),
            "<=" => has <= wanted,
            "==" => has == wanted || (wanted.1 == 0 && version.starts_with("3.*")),
            "!=" => has != wanted || micro,
            _ => true,
        }
    })
}

/// Evaluates a marker; `None` when it is not understood.
fn evaluate(marker: &str, python_minor: u32) -> Option<bool> {
    let tokens = tokens(marker)?;
    let mut parser = Parser {
        tokens: &tokens,
        python_minor,
    };
    let value = parser.either(0)?;
    parser.tokens.is_empty().then_some(value)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Word(String),
    Text(String),
    Operator(String),
}

fn tokens(marker: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = marker.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '"' | '\'' => {
                let text = rest.get(1..)?.split_once(first)?.0;
                (Token::Text(text.to_owned()), text.len() + 2)
            }
            c if "<>=!~".contains(c) => {
                let end = rest
                    .find(|c: char| !"<>=!~".contains(c))
                    .unwrap_or(rest.len());
                (Token::Operator(rest.get(..end)?.to_owned()), end)
            }
            _ => {
                let end = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
                    .unwrap_or(rest.len());
                (
                    Token::Word(rest.get(..end).filter(|w| !w.is_empty())?.to_owned()),
                    end,
                )
            }
        };
        tokens.push(token);
        rest = rest.get(length..)?.trim_start();
    }
    Some(tokens)
}

/// Depth of parentheses beyond which a marker counts as not understood.
const MAX_DEPTH: u32 = 32;

struct Parser<'a> {
    tokens: &'a [Token],
    python_minor: u32,
}

impl Parser<'_> {
    fn take(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first.clone())
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.first(), Some(Token::Word(w)) if w == word);
        if found {
            self.take();
        }
        found
    }

    fn either(&mut self, depth: u32) -> Option<bool> {
        let mut value = self.both(depth)?;
        while self.word("or") {
            value |= self.both(depth)?;
        }
        Some(value)
    }

    fn both(&mut self, depth: u32) -> Option<bool> {
        let mut value = self.one(depth)?;
        while self.word("and") {
            value &= self.one(depth)?;
        }
        Some(value)
    }

    fn one(&mut self, depth: u32) -> Option<bool> {
        if self.tokens.first() == Some(&Token::Open) {
            self.take();
            let value = (depth < MAX_DEPTH)
                .then(|| self.either(depth + 1))
                .flatten()?;
            return (self.take()? == Token::Close).then_some(value);
        }
        let (left, left_version) = self.operand()?;
        let operator = match self.take()? {
            Token::Operator(operator) => operator,
            Token::Word(word) if word == "in" => word,
            Token::Word(word) if word == "not" && self.word("in") => "not in".to_owned(),
            _ => return None,
        };
        let (right, right_version) = self.operand()?;
        if left_version || right_version {
            return compare_versions(&left, &operator, &right);
        }
        match operator.as_str() {
            "==" => Some(left == right),
            "!=" => Some(left != right),
            "in" => Some(right.contains(&left)),
            "not in" => Some(!right.contains(&left)),
            _ => None,
        }
    }

    /// A value and whether it is a version.
    fn operand(&mut self) -> Option<(String, bool)> {
        let name = match self.take()? {
            Token::Text(text) => return Some((text, false)),
            Token::Word(name) => name,
            _ => return None,
        };
        let value = match name.as_str() {
            "extra" => "",
            "sys_platform" => "linux",
            "platform_system" => "Linux",
            "os_name" => "posix",
            "platform_machine" => "x86_64",
            "platform_python_implementation" => "CPython",
            "implementation_name" => "cpython",
            "python_version" | "python_full_version" => {
                return Some((format!("3.{}", self.python_minor), true));
            }
            _ => return None,
        };
        Some((value.to_owned(), false))
    }
}

fn compare_versions(left: &str, operator: &str, right: &str) -> Option<bool> {
    let parse = |text: &str| {
        text.split('.')
            .take(2)
            .map(|n| n.parse::<u32>().ok())
            .collect::<Option<Vec<u32>>>()
    };
    if operator == "in" || operator == "not in" {
        let listed = right.split([',', ' ']).any(|v| v == left);
        return Some(listed == (operator == "in"));
    }
    let (left, right) = (parse(left)?, parse(right)?);
    match operator {
        "==" => Some(left == right),
        "!=" => Some(left != right),
        "<" => Some(left < right),
        "<=" => Some(left <= right),
        ">" => Some(left > right),
        ">=" | "~=" => Some(left >= right),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_decide_whether_a_requirement_applies() {
        for (text, applies) in [
            ("llm", true),
            ("pytest; extra == \"test\"", false),
            ("pywin32 ; sys_platform == 'win32'", false),
            (
                "uvloop>=1 ; sys_platform != 'win32' and python_version >= '3.9'",
                true,
            ),
            ("tomli; python_version < \"3.11\"", false),
            (
                "x; (python_version<'3.9' or platform_machine=='x86_64') and extra==''",
                true,
            ),
            ("x; something_new == 'y'", true),
            ("x; platform_machine in 'x86_64 aarch64'", true),
        ] {
            assert_eq!(applicable(text, 13).is_some(), applies, "{text}");
        }
    }

    #[test]
    fn requirement_reads_name_and_pin() {
        let found = applicable("Torch_X[a,b] (==2.13.0+cpu) ; python_version > '3'", 13).unwrap();
        assert_eq!(
            (found.name.as_str(), found.pin.as_deref()),
            ("torch-x", Some("2.13.0+cpu"))
        );
        assert_eq!(applicable("a>=1,<2", 13).unwrap().pin, None);
        assert_eq!(applicable("a==1.*", 13).unwrap().pin, None);
    }

    #[test]
    fn python_version_is_judged_by_its_minor() {
        assert!(python_satisfies(">=3.9", 13));
        assert!(python_satisfies(">=3.9,<4", 13));
        assert!(!python_satisfies(">=3.14", 13));
        assert!(!python_satisfies("<3.13,>=3.8", 13));
        assert!(python_satisfies("!=3.12.*", 13));
        assert!(!python_satisfies("!=3.13.*", 13));
        assert!(python_satisfies("~=3.9", 13));
    }

    #[test]
    fn deep_markers_are_given_up() {
        let deep = format!("x; {}", "(".repeat(100_000));
        assert!(applicable(&deep, 13).is_some());
    }
}
