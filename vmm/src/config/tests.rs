//! Tests of the configuration: messages word by word, values, the schema and the documentation.

mod cpu;
mod documents;
mod hyperv;
mod large;
mod mentions;
mod messages;
mod passthrough;
mod random;
mod reference;
mod schema;
mod shape;
mod values;

use std::path::Path;

use super::{Config, Overrides, parse_on};
use crate::finding::Findings;

/// Parses on a host with Debian's firmware, as the file `/vm/test.toml`.
fn parse(text: &str) -> Result<Config, Findings> {
    parse_with(text, &Overrides::default())
}

fn parse_with(text: &str, overrides: &Overrides) -> Result<Config, Findings> {
    parse_on(text, Path::new("/vm/test.toml"), overrides, &|path| path.starts_with("/usr/share/OVMF"))
}

/// The repository's root.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
