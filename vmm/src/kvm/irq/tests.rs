//! Routes as KVM is told of them, and events against the host's KVM.

use super::*;

fn chips_of(entries: &[kvm_irq_routing_entry], gsi: u32) -> usize {
    entries.iter().filter(|entry| entry.gsi == gsi && entry.type_ == KVM_IRQ_ROUTING_IRQCHIP).count()
}

fn signalled(event: &EventFd) -> bool {
    event.read().is_ok()
}

/// On the host's KVM.
fn machine() -> Arc<Interrupts> {
    let kvm = crate::kvm::open().unwrap();
    let vm = crate::kvm::create_vm(&kvm).unwrap();
    crate::kvm::chips::Chips::create(&vm).unwrap();
    Interrupts::new(vm).unwrap()
}

#[test]
#[ignore = "needs KVM; scripts/test runs it in the lab"]
fn a_signal_is_delivered_once() {
    let interrupts = machine();
    let vector = Messages(interrupts).allocate().unwrap();
    let message = MsiMessage { address: 0xfee0_0000, data: 0x31 };
    vector.event().write(1).unwrap();
    vector.route(Some(message)).unwrap();
    assert!(!signalled(vector.event()), "delivered at the route");
    vector.event().write(1).unwrap();
    assert!(!signalled(vector.event()), "delivered at once");
    vector.route(Some(message)).unwrap();
    vector.route(None).unwrap();
    vector.route(None).unwrap();
    vector.event().write(1).unwrap();
    assert!(signalled(vector.event()), "pending while it is masked");
}

#[test]
#[ignore = "needs KVM; scripts/test runs it in the lab"]
fn a_resampled_line_comes_and_goes() {
    let interrupts = machine();
    let [one, other] = [16, 16].map(|gsi| interrupts.resampled_line(gsi).unwrap());
    one.trigger().write(1).unwrap();
    assert!(signalled(one.trigger()), "not connected yet");
    for line in [&one, &other, &one] {
        line.connect().unwrap();
        line.trigger().write(1).unwrap();
        assert!(!signalled(line.trigger()), "KVM has it");
    }
    one.disconnect().unwrap();
    one.trigger().write(1).unwrap();
    assert!(signalled(one.trigger()));
    one.connect().unwrap();
}

#[test]
#[ignore = "needs KVM; scripts/test runs it in the lab"]
fn vectors_are_limited_by_what_kvm_can_route() {
    let interrupts = machine();
    interrupts.next_message.store(MOST_ROUTES - 1, Ordering::Relaxed);
    let messages = Messages(Arc::clone(&interrupts));
    let last = messages.allocate().unwrap();
    last.route(Some(MsiMessage { address: 0xfee0_0000, data: 0x31 })).unwrap();
    let error = messages.allocate().err().unwrap().to_string();
    assert!(error.contains("4072"), "{error}");
    drop(last);
    assert!(interrupts.routes().messages.is_empty());
}

#[test]
fn isa_interrupts_reach_both_controllers() {
    let entries = entries(&Routes::default());
    for gsi in 0..16 {
        assert_eq!(chips_of(&entries, gsi), if gsi == 2 { 1 } else { 2 }, "interrupt {gsi}");
    }
}

#[test]
fn a_routed_pirq_reaches_the_8259_too() {
    let mut routes = Routes::default();
    assert_eq!(chips_of(&entries(&routes), 16), 1);
    routes.pirq[0] = Some(10);
    routes.messages.insert(24, MsiMessage { address: 0xfee0_0000, data: 0x31 });
    let entries = entries(&routes);
    assert_eq!(chips_of(&entries, 16), 2);
    assert_eq!(entries.iter().filter(|entry| entry.gsi == 24).count(), 1);
}
