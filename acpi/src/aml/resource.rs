//! Resource descriptors (§6.4).

use acpi_tables::{Aml, AmlSink};
use vocabulary::AddressRange;

/// Edge-triggered, active-high, exclusive ISA interrupt, 0 to 15 (§6.4.2.1, the two-byte form).
pub struct IrqNoFlags(pub u8);

impl Aml for IrqNoFlags {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x22);
        sink.word(1u16.checked_shl(self.0.into()).unwrap_or(0));
    }
}

/// Level-triggered, active-high, shared interrupts, of which the device uses one (§6.4.3.6).
///
/// PCI interrupts are active-low on a board. KVM's interrupt controllers have no inverters, and the MADT and
/// these descriptors say so.
pub struct Interrupts<'a>(pub &'a [u32]);

impl Aml for Interrupts<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        // As many as the descriptor's length byte can count.
        let numbers = self.0.get(..255).unwrap_or(self.0);
        sink.byte(0x89);
        sink.word(2 + 4 * numbers.len() as u16);
        sink.byte(0b1001);
        sink.byte(numbers.len() as u8);
        numbers.iter().for_each(|number| sink.dword(*number));
    }
}

/// Memory that a device itself answers at, rather than one it passes on: Memory32Fixed below 4 GiB (§6.4.3.4),
/// a consumed QWordMemory from there on (§6.4.3.5.1).
pub struct MemoryRange(pub AddressRange);

impl Aml for MemoryRange {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let (start, end) = (self.0.base(), self.0.last());
        let length = end.wrapping_sub(start).wrapping_add(1);
        match (u32::try_from(start), u32::try_from(length)) {
            (Ok(start), Ok(length)) if u32::try_from(end).is_ok() => {
                sink.byte(0x86);
                sink.word(9);
                sink.byte(1);
                sink.dword(start);
                sink.dword(length);
            }
            _ => {
                sink.byte(0x8A);
                sink.word(43);
                // Memory; consumed, decoded positively, minimum and maximum fixed; read-write, not cacheable.
                sink.vec(&[0, 0b1101, 1]);
                for value in [0, start, end, 0, length] {
                    sink.qword(value);
                }
            }
        }
    }
}
