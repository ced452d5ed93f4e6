//! What goes over the control socket: QEMU's machine protocol ("QMP Protocol Specification": greeting, `execute`, `return`,
//! `error`, `event`), with a greeting that tells our own name beside it. Errors of form have QEMU's words.

mod event;
pub(crate) mod stream;

use serde_json::{Map, Value, json};

pub(crate) use event::{Event, PanicInformation, Panicked, events};
pub use event::{PanicAction, ShutdownCause};
use stream::{LONGEST, Message};

/// The member of the greeting that tells who speaks.
pub(crate) const GREETING: &str = "optimus-vmm";
/// The version of QEMU whose protocol this is: shapes of replies and events are those of its schema.
pub(crate) const DIALECT: Dialect = Dialect { major: 10, minor: 0, micro: 0 };
/// Our own name and version.
pub(crate) const PACKAGE: &str = concat!("optimus-vmm ", env!("CARGO_PKG_VERSION"));

/// A version of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct Dialect {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) micro: u32,
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// The command's name.
    pub(crate) execute: String,
    /// What it needs to know.
    pub(crate) arguments: Map<String, Value>,
    /// What the answer is to carry.
    pub(crate) id: Option<Value>,
    /// It need not wait for commands before it (`exec-oob`).
    pub(crate) overtakes: bool,
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

/// What is to be answered with an error, and the `id` that the answer is to carry, as far as there is one.
pub(crate) type Malformed = (Refusal, Option<Value>);

/// Reads a message. `overtaking`: the client has negotiated `exec-oob`.
pub(crate) fn parse(message: &Message, overtaking: bool) -> Result<Request, Malformed> {
    let refuse = |desc: String, id| Err((Refusal::new(desc), id));
    let text = match message {
        Message::Whole(text) => text,
        Message::Stray(byte) => {
            let shown = if byte.is_ascii_graphic() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER };
            return refuse(format!("JSON parse error, stray '{shown}'"), None);
        }
        Message::TooLong => {
            return refuse(format!("a command has at most {LONGEST} bytes; this one was dropped"), None);
        }
        Message::TooDeep => return refuse("JSON nesting depth limit exceeded".into(), None),
    };
    let value: Value = match serde_json::from_slice(text) {
        Ok(value) => value,
        Err(error) => return refuse(format!("JSON parse error, {error}"), None),
    };
    let Value::Object(mut members) = value else {
        return refuse("QMP input must be a JSON object".into(), None);
    };
    let id = members.remove("id");
    let (plain, urgent) = (members.remove("execute"), members.remove("exec-oob"));
    let overtakes = urgent.is_some();
    let (member, command) = match (plain, urgent) {
        (Some(_), Some(_)) => {
            return refuse("QMP input member 'execute' clashes with 'exec-oob'".into(), id);
        }
        (None, None) => return refuse("QMP input lacks member 'execute'".into(), id),
        (None, Some(_)) if !overtaking => {
            return refuse("QMP input member 'exec-oob' is unexpected".into(), id);
        }
        (None, Some(command)) => ("exec-oob", command),
        (Some(command), None) => ("execute", command),
    };
    let Value::String(execute) = command else {
        return refuse(format!("QMP input member '{member}' must be a string"), id);
    };
    let arguments = match members.remove("arguments") {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return refuse("QMP input member 'arguments' must be an object".into(), id),
    };
    match members.keys().next() {
        Some(other) => refuse(format!("QMP input member '{}' is unexpected", short(other)), id),
        None => Ok(Request { execute, arguments, id, overtakes }),
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
    json!({
        "QMP": { "version": { "qemu": DIALECT, "package": PACKAGE }, "capabilities": ["oob"] },
        GREETING: { "version": env!("CARGO_PKG_VERSION"), "name": name, "pid": std::process::id(), "capabilities": [] },
    })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::stream::Stream;
    use super::*;

    fn parsed(text: &str) -> Result<Request, Malformed> {
        let mut stream = Stream::default();
        stream.give(text.as_bytes());
        parse(&stream.next().unwrap_or_else(|| panic!("{text} is not complete")), true)
    }

    #[test]
    fn commands_are_understood() {
        for (text, execute, arguments, id, overtakes) in [
            (r#"{"execute":"quit"}"#, "quit", json!({}), None, false),
            (
                r#" {"id": [1], "arguments": {"a": 1}, "exec-oob": "x"}  "#,
                "x",
                json!({ "a": 1 }),
                Some(json!([1])),
                true,
            ),
            ("{\"execute\":\"a\\u0000b\",\"id\":null}\r", "a\0b", json!({}), Some(Value::Null), false),
            ("{'execute':'quit'}", "quit", json!({}), None, false),
        ] {
            let request = parsed(text).unwrap();
            assert_eq!((request.execute.as_str(), &request.id), (execute, &id), "{text}");
            assert_eq!(Value::Object(request.arguments), arguments, "{text}");
            assert_eq!(request.overtakes, overtakes, "{text}");
        }
    }

    /// The descriptions are those that QEMU gives, but for the details of malformed JSON.
    #[test]
    fn what_is_no_command_is_refused_with_its_id() {
        for (text, expected, id) in [
            ("}", "JSON parse error, ", None),
            ("{]", "JSON parse error, ", None),
            ("{\"a\":tru}", "JSON parse error, ", None),
            ("abc\n", "JSON parse error, ", None),
            ("\\", "JSON parse error, stray '\\'", None),
            (&"[".repeat(9999), "JSON nesting depth limit exceeded", None),
            ("[]", "QMP input must be a JSON object", None),
            ("3 ", "QMP input must be a JSON object", None),
            (r#"{"id": 7}"#, "QMP input lacks member 'execute'", Some(json!(7))),
            (r#"{"execute": 3, "id": "a"}"#, "QMP input member 'execute' must be a string", Some(json!("a"))),
            (
                r#"{"execute": "quit", "exec-oob": "quit"}"#,
                "QMP input member 'execute' clashes with 'exec-oob'",
                None,
            ),
            (
                r#"{"execute": "quit", "arguments": []}"#,
                "QMP input member 'arguments' must be an object",
                None,
            ),
            (r#"{"execute": "quit", "exec": 1}"#, "QMP input member 'exec' is unexpected", None),
        ] {
            let (refusal, found) = parsed(text).unwrap_err();
            assert!(refusal.desc.starts_with(expected), "{text}: {refusal}");
            assert_eq!(found, id, "{text}");
        }
        let urgent = Message::Whole(br#"{"exec-oob":"quit"}"#.to_vec());
        let (refusal, _) = parse(&urgent, false).unwrap_err();
        assert_eq!(refusal.desc, "QMP input member 'exec-oob' is unexpected");
    }

    #[test]
    fn answers_have_the_form_of_qmp() {
        assert_eq!(answer(Ok(json!({})), Some(json!(1))), json!({ "return": {}, "id": 1 }));
        let refusal = Refusal { class: Class::CommandNotFound, desc: "no".into() };
        let expected = json!({ "error": { "class": "CommandNotFound", "desc": "no" } });
        assert_eq!(answer(Err(refusal), None), expected);
    }

    proptest! {
        #[test]
        fn no_message_is_too_odd(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&Message::Whole(text), true);
        }
    }
}
