//! The I/O ports at fixed addresses. The power management block is not among them: firmware places it
//! ([`crate::pm`]).

use crate::AddressRange;

/// Neighbouring I/O ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    count: u8,
}

impl Ports {
    /// `count` ports from `first` on; at least one, and none behind the last of all.
    const fn new(first: u16, count: u8) -> Self {
        assert!(count > 0 && first as u32 + count as u32 <= 0x1_0000);
        Self { first, count }
    }

    /// The first port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// How many there are, at least one.
    pub const fn count(self) -> u8 {
        self.count
    }

    /// The last port.
    pub const fn last(self) -> u16 {
        self.first + (self.count as u16 - 1)
    }

    /// The ports as a range of the I/O bus.
    pub const fn range(self) -> AddressRange {
        AddressRange::fixed(self.first as u64, self.last() as u64)
    }
}

/// The first 8259, command and data (ICH9 datasheet, 13.4).
pub const PIC_MASTER: Ports = Ports::new(0x20, 2);
/// The second 8259.
pub const PIC_SLAVE: Ports = Ports::new(0xa0, 2);
/// ELCR1 and ELCR2, which interrupts are level-triggered (ICH9 datasheet, 13.4.10).
pub const PIC_ELCR: Ports = Ports::new(0x4d0, 2);
/// The 8254 timer (ICH9 datasheet, 13.3).
pub const PIT: Ports = Ports::new(0x40, 4);
/// The keyboard controller's output and input buffers.
pub const I8042_DATA: Ports = Ports::new(0x60, 1);
/// The keyboard controller's status register, and its commands.
pub const I8042_COMMAND: Ports = Ports::new(0x64, 1);
/// The clock with its CMOS memory: index and data of the standard bank, index and data of the extended bank (ICH9
/// datasheet, 13.6).
pub const RTC: Ports = Ports::new(0x70, 4);
/// The byte of the CMOS memory with the century, which ACPI's FADT names (ACPI 6.5, 5.2.9).
pub const CMOS_CENTURY: u8 = 0x32;
/// Codes of the power-on self-test.
pub const POST: Ports = Ports::new(0x80, 1);
/// The fast way to A20 and reset (ICH9 datasheet, 13.7, PORT92).
pub const PORT_92: Ports = Ports::new(0x92, 1);
/// The first serial port, a 16550.
pub const COM1: Ports = Ports::new(0x3f8, 8);
/// The debug port of firmware (QEMU's isa-debugcon, as OVMF uses it).
pub const DEBUGCON: Ports = Ports::new(0x402, 1);
/// The mode registers of a display adapter of Bochs' kind: an index, and its value at the next two (QEMU, docs/specs/standard-vga).
pub const BOCHS_VBE: Ports = Ports::new(0x1ce, 4);
/// By which a guest's kernel says that it has panicked (QEMU, docs/specs/pvpanic.rst).
pub const PVPANIC: Ports = Ports::new(0x505, 1);
/// fw_cfg: selector, data and DMA (QEMU, docs/specs/fw_cfg.rst).
pub const FW_CFG: Ports = Ports::new(0x510, 12);
/// What `optimus-vmm bench` has the guest measure: a port to read, and one that says that it is done.
pub const BENCH: Ports = Ports::new(0x5a0, 2);
/// The registers of a battery that follows the host's ([`crate::battery`]).
pub const BATTERY: Ports = Ports::new(0xb00, 0x40);
/// CONFIG_ADDRESS and CONFIG_DATA (PCI Local Bus 3.0, 3.2.2.3.2).
pub const PCI_CONFIG: Ports = Ports::new(0xcf8, 8);
/// The reset control register, which lies among the ports of [`PCI_CONFIG`] and answers byte accesses (ICH9 datasheet,
/// 13.7, RST_CNT).
pub const RESET_CONTROL: Ports = Ports::new(0xcf9, 1);
/// What to write to [`RESET_CONTROL`] for a full reset.
pub const RESET_CONTROL_VALUE: u8 = 0x0f;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reset_register_lies_among_others() {
        let all = [
            PIC_MASTER,
            PIC_SLAVE,
            PIC_ELCR,
            PIT,
            I8042_DATA,
            I8042_COMMAND,
            RTC,
            POST,
            PORT_92,
            COM1,
            DEBUGCON,
            PVPANIC,
            FW_CFG,
            BENCH,
            BATTERY,
            PCI_CONFIG,
        ];
        for (index, one) in all.iter().enumerate() {
            for other in &all[..index] {
                assert!(!one.range().overlaps(other.range()), "{one:x?} {other:x?}");
            }
        }
        assert!(PCI_CONFIG.range().covers(RESET_CONTROL.range()));
        assert_eq!((FW_CFG.first(), FW_CFG.last(), FW_CFG.range().len()), (0x510, 0x51b, 12));
    }
}
