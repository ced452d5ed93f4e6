//! The process dies at any point: the next start brings the host back to what it was.

use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use super::fake::{AUDIO, Copies, Fake, FakeKernel, GPU, PORT, gpu_and_audio, manager_of, observe, revive};
use crate::host::binding::recover::Recovery;

/// A moment at which all functions are bound.
const BOUND: usize = 26;

/// Runs a machine from its start to its end; the result has a copy of the whole host before and after each write, which
/// is what a crash there would leave: no process has the copies' locks.
fn crashes(fake: &Fake, only: Option<usize>) -> Copies {
    *fake.kernel.copies.lock().unwrap() = Some(Copies::new(only));
    fake.manager().bind("vm", &gpu_and_audio()).unwrap().give_back().unwrap();
    fake.kernel.copies.lock().unwrap().take().unwrap()
}

#[test]
fn recovery_from_any_point_restores_the_host() {
    let fake = Fake::new();
    let before = fake.observe();
    let copies = crashes(&fake, None);
    assert!(copies.taken.len() > 40, "{}", copies.taken.len());
    let mut changed = 0;
    for copy in copies.taken {
        let root = copy.join("host");
        changed += usize::from(observe(&root) != before);
        let recovered = revive(&copy).recover(&|| false);
        assert!(matches!(&recovered[..], [Recovery::GivenBack { machine, .. }] if machine == "vm"));
        assert_eq!(observe(&root), before, "{}", copy.display());
        assert!(fs::read_dir(copy.join("state")).unwrap().next().is_none());
        assert!(revive(&copy).recover(&|| false).is_empty());
    }
    assert!(changed > 30, "{changed}");
}

#[test]
fn a_crash_during_recovery_is_recovered_from() {
    let fake = Fake::new();
    let before = fake.observe();
    let copies = crashes(&fake, None);
    // About fully bound: the way back takes about as many writes.
    let bound = &copies.taken[copies.taken.len() / 2];
    let kernel = Arc::new(FakeKernel::of(&bound.join("host")));
    *kernel.copies.lock().unwrap() = Some(Copies::new(None));
    manager_of(bound, kernel.clone()).recover(&|| false);
    let again = kernel.copies.lock().unwrap().take().unwrap();
    assert!(again.taken.len() > 10, "{}", again.taken.len());
    for copy in again.taken {
        revive(&copy).recover(&|| false);
        assert_eq!(observe(&copy.join("host")), before, "{}", copy.display());
    }
}

#[test]
fn a_reboot_needs_no_recovery() {
    let fake = Fake::new();
    let copies = crashes(&fake, Some(BOUND));
    let copy = &copies.taken[0];
    let root = copy.join("host");
    fs::write(root.join("proc/sys/kernel/random/boot_id"), "other\n").unwrap();
    let now = observe(&root);
    assert!(matches!(&revive(copy).recover(&|| false)[..], [Recovery::Rebooted { .. }]));
    assert_eq!(observe(&root), now);
    assert!(revive(copy).recover(&|| false).is_empty());
}

#[test]
fn what_somebody_else_bound_since_stays() {
    let fake = Fake::new();
    let copies = crashes(&fake, Some(BOUND));
    let copy = &copies.taken[0];
    let root = copy.join("host");
    let driver = root.join(format!("sys/bus/pci/devices/{GPU}/driver"));
    fs::remove_file(&driver).unwrap();
    std::os::unix::fs::symlink("drivers/nvidia", &driver).unwrap();
    revive(copy).recover(&|| false);
    assert_eq!(observe(&root)[GPU][..2], ["nvidia", "(null)"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the host was like, and wherever the crash happens.
    #[test]
    fn any_host_is_restored(
        at in 0usize..45,
        attributes in prop::collection::vec((0usize..3, any::<bool>(), any::<bool>()), 0..4),
        unbound in any::<bool>(),
        reserved in any::<bool>(),
    ) {
        let fake = Fake::new();
        for (function, control, allowed) in attributes {
            let function = [GPU, AUDIO, PORT][function];
            fake.attribute(function, "power/control", if control { "on\n" } else { "auto\n" });
            fake.attribute(function, "d3cold_allowed", if allowed { "1\n" } else { "0\n" });
        }
        if unbound {
            fs::remove_file(fake.root().join(format!("sys/bus/pci/devices/{AUDIO}/driver"))).unwrap();
        }
        if reserved {
            fake.attribute(GPU, "driver_override", "nouveau\n");
        }
        let before = fake.observe();
        let copies = crashes(&fake, Some(at));
        prop_assert_eq!(&fake.observe(), &before);
        // Such a host may need fewer writes.
        if let Some(copy) = copies.taken.first() {
            revive(copy).recover(&|| false);
            prop_assert_eq!(observe(&copy.join("host")), before);
        }
    }
}
