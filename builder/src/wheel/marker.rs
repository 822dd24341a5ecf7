//! Environment markers: whether a requirement or a locked package is for this image.
//!
//! Spec: PyPA dependency specifiers (PEP 508), with `extras` and `dependency_groups` of PEP 751. The environment is
//! CPython on x86-64 Linux; no extra and no group is chosen. `platform_release` and `platform_version` are not known
//! before a guest runs, so that a marker with them is not understood.

use super::version::satisfies;

/// What markers are judged for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Environment {
    /// `3.N`
    python: String,
    /// `3.N.M`, or `3.N` where the micro version is not known.
    full: String,
}

impl Environment {
    /// CPython 3 of this minor and, where it is known, micro version.
    pub(crate) fn new(minor: u32, micro: Option<u32>) -> Environment {
        let python = format!("3.{minor}");
        let full = match micro {
            Some(micro) => format!("{python}.{micro}"),
            None => python.clone(),
        };
        Environment { python, full }
    }

    /// The version of Python, as far as it is known.
    pub(crate) fn full(&self) -> &str {
        &self.full
    }

    /// Evaluates a marker; `None` when it is not understood. An empty one is true.
    pub(crate) fn evaluate(&self, marker: &str) -> Option<bool> {
        if marker.trim().is_empty() {
            return Some(true);
        }
        let tokens = tokens(marker)?;
        let mut parser = Parser {
            tokens: &tokens,
            environment: self,
        };
        let value = parser.either(0)?;
        parser.tokens.is_empty().then_some(value)
    }
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

/// What stands on one side of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operand {
    /// A text, or a variable that holds one.
    Text(String),
    /// A variable that holds a version.
    Version(String),
    /// `extras` or `dependency_groups`: none is chosen.
    Nothing,
}

struct Parser<'a> {
    tokens: &'a [Token],
    environment: &'a Environment,
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
        let left = self.operand()?;
        let operator = match self.take()? {
            Token::Operator(operator) => operator,
            Token::Word(word) if word == "in" => word,
            Token::Word(word) if word == "not" && self.word("in") => "not in".to_owned(),
            _ => return None,
        };
        compare(&left, &operator, &self.operand()?)
    }

    fn operand(&mut self) -> Option<Operand> {
        let name = match self.take()? {
            Token::Text(text) => return Some(Operand::Text(text)),
            Token::Word(name) => name,
            _ => return None,
        };
        let text = match name.as_str() {
            "extra" => "",
            "sys_platform" => "linux",
            "platform_system" => "Linux",
            "os_name" => "posix",
            "platform_machine" => "x86_64",
            "platform_python_implementation" => "CPython",
            "implementation_name" => "cpython",
            "python_version" => return Some(Operand::Version(self.environment.python.clone())),
            "python_full_version" | "implementation_version" => {
                return Some(Operand::Version(self.environment.full.clone()));
            }
            "extras" | "dependency_groups" => return Some(Operand::Nothing),
            _ => return None,
        };
        Some(Operand::Text(text.to_owned()))
    }
}

fn compare(left: &Operand, operator: &str, right: &Operand) -> Option<bool> {
    match (left, operator, right) {
        (Operand::Text(_), "in", Operand::Nothing) => Some(false),
        (Operand::Text(_), "not in", Operand::Nothing) => Some(true),
        (Operand::Version(version), "in" | "not in", Operand::Text(list)) => {
            let listed = list.split([',', ' ']).any(|listed| listed == version);
            Some(listed == (operator == "in"))
        }
        (Operand::Version(version), _, Operand::Text(wanted)) => {
            satisfies(&format!("{operator}{wanted}"), version)
        }
        (Operand::Text(wanted), _, Operand::Version(version)) => {
            satisfies(&format!("{}{wanted}", turned(operator)?), version)
        }
        (Operand::Text(left), _, Operand::Text(right)) => match operator {
            "==" => Some(left == right),
            "!=" => Some(left != right),
            "in" => Some(right.contains(left)),
            "not in" => Some(!right.contains(left)),
            _ => None,
        },
        _ => None,
    }
}

/// The operator that says the same with its sides exchanged.
fn turned(operator: &str) -> Option<&'static str> {
    Some(match operator {
        "==" => "==",
        "!=" => "!=",
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_judged_for_the_image() {
        let environment = Environment::new(13, Some(5));
        for (marker, wanted) in [
            ("", Some(true)),
            ("extra == \"test\"", Some(false)),
            ("sys_platform == 'win32'", Some(false)),
            (
                "sys_platform != 'win32' and python_version >= '3.9'",
                Some(true),
            ),
            ("python_version < \"3.11\"", Some(false)),
            ("'3.9' <= python_version", Some(true)),
            ("python_full_version >= '3.13.6'", Some(false)),
            ("python_full_version < '3.13.6'", Some(true)),
            ("python_full_version < '3.14'", Some(true)),
            (
                "(python_version<'3.9' or platform_machine=='x86_64') and extra==''",
                Some(true),
            ),
            ("platform_machine in 'x86_64 aarch64'", Some(true)),
            ("python_version not in '3.12 3.13'", Some(false)),
            ("python_version == '3.*'", Some(true)),
            ("python_version ~= '3.9'", Some(true)),
            ("'cuda' in extras", Some(false)),
            ("'dev' not in dependency_groups", Some(true)),
            ("something_new == 'y'", None),
            ("platform_release >= '6'", None),
            ("'linux' > sys_platform", None),
            ("'3.9' ~= python_version", None),
            ("sys_platform ==", None),
            ("sys_platform == 'linux' sys_platform", None),
        ] {
            assert_eq!(environment.evaluate(marker), wanted, "{marker}");
        }
    }

    #[test]
    fn deep_markers_are_given_up() {
        let environment = Environment::new(13, None);
        assert_eq!(environment.evaluate(&"(".repeat(100_000)), None);
        assert_eq!(environment.full(), "3.13");
    }
}
