//! What a disk says of itself: IDENTIFY DEVICE (ATA8-ACS, 7.16).

use super::super::identify::{LEN, Words};
use super::super::registers::SLOTS;
use super::{AtaDisk, DiskIdentity, MULTIPLE, TRIM_BLOCKS};

impl AtaDisk {
    pub(super) fn identify(&self) -> [u8; LEN] {
        let DiskIdentity { model, revision, serial, ssd, sector } = &self.identity;
        let sectors = self.sectors();
        let mut words = Words::new();
        // Not removable; cylinders, heads and sectors of a disk that is larger than they can say.
        for (index, value) in [(0, 0x0040), (1, 16383), (3, 16), (6, 63)] {
            words.set(index, value);
        }
        words.names(serial, revision, model);
        words.set(47, 0x8000 | u16::from(MULTIPLE));
        // IORDY, LBA and DMA.
        words.set(49, 0x0b00);
        words.set(50, 0x4000);
        words.transfer_modes(self.mode);
        if self.multiple > 0 {
            words.set(59, 0x0100 | u16::from(self.multiple));
        }
        words.wide(60, sectors.min(0x0fff_ffff), 2);
        // Commands in the queue, from 0; Serial ATA, first generation, with native command queuing.
        words.set(75, SLOTS as u16 - 1);
        words.set(76, 0x0102);
        // ATA/ATAPI-4 to ATA8-ACS.
        words.set(80, 0x01f0);
        // NOP, look-ahead, write cache, power management; flushes, 48-bit addresses; logs, durable writes.
        let (cache, look_ahead) = (u16::from(self.cache) << 5, u16::from(self.look_ahead) << 6);
        for (index, value) in [
            (82, 0x4068),
            (83, 0x7400),
            (84, 0x4060),
            (85, 0x4008 | cache | look_ahead),
            (86, 0x3400),
            (87, 0x4060),
        ] {
            words.set(index, value);
        }
        words.wide(100, sectors, 4);
        let physical = u64::from(self.disk.topology().physical_block).max(self.sector());
        let exponent = (physical / self.sector()).max(1).ilog2() as u16 & 0xf;
        let several = if exponent > 0 { 0x2000 | exponent } else { 0 };
        let long = if *sector > 512 { 0x1000 } else { 0 };
        words.set(106, 0x4000 | several | long);
        if *sector > 512 {
            words.wide(117, self.sector() / 2, 2);
        }
        // The first sector begins a physical one.
        words.set(209, 0x4000);
        if self.trims {
            // What is read after a trim stays the same; so many blocks of ranges.
            words.set(69, 0x4000);
            words.set(105, TRIM_BLOCKS);
            words.set(169, 0x0001);
        }
        // Does not rotate, or 7200 times a minute.
        words.set(217, if *ssd { 1 } else { 7200 });
        words.bytes()
    }
}
