use super::*;

#[test]
fn enabling_replaces_the_line_and_routes_every_vector() {
    let mut bench = Bench::started(device());
    bench.interrupts.set_msi(MsiRegisters { enabled: false, ..msi(2, 0x47) });
    assert!(bench.device.take_log().is_empty());
    bench.interrupts.set_msi(msi(2, 0x47));
    assert_eq!(bench.device.take_log(), [Op::DisableIrq(irq::INTX), set(irq::MSI, 0, &[true; 4])]);
    // The low bits of the data are the vector's number.
    assert_eq!(bench.allocator.routed(), [0x44, 0x45, 0x46, 0x47].map(message));
    assert!(bench.device.interrupt(irq::MSI, 2));
    assert_eq!(bench.allocator.delivered(), [message(0x46)]);
    bench.interrupts.set_msi(MsiRegisters { enabled: false, ..msi(2, 0x47) });
    let [first, second, third] = intx_on();
    assert_eq!(bench.device.take_log(), [Op::DisableIrq(irq::MSI), first, second, third]);
    assert_eq!(bench.allocator.routed(), []);
}

#[test]
fn a_new_message_changes_routes_alone_and_only_if_it_is_new() {
    let mut bench = Bench::started(device());
    bench.interrupts.set_msi(msi(1, 0x50));
    let calls = bench.interrupts.host_calls();
    let changes =
        || -> Vec<_> { bench.allocator.vectors().iter().map(|vector| vector.changes().len()).collect() };
    assert_eq!(changes(), [1, 1]);
    bench.interrupts.set_msi(msi(1, 0x50));
    // The device replaces bit 0 of the data anyway.
    bench.interrupts.set_msi(msi(1, 0x51));
    assert_eq!(changes(), [0, 0]);
    bench.interrupts.set_msi(msi(1, 0x60));
    assert_eq!(changes(), [1, 1]);
    assert_eq!(bench.allocator.routed(), [message(0x60), message(0x61)]);
    assert_eq!(bench.interrupts.host_calls(), calls);
    bench.device.take_log();
    bench.interrupts.set_msi(msi(0, 0x60));
    assert_eq!(
        bench.device.take_log(),
        [Op::DisableIrq(irq::MSI), set(irq::MSI, 0, &[true])],
        "another number of vectors needs the host"
    );
    assert_eq!(bench.allocator.routed(), [message(0x60)]);
    assert_eq!(bench.allocator.vectors().len(), 2, "vectors are kept");
}

#[test]
fn every_number_of_vectors_has_its_data() {
    // Multiple Message Enable, vectors of the device, vectors in use.
    for (multiple, most, used) in
        [(0, 1, 1), (3, 1, 1), (1, 8, 2), (3, 8, 8), (5, 8, 8), (5, 32, 32), (7, 64, 32)]
    {
        let mut bench = Bench::started(FakeDevice::new().with_irq(irq::MSI, most, true));
        bench.interrupts.set_msi(msi(multiple, 0x41ff));
        let bits = (1u32 << multiple.min(5)) - 1;
        let wanted: Vec<_> = (0..used).map(|vector| message(0x41ff & !bits | vector)).collect();
        assert_eq!(bench.allocator.routed(), wanted, "{multiple} of {most}");
        assert_eq!(bench.device.violations(), [""; 0]);
    }
}

#[test]
fn a_host_short_of_vectors_gives_what_it_has() {
    let mut bench = Bench::started(device());
    bench.device.limit_vectors(3);
    bench.interrupts.set_msi(msi(3, 0x48));
    assert_eq!(
        bench.device.take_log(),
        [Op::DisableIrq(irq::INTX), set(irq::MSI, 0, &[true; 8]), set(irq::MSI, 0, &[true; 3])]
    );
    assert_eq!(bench.allocator.routed(), [0x48, 0x49, 0x4a].map(message));
    bench.interrupts.set_msi(MsiRegisters::default());
    bench.device.limit_vectors(0);
    bench.interrupts.set_msi(msi(3, 0x48));
    assert_eq!(bench.device.triggers(), None, "the guest has turned INTx off");
    assert_eq!(bench.allocator.routed(), []);
    bench.device.limit_vectors(8);
    bench.interrupts.set_msi(msi(3, 0x50));
    assert_eq!(bench.allocator.routed().len(), 8, "the next write tries again");
    assert_eq!(bench.device.violations(), [""; 0]);
}

#[test]
fn a_process_short_of_events_gives_what_it_has() {
    let mut bench = Bench::with(device(), FakeAllocator::with(2));
    bench.interrupts.start().unwrap();
    bench.interrupts.set_msi(msi(3, 0x48));
    assert_eq!(bench.allocator.routed(), [0x48, 0x49].map(message));
    let mut bench = Bench::with(device(), FakeAllocator::with(0));
    bench.interrupts.start().unwrap();
    bench.interrupts.set_msi(msi(3, 0x48));
    assert_eq!(bench.device.triggers(), None);
    bench.interrupts.set_msi(MsiRegisters::default());
    assert_eq!(bench.device.triggers(), Some((irq::INTX, vec![0])));
}

#[test]
fn a_route_that_fails_is_tried_again_and_loses_nothing() {
    let mut bench = Bench::started(device());
    bench.interrupts.set_msi(msi(0, 0x31));
    let vector = bench.allocator.vectors().remove(0);
    vector.refuse(Some(libc::ENOSPC));
    bench.interrupts.set_msi(msi(0, 0x32));
    assert_eq!(vector.routed(), None, "the old message is not delivered in place of the new one");
    assert!(bench.device.interrupt(irq::MSI, 0));
    vector.refuse(None);
    bench.interrupts.set_msi(msi(0, 0x32));
    assert_eq!(vector.delivered(), [message(0x32)]);
}

#[test]
fn what_waits_when_msi_goes_off_is_forgotten() {
    let mut bench = Bench::started(device());
    bench.interrupts.set_msi(msi(0, 0x31));
    let vector = bench.allocator.vectors().remove(0);
    vector.refuse(Some(libc::ENOSPC));
    bench.interrupts.set_msi(msi(0, 0x32));
    assert!(bench.device.interrupt(irq::MSI, 0));
    bench.interrupts.set_msi(MsiRegisters::default());
    vector.refuse(None);
    bench.interrupts.set_msi(msi(0, 0x33));
    assert_eq!(vector.delivered(), []);
    assert!(bench.device.interrupt(irq::MSI, 0));
    assert_eq!(vector.delivered(), [message(0x33)]);
}
