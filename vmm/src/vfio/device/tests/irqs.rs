use std::fs::File;

use devices::vfio::host::{IrqInfo, irq};
use vmm_sys_util::eventfd::EventFd;

use super::super::irqs::{Irqs, request};

#[test]
fn a_request_is_the_kernels_structure() {
    let bytes = request(4 | 32, 2, 7, 2, &[-1, 9]);
    let fields: Vec<i32> =
        bytes.chunks_exact(4).map(|field| i32::from_ne_bytes(field.try_into().unwrap())).collect();
    // The size comes first and is filled in with the call.
    assert_eq!(fields, [0, 36, 2, 7, 2, -1, 9]);
}

#[test]
fn what_is_not_on_is_not_turned_off() {
    // Every request to this file fails.
    let file = File::open("/dev/null").unwrap();
    let irqs = Irqs::new(|index| IrqInfo { count: index, fixed: false });
    let event = EventFd::new(0).unwrap();
    assert!(irqs.set_triggers(&file, irq::MSIX, 0, &[Some(&event)]).is_err());
    assert!(irqs.disable(&file, irq::MSIX).is_ok());
    assert!(irqs.set_triggers(&file, irq::MSIX, 0, &[]).is_ok());
    assert_eq!(irqs.info(2).count, 2);
    assert_eq!(irqs.info(99), IrqInfo::default());
}
