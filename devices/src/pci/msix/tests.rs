//! MSI-X through the registers (PCIe 6.0, 7.7.2).

use std::sync::Arc;

use proptest::prelude::*;

use super::testing::FakeVector;
use super::*;
use crate::interrupt::MsiMessage;
use crate::pci::Ids;

fn build(count: usize) -> (Arc<Msix>, Vec<Arc<FakeVector>>) {
    let fakes: Vec<_> = (0..count).map(|_| FakeVector::new()).collect();
    let handles = fakes.iter().map(|fake| Arc::clone(fake) as Arc<dyn MsiVector>).collect();
    (Msix::new(handles), fakes)
}

fn program(msix: &Msix, vector: u64, message: MsiMessage, masked: bool) {
    let _ = msix.write(vector * 16, &message.address.to_le_bytes());
    let _ = msix.write(vector * 16 + 8, &message.data.to_le_bytes());
    let _ = msix.write(vector * 16 + 12, &u32::from(masked).to_le_bytes());
}

const MESSAGE: MsiMessage = MsiMessage { address: 0xfee0_1000, data: 0x41 };

#[test]
fn routes_follow_enable_and_both_masks() {
    let (msix, fakes) = build(2);
    program(&msix, 1, MESSAGE, false);
    assert_eq!(fakes[1].changes(), [], "MSI-X is still off");
    msix.set_control(0xc000, true);
    assert_eq!(fakes[1].changes(), [], "the function is masked");
    msix.set_control(0x8000, true);
    assert_eq!(fakes[1].changes(), [Some(MESSAGE)]);
    assert_eq!(fakes[0].changes(), [], "vector 0 is masked");
    msix.set_control(0x8000, true);
    program(&msix, 1, MESSAGE, false);
    assert_eq!(fakes[1].changes(), [], "nothing changed");
    let _ = msix.write(28, &1u32.to_le_bytes());
    assert_eq!(fakes[1].changes(), [None]);
    let _ = msix.write(24, &0x42u32.to_le_bytes());
    assert_eq!(fakes[1].changes(), [], "a masked vector's message may change freely");
    let _ = msix.write(28, &0u32.to_le_bytes());
    assert_eq!(fakes[1].changes(), [Some(MsiMessage { data: 0x42, ..MESSAGE })]);
    msix.reset();
    assert_eq!(fakes[1].changes(), [None]);
    assert!(!msix.enabled());
}

#[test]
fn masked_interrupts_wait_in_the_pending_bits() {
    let (msix, fakes) = build(70);
    let pending = || {
        let mut qword = [0; 8];
        msix.read(0x808, &mut qword);
        u64::from_le_bytes(qword)
    };
    msix.trigger(65);
    assert_eq!(pending(), 0, "off: nothing pends");
    msix.set_control(0x8000, true);
    program(&msix, 65, MESSAGE, true);
    msix.trigger(65);
    msix.trigger(65);
    assert_eq!(fakes[65].delivered(), []);
    assert_eq!(pending(), 2);
    assert_eq!(pending(), 2, "reading does not clear");
    let _ = msix.write(0x808, &[0; 8]);
    assert_eq!(pending(), 2, "the pending bits are read-only");
    let _ = msix.write(65 * 16 + 12, &[0]);
    assert_eq!(fakes[65].delivered(), [MESSAGE], "two triggers while masked make one interrupt");
    assert_eq!(pending(), 0);
    msix.trigger(65);
    assert_eq!(pending(), 0, "a routed vector does not pend, whether its signal has been taken yet or not");
    assert_eq!(fakes[65].delivered(), [MESSAGE]);
    msix.trigger(70);
    msix.trigger(0xffff);
}

#[test]
fn a_reset_forgets_what_was_pending() {
    let (msix, fakes) = build(1);
    msix.set_control(0x8000, true);
    msix.trigger(0);
    msix.reset();
    msix.set_control(0x8000, true);
    program(&msix, 0, MESSAGE, false);
    assert_eq!(fakes[0].delivered(), []);
    msix.trigger(0);
    assert_eq!(fakes[0].delivered(), [MESSAGE]);
}

#[test]
fn a_route_that_fails_keeps_the_interrupt_for_later() {
    let (msix, fakes) = build(1);
    msix.set_control(0x8000, true);
    program(&msix, 0, MESSAGE, false);
    fakes[0].refuse(Some(libc::ENOSPC));
    let _ = msix.write(8, &0x42u32.to_le_bytes());
    assert_eq!(fakes[0].routed(), None, "the old message is not delivered in place of the new one");
    msix.trigger(0);
    let mut byte = [0];
    msix.read(0x800, &mut byte);
    assert_eq!(byte, [1]);
    fakes[0].refuse(None);
    let _ = msix.write(12, &[0]);
    assert_eq!(fakes[0].delivered(), [MsiMessage { data: 0x42, ..MESSAGE }]);
}

#[test]
fn capability_names_table_and_pending_bits() {
    let (msix, _) = build(3);
    let mut config = ConfigSpace::endpoint(Ids::default(), false);
    let at = msix.add_capability(&mut config, 1).unwrap();
    assert_eq!(config.u8(at), capability::MSIX);
    assert_eq!(config.u16(at + 2), 2);
    assert_eq!(config.u32(at + 4), 1);
    assert_eq!(config.u32(at + 8), 0x801);
    config.write(at + 2, &[0xff, 0xff]);
    assert_eq!(config.u16(at + 2), 0xc002);
    assert_eq!(msix.bar().size, 0x1000);
    assert_eq!(build(2048).0.bar().size, 0x1_0000);
    assert_eq!(build(0).0.add_capability(&mut config, 1), None);
}

proptest! {
    /// Whatever is written where, a vector is routed exactly while it can be delivered, to what the table says.
    #[test]
    fn the_route_is_what_the_registers_say(
        accesses in proptest::collection::vec((0u64..0x1010, any::<u64>(), 0usize..4, any::<bool>()), 0..64),
        control in any::<u16>(),
    ) {
        let (msix, fakes) = build(4);
        msix.set_control(control, true);
        for (offset, value, size, trigger) in accesses {
            let bytes = value.to_le_bytes();
            let _ = msix.write(offset % 0x60, &bytes[..1 << size]);
            let mut data = [0; 8];
            msix.read(offset, &mut data[..1 << size]);
            if trigger {
                msix.trigger(value as u16 % 5);
            }
        }
        for (index, fake) in fakes.iter().enumerate() {
            let mut entry = [0; 16];
            msix.read(index as u64 * 16, &mut entry[..8]);
            msix.read(index as u64 * 16 + 8, &mut entry[8..]);
            let address = u64::from_le_bytes(entry[..8].try_into().unwrap());
            let data = u32::from_le_bytes(entry[8..12].try_into().unwrap());
            let deliverable = control & 0xc000 == 0x8000 && entry[12] & 1 == 0;
            let wanted = deliverable.then_some(MsiMessage { address, data });
            prop_assert_eq!(fake.changes().last().copied().flatten(), wanted);
        }
    }
}
