use std::io;
use std::sync::Arc;
use std::sync::Mutex;

use proptest::prelude::*;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::pci::Ids;

/// A vector that writes down its routes.
struct Recorder {
    event: EventFd,
    routes: Mutex<Vec<Option<MsiMessage>>>,
}

impl MsiVector for Recorder {
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()> {
        self.routes.lock().unwrap().push(message);
        Ok(())
    }
    fn event(&self) -> &EventFd {
        &self.event
    }
}

impl Recorder {
    fn routes(&self) -> Vec<Option<MsiMessage>> {
        std::mem::take(&mut *self.routes.lock().unwrap())
    }
    fn signals(&self) -> u64 {
        self.event.read().unwrap_or(0)
    }
}

fn build(count: usize) -> (Arc<Msix>, Vec<Arc<Recorder>>) {
    let recorders: Vec<_> = (0..count)
        .map(|_| Arc::new(Recorder { event: EventFd::new(EFD_NONBLOCK).unwrap(), routes: Mutex::default() }))
        .collect();
    let handles = recorders.iter().map(|r| Arc::clone(r) as Arc<dyn MsiVector>).collect();
    (Msix::new(handles), recorders)
}

fn program(msix: &Msix, vector: u64, message: MsiMessage, masked: bool) {
    let _ = msix.write(vector * 16, &message.address.to_le_bytes());
    let _ = msix.write(vector * 16 + 8, &message.data.to_le_bytes());
    let _ = msix.write(vector * 16 + 12, &u32::from(masked).to_le_bytes());
}

const MESSAGE: MsiMessage = MsiMessage { address: 0xfee0_1000, data: 0x41 };

#[test]
fn routes_follow_enable_and_both_masks() {
    let (msix, recorders) = build(2);
    program(&msix, 1, MESSAGE, false);
    assert_eq!(recorders[1].routes(), [], "MSI-X is still off");
    msix.set_control(0xc000);
    assert_eq!(recorders[1].routes(), [], "the function is masked");
    msix.set_control(0x8000);
    assert_eq!(recorders[1].routes(), [Some(MESSAGE)]);
    assert_eq!(recorders[0].routes(), [], "vector 0 is masked");
    msix.set_control(0x8000);
    program(&msix, 1, MESSAGE, false);
    assert_eq!(recorders[1].routes(), [], "nothing changed");
    let _ = msix.write(28, &1u32.to_le_bytes());
    assert_eq!(recorders[1].routes(), [None]);
    let _ = msix.write(24, &0x42u32.to_le_bytes());
    assert_eq!(recorders[1].routes(), [], "a masked vector's message may change freely");
    let _ = msix.write(28, &0u32.to_le_bytes());
    assert_eq!(recorders[1].routes(), [Some(MsiMessage { data: 0x42, ..MESSAGE })]);
    msix.reset();
    assert_eq!(recorders[1].routes(), [None]);
    assert!(!msix.enabled());
}

#[test]
fn masked_interrupts_wait_in_the_pending_bits() {
    let (msix, recorders) = build(70);
    msix.trigger(65);
    let mut qword = [0; 8];
    msix.read(0x808, &mut qword);
    assert_eq!(u64::from_le_bytes(qword), 0, "off: nothing pends");
    msix.set_control(0x8000);
    program(&msix, 65, MESSAGE, true);
    msix.trigger(65);
    msix.trigger(65);
    assert_eq!(recorders[65].signals(), 0);
    msix.read(0x808, &mut qword);
    assert_eq!(u64::from_le_bytes(qword), 2);
    let _ = msix.write(0x808, &[0; 8]);
    msix.read(0x808, &mut qword);
    assert_eq!(u64::from_le_bytes(qword), 2, "the pending bits are read-only");
    let _ = msix.write(65 * 16 + 12, &[0]);
    assert_eq!(recorders[65].signals(), 1, "two triggers while masked make one interrupt");
    msix.read(0x808, &mut qword);
    assert_eq!(u64::from_le_bytes(qword), 0);
    msix.trigger(65);
    assert_eq!(recorders[65].signals(), 1);
    msix.trigger(70);
    msix.trigger(0xffff);
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
        let (msix, recorders) = build(4);
        msix.set_control(control);
        for (offset, value, size, trigger) in accesses {
            let bytes = value.to_le_bytes();
            let _ = msix.write(offset % 0x60, &bytes[..1 << size]);
            let mut data = [0; 8];
            msix.read(offset, &mut data[..1 << size]);
            if trigger {
                msix.trigger(value as u16 % 5);
            }
        }
        for (index, recorder) in recorders.iter().enumerate() {
            let mut entry = [0; 16];
            msix.read(index as u64 * 16, &mut entry[..8]);
            msix.read(index as u64 * 16 + 8, &mut entry[8..]);
            let address = u64::from_le_bytes(entry[..8].try_into().unwrap());
            let data = u32::from_le_bytes(entry[8..12].try_into().unwrap());
            let deliverable = control & 0xc000 == 0x8000 && entry[12] & 1 == 0;
            let wanted = deliverable.then_some(MsiMessage { address, data });
            prop_assert_eq!(recorder.routes().last().copied().flatten(), wanted);
        }
    }
}
