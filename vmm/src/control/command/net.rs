//! Commands about network cards. QMP knows `set_link`; there is none of QEMU's that lists cards.

use devices::net::cable;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Command, Context, Nothing, quick};
use crate::control::machine::NetworkCard;
use crate::control::protocol::{Refusal, short};

#[derive(Serialize, JsonSchema)]
struct Card {
    /// `net[0]`, by which `set_link` knows it.
    name: String,
    /// Its Ethernet address.
    mac: String,
    /// What carries its frames, in words.
    carrier: String,
    /// Frames go through.
    up: bool,
    /// The user wants a link.
    plugged: bool,
    /// Somebody is at the other end.
    connected: bool,
    /// From the guest.
    sent: Traffic,
    /// To the guest.
    received: Traffic,
}

/// Sums since the machine's start.
#[derive(Serialize, JsonSchema)]
struct Traffic {
    frames: u64,
    bytes: u64,
    /// Frames that were lost: malformed, too long, or without a link.
    dropped: u64,
}

impl From<cable::Totals> for Traffic {
    fn from(cable::Totals { frames, bytes, dropped }: cable::Totals) -> Self {
        Self { frames, bytes, dropped }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetLink {
    name: String,
    up: bool,
}

pub(super) fn commands() -> Vec<Command> {
    vec![
        quick("query-net", |context, Nothing {}| Ok(cards(context))),
        quick("set_link", |context, SetLink { name, up }| set_link(context, &name, up).map(|()| Nothing {})),
    ]
}

fn cards(context: &Context<'_>) -> Vec<Card> {
    let described = |card: &NetworkCard| {
        let [sent, received] = card.cable.totals();
        card_of(card, sent.into(), received.into())
    };
    context.machine.facts.nets.iter().map(described).collect()
}

fn card_of(card: &NetworkCard, sent: Traffic, received: Traffic) -> Card {
    // After a failure at run time, it is this program until the driver begins anew.
    let moved_by = if card.cable.is_moved_by_kernel() { ", by vhost-net" } else { "" };
    Card {
        name: card.name.clone(),
        mac: card.mac.to_string(),
        carrier: format!("{}{moved_by}", card.carrier),
        up: card.cable.is_up(),
        plugged: card.cable.is_wanted(),
        connected: card.cable.is_connected(),
        sent,
        received,
    }
}

/// Plugs a card's cable in or pulls it out.
pub(super) fn set_link(context: &Context<'_>, name: &str, up: bool) -> Result<(), Refusal> {
    let card = context.machine.facts.nets.iter().find(|card| card.name == name);
    let card = card.ok_or_else(|| Refusal::no_device(format!("Device '{}' not found", short(name))))?;
    card.cable.set_wanted(up);
    Ok(())
}

/// The cards in words.
pub(super) fn text(context: &Context<'_>) -> String {
    let described =
        |card: &NetworkCard| format!("{}: type=nic,model=virtio-net-pci,macaddr={}\r\n", card.name, card.mac);
    context.machine.facts.nets.iter().map(described).collect()
}
