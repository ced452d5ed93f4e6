//! What a disk says of itself, as far as its bus has a place for it.

use super::Bus;
use crate::finding::{Resolver, Section};

/// What the user wants a disk to say of itself; what is `None` is left to its bus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Serial number, 1 to 20 bytes of printable ASCII.
    pub serial: Option<String>,
    /// Model, 1 to 40 bytes of printable ASCII.
    pub model: Option<String>,
    /// Revision of its firmware, 1 to 8 bytes of printable ASCII.
    pub firmware_revision: Option<String>,
    /// Whether nothing in it rotates.
    pub ssd: Option<bool>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdentityKey {
    Serial,
    Model,
    FirmwareRevision,
    /// With what it is to be.
    Ssd(bool),
}

impl Identity {
    /// What is written, with the keys of `vm.toml`.
    fn written(&self) -> impl Iterator<Item = (IdentityKey, &'static str)> {
        let Self { serial, model, firmware_revision, ssd } = self;
        [
            serial.as_ref().map(|_| (IdentityKey::Serial, "serial")),
            model.as_ref().map(|_| (IdentityKey::Model, "model")),
            firmware_revision.as_ref().map(|_| (IdentityKey::FirmwareRevision, "firmware_revision")),
            ssd.map(|ssd| (IdentityKey::Ssd(ssd), "ssd")),
        ]
        .into_iter()
        .flatten()
    }

    /// Refuses what the bus cannot show.
    pub(super) fn check(&self, bus: Bus, section: Section, resolver: &mut Resolver) {
        for (key, name) in self.written() {
            if let Some(why) = bus.attachment().hides(key) {
                resolver.problem_with_help(
                    section.key(name),
                    format!("this `{name}` cannot be shown by a disk with `bus = \"{}\"`: {why}", bus.word()),
                    format!("leave `{name}` out"),
                );
            }
        }
    }
}
