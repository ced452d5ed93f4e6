//! The shape check: a parsed TOML document against the schema of `vm.toml`.
//!
//! serde stops at the first error. This walk finds all unknown keys, missing keys and wrong values at once,
//! says them in words, and records where every key stands. It reads the same JSON schema that users get, so
//! the two cannot disagree; it knows the keywords that schemars emits for the types of [`super::file`].

use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use vocabulary::Scalar;
use vocabulary::printable::shorten;

use super::super::sections::pci_ids::PciId;
use super::scalar::{self, check_format};
use super::suggest;
use crate::finding::{Finding, Origin, Spans};

/// Checks a document and records its keys in `origin`.
pub fn check(schema: &Value, document: &Spanned<DeTable<'_>>, origin: &mut Origin) -> Vec<Finding> {
    let mut walk = Walk { root: schema, origin, problems: Vec::new() };
    if let Some(schema) = schema.as_object() {
        walk.table("", schema, document.get_ref(), &(0..0));
    }
    walk.problems
}

struct Walk<'a> {
    root: &'a Value,
    origin: &'a mut Origin,
    problems: Vec<Finding>,
}

type Node = Map<String, Value>;

impl<'a> Walk<'a> {
    fn complain(&mut self, span: &Range<usize>, message: impl Into<String>, help: Option<String>) {
        let problem = self.origin.problem_at(span, message);
        self.problems.push(match help {
            Some(help) => problem.with_help(help),
            None => problem,
        });
    }

    /// The type that a `$ref` names; any other schema is itself.
    fn resolve(&self, schema: &'a Node) -> &'a Node {
        schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| self.root.pointer(reference.strip_prefix('#')?))
            .and_then(Value::as_object)
            .unwrap_or(schema)
    }

    fn table(&mut self, path: &str, schema: &'a Node, table: &DeTable<'_>, header: &Range<usize>) {
        let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
        for (key, value) in table {
            let name: &str = key.get_ref();
            let child = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            match known.get(name).and_then(Value::as_object) {
                Some(schema) => {
                    let spans = Spans { key: key.span(), value: value.span() };
                    self.origin.record(child.clone(), spans);
                    self.value(&child, schema, value, &key.span());
                }
                None => self.unknown_key(path, known, name, &key.span(), value.get_ref()),
            }
        }
        for missing in required(schema).filter(|name| !table.contains_key(*name)) {
            self.complain(header, format!("{} lacks the key `{missing}`", section(path)), None);
        }
        let alternatives: Vec<&Node> = alternatives(schema).collect();
        let complete = |choice: &&Node| required(choice).all(|name| table.contains_key(name));
        if !alternatives.is_empty() && !alternatives.iter().any(complete) {
            let names: Vec<_> = alternatives.iter().copied().flat_map(required).collect();
            let message = format!("{} lacks the key `{}`", section(path), names.join("` or `"));
            self.complain(header, message, None);
        }
    }

    fn unknown_key(
        &mut self,
        path: &str,
        known: &'a Node,
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
        let help = if let Some(section) = self.home_of(path, name) {
            format!("`{shown}` belongs to {section}")
        } else if let Some(word) = suggest::closest(name, known.keys().map(String::as_str)) {
            format!("did you mean `{word}`?")
        } else {
            let keys: Vec<_> = known.keys().map(|key| format!("`{key}`")).collect();
            format!("the keys here are {}", keys.join(", "))
        };
        self.complain(span, message, Some(help));
    }

    /// Another section that has a key of exactly this name, if there is just one.
    fn home_of(&self, path: &str, name: &str) -> Option<String> {
        let sections = self.root.get("properties")?.as_object()?;
        let mut homes = sections.iter().filter_map(|(section, schema)| {
            let list = schema.get("items").and_then(Value::as_object);
            let schema = self.resolve(list.or_else(|| schema.as_object())?);
            schema.get("properties")?.get(name)?;
            Some(if list.is_some() { format!("[[{section}]]") } else { format!("[{section}]") })
        });
        let top = (!path.is_empty() && sections.contains_key(name))
            .then(|| "the top of the file, before the first section".to_owned());
        match (top, homes.next(), homes.next()) {
            (Some(top), None, _) => Some(top),
            (None, Some(only), None) => Some(only),
            _ => None,
        }
    }

    /// Whether the items of a list are sections, and not values.
    fn holds_sections(&self, list: &'a Node) -> bool {
        let items = list.get("items").and_then(Value::as_object);
        items.is_some_and(|items| self.resolve(items).contains_key("properties"))
    }

    fn value(&mut self, path: &str, schema: &'a Node, value: &Spanned<DeValue<'_>>, key: &Range<usize>) {
        let schema = self.resolve(schema);
        let span = value.span();
        let takes = |kind: &str| schema.get("type").is_some_and(|name| name == kind);
        // One of several kinds, with a format of its own for those that are not lists.
        let may_be_list = schema
            .get("type")
            .and_then(Value::as_array)
            .is_some_and(|kinds| kinds.iter().any(|kind| kind == "array"));
        let name = last_key(path);
        match value.get_ref() {
            DeValue::Table(table) if schema.contains_key("properties") => {
                self.table(path, schema, table, key)
            }
            DeValue::Array(items) if takes("array") || may_be_list => {
                let Some(item_schema) = schema.get("items").and_then(Value::as_object) else { return };
                for (index, item) in items.iter().enumerate() {
                    let child = format!("{path}[{index}]");
                    self.origin.record(child.clone(), Spans { key: item.span(), value: item.span() });
                    self.value(&child, item_schema, item, &item.span());
                }
            }
            found if takes("array") && !self.holds_sections(schema) => self.complain(
                &span,
                format!("`{name}` is a list, not {}", describe(found)),
                Some(format!("write {name} = [\"…\"]")),
            ),
            DeValue::Table(_) if takes("array") => self.complain(
                key,
                format!("`{name}` is a list of sections"),
                Some(format!("write [[{name}]] with two brackets: there may be several")),
            ),
            DeValue::Array(items) if schema.contains_key("properties") => {
                let help = items
                    .iter()
                    .all(|item| item.get_ref().is_table())
                    .then(|| format!("write [{name}] with one bracket, once"));
                self.complain(key, format!("there is only one `{name}`"), help);
            }
            found if schema.contains_key("properties") || takes("array") => {
                let in_list = takes("array") || path.ends_with(']');
                let brackets = if in_list { format!("[[{name}]]") } else { format!("[{name}]") };
                let help = (!path.contains('.')).then(|| format!("write {brackets} on a line of its own"));
                self.complain(&span, format!("`{name}` is a section, not {}", describe(found)), help);
            }
            DeValue::Integer(number)
                if number.radix() == 10
                    && schema.get("format").is_some_and(|format| format == PciId::FORMAT) =>
            {
                self.complain(&span, format!("`{name}`: {}", PciId::decimal(number.as_str())), None);
            }
            found => match scalar_of(found) {
                Ok(found) => {
                    if let Err((message, help)) = check_scalar(name, schema, &found) {
                        self.complain(&span, message, help);
                    }
                }
                Err(found) => {
                    self.complain(&span, format!("`{name}` must be {}, not {found}", expected(schema)), None);
                }
            },
        }
    }
}

/// Checks a boolean, number or string.
fn check_scalar(name: &str, schema: &Node, found: &Scalar) -> Result<(), (String, Option<String>)> {
    if let Some(format) = schema.get("format").and_then(Value::as_str)
        && let Some(result) = check_format(format, found)
    {
        return result.map_err(|why| match why.strip_prefix("this must be ") {
            Some(rest) => (format!("`{name}` must be {rest}"), None),
            None => (format!("`{name}`: {why}"), None),
        });
    }
    let wrong = |help| Err((format!("`{name}` must be {}, not {found}", expected(schema)), help));
    let choices = choices(schema);
    let kind = schema.get("type").and_then(Value::as_str);
    match found {
        Scalar::Text(text) if !choices.is_empty() => {
            if choices.contains(&text.as_str()) {
                return Ok(());
            }
            wrong(suggest::closest(text, choices).map(|word| format!("did you mean \"{word}\"?")))
        }
        Scalar::Text(_) if kind == Some("string") => Ok(()),
        Scalar::Bool(_) if kind == Some("boolean") => Ok(()),
        Scalar::Integer(number) if kind == Some("integer") => {
            let (low, high) = range(schema);
            if (low..=high).contains(number) { Ok(()) } else { wrong(None) }
        }
        Scalar::Text(text) => {
            let bare = match kind {
                Some("boolean") => text.parse::<bool>().is_ok(),
                Some("integer") => text.parse::<i64>().is_ok(),
                _ => false,
            };
            wrong(bare.then(|| format!("write {text} without quotes")))
        }
        Scalar::Bool(_) | Scalar::Integer(_) => wrong(None),
    }
}

/// What a key takes, in words.
fn expected(schema: &Node) -> String {
    let format = schema.get("format").and_then(Value::as_str);
    if let Some(words) = format.and_then(scalar::expected) {
        return words.into();
    }
    let choices = choices(schema);
    if !choices.is_empty() {
        let quoted: Vec<_> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
        return quoted.join(" or ");
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => "true or false".into(),
        Some("integer") => {
            let (low, high) = range(schema);
            format!("a whole number from {low} to {high}")
        }
        Some("string") => "a string in quotes".into(),
        _ => "another kind of value".into(),
    }
}

/// The strings that an enumeration allows; schemars writes one with descriptions as `oneOf`.
fn choices(schema: &Node) -> Vec<&str> {
    let plain = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let described = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let described = described.flat_map(|choice| {
        let listed = choice.get("enum").and_then(Value::as_array).into_iter().flatten();
        choice.get("const").into_iter().chain(listed)
    });
    plain.chain(described).filter_map(Value::as_str).collect()
}

fn range(schema: &Node) -> (i64, i64) {
    // Where schemars gives no maximum, the width of the type is one.
    let widest = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => i64::from(u32::MAX),
        _ => i64::MAX,
    };
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_i64);
    (bound("minimum").unwrap_or(i64::MIN), bound("maximum").unwrap_or(widest))
}

fn required(schema: &Node) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Sets of keys of which one must be complete. That there are not several is left to the meaning.
fn alternatives(schema: &Node) -> impl Iterator<Item = &Node> {
    let sets = |keyword| schema.get(keyword).and_then(Value::as_array).into_iter().flatten();
    sets("anyOf").chain(sets("oneOf")).filter_map(Value::as_object)
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
