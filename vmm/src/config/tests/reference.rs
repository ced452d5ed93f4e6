//! The reference part of `docs/vm-toml.md`, made from the JSON schema.
//!
//! Test code: the documentation is a file of the repository, and a test keeps it the same as the schema.
//! `UPDATE_DOCS=1 cargo test -p vmm` rewrites it.

use std::fmt::Write as _;

use serde_json::{Map, Value};

type Node = Map<String, Value>;

/// A section of the file with its keys.
pub(super) struct Section {
    /// How the section is written, or nothing for the top of the file.
    pub(super) heading: String,
    pub(super) description: String,
    pub(super) keys: Vec<Key>,
}

/// A key as the reference shows it.
pub(super) struct Key {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) default: String,
    pub(super) description: String,
}

/// All sections in the order of the schema, tables within tables as dotted sections.
pub(super) fn sections(schema: &Value) -> Vec<Section> {
    let mut sections = Vec::new();
    collect(schema, schema.as_object().unwrap(), "", false, &mut sections);
    sections
}

fn collect(root: &Value, node: &Node, path: &str, list: bool, sections: &mut Vec<Section>) {
    let heading = match (path, list) {
        ("", _) => String::new(),
        (path, true) => format!("[[{path}]]"),
        (path, false) => format!("[{path}]"),
    };
    let mut section = Section { heading, description: text(node, "description"), keys: Vec::new() };
    let mut inner = Vec::new();
    let required: Vec<&str> = node
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, schema) in node["properties"].as_object().unwrap() {
        let schema = schema.as_object().unwrap();
        let items = schema.get("items").and_then(Value::as_object);
        let target = resolve(root, items.unwrap_or(schema));
        if target.contains_key("properties") {
            let child = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            inner.push((child, target, items.is_some()));
            if path.is_empty() {
                continue;
            }
        }
        section.keys.push(Key {
            name: name.clone(),
            kind: kind(target),
            default: default(schema, required.contains(&name.as_str())),
            description: text(schema, "description"),
        });
    }
    sections.push(section);
    for (path, target, list) in inner {
        collect(root, target, &path, list, sections);
    }
}

fn resolve<'a>(root: &'a Value, node: &'a Node) -> &'a Node {
    match node.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap().as_object().unwrap(),
        None => node,
    }
}

fn text(node: &Node, keyword: &str) -> String {
    node.get(keyword).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn kind(node: &Node) -> String {
    if node.contains_key("properties") {
        return "table".into();
    }
    let choices = node.get("enum").or_else(|| node.get("oneOf")).and_then(Value::as_array);
    if let Some(choices) = choices {
        let shown: Vec<_> =
            choices.iter().map(|choice| format!("`{}`", choice.get("const").unwrap_or(choice))).collect();
        return shown.join(", ");
    }
    match (text(node, "format").as_str(), text(node, "type").as_str()) {
        ("byte-size", _) => "size".into(),
        ("pci-address", _) => "PCI address".into(),
        ("usb-id", _) => "vendor and product".into(),
        ("usb-port", _) => "USB port of the host".into(),
        ("host-pci-address", _) => "PCI address of the host".into(),
        ("pci-id", _) => "PCI ID".into(),
        ("pci-subsystem", _) => "two PCI IDs".into(),
        ("mdev-parent", _) => "PCI address of the host or name".into(),
        ("mdev-type", _) => "name".into(),
        ("resolution", _) => "WIDTHxHEIGHT".into(),
        ("rom-source", _) => "`\"off\"`, `\"host\"` or path".into(),
        ("hypervisor-vendor", _) => "name of 12 characters at most".into(),
        ("spinlock-retries", _) => "`false` or number from 4095 to 1048575".into(),
        ("host-cpus", _) => "`\"auto\"` or list of the host's CPUs".into(),
        ("cpu-feature", _) => "list of CPU features".into(),
        ("chassis-type", _) => "number or name".into(),
        ("path", _) => "path".into(),
        ("uuid" | "mdev-uuid", _) => "UUID".into(),
        (_, "integer") => {
            let bound = |keyword: &str| node.get(keyword).map(Value::to_string).unwrap_or_default();
            match bound("maximum").as_str() {
                "" => format!("number from {}", bound("minimum")),
                maximum => format!("number from {} to {maximum}", bound("minimum")),
            }
        }
        (_, kind) => kind.into(),
    }
}

fn default(node: &Node, required: bool) -> String {
    match (node.get("default"), node.get("x-default"), required) {
        (Some(value), _, _) => format!("`{value}`"),
        (None, Some(words), _) => words.as_str().unwrap().to_owned(),
        (None, None, true) => "required".into(),
        (None, None, false) => String::new(),
    }
}

/// The reference as Markdown.
pub(super) fn markdown(sections: &[Section]) -> String {
    let mut page = String::new();
    for section in sections {
        let heading = match section.heading.as_str() {
            "" => "Top of the file".to_owned(),
            heading => format!("`{heading}`"),
        };
        write!(page, "### {heading}\n\n{}\n", section.description).unwrap();
        page.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in &section.keys {
            let Key { name, kind, default, description } = key;
            writeln!(page, "| `{name}` | {kind} | {default} | {description} |").unwrap();
        }
        page.push('\n');
    }
    page
}
