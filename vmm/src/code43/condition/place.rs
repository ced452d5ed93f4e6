//! Where the guest finds the GPU, and its memory.

use devices::pci::config::command::{BUS_MASTER, MEMORY};
use vocabulary::ByteSize;

use super::{Driver, Facts, NOT_KNOWN, Verdict, key};
use crate::code43::facts::{Bar, Live, Port, Slot};

/// The GPU's bus on laptops, and the root port above it.
const BUS: u8 = 1;
const PORT: Slot = Slot { device: 1, function: 0 };
/// What room for BARs below 4 GiB a guest has at least, beside the devices of the machine itself.
const LOW_ROOM: u64 = 512 << 20;
fn size(bytes: u64) -> ByteSize {
    ByteSize::from_bytes(bytes)
}

const DEFAULT: &str = "leave `guest` out of [dgpu]: it is 01:00.0 behind 00:01.0 by default";

/// It is where laptops have it.
pub(super) fn place(facts: &Facts, driver: Driver) -> Option<Verdict> {
    let gpu = facts.gpu.as_ref()?;
    let bus = facts.bus()?;
    let at = gpu.at;
    let ids = facts.live.as_ref().and_then(|live| live.port.as_ref()).map(|port| format!(" ({})", port.ids));
    let found = match gpu.port {
        None => format!("{bus:02x}:{at}, on the root bus"),
        Some(_) if bus == 0 => {
            let found = "the firmware has given the root port above it no bus: it cannot be reached";
            return Some(Verdict::fails(found).outside("wait until the guest has started, and look again"));
        }
        Some(port) => {
            format!("{bus:02x}:{at} behind the root port 00:{port}{}", ids.unwrap_or_default())
        }
    };
    let as_planned = bus == gpu.bus;
    if bus == BUS && at.device == 0 && gpu.port == Some(PORT) {
        return Some(Verdict::ok(found));
    }
    let verdict = match driver.accepts_machines() {
        Some(false) => Verdict::fails(found),
        Some(true) | None => Verdict::warning(found),
    };
    Some(if as_planned {
        verdict.at(key::GUEST, DEFAULT)
    } else {
        verdict.outside(format!(
            "the firmware has numbered buses otherwise than planned ({:02x}): leave other bridges out, and report it",
            gpu.bus
        ))
    })
}

/// It is function 0 of its slot.
pub(super) fn function(facts: &Facts, _: Driver) -> Option<Verdict> {
    let at = facts.gpu.as_ref()?.at;
    Some(match at.function {
        0 => Verdict::ok("0"),
        function => Verdict::fails(format!("{function}")).at(key::GUEST, DEFAULT),
    })
}

/// Its memory has room.
pub(super) fn bars(facts: &Facts, _: Driver) -> Option<Verdict> {
    facts.gpu.as_ref()?;
    match (&facts.live, &facts.host) {
        (Some(live), _) => Some(placed(live)),
        (None, Some(host)) if !host.bars.is_empty() => Some(fit(facts, &host.bars)),
        _ => Some(Verdict::unknown(NOT_KNOWN)),
    }
}

/// Whether BARs fit where the firmware puts them.
fn fit(facts: &Facts, bars: &[Bar]) -> Verdict {
    let total = |high: bool| -> u64 {
        bars.iter().filter(|bar| bar.high == high).map(|bar| bar.size).fold(0, u64::saturating_add)
    };
    let (high, low) = (total(true), total(false));
    let largest = bars.iter().map(|bar| bar.size).max().unwrap_or_default();
    let found = format!("{} in all, the largest {}", size(high.saturating_add(low)), size(largest));
    // The bridge's window begins at a multiple of the largest.
    let needed = high.checked_next_multiple_of(largest.max(1)).unwrap_or(u64::MAX);
    match facts.window {
        Some(window) if needed <= window.size() && low <= LOW_ROOM => Verdict::ok(format!(
            "{found}; the firmware has {} from {:#x} on for those above 4 GiB",
            size(window.size()),
            window.base
        )),
        None if high.saturating_add(low) <= LOW_ROOM => {
            Verdict::ok(format!("{found}; they go below 4 GiB, as the firmware has no room above"))
        }
        window => {
            let room = window.map_or("no room".into(), |window| size(window.size()).to_string());
            Verdict::fails(format!("{found}; the firmware has {room} for those above 4 GiB")).at(
                key::PHYS_BITS,
                "let the guest have more address bits (`phys_bits` in [cpu]; by default it has the host's), or switch Resizable \
                 BAR off in the host's firmware setup",
            )
        }
    }
}

/// Whether BARs have addresses, and the root port forwards them.
fn placed(live: &Live) -> Verdict {
    if live.command & MEMORY == 0 {
        return Verdict::unknown("memory decoding is off, so no BAR shows its address");
    }
    let shown = |bar: &Bar| format!("BAR{} ({})", bar.index, size(bar.size));
    let forwarded = |port: &Port, base, size| port.memory.iter().any(|window| window.holds(base, size));
    let mut parts = Vec::new();
    for bar in &live.bars {
        let Some(base) = bar.base else {
            return Verdict::fails(format!("{} has no address", shown(bar)))
                .outside("see the firmware's messages with `--debugcon stdio`, and `optimus-vmm plan`");
        };
        if live.port.as_ref().is_some_and(|port| !forwarded(port, base, bar.size)) {
            return Verdict::fails(format!(
                "{} is at {base:#x}, which the root port does not forward",
                shown(bar)
            ))
            .outside("restart the guest: its system has moved one of them");
        }
        parts.push(format!("{} at {base:#x}", shown(bar)));
    }
    Verdict::ok(parts.join(", "))
}

/// It answers there. Only a running machine has registers.
pub(super) fn decoding(facts: &Facts, _: Driver) -> Option<Verdict> {
    let live = facts.live.as_ref()?;
    let port = live.port.as_ref().map_or(MEMORY | BUS_MASTER, |port| port.command);
    Some(if live.command & MEMORY == 0 {
        Verdict::warning("memory decoding is off: the guest has not started the GPU, or has given it up")
            .outside("look again when the guest's system is up; Windows switches off a device that failed")
    } else if port & MEMORY == 0 {
        Verdict::fails("memory decoding is off in the root port").outside("restart the guest")
    } else if live.command & BUS_MASTER == 0 {
        Verdict::ok("on; bus mastering is off: no driver has started the GPU yet")
    } else {
        Verdict::ok("on, and bus mastering too")
    })
}
