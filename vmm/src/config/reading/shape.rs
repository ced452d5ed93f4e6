//! The shape check: a parsed TOML document against the schema of `vm.toml`.
//!
//! serde stops at the first error. This walk finds all unknown keys, missing keys and wrong values at once,
//! says them in words, and records where every key stands. What it goes by is in `table`, which a test makes from the JSON
//! schema that users get, so that the two cannot disagree: to make the schema itself takes as long as half a start.

#[rustfmt::skip]
mod table;

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use vocabulary::Scalar;
use vocabulary::printable::shorten;

use super::super::sections::pci_ids::PciId;
use super::scalar::{self, check_format};
use super::suggest;
use crate::finding::{Finding, Origin, Spans};

/// What a key takes.
pub enum Shape {
    /// A section.
    Section(Section),
    /// A list of sections or of values.
    List(&'static Shape),
    /// A value of a format that [`check_format`] knows. Where there are items, it may be a list of these instead.
    Format(&'static str, Option<&'static Shape>),
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A whole number between these, which belong to it.
    Integer(i64, i64),
    /// True or false.
    Boolean,
    /// Any string.
    Text,
}

/// The keys of a section.
pub struct Section {
    /// All there are, and what each takes.
    pub keys: &'static [(&'static str, Shape)],
    /// Those that must be there.
    pub required: &'static [&'static str],
    /// Sets of keys of which one must be complete. That there are not several is left to the meaning.
    pub alternatives: &'static [&'static [&'static str]],
}

impl Section {
    fn key(&self, name: &str) -> Option<&'static Shape> {
        self.keys.iter().find_map(|(key, shape)| (*key == name).then_some(shape))
    }
}

/// Checks a document and records its keys in `origin`.
pub fn check(document: &Spanned<DeTable<'_>>, origin: &mut Origin) -> Vec<Finding> {
    let mut walk = Walk { origin, problems: Vec::new() };
    walk.table("", &table::FILE, document.get_ref(), &(0..0));
    walk.problems
}

struct Walk<'a> {
    origin: &'a mut Origin,
    problems: Vec<Finding>,
}

impl Walk<'_> {
    fn complain(&mut self, span: &Range<usize>, message: impl Into<String>, help: Option<String>) {
        let problem = self.origin.problem_at(span, message);
        self.problems.push(match help {
            Some(help) => problem.with_help(help),
            None => problem,
        });
    }

    fn table(&mut self, path: &str, known: &'static Section, table: &DeTable<'_>, header: &Range<usize>) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            let child = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            match known.key(name) {
                Some(shape) => {
                    let spans = Spans { key: key.span(), value: value.span() };
                    self.origin.record(child.clone(), spans);
                    self.value(&child, shape, value, &key.span());
                }
                None => self.unknown_key(path, known, name, &key.span(), value.get_ref()),
            }
        }
        let has = |name: &&&str| table.contains_key(**name);
        for missing in known.required.iter().filter(|name| !has(name)) {
            self.complain(header, format!("{} lacks the key `{missing}`", section(path)), None);
        }
        let complete = |names: &&[&str]| names.iter().all(|name| table.contains_key(*name));
        if !known.alternatives.is_empty() && !known.alternatives.iter().any(complete) {
            let names = known.alternatives.concat().join("` or `");
            self.complain(header, format!("{} lacks the key `{names}`", section(path)), None);
        }
    }

    fn unknown_key(
        &mut self,
        path: &str,
        known: &'static Section,
        name: &str,
        span: &Range<usize>,
        value: &DeValue<'_>,
    ) {
        let shown = shorten(name);
        let message = match value {
            DeValue::Table(_) if path.is_empty() => format!("there is no section [{shown}]"),
            DeValue::Array(items)
                if path.is_empty() && items.iter().any(|item| item.get_ref().is_table()) =>
            {
                format!("there is no section [[{shown}]]")
            }
            _ if path.is_empty() => format!("unknown key `{shown}` at the top of the file"),
            _ => format!("unknown key `{shown}` in {}", section(path)),
        };
        let help = if let Some(section) = Self::home_of(path, name) {
            format!("`{shown}` belongs to {section}")
        } else if let Some(word) = suggest::closest(name, known.keys.iter().map(|(key, _)| *key)) {
            format!("did you mean `{word}`?")
        } else {
            let keys: Vec<_> = known.keys.iter().map(|(key, _)| format!("`{key}`")).collect();
            format!("the keys here are {}", keys.join(", "))
        };
        self.complain(span, message, Some(help));
    }

    /// Another section that has a key of exactly this name, if there is just one.
    fn home_of(path: &str, name: &str) -> Option<String> {
        let top = &table::FILE;
        let mut homes = top.keys.iter().filter_map(|(section, shape)| {
            let (keys, brackets) = match shape {
                Shape::Section(keys) => (keys, format!("[{section}]")),
                Shape::List(Shape::Section(keys)) => (keys, format!("[[{section}]]")),
                _ => return None,
            };
            keys.key(name).map(|_| brackets)
        });
        let top = (!path.is_empty() && top.key(name).is_some())
            .then(|| "the top of the file, before the first section".to_owned());
        match (top, homes.next(), homes.next()) {
            (Some(top), None, _) => Some(top),
            (None, Some(only), None) => Some(only),
            _ => None,
        }
    }

    fn value(&mut self, path: &str, shape: &'static Shape, value: &Spanned<DeValue<'_>>, key: &Range<usize>) {
        let span = value.span();
        let name = last_key(path);
        match (shape, value.get_ref()) {
            (Shape::Section(known), DeValue::Table(table)) => self.table(path, known, table, key),
            (Shape::List(shape) | Shape::Format(_, Some(shape)), DeValue::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let child = format!("{path}[{index}]");
                    self.origin.record(child.clone(), Spans { key: item.span(), value: item.span() });
                    self.value(&child, shape, item, &item.span());
                }
            }
            (Shape::List(Shape::Section(_)), DeValue::Table(_)) => self.complain(
                key,
                format!("`{name}` is a list of sections"),
                Some(format!("write [[{name}]] with two brackets: there may be several")),
            ),
            (Shape::Section(_), DeValue::Array(items)) => {
                let help = items
                    .iter()
                    .all(|item| item.get_ref().is_table())
                    .then(|| format!("write [{name}] with one bracket, once"));
                self.complain(key, format!("there is only one `{name}`"), help);
            }
            (Shape::Section(_) | Shape::List(Shape::Section(_)), found) => {
                let in_list = matches!(shape, Shape::List(_)) || path.ends_with(']');
                let brackets = if in_list { format!("[[{name}]]") } else { format!("[{name}]") };
                let help = (!path.contains('.')).then(|| format!("write {brackets} on a line of its own"));
                self.complain(&span, format!("`{name}` is a section, not {}", describe(found)), help);
            }
            (Shape::List(_), found) => self.complain(
                &span,
                format!("`{name}` is a list, not {}", describe(found)),
                Some(format!("write {name} = [\"…\"]")),
            ),
            (Shape::Format(PciId::FORMAT, _), DeValue::Integer(number)) if number.radix() == 10 => {
                self.complain(&span, format!("`{name}`: {}", PciId::decimal(number.as_str())), None);
            }
            (_, found) => match scalar_of(found) {
                Ok(found) => {
                    if let Err((message, help)) = check_scalar(name, shape, &found) {
                        self.complain(&span, message, help);
                    }
                }
                Err(found) => {
                    self.complain(&span, format!("`{name}` must be {}, not {found}", expected(shape)), None);
                }
            },
        }
    }
}

/// Checks a boolean, number or string.
fn check_scalar(name: &str, shape: &Shape, found: &Scalar) -> Result<(), (String, Option<String>)> {
    let wrong = |help| Err((format!("`{name}` must be {}, not {found}", expected(shape)), help));
    match (shape, found) {
        (Shape::Format(format, _), found) => match check_format(format, found) {
            Some(Err(why)) => Err(match why.strip_prefix("this must be ") {
                Some(rest) => (format!("`{name}` must be {rest}"), None),
                None => (format!("`{name}`: {why}"), None),
            }),
            _ => Ok(()),
        },
        (Shape::Choice(choices), Scalar::Text(text)) => {
            if choices.contains(&text.as_str()) {
                return Ok(());
            }
            wrong(
                suggest::closest(text, choices.iter().copied())
                    .map(|word| format!("did you mean \"{word}\"?")),
            )
        }
        (Shape::Text, Scalar::Text(_)) | (Shape::Boolean, Scalar::Bool(_)) => Ok(()),
        (Shape::Integer(low, high), Scalar::Integer(number)) if (low..=high).contains(&number) => Ok(()),
        (_, Scalar::Text(text)) => {
            let bare = match shape {
                Shape::Boolean => text.parse::<bool>().is_ok(),
                Shape::Integer(..) => text.parse::<i64>().is_ok(),
                _ => false,
            };
            wrong(bare.then(|| format!("write {text} without quotes")))
        }
        (_, Scalar::Bool(_) | Scalar::Integer(_)) => wrong(None),
    }
}

/// What a key takes, in words.
fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Format(format, _) => scalar::expected(format).unwrap_or("a string in quotes").into(),
        Shape::Choice(choices) => {
            let quoted: Vec<_> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
            quoted.join(" or ")
        }
        Shape::Boolean => "true or false".into(),
        Shape::Integer(low, high) => format!("a whole number from {low} to {high}"),
        Shape::Text => "a string in quotes".into(),
        Shape::Section(_) | Shape::List(_) => "another kind of value".into(),
    }
}

/// How a section of this path is written: `[cpu]`, `[[disk]]`, `topology`.
fn section(path: &str) -> String {
    match path.strip_suffix(']').and_then(|path| path.rsplit_once('[')) {
        Some((list, _)) => format!("[[{list}]]"),
        None if path.contains('.') => format!("`{}`", last_key(path)),
        None => format!("[{path}]"),
    }
}

/// The key at the end of a path, without an index.
fn last_key(path: &str) -> &str {
    let key = path.rsplit('.').next().unwrap_or(path);
    key.split('[').next().unwrap_or(key)
}

fn scalar_of(value: &DeValue<'_>) -> Result<Scalar, String> {
    match value {
        DeValue::Boolean(value) => Ok(Scalar::Bool(*value)),
        DeValue::String(text) => Ok(Scalar::Text(text.clone().into_owned())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Scalar::Integer)
            .map_err(|_| format!("the number `{}`, which 64 bits do not hold", shorten(&number.to_string()))),
        other => Err(describe(other).to_owned()),
    }
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
