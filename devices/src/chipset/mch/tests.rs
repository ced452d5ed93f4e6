//! The host bridge through its configuration space ("Intel 3 Series Express Chipset Family Datasheet", 316966, 5.1).

use proptest::prelude::*;

use super::*;
use crate::bus::Action;

struct Ones;

impl BusDevice for Ones {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn write(&self, _offset: u64, _data: &[u8]) -> Action {
        Action::None
    }
}

fn mch() -> Arc<Mch> {
    Mch::new(Arc::new(Ones))
}

fn dword(mch: &Mch, register: u16) -> u32 {
    let mut data = [0; 4];
    mch.config_read(register, &mut data);
    u32::from_le_bytes(data)
}

fn all(mch: &Mch) -> Vec<u32> {
    (0..64).map(|index| dword(mch, index * 4)).collect()
}

#[test]
fn power_on_registers() {
    let mch = mch();
    let expected = [
        (0x00, 0x29c0_8086),
        (0x08, 0x0600_0000),
        (0x0c, 0),
        (0x10, 0),
        (0x24, 0),
        (0x2c, 0x29c0_8086),
        (0x30, 0),
        (0x3c, 0),
        (0x60, 0xe000_0000),
        (0x64, 0),
        (0x90, 0),
        (0x94, 0),
        (0x9c, 0x0000_0200),
    ];
    for (register, value) in expected {
        assert_eq!(dword(&mch, register), value, "{register:#x}");
    }
    assert_eq!(mch.ecam(), None);
    assert!(mch.regions().is_empty());
}

#[test]
fn bars_do_not_exist() {
    let mch = mch();
    for register in (0x10..0x28).step_by(4).chain([0x30]) {
        let _ = mch.config_write(register, &[0xff; 4]);
        assert_eq!(dword(&mch, register), 0, "{register:#x}");
    }
}

/// The three dword writes of edk2's OvmfPkg/PlatformPei, at both addresses that its releases choose.
#[test]
fn firmware_moves_the_ecam() {
    for base in [0xb000_0000u32, 0xe000_0000] {
        let mch = mch();
        assert!(!mch.config_write(0x60, &[0; 4]).decode_changed);
        assert!(!mch.config_write(0x64, &[0; 4]).decode_changed);
        assert!(mch.config_write(0x60, &(base | 1).to_le_bytes()).decode_changed);
        let expected = AddressRange::new(base.into(), 256 << 20);
        assert_eq!(mch.ecam(), expected);
        let regions = mch.regions();
        let [region] = regions.as_slice() else { panic!("one region") };
        assert_eq!((region.space, Some(region.range), region.platform), (Space::Memory, expected, true));
        mch.reset();
        assert_eq!(mch.ecam(), None);
    }
}

#[test]
fn lengths() {
    let cases = [
        (0xcfff_ffff_u64 & !6, 0xc000_0000, 256),
        (0xcfff_ffff & !6 | 2, 0xc800_0000, 128),
        (0xcfff_ffff & !6 | 4, 0xcc00_0000, 64),
        (0xf_f000_0001, 0xf_f000_0000, 256),
        (0xffff_ffff_0000_0001, 0xf_0000_0000, 256),
    ];
    for (register, base, mebibytes) in cases {
        let mch = mch();
        let _ = mch.config_write(0x60, &(register as u32).to_le_bytes());
        let _ = mch.config_write(0x64, &((register >> 32) as u32).to_le_bytes());
        assert_eq!(mch.ecam(), AddressRange::new(base, mebibytes << 20), "{register:#x}");
    }
    let mch = mch();
    let _ = mch.config_write(0x60, &7u32.to_le_bytes());
    assert_eq!(mch.ecam(), None, "reserved length");
}

proptest! {
    #[test]
    fn decode_changes_are_announced_and_reset_undoes_all(
        writes in prop::collection::vec((0u16..64, any::<u32>(), 0usize..3), 0..40),
    ) {
        let mch = mch();
        let power_on = all(&mch);
        for (index, value, size) in writes {
            let before = mch.ecam();
            let written = mch.config_write(index * 4, &value.to_le_bytes()[..1 << size]);
            prop_assert_eq!(written.decode_changed, mch.ecam() != before);
        }
        mch.reset();
        prop_assert_eq!(all(&mch), power_on);
    }
}
