//! What is on the board besides processors and memory: connectors (DSP0134 7.9), slots (7.10), and the probes of portable
//! machines (7.27 to 7.29).

use vocabulary::thermal::TEMPERATURE;

use super::structure::{Structure, Writer};

/// Handles of the first structure of each kind.
const PORT: u16 = 0x0d00;
const SLOT: u16 = 0x0e00;
const VOLTAGE_PROBE: u16 = 0x1a00;
const COOLING_DEVICE: u16 = 0x1b00;
const TEMPERATURE_PROBE: u16 = 0x1c00;

/// A value of a probe that is not known.
const UNKNOWN: u16 = 0x8000;

/// The board.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BoardInfo {
    /// Port Connector Information (type 8).
    pub connectors: Vec<Connector>,
    /// System Slots (type 9).
    pub slots: Vec<SlotInfo>,
    /// A voltage probe, a fan and a temperature probe (types 26, 27 and 28), which say no more than [`vocabulary::thermal`].
    pub probes: bool,
}

/// A connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connector {
    /// COM1, a 16550A.
    Serial,
    /// PS/2 keyboard.
    Keyboard,
    /// PS/2 mouse.
    Mouse,
}

/// The slot behind a PCI Express root port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Physical slot number, as in the port's Slot Capabilities.
    pub number: u8,
    /// The port's device and function number on bus 0: the device in bits 7:3, the function in bits 2:0.
    pub port: u8,
    /// Something is in it.
    pub occupied: bool,
    /// Lanes: 1, 2, 4, 8 or 16.
    pub lanes: u8,
    /// Generation of PCI Express: 1 for 2.5 GT/s, 2 for 5, 3 for 8.
    pub generation: u8,
}

impl SlotInfo {
    /// Slot Type (table 45): generations are six numbers apart, and each has one for any width and those of widths.
    fn kind(&self) -> u8 {
        let first = match self.generation {
            0 | 1 => 0xa5,
            2 => 0xab,
            _ => 0xb1,
        };
        let width = match self.lanes {
            1 => 1,
            2 => 2,
            4 => 3,
            8 => 4,
            16 => 5,
            _ => 0,
        };
        first + width
    }

    /// Slot Data Bus Width (table 46).
    fn width(&self) -> u8 {
        match self.lanes {
            1 => 0x08,
            2 => 0x09,
            4 => 0x0a,
            8 => 0x0b,
            16 => 0x0d,
            _ => 0x02,
        }
    }
}

/// All of it.
pub(super) fn board(writer: &mut Writer, board: &BoardInfo) {
    for (handle, connector) in (PORT..SLOT).zip(&board.connectors) {
        self::connector(writer, handle, *connector);
    }
    for (handle, slot) in (SLOT..).zip(&board.slots) {
        self::slot(writer, handle, slot);
    }
    if board.probes {
        probes(writer);
    }
}

/// 7.9 Port Connector Information.
fn connector(writer: &mut Writer, handle: u16, connector: Connector) {
    // Name, connector type (table 43), port type (table 44).
    let (name, external, port) = match connector {
        Connector::Serial => ("COM1", 0x08, 0x09),
        Connector::Keyboard => ("Keyboard", 0x0f, 0x0d),
        Connector::Mouse => ("Mouse", 0x0f, 0x0e),
    };
    writer.push(
        Structure::new(8, handle)
            .string(None) // no name on the board
            .u8(0) // and no connector there
            .string(Some(name))
            .u8(external)
            .u8(port),
    );
}

/// 7.10 System Slots.
fn slot(writer: &mut Writer, handle: u16, slot: &SlotInfo) {
    const PROVIDES_3_3_VOLTS: u8 = 1 << 2;
    let usage = if slot.occupied { 4 } else { 3 };
    writer.push(
        Structure::new(9, handle)
            .string(Some(&format!("PCIe {}", slot.number)))
            .u8(slot.kind())
            .u8(slot.width())
            .u8(usage)
            .u8(1) // length: other
            .u16(slot.number.into())
            .u8(PROVIDES_3_3_VOLTS)
            .u8(0) // neither PME nor hot-plug nor SMBus
            .u16(0) // segment
            .u8(0) // bus
            .u8(slot.port),
    );
}

/// 7.27 Voltage Probe, 7.28 Cooling Device, 7.29 Temperature Probe.
fn probes(writer: &mut Writer) {
    const OK: u8 = 3 << 5;
    const PROCESSOR: u8 = 3;
    const FAN: u8 = 3;
    let probe = |kind, handle, name, nominal| {
        Structure::new(kind, handle)
            .string(Some(name))
            .u8(OK | PROCESSOR)
            .u16(UNKNOWN) // highest
            .u16(UNKNOWN) // lowest
            .u16(UNKNOWN) // resolution
            .u16(UNKNOWN) // tolerance
            .u16(UNKNOWN) // accuracy
            .u32(0) // OEM
            .u16(nominal)
    };
    writer.push(probe(26, VOLTAGE_PROBE, "CPU core voltage", UNKNOWN));
    writer.push(
        Structure::new(27, COOLING_DEVICE)
            .u16(TEMPERATURE_PROBE)
            .u8(OK | FAN)
            .u8(0) // of no group
            .u32(0) // OEM
            .u16(UNKNOWN) // nominal speed
            .string(Some("CPU fan")),
    );
    writer.push(probe(28, TEMPERATURE_PROBE, "CPU temperature", TEMPERATURE));
}
