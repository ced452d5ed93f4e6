//! The schema that `query-qmp-schema` answers with (QEMU's docs/devel/qapi-code-gen, "Client introspection"): made from the
//! Rust types of the commands' arguments and results and of the events, by way of their JSON schemas.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use schemars::generate::{Contract, SchemaSettings};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::all;
use crate::control::protocol::events;

static SCHEMA: LazyLock<Vec<Value>> = LazyLock::new(build);

/// All commands, events, and types that they are made of.
pub(super) fn describe() -> Vec<Value> {
    SCHEMA.clone()
}

/// The names of all events.
pub(super) fn event_names() -> Vec<String> {
    events(&mut generator(Contract::Serialize)).into_iter().map(|(name, _)| name).collect()
}

/// The members of an arguments' type, and whether each is needed.
pub(super) fn parameters(root: impl FnOnce(&mut SchemaGenerator) -> Schema) -> Vec<(String, bool)> {
    let schema = root(&mut generator(Contract::Deserialize)).to_value();
    let names = schema["properties"].as_object().into_iter().flat_map(Map::keys).cloned();
    names.map(|name| (name.clone(), is_required(&schema, &name))).collect()
}

fn generator(contract: Contract) -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.contract = contract;
    settings.into_generator()
}

fn build() -> Vec<Value> {
    let (mut given, mut told) = (generator(Contract::Deserialize), generator(Contract::Serialize));
    let commands: Vec<_> = all()
        .map(|command| {
            let (arguments, result) = ((command.arguments)(&mut given), (command.result)(&mut told));
            (command, arguments.to_value(), result.to_value())
        })
        .collect();
    let events = events(&mut told);
    let mut given = Types::new(given.take_definitions(true), 0);
    let arguments: Vec<String> = commands.iter().map(|(_, arguments, _)| given.name(arguments)).collect();
    let mut told = Types::new(told.take_definitions(true), given.next);
    let mut entries = Vec::new();
    for ((command, _, result), arguments) in commands.into_iter().zip(arguments) {
        let result = told.name(&result);
        let mut entry = json!({
            "name": command.name, "meta-type": "command", "arg-type": arguments, "ret-type": result,
        });
        if let (true, Value::Object(members)) = (command.overtakes, &mut entry) {
            members.insert("allow-oob".into(), true.into());
        }
        entries.push(entry);
    }
    for (name, data) in events {
        let data = data.map_or_else(|| json!({ "type": "object" }), Schema::to_value);
        entries.push(json!({ "name": name, "meta-type": "event", "arg-type": told.name(&data) }));
    }
    // Both have described the types that QMP has by itself.
    let mut seen = BTreeSet::new();
    for entry in given.entries.into_iter().chain(told.entries) {
        if seen.insert(entry["name"].to_string()) {
            entries.push(entry);
        }
    }
    entries
}

fn is_required(schema: &Value, member: &str) -> bool {
    schema["required"].as_array().into_iter().flatten().any(|name| name == member)
}

/// JSON schemas turned into types of QMP's schema.
struct Types {
    definitions: Map<String, Value>,
    /// The names of the schemas that have been seen, by their text.
    known: BTreeMap<String, String>,
    entries: Vec<Value>,
    next: u32,
}

impl Types {
    /// `next`: the name of the first type that has none of its own.
    fn new(definitions: Map<String, Value>, next: u32) -> Self {
        Self { definitions, known: BTreeMap::new(), entries: Vec::new(), next }
    }

    /// The name of the type that a JSON schema describes.
    fn name(&mut self, schema: &Value) -> String {
        if let Some(definition) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            if let Some(name) = self.known.get(definition) {
                return name.clone();
            }
            let target = self.definitions.get(definition).cloned().unwrap_or_default();
            return self.describe(definition.to_owned(), &target);
        }
        // The words about a type are none of it.
        let plain = without(schema, &["description", "title"]);
        let key = plain.to_string();
        match self.known.get(&key) {
            Some(name) => name.clone(),
            None => self.describe(key, &plain),
        }
    }

    fn describe(&mut self, key: String, schema: &Value) -> String {
        if let Some(builtin) = self.builtin(schema) {
            return builtin;
        }
        let kinds = &schema["type"];
        if kinds == "array" || kinds.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "array"))
        {
            let element = self.name(&schema["items"]);
            let name = format!("[{element}]");
            return self.put(name.clone(), json!({ "meta-type": "array", "element-type": element }), key);
        }
        let choices: Vec<Value> = ["anyOf", "oneOf"]
            .iter()
            .find_map(|kind| schema[*kind].as_array())
            .map(|choices| choices.iter().filter(|choice| choice["type"] != "null").cloned().collect())
            .unwrap_or_default();
        if let [only] = choices.as_slice() {
            return self.name(only);
        }
        // A type may contain itself: its name is known first.
        let name = self.next.to_string();
        self.next += 1;
        self.known.insert(key.clone(), name.clone());
        let values = words(schema);
        let entry = if !values.is_empty() {
            let members: Vec<_> = values.iter().map(|value| json!({ "name": value })).collect();
            json!({ "meta-type": "enum", "members": members, "values": values })
        } else if let Some(tag) = tag(&choices) {
            self.tagged(&tag, &choices)
        } else if !choices.is_empty() {
            let members: Vec<_> = choices.iter().map(|choice| json!({ "type": self.name(choice) })).collect();
            json!({ "meta-type": "alternate", "members": members })
        } else {
            json!({ "meta-type": "object", "members": self.members(schema, None) })
        };
        self.put(name, entry, key)
    }

    fn put(&mut self, name: String, mut entry: Value, key: String) -> String {
        if let Value::Object(members) = &mut entry {
            members.insert("name".into(), name.clone().into());
        }
        self.entries.push(entry);
        self.known.insert(key, name.clone());
        name
    }

    fn builtin(&mut self, schema: &Value) -> Option<String> {
        let kind = match &schema["type"] {
            // One that may be null is one that may be left out.
            Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null")?.as_str()?,
            Value::String(kind) => kind,
            _ if schema.as_object().is_none_or(Map::is_empty) => "value",
            _ => return None,
        };
        let (name, kind) = match kind {
            "string" if words(schema).is_empty() => ("str", "string"),
            "integer" => ("int", "int"),
            "number" => ("number", "number"),
            "boolean" => ("bool", "boolean"),
            "value" => ("any", "value"),
            _ => return None,
        };
        if !self.known.contains_key(name) {
            self.put(name.into(), json!({ "meta-type": "builtin", "json-type": kind }), name.into());
        }
        Some(name.into())
    }

    fn members(&mut self, schema: &Value, but: Option<&str>) -> Vec<Value> {
        let properties = schema["properties"].as_object().cloned().unwrap_or_default();
        let mut members = Vec::new();
        for (name, member) in properties.iter().filter(|(name, _)| Some(name.as_str()) != but) {
            let mut described = json!({ "name": name, "type": self.name(member) });
            if let (false, Value::Object(described)) = (is_required(schema, name), &mut described) {
                described.insert("default".into(), Value::Null);
            }
            members.push(described);
        }
        members
    }

    /// An object whose member `tag` decides which others it has.
    fn tagged(&mut self, tag: &str, choices: &[Value]) -> Value {
        let mut variants = Vec::new();
        for choice in choices {
            let mut rest = choice.clone();
            if let Some(Value::Object(properties)) = rest.get_mut("properties") {
                properties.remove(tag);
            }
            variants.push(json!({ "case": choice["properties"][tag]["const"], "type": self.name(&rest) }));
        }
        let cases: Vec<_> = variants.iter().map(|variant| variant["case"].clone()).collect();
        let kind = self.name(&json!({ "type": "string", "enum": cases }));
        json!({
            "meta-type": "object", "members": [{ "name": tag, "type": kind }], "tag": tag, "variants": variants,
        })
    }
}

/// The values of an enumeration of words.
fn words(schema: &Value) -> Vec<Value> {
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().filter(|value| value.is_string()).cloned().collect();
    }
    if schema["const"].is_string() {
        return vec![schema["const"].clone()];
    }
    let choices = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let found: Vec<Vec<Value>> = choices.iter().map(words).collect();
    if found.iter().any(Vec::is_empty) { Vec::new() } else { found.concat() }
}

/// The member that tells the choices apart, if one does.
fn tag(choices: &[Value]) -> Option<String> {
    let (first, others) = choices.split_first()?;
    let names = first["properties"].as_object()?.keys();
    let tells = |choice: &Value, name: &str| choice["properties"][name]["const"].is_string();
    names.into_iter().find(|name| others.iter().chain([first]).all(|choice| tells(choice, name))).cloned()
}

fn without(schema: &Value, keywords: &[&str]) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(members) = &mut schema {
        members.retain(|name, _| !keywords.contains(&name.as_str()));
    }
    schema
}
