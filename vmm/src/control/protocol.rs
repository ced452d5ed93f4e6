//! What goes over the control socket: a JSON object in each line, as in QEMU's machine protocol ("QMP Protocol
//! Specification": greeting, `execute`, `return`, `error`, `event`), with a greeting of our own name.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// The member of the greeting that tells who speaks.
pub(crate) const GREETING: &str = "optimus-vmm";

/// What a client asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// The command's name.
    pub(crate) execute: String,
    /// What it needs to know.
    pub(crate) arguments: Map<String, Value>,
    /// What the answer is to carry.
    pub(crate) id: Option<Value>,
}

/// The classes of errors that QMP has and that occur here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Anything.
    Generic,
    /// There is no such command.
    CommandNotFound,
    /// The machine has no such device, or it is not in use.
    DeviceNotFound,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Generic => "GenericError",
            Self::CommandNotFound => "CommandNotFound",
            Self::DeviceNotFound => "DeviceNotFound",
        }
    }
}

/// Why a command was not performed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{desc}")]
pub(crate) struct Refusal {
    /// For programs.
    pub(crate) class: Class,
    /// For people.
    pub(crate) desc: String,
}

impl Refusal {
    /// One of no particular class.
    pub(crate) fn new(desc: impl Into<String>) -> Self {
        Self { class: Class::Generic, desc: desc.into() }
    }

    /// There is no such device in the machine.
    pub(crate) fn no_device(desc: impl Into<String>) -> Self {
        Self { class: Class::DeviceNotFound, desc: desc.into() }
    }
}

/// What a command gave.
pub(crate) type Answer = Result<Value, Refusal>;

/// Reads a line. With an error comes the `id` that the answer is to carry, as far as there is one.
pub(crate) fn parse(line: &[u8]) -> Result<Request, (Refusal, Option<Value>)> {
    let refuse = |desc: String, id| Err((Refusal::new(desc), id));
    let value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return refuse(format!("this line is no JSON: {error}"), None),
    };
    let Value::Object(mut members) = value else {
        return refuse("a command is a JSON object, such as {\"execute\": \"query-status\"}".into(), None);
    };
    let id = members.remove("id");
    let execute = match members.remove("execute") {
        Some(Value::String(name)) => name,
        Some(_) => return refuse("`execute` must be a string".into(), id),
        None => return refuse("a command needs the member `execute`".into(), id),
    };
    let arguments = match members.remove("arguments") {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return refuse("`arguments` must be an object".into(), id),
    };
    match members.keys().next() {
        Some(other) => refuse(format!("a command has no member `{}`", short(other)), id),
        None => Ok(Request { execute, arguments, id }),
    }
}

/// As much of a client's word as a message has room for.
pub(crate) fn short(word: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = word.chars().take(LONGEST).collect();
    if word.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// A value as a line.
pub(crate) fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// The first thing that a client hears.
pub(crate) fn greeting(name: &str) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({ GREETING: { "version": version, "name": name, "pid": std::process::id(), "capabilities": [] } })
}

/// What became of a command.
pub(crate) fn answer(answer: Answer, id: Option<Value>) -> Value {
    let mut line = match answer {
        Ok(value) => json!({ "return": value }),
        Err(Refusal { class, desc }) => json!({ "error": { "class": class.name(), "desc": desc } }),
    };
    if let (Some(id), Value::Object(members)) = (id, &mut line) {
        members.insert("id".into(), id);
    }
    line
}

/// Something that happened now.
pub(crate) fn event(name: &str, data: Value) -> Value {
    // A clock before 1970 is nobody's.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = json!({ "seconds": now.as_secs(), "microseconds": now.subsec_micros() });
    if data.is_null() {
        json!({ "event": name, "timestamp": timestamp })
    } else {
        json!({ "event": name, "data": data, "timestamp": timestamp })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_understood() {
        for (line, execute, arguments, id) in [
            (r#"{"execute":"quit"}"#, "quit", json!({}), None),
            (
                r#" {"id": [1], "arguments": {"a": 1}, "execute": "x"}  "#,
                "x",
                json!({ "a": 1 }),
                Some(json!([1])),
            ),
            ("{\"execute\":\"a\\u0000b\",\"id\":null}\r", "a\0b", json!({}), Some(Value::Null)),
        ] {
            let request = parse(line.as_bytes()).unwrap();
            assert_eq!((request.execute.as_str(), &request.id), (execute, &id), "{line}");
            assert_eq!(Value::Object(request.arguments), arguments, "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_with_its_id() {
        for (line, expected, id) in [
            ("", "no JSON", None),
            ("{", "no JSON", None),
            ("[]", "a JSON object", None),
            ("3", "a JSON object", None),
            (r#"{"id": 7}"#, "needs the member `execute`", Some(json!(7))),
            (r#"{"execute": 3, "id": "a"}"#, "`execute` must be a string", Some(json!("a"))),
            (r#"{"execute": "quit", "arguments": []}"#, "`arguments` must be an object", None),
            (r#"{"execute": "quit", "exec": 1}"#, "no member `exec`", None),
            (&"[".repeat(9999), "recursion limit", None),
        ] {
            let (refusal, found) = parse(line.as_bytes()).unwrap_err();
            assert!(refusal.desc.contains(expected), "{line}: {refusal}");
            assert_eq!(found, id, "{line}");
        }
    }

    #[test]
    fn answers_and_events_have_the_form_of_qmp() {
        assert_eq!(answer(Ok(json!({})), Some(json!(1))), json!({ "return": {}, "id": 1 }));
        let refusal = Refusal { class: Class::CommandNotFound, desc: "no".into() };
        let expected = json!({ "error": { "class": "CommandNotFound", "desc": "no" } });
        assert_eq!(answer(Err(refusal), None), expected);
        let event = event("RESET", json!({ "guest": true }));
        assert!(event["timestamp"]["seconds"].as_u64().unwrap() > 1_700_000_000);
        assert!(event["timestamp"]["microseconds"].as_u64().unwrap() < 1_000_000);
        assert_eq!(event["data"], json!({ "guest": true }));
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }
    }
}
