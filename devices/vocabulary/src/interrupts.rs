//! ISA interrupts, and which interrupt a PCI pin reaches.
//!
//! The eight inputs PIRQA to PIRQH of the LPC bridge (ICH9 datasheet 5.8.6, 13.8.1.8) go to the I/O APIC's
//! pins 16 to 23, and to the 8259 interrupt that the PIRQx_ROUT register names. Bus 0 is wired as the Q35
//! machine of QEMU has it, because OVMF writes Interrupt Line registers for that wiring
//! (edk2 `OvmfPkg/Library/PlatformBootManagerLib/BdsPlatform.c`): devices 25 to 31 follow the reset values
//! of the RCBA interrupt route registers, device 30 is wired to PIRQE to PIRQH, and all others are rotated over PIRQE to
//! PIRQH as the slots of a bus are.

/// The 8254 timer.
pub const PIT_IRQ: u8 = 0;
/// The PS/2 keyboard.
pub const KEYBOARD_IRQ: u8 = 1;
/// The second 8259 at the first.
pub const CASCADE_IRQ: u8 = 2;
/// The first serial port.
pub const COM1_IRQ: u8 = 4;
/// The real-time clock.
pub const RTC_IRQ: u8 = 8;
/// ACPI's system control interrupt (ICH9 datasheet 13.8.1.2: ACPI_CNTL.SCI_IRQ_SEL 0).
pub const SCI_IRQ: u8 = 9;
/// The PS/2 mouse.
pub const MOUSE_IRQ: u8 = 12;

/// Inputs of the I/O APIC.
pub const IO_APIC_PINS: u32 = 24;

/// The first global system interrupt of the router's inputs.
pub const FIRST_PIRQ: u8 = 16;

/// An interrupt pin: 0 is INTA, 3 is INTD (one less than in the Interrupt Pin register).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(u8);

impl Pin {
    /// INTA to INTD.
    pub const ALL: [Self; 4] = [Self(0), Self(1), Self(2), Self(3)];

    /// From the value of an Interrupt Pin register: 1 to 4; 0 means no pin, others are reserved.
    pub fn from_register(value: u8) -> Option<Self> {
        value.checked_sub(1).filter(|pin| *pin < 4).map(Self)
    }

    /// From the value of an Interrupt Pin register of which a guest or a device may have made anything: 0 and what is
    /// above 4 count modulo 4.
    pub const fn wrapping(value: u8) -> Self {
        Self(value.wrapping_sub(1) & 3)
    }

    /// 0 for INTA to 3 for INTD.
    pub const fn index(self) -> u8 {
        self.0
    }

    /// The pin of a bridge to which this pin of device number `device` on its secondary bus is wired
    /// (PCI-to-PCI Bridge Architecture 1.2 §9.1; PCI Express Base 6.0 §2.2.8.1).
    #[must_use]
    pub const fn through_bridge(self, device: u8) -> Self {
        Self(self.0.wrapping_add(device) % 4)
    }
}

/// An input of the interrupt router: 0 is PIRQA, 7 is PIRQH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pirq(u8);

impl Pirq {
    /// PIRQA to PIRQH.
    pub const ALL: [Self; 8] = [Self(0), Self(1), Self(2), Self(3), Self(4), Self(5), Self(6), Self(7)];

    /// The input to which `pin` of device number `device` on bus 0 is wired.
    pub const fn of_root_bus(device: u8, pin: Pin) -> Self {
        match device {
            0..=24 => Self(4 + device.wrapping_add(pin.0) % 4),
            30 => Self(4 + pin.0),
            _ => Self(pin.0),
        }
    }

    /// 0 for PIRQA to 7 for PIRQH.
    pub const fn index(self) -> u8 {
        self.0
    }

    /// Its letter, `A` to `H`.
    pub fn letter(self) -> char {
        char::from(b'A'.wrapping_add(self.0))
    }

    /// Its global system interrupt, which is also its pin of the I/O APIC: 16 to 23.
    pub const fn gsi(self) -> u8 {
        FIRST_PIRQ + self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_bus_is_wired_as_ovmf_expects() {
        let letters = |device: u8| -> String {
            Pin::ALL.iter().map(|pin| Pirq::of_root_bus(device, *pin).letter()).collect()
        };
        for (device, expected) in [
            (0, "EFGH"),
            (1, "FGHE"),
            (2, "GHEF"),
            (3, "HEFG"),
            (24, "EFGH"),
            (25, "ABCD"),
            (26, "ABCD"),
            (28, "ABCD"),
            (29, "ABCD"),
            (30, "EFGH"),
            (31, "ABCD"),
        ] {
            assert_eq!(letters(device), expected, "device {device}");
        }
        assert_eq!(Pirq::of_root_bus(31, Pin(0)).gsi(), 16);
        assert_eq!(Pirq::of_root_bus(3, Pin(0)).gsi(), 23);
    }

    #[test]
    fn pins_rotate_through_bridges() {
        assert_eq!(Pin(0).through_bridge(0), Pin(0));
        assert_eq!(Pin(3).through_bridge(2), Pin(1));
        assert_eq!(Pin::from_register(0), None);
        assert_eq!(Pin::from_register(4), Some(Pin(3)));
        assert_eq!(Pin::from_register(5), None);
    }

    #[test]
    fn wrapping_pins_agree_with_registers() {
        for value in 0..=u8::MAX {
            let pin = Pin::wrapping(value);
            assert!(Pin::from_register(value).is_none_or(|expected| expected == pin));
            assert!((0..=u8::MAX).all(|device| (16..24).contains(&Pirq::of_root_bus(device, pin).gsi())));
        }
    }
}
