//! USB devices of the host in words.

use std::fmt::Write;

use serde_json::Value;

use super::text;

/// The devices, a line each, with a second one for what keeps a device from the guest.
pub(super) fn devices(answer: &Value) -> String {
    let mut lines = String::new();
    for device in answer["devices"].as_array().into_iter().flatten() {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}  {}  {}", named(device), holder(device), text(&device["name"]));
        if let Some(why) = device["refusal"].as_str() {
            let _ = writeln!(lines, "    not for the guest: {}", text(&why.into()));
        }
    }
    for absent in answer["absent"].as_array().into_iter().flatten() {
        let (wanted_by, device) = (text(&absent["wanted-by"]), text(&absent["device"]));
        let why = match absent["detached"].as_bool() {
            Some(true) => "given to the host by `ctl usb detach`",
            _ => "the guest has it when it comes",
        };
        let _ = writeln!(lines, "{wanted_by}: {device}: {why}");
    }
    if lines.is_empty() { "the host has no USB devices\n".into() } else { lines }
}

/// What the guest has now.
pub(super) fn attached(device: &Value) -> String {
    format!("the guest has {}, at port {} of its USB controller\n", described(device), device["guest-port"])
}

/// What the host has again.
pub(super) fn detached(answer: &Value) -> String {
    match &answer["device"] {
        Value::Null => "it was not there, and the guest no longer waits for it\n".into(),
        device => format!("the host has {}\n", described(device)),
    }
}

fn described(device: &Value) -> String {
    let [id, port, name] = ["id", "port", "name"].map(|field| text(&device[field]));
    format!("{id} at its port {port} ({name})")
}

fn named(device: &Value) -> String {
    format!("{}  {}", text(&device["port"]), text(&device["id"]))
}

fn holder(device: &Value) -> String {
    if device["holder"] == "guest" {
        return format!("the guest's ({}), at its port {}", text(&device["wanted-by"]), device["guest-port"]);
    }
    let drivers: Vec<_> = device["drivers"].as_array().into_iter().flatten().map(text).collect();
    match &drivers[..] {
        [] => "the host's, without a driver".into(),
        drivers => format!("the host's ({})", drivers.join(", ")),
    }
}
