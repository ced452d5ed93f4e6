//! Other tests trust the made-up device to be as strict as the kernel.

use vmm_sys_util::eventfd::EFD_NONBLOCK;

use super::*;
use crate::vfio::host::{FewerVectors, irq};

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn configuration_space_keeps_what_is_fixed() {
    let device = FakeDevice::new()
        .with_config(0, &[0xde, 0x10])
        .with_config(0x60, &[5, 0, 0, 0])
        .writable(0x62, &[0x71, 0])
        .with_bar(0, 0, 0x1000, &[])
        .with_bar(1, 0xc, 0x2_0000, &[])
        .with_bar(5, 1, 0x80, &[])
        .with_rom(&[0x55, 0xaa]);
    let size = |register: u64| {
        device.write(region::CONFIG, register, &[0xff; 4]).unwrap();
        let mut data = [0; 4];
        device.read(region::CONFIG, register, &mut data).unwrap();
        u32::from_le_bytes(data)
    };
    assert_eq!(size(0), 0x10de);
    assert_eq!(size(0x10), 0xffff_f000);
    assert_eq!((size(0x14), size(0x18)), (0xfffe_000c, 0xffff_ffff));
    assert_eq!(size(0x24), 0xffff_ff81);
    assert_eq!(size(0x30), 0xffff_f801);
    assert_eq!(size(0x60), 0x0071_0005);
    assert_eq!(errno(device.read(region::CONFIG, 0xffe, &mut [0; 4])), libc::EINVAL);
    assert_eq!(device.region(region::CONFIG).unwrap().size, 0x1000);
    assert_eq!(device.region(1).unwrap().size, 0x2_0000);
    assert_eq!(device.region(2).unwrap(), RegionInfo::default());
    assert_eq!(device.region(9), None);
}

#[test]
fn memory_answers_while_it_is_decoded() {
    let device = FakeDevice::new().with_bar(0, 0, 0x4000, &[(0x1000, 0x3000)]).with_msix_table(0, 0x10, 0x10);
    let mut data = [0; 4];
    device.write(0, 0x2000, &[1, 2, 3, 4]).unwrap();
    device.read(0, 0x2000, &mut data).unwrap();
    assert_eq!(data, [1, 2, 3, 4]);
    device.poke(0, 0x0e, &[9, 9, 9, 9]);
    device.write(0, 0x10, &[7]).unwrap();
    device.read(0, 0x0e, &mut data).unwrap();
    assert_eq!(data, [9, 9, 0xff, 0xff]);
    assert_eq!(errno(device.read(0, 0x3ffe, &mut data)), libc::EINVAL);
    let mapped = device.map(0, 0x1000, 0x2000).unwrap();
    assert_eq!((mapped.address(), mapped.len()), (device.address(0) + 0x1000, 0x2000));
    assert_eq!(mapped.address() % 0x1000, 0);
    assert_eq!(errno(device.map(0, 0, 0x2000)), libc::EINVAL);
    device.write(region::CONFIG, 4, &[0]).unwrap();
    assert_eq!(device.config_u16(4), 0);
    device.take_log();
    assert_eq!(errno(device.read(0, 0, &mut data)), libc::EIO);
    assert_eq!(errno(device.write(0, 0, &data)), libc::EIO);
    let refused = Op::Write { index: 0, offset: 0, data: data.to_vec() };
    assert_eq!(device.take_changes(), [refused]);
}

#[test]
fn interrupts_keep_the_kernels_rules() {
    let device = FakeDevice::new().with_irq(irq::INTX, 1, false).with_irq(irq::MSI, 2, true).with_irq(
        irq::MSIX,
        4,
        false,
    );
    let event = EventFd::new(EFD_NONBLOCK).unwrap();
    let broken = [
        errno(device.disable_irq(irq::MSI)),
        errno(device.mask_intx()),
        errno(device.set_triggers(irq::MSI, 0, &[])),
        errno(device.set_triggers(irq::MSI, 1, &[None, None])),
        device.set_triggers(irq::MSI, 0, &[Some(&event)]).map(|()| 0).unwrap(),
        errno(device.set_triggers(irq::MSIX, 0, &[None])),
        errno(device.set_triggers(irq::MSI, 1, &[Some(&event)])),
    ];
    let einval = libc::EINVAL;
    assert_eq!(broken, [einval, einval, einval, einval, 0, einval, einval]);
    assert_eq!(device.violations().len(), 6);
    device.disable_irq(irq::MSI).unwrap();
    device.limit_vectors(1);
    let error = device.set_triggers(irq::MSI, 0, &[None, None]).unwrap_err();
    assert_eq!(FewerVectors::in_error(&error), Some(FewerVectors { available: 1 }));
    assert_eq!(device.triggers(), None);
    device.set_triggers(irq::MSIX, 0, &[None]).unwrap();
    assert_eq!(errno(device.set_triggers(irq::MSIX, 3, &[None])), libc::ENOSPC);
    assert!(!device.interrupt(irq::MSIX, 0), "a silent vector");
    device.disable_irq(irq::MSIX).unwrap();

    device.set_triggers(irq::INTX, 0, &[Some(&event)]).unwrap();
    device.mask_intx().unwrap();
    assert!(!device.interrupt(irq::INTX, 0));
    device.unmask_intx().unwrap();
    device.write(region::CONFIG, 5, &[4]).unwrap();
    assert!(!device.interrupt(irq::INTX, 0), "Interrupt Disable");
    device.write(region::CONFIG, 5, &[0]).unwrap();
    assert!(device.interrupt(irq::INTX, 0));
}

#[test]
fn the_rest_is_as_it_was_told() {
    let device = FakeDevice::new();
    assert!(device.wait_for_dma());
    device.set_dma(false);
    assert!(!device.wait_for_dma());
    device.announce_reset();
    assert_eq!(device.reset().unwrap(), ResetDone::Function);
    device.set_reset(ResetDone::Nothing);
    assert_eq!(device.reset().unwrap(), ResetDone::Nothing);
    let log = [Op::WaitForDma, Op::WaitForDma, Op::AnnounceReset, Op::Reset, Op::Reset];
    assert_eq!(device.take_changes(), log);
}
