//! The JSON schema of `vm.toml` (draft 2020-12), made from the types of [`super::file`].

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use super::super::file::VmFile;

/// The schema as a value.
pub fn value() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(tidy));
    let generator: SchemaGenerator = settings.into_generator();
    generator.into_root_schema_for::<VmFile>().to_value()
}

/// Takes out what means nothing in TOML. There is no null: a key that may be absent is simply not required.
fn tidy(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    // A line break of the source is none of the description.
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        let null = |choice: &Value| choice.get("type").is_some_and(|kind| kind == "null");
        if choices.iter().any(null) {
            choices.retain(|choice| !null(choice));
            if let [Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                object.remove("anyOf");
                for (keyword, value) in only {
                    object.entry(keyword).or_insert(value);
                }
            }
        }
    }
    // The defaults of sections are those of their keys.
    if object.get("default").is_some_and(|value| value.is_null() || value.is_object() || value.is_array()) {
        object.remove("default");
    }
}
