use super::*;

#[test]
fn vectors_reach_the_host_at_their_first_unmask_only() {
    let mut bench = Bench::started(device());
    bench.interrupts.set_msix_control(ENABLE | FUNCTION_MASK);
    assert_eq!(bench.device.take_log(), [Op::DisableIrq(irq::INTX), set(irq::MSIX, 0, &[false])]);
    let wanted = bench.program(2, 0x42);
    assert!(bench.device.take_log().is_empty(), "the function is masked");
    assert_eq!(bench.allocator.vectors().len(), 0);
    bench.interrupts.set_msix_control(ENABLE);
    assert_eq!(bench.device.take_log(), [set(irq::MSIX, 2, &[true])]);
    assert_eq!(bench.allocator.routed(), [wanted]);
    for data in 0x50..0x60 {
        bench.mask(2, true);
        assert_eq!(bench.allocator.routed(), []);
        assert_eq!(bench.program(2, data), bench.allocator.routed()[0]);
        bench.interrupts.set_msix_control(ENABLE | FUNCTION_MASK);
        assert_eq!(bench.allocator.routed(), []);
        bench.interrupts.set_msix_control(ENABLE);
    }
    assert!(bench.device.take_log().is_empty(), "masking is not the host's business");
    bench.program(0, 0x40);
    assert_eq!(bench.device.take_log(), [set(irq::MSIX, 0, &[true])]);
    bench.interrupts.set_msix_control(0);
    let [first, second, third] = intx_on();
    assert_eq!(bench.device.take_log(), [Op::DisableIrq(irq::MSIX), first, second, third]);
    assert_eq!(bench.allocator.routed(), []);
}

#[test]
fn vectors_unmasked_before_msix_is_on_are_given_at_once() {
    let mut bench = Bench::started(device());
    bench.program(1, 0x41);
    bench.program(3, 0x43);
    assert!(bench.device.take_log().is_empty());
    bench.interrupts.set_msix_control(ENABLE);
    assert_eq!(
        bench.device.take_log(),
        [
            Op::DisableIrq(irq::INTX),
            set(irq::MSIX, 0, &[false]),
            set(irq::MSIX, 1, &[true]),
            set(irq::MSIX, 3, &[true]),
        ]
    );
    assert_eq!(bench.allocator.routed(), [message(0x41), message(0x43)]);
}

#[test]
fn a_fixed_set_of_vectors_is_taken_whole() {
    let fixed = || FakeDevice::new().with_irq(irq::MSIX, 4, true);
    let mut bench = Bench::started(fixed());
    bench.interrupts.set_msix_control(ENABLE);
    bench.program(3, 0x43);
    assert_eq!(bench.device.take_log(), [set(irq::MSIX, 0, &[false; 4]), set(irq::MSIX, 3, &[true])]);

    let mut bench = Bench::started(fixed());
    bench.device.limit_vectors(2);
    bench.interrupts.set_msix_control(ENABLE);
    assert_eq!(bench.device.take_log(), [set(irq::MSIX, 0, &[false; 4]), set(irq::MSIX, 0, &[false; 2])]);
    let wanted = bench.program(1, 0x41);
    bench.program(3, 0x43);
    assert_eq!(bench.allocator.routed(), [wanted], "what the host does not have stays silent");
}

#[test]
fn what_is_signalled_while_masked_pends_and_is_delivered_once() {
    let mut bench = Bench::started(device());
    bench.interrupts.set_msix_control(ENABLE);
    bench.program(3, 0x43);
    bench.mask(3, true);
    assert!(bench.device.interrupt(irq::MSIX, 3));
    assert!(bench.device.interrupt(irq::MSIX, 3));
    assert_eq!((bench.pending(), bench.pending()), (8, 8));
    assert_eq!(bench.allocator.delivered(), []);
    bench.mask(3, false);
    assert_eq!(bench.pending(), 0);
    assert_eq!(bench.allocator.delivered(), [message(0x43)]);
    bench.mask(3, true);
    bench.mask(3, false);
    assert_eq!(bench.allocator.delivered(), []);
}

#[test]
fn what_pends_when_msix_goes_off_is_forgotten() {
    let mut bench = Bench::started(device());
    for reset in [false, true] {
        bench.interrupts.set_msix_control(ENABLE);
        bench.program(0, 0x40);
        bench.mask(0, true);
        assert!(bench.device.interrupt(irq::MSIX, 0));
        if reset {
            bench.interrupts.before_reset();
            bench.interrupts.after_reset();
        } else {
            bench.interrupts.set_msix_control(0);
        }
        assert_eq!(bench.pending(), 0);
        bench.interrupts.set_msix_control(ENABLE);
        bench.mask(0, false);
        assert_eq!(bench.allocator.delivered(), []);
        assert!(bench.device.interrupt(irq::MSIX, 0), "the vector has its event again");
        assert_eq!(
            bench.allocator.delivered(),
            [message(if reset { 0 } else { 0x40 })].map(|mut wanted| {
                wanted.address = if reset { 0 } else { ADDRESS };
                wanted
            })
        );
    }
}

#[test]
fn a_vector_that_the_host_refuses_can_still_be_had_later() {
    let mut bench = Bench::started(device());
    bench.interrupts.set_msix_control(ENABLE);
    bench.device.refuse_triggers(irq::MSIX, Some(libc::ENOSPC));
    bench.program(1, 0x41);
    assert_eq!(bench.allocator.routed(), []);
    bench.device.refuse_triggers(irq::MSIX, None);
    bench.mask(1, true);
    bench.mask(1, false);
    assert_eq!(bench.allocator.routed(), [message(0x41)]);
    assert!(bench.device.interrupt(irq::MSIX, 1));
    assert_eq!(bench.allocator.delivered(), [message(0x41)]);
}

#[test]
fn msix_that_the_host_refuses_leaves_the_guest_without_interrupts() {
    let mut bench = Bench::started(device());
    bench.device.limit_vectors(0);
    bench.program(1, 0x41);
    bench.interrupts.set_msix_control(ENABLE | FUNCTION_MASK);
    assert_eq!(bench.device.triggers(), None);
    bench.interrupts.set_msix_control(ENABLE);
    assert_eq!(bench.allocator.vectors().len(), 0, "no vector is set up for nothing");
    bench.device.limit_vectors(4);
    bench.interrupts.set_msix_control(ENABLE);
    assert_eq!(bench.device.triggers(), Some((irq::MSIX, vec![1])));
    assert_eq!(bench.device.violations(), [""; 0]);
}

#[test]
fn vectors_are_made_when_they_are_needed() {
    let mut bench = Bench::started(FakeDevice::new().with_irq(irq::MSIX, 5000, false));
    assert_eq!(bench.interrupts.table_size(), 2048 * 16);
    assert_eq!(bench.interrupts.pba_size(), 2048 / 8);
    bench.interrupts.set_msix_control(ENABLE);
    bench.program(2047, 0x41);
    assert_eq!(bench.device.triggers(), Some((irq::MSIX, vec![2047])));
    assert_eq!(bench.allocator.vectors().len(), 1);
}

#[test]
fn a_reset_comes_in_two_parts() {
    let mut bench = Bench::started(device());
    bench.interrupts.set_msix_control(ENABLE);
    bench.program(1, 0x41);
    bench.device.take_log();
    bench.interrupts.before_reset();
    assert_eq!(bench.device.take_log(), [Op::DisableIrq(irq::MSIX)]);
    let mut entry = [0xaa; 16];
    bench.interrupts.read_table(16, &mut entry);
    assert_eq!(entry, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    bench.interrupts.set_msi(msi(0, 0x31));
    assert!(bench.device.take_log().is_empty(), "the device is being reset");
    bench.interrupts.set_msi(MsiRegisters::default());
    bench.interrupts.after_reset();
    assert_eq!(bench.device.take_log(), intx_on());
}

#[test]
fn msix_comes_before_msi() {
    let mut bench = Bench::started(device());
    bench.interrupts.set_msi(msi(0, 0x31));
    bench.interrupts.set_msix_control(ENABLE);
    assert_eq!(bench.device.triggers(), Some((irq::MSIX, vec![])));
    assert_eq!(bench.allocator.routed(), []);
    bench.interrupts.set_msi(msi(0, 0x33));
    assert_eq!(bench.device.triggers(), Some((irq::MSIX, vec![])));
    bench.interrupts.set_msix_control(0);
    assert_eq!(bench.device.triggers(), Some((irq::MSI, vec![0])));
    assert_eq!(bench.allocator.routed(), [message(0x33)]);
    assert_eq!(bench.device.violations(), [""; 0]);
}
