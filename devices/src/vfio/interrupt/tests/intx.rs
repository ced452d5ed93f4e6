use super::*;

#[test]
fn the_line_goes_all_the_way_round() {
    let mut bench = Bench::with(device(), FakeAllocator::default());
    assert!(bench.device.take_log().is_empty(), "nothing is on before the start");
    bench.interrupts.start().unwrap();
    assert_eq!(bench.device.take_log(), intx_on());
    assert_eq!(bench.interrupts.host_calls(), 3);
    assert!(bench.line.is_connected());
    for _ in 0..3 {
        assert!(bench.device.interrupt(irq::INTX, 0));
        assert!(bench.line.is_asserted());
        assert!(!bench.device.interrupt(irq::INTX, 0), "masked until it is acknowledged");
        bench.line.acknowledge();
        assert!(!bench.line.is_asserted());
    }
}

#[test]
fn a_function_without_a_pin_leaves_the_host_alone() {
    for (pins, line) in [(0, true), (1, false)] {
        let device = Arc::new(FakeDevice::new().with_irq(irq::INTX, pins, false));
        let line = line.then(|| FakeLine::new() as Arc<dyn ResampledLine>);
        let mut interrupts = Interrupts::new(device.clone(), line, Arc::new(FakeAllocator::default()));
        assert!(!interrupts.has_intx());
        interrupts.start().unwrap();
        interrupts.before_reset();
        interrupts.after_reset();
        assert_eq!(interrupts.host_calls(), 0);
        assert!(device.take_log().is_empty());
    }
}

#[test]
fn a_line_that_cannot_be_had_is_an_error_unless_there_is_msi() {
    type Fault = fn(&FakeDevice);
    type Expected = fn(&IntxError) -> bool;
    let faults: [(Fault, Expected, &str); 3] = [
        (
            |device| device.refuse_triggers(irq::INTX, Some(libc::EBUSY)),
            |error| matches!(error, IntxError::Shared { .. }),
            "another driver of the host uses the same line",
        ),
        (
            |device| device.refuse_unmask(libc::ENOTTY),
            |error| matches!(error, IntxError::NoUnmaskEvent { .. }),
            "cannot unmask it by an event",
        ),
        (
            |device| device.refuse_unmask(libc::EIO),
            |error| matches!(error, IntxError::Host { .. }),
            "cannot have the guest's acknowledgement unmask it",
        ),
    ];
    for (fault, expected, text) in faults {
        let alone = FakeDevice::new().with_irq(irq::INTX, 1, false);
        fault(&alone);
        let mut bench = Bench::with(alone, FakeAllocator::default());
        let error = bench.interrupts.start().unwrap_err();
        assert!(expected(&error), "{error:?}");
        assert!(error.to_string().starts_with("0000:01:00.0: cannot take over its INTx"), "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(bench.device.triggers(), None, "nothing is left half on");
        assert!(!bench.line.is_connected());

        let both = device();
        fault(&both);
        let mut bench = Bench::with(both, FakeAllocator::default());
        bench.interrupts.start().unwrap();
        assert!(!bench.interrupts.has_intx());
        assert_eq!(bench.device.triggers(), None);
        bench.interrupts.set_msi(msi(0, 0x31));
        assert_eq!(bench.device.triggers(), Some((irq::MSI, vec![0])));
        bench.interrupts.set_msi(MsiRegisters::default());
        assert_eq!(bench.device.triggers(), None);
        assert_eq!(bench.device.violations(), [""; 0]);
    }
}

#[test]
fn an_interrupt_of_before_does_not_come_after() {
    let mut bench = Bench::started(device());
    assert!(bench.device.interrupt(irq::INTX, 0));
    bench.interrupts.set_msi(msi(0, 0x31));
    assert!(!bench.line.is_connected());
    assert!(!bench.line.is_asserted(), "message-signalled interrupts replace the line");
    bench.interrupts.set_msi(MsiRegisters::default());
    assert!(bench.line.is_connected());
    assert!(!bench.line.is_asserted());
    assert!(bench.device.interrupt(irq::INTX, 0), "the line works again");
    assert!(bench.line.is_asserted());
}
