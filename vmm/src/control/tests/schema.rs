//! What `query-qmp-schema` says is so: answers and events have the types that it gives them.

use std::collections::BTreeMap;

use super::*;

struct Schema(BTreeMap<String, Value>);

impl Schema {
    fn of(client: &mut Client) -> Self {
        let told = client.ask("query-qmp-schema", json!({}));
        let entries = told["return"].as_array().unwrap().iter();
        Self(entries.map(|entry| (entry["name"].as_str().unwrap().to_owned(), entry.clone())).collect())
    }

    /// What is wrong with a value of a type.
    fn wrong(&self, name: &Value, value: &Value) -> Option<String> {
        let Some(kind) = name.as_str().and_then(|name| self.0.get(name)) else {
            return Some(format!("there is no type {name}"));
        };
        let bad = || Some(format!("{value} is no {kind}"));
        match kind["meta-type"].as_str()? {
            "builtin" => {
                let fits = match kind["json-type"].as_str()? {
                    "string" => value.is_string(),
                    "int" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    _ => true,
                };
                if fits { None } else { bad() }
            }
            "enum" => {
                if kind["values"].as_array()?.contains(value) {
                    None
                } else {
                    bad()
                }
            }
            "array" => match value.as_array() {
                Some(values) => values.iter().find_map(|value| self.wrong(&kind["element-type"], value)),
                None => bad(),
            },
            "alternate" => {
                let fits = kind["members"]
                    .as_array()?
                    .iter()
                    .any(|choice| self.wrong(&choice["type"], value).is_none());
                if fits { None } else { bad() }
            }
            _ => self.wrong_object(kind, value, bad),
        }
    }

    fn wrong_object(&self, kind: &Value, value: &Value, bad: impl Fn() -> Option<String>) -> Option<String> {
        let Some(object) = value.as_object() else { return bad() };
        let mut members = kind["members"].as_array().unwrap().clone();
        for variant in kind["variants"].as_array().into_iter().flatten() {
            if variant["case"] == value[kind["tag"].as_str().unwrap()] {
                members
                    .extend(self.0[variant["type"].as_str().unwrap()]["members"].as_array().unwrap().clone());
            }
        }
        for member in &members {
            match object.get(member["name"].as_str().unwrap()) {
                Some(value) => {
                    if let Some(wrong) = self.wrong(&member["type"], value) {
                        return Some(wrong);
                    }
                }
                None if member.get("default").is_some() => {}
                None => return Some(format!("{member} is not in {value}")),
            }
        }
        let known = |name: &String| members.iter().any(|member| member["name"] == *name);
        if object.keys().all(known) { None } else { bad() }
    }
}

#[test]
fn answers_have_the_types_that_the_schema_gives_them() {
    let (desk, wall) = (Arc::<devices::Desk>::default(), Arc::<crate::screenshot::wall::Wall>::default());
    wall.show(2, 1);
    desk.tablet.store(true, Ordering::SeqCst);
    let rig = Rig::with(Some(Arc::clone(&wall) as _), Some(Arc::clone(&desk) as _));
    let mut client = rig.client();
    let schema = Schema::of(&mut client);
    let file = rig.path.with_file_name("a");
    let disc = rig.path.with_file_name("a.iso");
    std::fs::write(&disc, [0; 4096]).unwrap();
    let key = json!({ "type": "qcode", "data": "a" });
    let given = BTreeMap::from([
        ("human-monitor-command", json!({ "command-line": "info pci" })),
        ("screendump", json!({ "filename": file, "format": "png" })),
        ("block_resize", json!({ "device": "disk[0]", "size": 12 << 20 })),
        ("blockdev-change-medium", json!({ "device": "cdrom[0]", "filename": disc })),
        ("eject", json!({ "id": "cdrom[0]" })),
        ("attach-usb-device", json!({ "port": "1-4" })),
        ("detach-usb-device", json!({ "port": "1-4" })),
        ("set_link", json!({ "name": "net[0]", "up": true })),
        ("type", json!({ "text": "a" })),
        ("send-key", json!({ "keys": ["b", key], "hold-time": 0 })),
        ("move-pointer", json!({ "x": 1, "y": 0 })),
        (
            "input-send-event",
            json!({ "events": [
                { "type": "key", "data": { "down": true, "key": key } },
                { "type": "rel", "data": { "axis": "x", "value": -3 } },
                { "type": "btn", "data": { "down": true, "button": "wheel-up" } },
            ] }),
        ),
    ]);
    let mut commands = 0;
    for (name, entry) in schema.0.iter().filter(|(_, entry)| entry["meta-type"] == "command") {
        commands += 1;
        let arguments = given.get(name.as_str()).cloned().unwrap_or(json!({}));
        assert_eq!(schema.wrong(&entry["arg-type"], &arguments), None, "{name}");
        if ["console", "qmp_capabilities", "quit"].contains(&name.as_str()) {
            continue;
        }
        let answer = client.ask(name, arguments);
        assert_eq!(schema.wrong(&entry["ret-type"], &answer["return"]), None, "{name}: {answer}");
    }
    let told = client.ask("query-commands", json!({}));
    assert_eq!(told["return"].as_array().unwrap().len(), commands);
}

#[test]
fn events_have_the_types_that_the_schema_gives_them() {
    let rig = Rig::new();
    let mut client = rig.client();
    let schema = Schema::of(&mut client);
    let all = [
        Announcement::Reset { guest: false, runs: true },
        Announcement::PowerButton,
        Announcement::Panicked {
            action: crate::control::PanicAction::Pause,
            crash: Some(crate::control::Crash { text: "stopped".into(), parameters: [1, 2, 3, 4, 5] }),
        },
        Announcement::Stopped("shutdown"),
        Announcement::Resumed,
        Announcement::Ended(ShutdownCause::HostSignal),
    ];
    let mut seen = Vec::new();
    for announcement in &all {
        rig.announcer.announce(announcement);
        let event = client.line();
        let name = event["event"].as_str().unwrap().to_owned();
        let data = event.get("data").cloned().unwrap_or(json!({}));
        assert_eq!(schema.wrong(&schema.0[&name]["arg-type"], &data), None, "{event}");
        seen.push(name);
    }
    let mut known: Vec<_> = schema
        .0
        .iter()
        .filter(|(_, entry)| entry["meta-type"] == "event")
        .map(|(name, _)| name.clone())
        .collect();
    seen.sort();
    known.sort();
    assert_eq!(seen, known);
    let listed = client.ask("query-events", json!({}));
    assert_eq!(listed["return"].as_array().unwrap().len(), known.len());
}
