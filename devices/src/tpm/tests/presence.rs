//! The memory that firmware and operating system share.

use vocabulary::tpm::PRESENCE_CLEAR_MEMORY;

use crate::bus::{Action, BusDevice};
use crate::tpm::PresenceMemory;

#[test]
fn it_keeps_what_is_written() {
    let memory = PresenceMemory::new();
    // As firmware does, whose structure is packed.
    for (at, data) in [(0u64, &[4u8][..]), (0x101, &[1, 2, 3, 4]), (0x3f8, &[5; 8])] {
        assert_eq!(memory.write(at, data), Action::None);
        let mut found = vec![0; data.len()];
        memory.read(at, &mut found);
        assert_eq!(found, data);
    }
}

#[test]
fn memory_is_cleared_once_for_each_request() {
    let memory = PresenceMemory::new();
    assert!(!memory.take_clear_memory());
    // Bit 4 says that the operating system takes the request back by itself.
    for flags in [0x01, 0x11] {
        assert_eq!(memory.write(PRESENCE_CLEAR_MEMORY, &[flags]), Action::None);
        assert!(memory.take_clear_memory());
        assert!(!memory.take_clear_memory());
        let mut left = [0];
        memory.read(PRESENCE_CLEAR_MEMORY, &mut left);
        assert_eq!(left, [flags & !1]);
    }
}
