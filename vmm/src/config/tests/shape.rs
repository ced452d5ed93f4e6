//! The table of the shape check, made from the JSON schema.
//!
//! Test code: the table is a file of the repository, and a test keeps it the same as the schema.
//! `UPDATE_DOCS=1 cargo test -p vmm` rewrites it.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use vocabulary::Scalar;

use super::repository;
use crate::config::reading::scalar::{check_format, expected};
use crate::config::schema;

type Node = Map<String, Value>;

const HEAD: &str = "//! What the shape check knows of `vm.toml`. Made from its JSON schema: `UPDATE_DOCS=1 cargo test -p vmm` writes it anew.

use super::Section;
use super::Shape::{Boolean, Choice, Format, Integer, List, Section as Keys, Text};

";

/// The table of a schema as Rust, each key on a line.
struct Table<'a> {
    root: &'a Value,
    text: String,
}

impl Table<'_> {
    fn resolve<'a>(&'a self, node: &'a Value) -> &'a Node {
        let target = match node.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.root.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
            None => node,
        };
        target.as_object().unwrap()
    }

    fn section(&mut self, node: &Node, indent: usize) {
        let margin = " ".repeat(indent);
        assert_eq!(node["additionalProperties"], false);
        writeln!(self.text, "Section {{\n{margin}    keys: &[").unwrap();
        for (name, child) in node["properties"].as_object().unwrap() {
            write!(self.text, "{margin}        ({name:?}, ").unwrap();
            self.shape(&self.resolve(child).clone(), indent + 8);
            self.text.push_str("),\n");
        }
        let sets = ["anyOf", "oneOf"].into_iter().filter_map(|keyword| node.get(keyword)?.as_array());
        let sets: Vec<_> = sets.flatten().map(|set| format!("&{:?}", strings(set.get("required")))).collect();
        writeln!(self.text, "{margin}    ],\n{margin}    required: &{:?},", strings(node.get("required")))
            .unwrap();
        write!(self.text, "{margin}    alternatives: &[{}],\n{margin}}}", sets.join(", ")).unwrap();
    }

    fn shape(&mut self, node: &Node, indent: usize) {
        let kind = node.get("type").and_then(Value::as_str);
        let items = node.get("items").map(|items| self.resolve(items).clone());
        let format = node.get("format").and_then(Value::as_str);
        let format = format.filter(|format| check_format(format, &Scalar::Bool(false)).is_some());
        if node.contains_key("properties") {
            self.text.push_str("Keys(");
            self.section(node, indent);
            self.text.push(')');
        } else if kind == Some("array") {
            self.text.push_str("List(&");
            self.shape(&items.unwrap(), indent);
            self.text.push(')');
        } else if let Some(format) = format {
            assert!(expected(format).is_some() || kind == Some("string"), "{format} needs words");
            write!(self.text, "Format({format:?}, ").unwrap();
            match items {
                Some(items) => {
                    self.text.push_str("Some(&");
                    self.shape(&items, indent);
                    self.text.push_str("))");
                }
                None => self.text.push_str("None)"),
            }
        } else if node.contains_key("enum") || node.contains_key("oneOf") {
            write!(self.text, "Choice(&{:?})", choices(node)).unwrap();
        } else if kind == Some("integer") {
            let bound = |keyword: &str| node.get(keyword).and_then(Value::as_i64);
            // Where schemars gives no maximum, the width of the type is one.
            let widest = || match node.get("format").and_then(Value::as_str) {
                Some("uint32") => i64::from(u32::MAX),
                other => panic!("a number of format {other:?} without a maximum"),
            };
            let (low, high) = (bound("minimum").unwrap(), bound("maximum").unwrap_or_else(widest));
            write!(self.text, "Integer({low}, {high})").unwrap();
        } else {
            self.text.push_str(match kind {
                Some("boolean") => "Boolean",
                Some("string") => "Text",
                other => panic!("a value of type {other:?}"),
            });
        }
    }
}

fn strings(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array).into_iter().flatten().map(|word| word.as_str().unwrap()).collect()
}

/// The strings that an enumeration allows; schemars writes one with descriptions as `oneOf`.
fn choices(node: &Node) -> Vec<&str> {
    let described = node.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let described = described.flat_map(|choice| {
        choice.get("const").and_then(Value::as_str).into_iter().chain(strings(choice.get("enum")))
    });
    strings(node.get("enum")).into_iter().chain(described).collect()
}

#[test]
fn the_shape_check_has_the_table_of_the_schema() {
    let root: Value = serde_json::from_str(&schema()).unwrap();
    let mut table = Table { root: &root, text: HEAD.to_owned() };
    table.text.push_str("pub(super) static FILE: Section = ");
    table.section(root.as_object().unwrap(), 0);
    table.text.push_str(";\n");
    let path = repository().join("vmm/src/config/reading/shape/table.rs");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, table.text).unwrap();
    } else {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, table.text, "run UPDATE_DOCS=1 cargo test -p vmm");
    }
}
