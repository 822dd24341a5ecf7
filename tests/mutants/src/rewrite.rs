//! One source file with all of its mutants in it, each behind `crate::mutant::active(NUMBER)`.
//!
//! Nothing of the original text is replaced. Each mutant only adds text before and behind a range: the mutated copy of an expression
//! goes before the original, which stays in the other branch and may hold more mutants. A mutated copy holds none, because only one
//! is alive at a time. Comments mark each copy, so that an error of the compiler finds its mutant.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context as _, Result};
use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::mutant::{Genre, Mutant};

/// Mutants by their numbers.
pub(crate) type Numbered<'a> = BTreeMap<u32, &'a Mutant>;

/// A file with mutants inside.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) source: String,
    /// Those that cannot be behind a condition at run time, with the reason. They need a build each.
    pub(crate) alone: BTreeMap<u32, &'static str>,
    /// Those that no compiler takes, with the reason.
    pub(crate) unviable: BTreeMap<u32, &'static str>,
}

/// Text around a range of the original.
struct Wrap {
    /// The constant that is read there.
    constant: Option<String>,
    range: Range<usize>,
    before: String,
    behind: String,
}

/// Puts `mutants`, all of one file, into its `source`; `beneath` are the sources of the modules inside, which see its constants.
pub(crate) fn rewrite(source: &str, mutants: &Numbered<'_>, beneath: &[&str]) -> Result<Rewritten> {
    let file = syn::parse_file(source)?;
    let mut places = Places::new(source, mutants)?;
    places.constants_of(&file)?;
    places.visit_file(&file);
    places.only_whole_constants(beneath)?;
    let alone = places.alone;
    let unviable = places.unviable;
    for (number, mutant) in mutants {
        let placed = places.placed.contains(number);
        let known = placed || alone.contains_key(number) || unviable.contains_key(number);
        if !known {
            anyhow::bail!("no place found for {}", mutant.name);
        }
    }
    let source = apply(source, places.wraps)?;
    Ok(Rewritten {
        source,
        alone,
        unviable,
    })
}

/// Adds the texts: at one position what ends there comes first, inner before outer, then what begins, outer before inner.
fn apply(source: &str, wraps: Vec<Wrap>) -> Result<String> {
    let mut pieces: Vec<((usize, bool, isize, isize), String)> = Vec::new();
    for (turn, wrap) in wraps.into_iter().enumerate() {
        let (turn, length) = (isize::try_from(turn)?, isize::try_from(wrap.range.len())?);
        let empty = wrap.range.is_empty();
        // The value of a function comes before whatever its first statement begins with.
        let order = if empty { isize::MIN } else { -length };
        pieces.push(((wrap.range.start, true, order, turn), wrap.before));
        if !empty {
            // Of two with the same range the one that was met first is the outer one.
            pieces.push(((wrap.range.end, false, length, -turn), wrap.behind));
        }
    }
    pieces.sort_by_key(|(order, _)| *order);
    let mut out = String::new();
    let mut done = 0;
    for ((at, ..), text) in pieces {
        out.push_str(source.get(done..at).context("range outside of the file")?);
        out.push_str(&text);
        done = at;
    }
    out.push_str(source.get(done..).context("range outside of the file")?);
    Ok(out)
}

struct Places<'a> {
    source: &'a str,
    mutants: &'a Numbered<'a>,
    /// Numbers by where the mutant stands.
    at: BTreeMap<usize, Vec<u32>>,
    wraps: Vec<Wrap>,
    placed: Vec<u32>,
    alone: BTreeMap<u32, &'static str>,
    unviable: BTreeMap<u32, &'static str>,
    /// How many constants are around the node that is visited.
    inside: usize,
    /// Private constants of this file: each read at run time can give another value.
    constants: BTreeMap<String, Vec<(u32, String)>>,
}

impl<'a> Places<'a> {
    fn new(source: &'a str, mutants: &'a Numbered<'a>) -> Result<Self> {
        let mut at: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (number, mutant) in mutants {
            let start = mutant.range(source)?.start;
            at.entry(start).or_default().push(*number);
        }
        Ok(Self {
            source,
            mutants,
            at,
            wraps: Vec::new(),
            placed: Vec::new(),
            alone: BTreeMap::new(),
            unviable: BTreeMap::new(),
            inside: 0,
            constants: BTreeMap::new(),
        })
    }

    /// The mutants of a genre at the start of a span that run-time conditions can hold.
    fn take(&mut self, span: Span, genre: Genre) -> Vec<u32> {
        let here = self.at.get(&span.byte_range().start).cloned();
        let of_genre = |number: &u32| self.mutants.get(number).is_some_and(|m| m.genre == genre);
        let numbers: Vec<u32> = here.into_iter().flatten().filter(of_genre).collect();
        if self.inside > 0 {
            for number in numbers {
                self.alone.insert(number, "in a constant");
            }
            return Vec::new();
        }
        self.placed.extend(&numbers);
        numbers
    }

    fn text(&self, span: Span) -> &'a str {
        self.source.get(span.byte_range()).unwrap_or_default()
    }

    fn replacement(&self, number: u32) -> &'a str {
        let mutant = self.mutants.get(&number);
        mutant.map_or("", |mutant| mutant.replacement.as_str())
    }

    /// `(if active(n) { copy } else if ... else { ORIGINAL })`
    fn branches(&mut self, span: Span, copies: &[(u32, String)], constant: Option<String>) {
        if copies.is_empty() {
            return;
        }
        let mut before = String::from("(");
        for (number, copy) in copies {
            let condition = active(*number);
            before.push_str(&format!(
                "if {condition} {{ {} }} else ",
                marked(*number, copy)
            ));
        }
        before.push_str("{ ");
        self.wraps.push(Wrap {
            constant,
            range: span.byte_range(),
            before,
            behind: String::from(" })"),
        });
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let Some(first) = block.stmts.first() else {
            return;
        };
        let numbers = self.take(first.span(), Genre::FnValue);
        let opaque = matches!(&signature.output, syn::ReturnType::Type(_, of) if has_impl(of));
        let start = first.span().byte_range().start;
        for number in numbers {
            if opaque {
                self.placed.retain(|placed| *placed != number);
                self.alone.insert(number, "returns an opaque type");
                continue;
            }
            let value = marked(number, &format!("return {};", self.replacement(number)));
            self.wraps.push(Wrap {
                constant: None,
                range: start..start,
                before: format!("if {} {{ {value} }} ", active(number)),
                behind: String::new(),
            });
        }
    }

    fn inside_constant(&mut self, constant: bool, visit: impl FnOnce(&mut Self)) {
        self.inside += usize::from(constant);
        visit(self);
        self.inside -= usize::from(constant);
    }

    /// Finds the private constants with mutants in them, and what they would be.
    fn constants_of(&mut self, file: &syn::File) -> Result<()> {
        for item in &file.items {
            let syn::Item::Const(item) = item else {
                continue;
            };
            let body = item.expr.span().byte_range();
            let numbers = self.at.range(body.clone()).flat_map(|(_, numbers)| numbers);
            if !matches!(item.vis, syn::Visibility::Inherited) {
                continue;
            }
            let kind = self.text(item.ty.span());
            let mut copies = Vec::new();
            for number in numbers {
                let mutant = self.mutants.get(number).context("no such mutant")?;
                let range = mutant.range(self.source)?;
                let before = self.source.get(body.start..range.start);
                let after = self.source.get(range.end..body.end);
                let (before, after) = before.zip(after).context("not in the constant")?;
                let value = format!("{before} {} {after}", mutant.replacement);
                let copy = format!("const MUTATED: {kind} = {value}; MUTATED");
                copies.push((*number, copy));
            }
            if !copies.is_empty() {
                self.constants.insert(item.ident.to_string(), copies);
            }
        }
        Ok(())
    }

    /// Takes back what reads a constant that is read elsewhere as well: in a module beneath, in another constant, in a macro.
    fn only_whole_constants(&mut self, beneath: &[&str]) -> Result<()> {
        for (name, copies) in std::mem::take(&mut self.constants) {
            let reads = |wrap: &Wrap| wrap.constant.as_ref() == Some(&name);
            let wrapped = self.wraps.iter().filter(|wrap| reads(wrap)).count();
            let mut read = words(self.source.parse(), &name)?;
            for source in beneath {
                read += words(source.parse(), &name)?;
            }
            if wrapped > 0 && read == wrapped + 1 {
                for (number, _) in copies {
                    self.alone.remove(&number);
                    self.placed.push(number);
                }
            } else {
                self.wraps.retain(|wrap| !reads(wrap));
            }
        }
        Ok(())
    }
}

/// How often an identifier stands in a text.
fn words(
    tokens: Result<proc_macro2::TokenStream, proc_macro2::LexError>,
    word: &str,
) -> Result<usize> {
    let tokens = tokens.map_err(|error| anyhow::anyhow!("not Rust: {error}"))?;
    let mut found = 0;
    for token in tokens {
        found += match token {
            proc_macro2::TokenTree::Ident(name) => usize::from(name == word),
            proc_macro2::TokenTree::Group(group) => words(Ok(group.stream()), word)?,
            _ => 0,
        };
    }
    Ok(found)
}

/// Whether a type is opaque to its caller, itself or in a part.
fn has_impl(of: &syn::Type) -> bool {
    struct Finder(bool);
    impl<'ast> Visit<'ast> for Finder {
        fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut finder = Finder(false);
    finder.visit_type(of);
    finder.0
}

/// Whether an operand of `&&` is a pattern, which exists in a condition only.
fn has_let(of: &syn::Expr) -> bool {
    match of {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

fn active(number: u32) -> String {
    format!("crate::mutant::active({number})")
}

/// What an error inside belongs to.
fn marked(number: u32, copy: &str) -> String {
    format!("/*<{number}*/{copy}/*>{number}*/")
}

impl<'ast> Visit<'ast> for Places<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.inside_constant(item.sig.constness.is_some(), |places| {
            places.function(&item.sig, &item.block);
            visit::visit_item_fn(places, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.inside_constant(item.sig.constness.is_some(), |places| {
            places.function(&item.sig, &item.block);
            visit::visit_impl_item_fn(places, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.inside_constant(true, |places| visit::visit_item_const(places, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.inside_constant(true, |places| visit::visit_item_static(places, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.inside_constant(true, |places| visit::visit_impl_item_const(places, item));
    }

    fn visit_trait_item_const(&mut self, item: &'ast syn::TraitItemConst) {
        self.inside_constant(true, |places| visit::visit_trait_item_const(places, item));
    }

    fn visit_expr_const(&mut self, item: &'ast syn::ExprConst) {
        self.inside_constant(true, |places| visit::visit_expr_const(places, item));
    }

    fn visit_variant(&mut self, item: &'ast syn::Variant) {
        self.inside_constant(true, |places| visit::visit_variant(places, item));
    }

    fn visit_type(&mut self, item: &'ast syn::Type) {
        self.inside_constant(true, |places| visit::visit_type(places, item));
    }

    fn visit_generic_argument(&mut self, item: &'ast syn::GenericArgument) {
        self.inside_constant(true, |places| visit::visit_generic_argument(places, item));
    }

    fn visit_pat(&mut self, item: &'ast syn::Pat) {
        self.inside_constant(true, |places| visit::visit_pat(places, item));
    }

    fn visit_expr_path(&mut self, item: &'ast syn::ExprPath) {
        if self.inside == 0
            && let Some(name) = item.path.get_ident().map(ToString::to_string)
            && let Some(copies) = self.constants.get(&name).cloned()
        {
            self.branches(item.span(), &copies, Some(name));
        }
        visit::visit_expr_path(self, item);
    }

    fn visit_expr_repeat(&mut self, item: &'ast syn::ExprRepeat) {
        self.visit_expr(&item.expr);
        self.inside_constant(true, |places| places.visit_expr(&item.len));
    }

    fn visit_expr_binary(&mut self, item: &'ast syn::ExprBinary) {
        let numbers = self.take(item.op.span(), Genre::BinaryOperator);
        if has_let(&item.left) || has_let(&item.right) {
            for number in &numbers {
                self.placed.retain(|placed| placed != number);
                self.unviable
                    .insert(*number, "`let` stands only in a chain of `&&`");
            }
        } else {
            let (left, right) = (self.text(item.left.span()), self.text(item.right.span()));
            let copy = |number: u32| {
                let operator = self.replacement(number);
                (number, format!("({left}) {operator} ({right})"))
            };
            let copies: Vec<_> = numbers.into_iter().map(copy).collect();
            self.branches(item.span(), &copies, None);
        }
        visit::visit_expr_binary(self, item);
    }

    fn visit_expr_unary(&mut self, item: &'ast syn::ExprUnary) {
        let numbers = self.take(item.op.span(), Genre::UnaryOperator);
        let operand = self.text(item.expr.span());
        let copies: Vec<_> = numbers.into_iter().map(|n| (n, operand.into())).collect();
        self.branches(item.span(), &copies, None);
        visit::visit_expr_unary(self, item);
    }

    fn visit_arm(&mut self, item: &'ast syn::Arm) {
        for number in self.take(item.span(), Genre::MatchArm) {
            let end = item.pat.span().byte_range().end;
            self.wraps.push(Wrap {
                constant: None,
                range: end..end,
                before: marked(number, &format!(" if !{}", active(number))),
                behind: String::new(),
            });
        }
        if let Some((_, guard)) = &item.guard {
            for number in self.take(guard.span(), Genre::MatchArmGuard) {
                let constant = self.replacement(number) == "true";
                let (not, or) = if constant { ("", "||") } else { ("!", "&&") };
                let condition = marked(number, &active(number));
                self.wraps.push(Wrap {
                    constant: None,
                    range: guard.span().byte_range(),
                    before: format!("({not}{condition} {or} ("),
                    behind: String::from("))"),
                });
            }
        }
        visit::visit_arm(self, item);
    }

    fn visit_expr_struct(&mut self, item: &'ast syn::ExprStruct) {
        if item.rest.is_some() {
            let whole = item.span().byte_range();
            let mut copies = Vec::new();
            for pair in item.fields.pairs() {
                let field = pair.value().span().byte_range();
                let end = pair.punct().map(|comma| comma.span().byte_range().end);
                for number in self.take(pair.value().span(), Genre::StructField) {
                    let before = self.source.get(whole.start..field.start);
                    let after = self.source.get(end.unwrap_or(field.end)..whole.end);
                    let copy = before.unwrap_or_default().to_owned() + after.unwrap_or_default();
                    copies.push((number, copy));
                }
            }
            self.branches(item.span(), &copies, None);
        }
        visit::visit_expr_struct(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(genre: &str, line: &str, at: &str, replacement: &str) -> Mutant {
        let column = line.find(at).unwrap() + 1;
        serde_json::from_value(serde_json::json!({
            "name": format!("f.rs:1:{column}: {replacement}"), "file": "f.rs",
            "span": {"start": {"line": 1, "column": column}, "end": {"line": 1, "column": column + at.len()}},
            "replacement": replacement, "genre": genre
        }))
        .unwrap()
    }

    fn rewritten(source: &str, mutants: &[Mutant]) -> Rewritten {
        rewrite(source, &(1..).zip(mutants).collect(), &[]).unwrap()
    }

    #[test]
    fn rewrite_keeps_the_original_in_the_last_branch() {
        let source = "fn f(a: u8) -> bool { !(a < 1) }";
        let mutants = [
            mutant("FnValue", source, "!(a < 1)", "true"),
            mutant("UnaryOperator", source, "!", ""),
            mutant("BinaryOperator", source, "<", "=="),
            mutant("BinaryOperator", source, "<", ">"),
        ];
        let rewritten = rewritten(source, &mutants);
        let wanted = "fn f(a: u8) -> bool { \
            if crate::mutant::active(1) { /*<1*/return true;/*>1*/ } \
            (if crate::mutant::active(2) { /*<2*/(a < 1)/*>2*/ } else { \
            !((if crate::mutant::active(3) { /*<3*/(a) == (1)/*>3*/ } \
            else if crate::mutant::active(4) { /*<4*/(a) > (1)/*>4*/ } else { a < 1 })) }) }";
        assert_eq!(rewritten.source, wanted);
        assert!(rewritten.alone.is_empty() && rewritten.unviable.is_empty());
    }

    #[test]
    fn rewrite_of_arms_guards_and_fields() {
        let source =
            "fn f(a: u8) -> S { match a { 1 => A, n if n > 2 => B, _ => S { x: 1, y: 2, ..C } } }";
        let mutants = [
            mutant("MatchArm", source, "1 => A,", ""),
            mutant("MatchArmGuard", source, "n > 2", "true"),
            mutant("MatchArmGuard", source, "n > 2", "false"),
            mutant("BinaryOperator", source, "> 2", "<"),
            mutant("StructField", source, "x: 1,", ""),
        ];
        let wanted = "fn f(a: u8) -> S { match a { \
            1/*<1*/ if !crate::mutant::active(1)/*>1*/ => A, \
            n if (/*<2*/crate::mutant::active(2)/*>2*/ || ((!/*<3*/crate::mutant::active(3)/*>3*/ && (\
            (if crate::mutant::active(4) { /*<4*/(n) < (2)/*>4*/ } else { n > 2 }))))) => B, \
            _ => (if crate::mutant::active(5) { /*<5*/S {  y: 2, ..C }/*>5*/ } else { S { x: 1, y: 2, ..C } }) } }";
        assert_eq!(rewritten(source, &mutants).source, wanted);
    }

    #[test]
    fn rewrite_gives_a_constant_another_value_where_it_is_read() {
        let source = "const A: u8 = 1 + 2; fn f(a: u8) -> u8 { a.min(A) }";
        let mutants = [mutant("BinaryOperator", source, "+", "-")];
        let wanted = "const A: u8 = 1 + 2; fn f(a: u8) -> u8 { a.min(\
            (if crate::mutant::active(1) { /*<1*/const MUTATED: u8 = 1  -  2; MUTATED/*>1*/ } else { A })) }";
        assert_eq!(rewritten(source, &mutants).source, wanted);
        // Not where another module or another constant would still have the old one.
        let numbered = (1..).zip(&mutants).collect();
        let beneath = rewrite(source, &numbered, &["use super::A;"]).unwrap();
        assert_eq!(beneath.source, source);
        assert_eq!(beneath.alone.keys().collect::<Vec<_>>(), [&1]);
        let chained = format!("{source} const B: u8 = A;");
        assert_eq!(rewritten(&chained, &mutants).source, chained);
    }

    #[test]
    fn rewrite_says_what_no_condition_can_hold() {
        let source =
            "const A: u8 = 1 + 2; fn f() -> impl Fn() { g } fn h() { if a && let B = c {} }";
        let mutants = [
            mutant("BinaryOperator", source, "+", "-"),
            mutant("FnValue", source, "g", "x"),
            mutant("BinaryOperator", source, "&&", "||"),
        ];
        let rewritten = rewritten(source, &mutants);
        assert_eq!(rewritten.source, source);
        assert_eq!(rewritten.alone.keys().collect::<Vec<_>>(), [&1, &2]);
        assert_eq!(rewritten.unviable.keys().collect::<Vec<_>>(), [&3]);
    }
}
