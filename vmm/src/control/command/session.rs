//! Commands about the connection, and about what can be asked on it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Command, Nothing, Step, all, quick, schema, stepping};
use crate::control::protocol::{DIALECT, Dialect, PACKAGE};

/// What ends negotiation.
pub(super) const NEGOTIATE: &str = "qmp_capabilities";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Capabilities {
    #[serde(default)]
    enable: Vec<Capability>,
}

/// What a client may enable.
#[derive(Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Capability {
    Oob,
}

#[derive(Serialize, JsonSchema)]
struct CommandInfo {
    name: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct EventInfo {
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct Version {
    qemu: Dialect,
    package: &'static str,
}

pub(super) fn commands() -> Vec<Command> {
    vec![
        stepping::<Capabilities, Nothing>(NEGOTIATE, |_, Capabilities { enable }| {
            Ok(Step::Negotiated { overtaking: enable.contains(&Capability::Oob) })
        }),
        stepping::<Nothing, Nothing>("console", |_, Nothing {}| Ok(Step::Console)),
        quick("query-commands", |_, Nothing {}| {
            Ok(all().map(|command| CommandInfo { name: command.name }).collect::<Vec<_>>())
        }),
        quick("query-events", |_, Nothing {}| {
            Ok(schema::event_names().into_iter().map(|name| EventInfo { name }).collect::<Vec<_>>())
        }),
        quick("query-qmp-schema", |_, Nothing {}| Ok::<Vec<Value>, _>(schema::describe())),
        quick("query-version", |_, Nothing {}| Ok(Version { qemu: DIALECT, package: PACKAGE })),
    ]
}
