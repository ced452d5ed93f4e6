//! The LPC bridge through its configuration space (ICH9 datasheet, 13.1).

use proptest::prelude::*;
use vocabulary::interrupts::{Pin, Pirq};

use super::*;
use crate::test_support::{Line, TestAlarm, read_u8, read_u16};

#[derive(Default)]
struct Router(Mutex<Vec<(usize, Option<u8>)>>);

impl PirqRouter for Router {
    fn route(&self, index: usize, irq: Option<u8>) {
        self.0.lock().unwrap().push((index, irq));
    }
}

impl Router {
    fn take(&self) -> Vec<(usize, Option<u8>)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn lpc() -> (Arc<Lpc>, Arc<Router>) {
    let router = Arc::new(Router::default());
    let pm = PowerManagement::new(Arc::new(Line::default()), Arc::new(TestAlarm::default()));
    let lpc = Lpc::new(pm, router.clone(), Board::Unnamed);
    (lpc, router)
}

fn dword(lpc: &Lpc, register: u16) -> u32 {
    let mut data = [0; 4];
    lpc.config_read(register, &mut data);
    u32::from_le_bytes(data)
}

fn all(lpc: &Lpc) -> Vec<u32> {
    (0..64).map(|index| dword(lpc, index * 4)).collect()
}

fn disabled() -> Vec<(usize, Option<u8>)> {
    (0..8).map(|index| (index, None)).collect()
}

#[test]
fn power_on_registers() {
    let (lpc, router) = lpc();
    assert_eq!(router.take(), disabled());
    let expected = [
        (0x00, 0x2918_8086),
        (0x04, 0x0200_0007),
        (0x08, 0x0601_0002),
        (0x0c, 0x0080_0000),
        (0x10, 0),
        (0x2c, 0x2918_8086),
        (0x3c, 0),
        (0x40, 1),
        (0x44, 0),
        (0x60, 0x8080_8080),
        (0x64, 0x10),
        (0x68, 0x8080_8080),
        (0xf0, 0),
    ];
    for (register, value) in expected {
        assert_eq!(dword(&lpc, register), value, "{register:#x}");
    }
    assert!(lpc.regions().is_empty());
}

/// What edk2's OvmfPkg writes, in its order.
#[test]
fn firmware_sequence() {
    let (lpc, router) = lpc();
    router.take();
    assert!(!lpc.config_write(0x40, &0x601u32.to_le_bytes()).decode_changed, "not yet enabled");
    assert!(lpc.config_write(0x44, &[0x80]).decode_changed);
    assert_eq!(dword(&lpc, 0x40), 0x601);
    assert!(lpc.config_write(0xf0, &0xfed1_c001u32.to_le_bytes()).decode_changed);
    let regions = lpc.regions();
    let [pm, rcrb] = regions.as_slice() else { panic!("two regions") };
    assert_eq!((pm.space, pm.range, pm.platform), (Space::Io, AddressRange::new(0x600, 0x80).unwrap(), true));
    let block = AddressRange::new(0xfed1_c000, 0x4000).unwrap();
    assert_eq!((rcrb.space, rcrb.range, rcrb.platform), (Space::Memory, block, true));
    assert_eq!(read_u16(pm.device.as_ref(), 4), 1, "SCI_EN");

    for _ in 0..2 {
        for (register, irq) in (0x60..0x64).chain(0x68..0x6c).zip([10, 10, 11, 11, 10, 10, 11, 11]) {
            assert!(!lpc.config_write(register, &[irq]).decode_changed);
        }
    }
    let expected: Vec<_> = [10, 10, 11, 11, 10, 10, 11, 11]
        .into_iter()
        .enumerate()
        .map(|(pirq, irq)| (pirq, Some(irq)))
        .collect();
    assert_eq!(router.take(), expected, "routed once: the second round changes nothing");

    lpc.reset();
    assert_eq!(router.take(), disabled());
    assert!(lpc.regions().is_empty());
}

#[test]
fn reserved_interrupts_reach_nothing() {
    let (lpc, router) = lpc();
    for rout in 0..=0xff {
        router.take();
        let _ = lpc.config_write(0x60, &[0x83]);
        let _ = lpc.config_write(0x60, &[3]);
        let _ = lpc.config_write(0x60, &[rout]);
        let expected = match rout & 0x8f {
            irq @ (3..=7 | 9..=12 | 14 | 15) => Some(irq),
            _ => None,
        };
        let last = router.take().pop();
        assert_eq!(last, Some((0, expected)), "{rout:#x}");
    }
}

#[test]
fn rcrb_names_the_wires() {
    let (lpc, _) = lpc();
    let _ = lpc.config_write(0xf0, &0xfed1_c001u32.to_le_bytes());
    let regions = lpc.regions();
    let rcrb = regions[0].device.as_ref();
    let registers =
        [(31, 0x3140), (30, 0x3142), (29, 0x3144), (28, 0x3146), (27, 0x3148), (26, 0x314c), (25, 0x3150)];
    for (device, offset) in registers {
        let value = read_u16(rcrb, offset);
        // Device 30's register is reserved.
        for pin in (1..=4u8).filter(|_| device != 30) {
            assert_eq!(
                value >> (4 * (pin - 1)) & 7,
                u16::from(Pirq::of_root_bus(device, Pin::wrapping(pin)).index()),
                "device {device} pin {pin}"
            );
        }
    }
    assert_eq!(rcrb.write(0x3140, &[0xff; 4]), crate::bus::Action::None);
    assert_eq!(read_u16(rcrb, 0x3140), 0x3210);
    assert_eq!(read_u8(rcrb, 0x3410), 0x20, "no watchdog");
    assert_eq!(read_u8(rcrb, 0x3fff), 0);
}

proptest! {
    #[test]
    fn decode_changes_are_announced_and_reset_undoes_all(
        writes in prop::collection::vec((0u16..64, any::<u32>(), 0usize..3), 0..40),
    ) {
        let (lpc, router) = lpc();
        let power_on = all(&lpc);
        let decode = |lpc: &Lpc| lpc.regions().iter().map(|region| (region.space, region.range)).collect::<Vec<_>>();
        for (index, value, size) in writes {
            let before = decode(&lpc);
            let written = lpc.config_write(index * 4, &value.to_le_bytes()[..1 << size]);
            prop_assert_eq!(written.decode_changed, decode(&lpc) != before);
        }
        router.take();
        lpc.reset();
        prop_assert_eq!(all(&lpc), power_on);
        prop_assert_eq!(router.take(), disabled());
    }
}
