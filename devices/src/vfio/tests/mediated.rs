//! A mediated GPU of Intel's, as GVT-g makes it.

use super::*;
use crate::vfio::config::OPREGION_ADDRESS;

const COMMAND: u16 = reg::COMMAND;

/// Nothing is decoded at first; of the aperture, the second BAR, only a part is lent.
fn vgpu() -> FakeDevice {
    FakeDevice::new()
        .with_config(0x00, &[0x86, 0x80, 0x16, 0x59, 0x00, 0x00])
        .with_config(0x0a, &[0x00, 0x03])
        .writable(COMMAND, &[0x07, 0x04])
        .writable(0xe8, &[0xff; 4])
        .writable(OPREGION_ADDRESS, &[0xff; 4])
        .with_bar(0, 0x4, 0x1000, &[])
        .with_bar(2, 0xc, 0x8000, &[(0x2000, 0x1000)])
}

fn bench() -> Bench {
    Bench::with(vec![vgpu()], &Options { mediated: true, ..options() })
}

fn dword(value: u32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

#[test]
fn bars_are_sized_and_placed_in_the_device_too() {
    let bench = bench();
    bench.write(BEHIND, 0x10, &dword(u32::MAX));
    assert_eq!(bench.u32(BEHIND, 0x10), 0xffff_f004);
    bench.write(BEHIND, 0x10, &dword(0xc000_0000));
    bench.write(BEHIND, 0x14, &dword(8));
    let writes = bench.changes();
    let expected =
        [(0x10, u32::MAX), (0x10, 0xc000_0000), (0x14, 8)].map(|(at, value)| forwarded(at, &dword(value)));
    assert_eq!(writes, expected);
    // A part of a BAR is completed by what the device has of it.
    bench.write(BEHIND, 0x12, &[0x00, 0xc1]);
    assert_eq!(bench.changes(), [forwarded(0x10, &dword(0xc100_0004))]);
    assert_eq!(bench.u32(BEHIND, 0x10), 0xc100_0004);
}

#[test]
fn command_and_status_are_written_apart() {
    let bench = bench();
    bench.write(BEHIND, COMMAND, &[0x02, 0x04, 0x00, 0x00]);
    assert_eq!(bench.changes(), [forwarded(COMMAND, &[0x02, 0x04]), forwarded(COMMAND + 2, &[0, 0])]);
    bench.write(BEHIND, 0xe9, &[0x55]);
    assert_eq!(bench.changes(), [forwarded(0xe8, &dword(0x5500))]);
}

#[test]
fn what_is_not_lent_of_the_aperture_reads_as_ones() {
    let bench = bench();
    bench.write(BEHIND, 0x18, &dword(0xc000_0000));
    bench.write(BEHIND, 0x1c, &dword(0));
    bench.write(BEHIND, COMMAND, &[2, 0]);
    bench.store(0xc000_0000, &[7]);
    assert_eq!(bench.load(0xc000_0000), [7, 0, 0, 0], "what the device answers for");
    bench.device().vanish();
    for address in [0xc000_0000, 0xc000_7ff8] {
        assert_eq!(bench.load(address), [0xff; 8]);
        bench.store(address, &[0; 8]);
    }
}

#[test]
fn the_opregions_address_is_preset_unless_firmware_has_chosen() {
    let device = Arc::new(vgpu());
    let options = Options { mediated: true, ..options() };
    let function = function(&device, &options, &FakeLine::new(), &Arc::default()).unwrap();
    let asls = || {
        let mut data = [0; 4];
        crate::pci::PciFunction::config_read(&*function, OPREGION_ADDRESS, &mut data);
        u32::from_le_bytes(data)
    };
    let device_has = || device.config_u16(OPREGION_ADDRESS + 2);
    device.take_log();
    assert!(function.preset_opregion(0x7ff0_0000));
    assert_eq!(device.take_changes(), [forwarded(OPREGION_ADDRESS, &dword(0x7ff0_0000))]);
    assert_eq!((asls(), device_has()), (0x7ff0_0000, 0x7ff0));

    // An option ROM has its own copy, before or after.
    let _ = crate::pci::PciFunction::config_write(&*function, OPREGION_ADDRESS, &dword(0x6000_0000));
    assert_eq!((asls(), device_has()), (0x6000_0000, 0x6000));
    assert!(function.preset_opregion(0x7ff0_0000));
    assert_eq!((asls(), device_has()), (0x6000_0000, 0x6000));

    crate::pci::PciFunction::reset(&*function);
    crate::pci::PciFunction::settle(&*function);
    assert_eq!(asls(), 0);
    assert!(function.preset_opregion(0x7ff0_1000), "everything again");
    assert_eq!(asls(), 0x7ff0_1000);
}

#[test]
fn a_function_without_the_register_says_so() {
    let device = Arc::new(gpu());
    let function = function(&device, &options(), &FakeLine::new(), &Arc::default()).unwrap();
    device.take_log();
    assert!(!function.preset_opregion(0x7ff0_0000));
    assert_eq!(device.take_changes(), []);
}
