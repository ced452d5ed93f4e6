//! Devices that stay bound when their process has ended.

use std::fs;
use std::sync::Arc;

use super::fake::{
    AUDIO, Fake, FakeKernel, Fault, GPU, address, copy_tree, gpu_and_audio, manager_of, observe, revive,
};
use crate::host::binding::lasting::{Lending, ReleaseError};
use crate::host::binding::recover::Recovery;

fn bound() -> Fake {
    let fake = Fake::new();
    fake.manager().bind("host-bind", &gpu_and_audio()).unwrap().last().unwrap();
    fake
}

fn devices() -> Vec<vocabulary::LentDevice> {
    gpu_and_audio().map(Into::into).to_vec()
}

#[test]
fn stay_until_they_are_released() {
    let before = Fake::new().observe();
    let fake = bound();
    assert_eq!(fake.observe()[GPU][0], "vfio-pci");
    let manager = fake.manager();
    // The next start leaves them alone.
    assert!(manager.recover(&|| false).is_empty());
    assert_eq!(fake.observe()[GPU][0], "vfio-pci");
    assert_eq!(manager.lendings().unwrap(), [Lending { machine: None, devices: devices() }]);
    // Together, whichever is named.
    assert_eq!(manager.release(address(AUDIO)).unwrap(), devices());
    assert_eq!(fake.observe(), before);
    assert!(fake.journal_names().is_empty());
    assert!(matches!(manager.release(address(GPU)),
        Err(ReleaseError::NotBound { driver: Some(driver), .. }) if driver == "nouveau"));
}

#[test]
fn a_machine_may_run_with_them_meanwhile() {
    let fake = bound();
    let manager = fake.manager();
    let kept = fake.observe();
    let run = manager.bind("vm", &gpu_and_audio()).unwrap();
    let lendings = manager.lendings().unwrap();
    assert!(
        lendings.contains(&Lending { machine: Some(("vm".into(), std::process::id())), devices: devices() })
    );
    let error = manager.release(address(GPU)).unwrap_err();
    assert!(error.to_string().contains("belongs to the machine vm, which is running"), "{error}");
    run.give_back().unwrap();
    assert_eq!(fake.observe(), kept);
    manager.release(address(GPU)).unwrap();
}

/// Giving back what a process has open would wait in the kernel.
#[test]
fn what_a_process_holds_is_not_released() {
    let fake = bound();
    fake.file("sys/bus/pci/devices/0000:01:00.0/vfio-dev/vfio0/uevent", "DEVNAME=vfio/devices/vfio0\n");
    fake.process(77, "qemu-system-x86", "/dev/vfio/devices/vfio0");
    let kept = fake.observe();
    let error = fake.manager().release(address(GPU)).unwrap_err();
    assert!(error.to_string().contains("qemu-system-x86 (process 77)"), "{error}");
    assert_eq!(fake.observe(), kept);
}

/// No start tries again what could not be released.
#[test]
fn a_release_that_fails_is_tried_again_by_a_release() {
    let before = Fake::new().observe();
    let fake = bound();
    fake.fault("drivers/nouveau/bind", Fault::Refuse);
    let error = fake.manager().release(address(GPU)).unwrap_err().to_string();
    assert!(error.contains("`sudo optimus-vmm host release` tries again"), "{error}");
    fake.kernel.faults.lock().unwrap().clear();
    assert_eq!(fake.manager().release(address(GPU)).unwrap(), devices());
    assert_eq!(fake.observe(), before);
}

#[test]
fn a_reboot_undoes_them() {
    let fake = bound();
    fake.file("proc/sys/kernel/random/boot_id", "other\n");
    let manager = fake.manager();
    assert!(manager.lendings().unwrap().is_empty());
    assert!(matches!(manager.release(address(GPU)), Err(ReleaseError::NotBound { .. })));
    assert!(matches!(&manager.recover(&|| false)[..], [Recovery::Rebooted { .. }]));
    assert!(fake.journal_names().is_empty());
}

/// A `host bind` that is killed before its end leaves nothing bound.
#[test]
fn a_binding_that_is_cut_short_is_undone() {
    let fake = Fake::new();
    let before = fake.observe();
    let bound = fake.manager().bind("host-bind", &gpu_and_audio()).unwrap();
    // What a kill would leave here: nobody has the copy's lock.
    let copy = tempfile::tempdir().unwrap();
    copy_tree(fake.root().parent().unwrap(), copy.path());
    assert_eq!(observe(&copy.path().join("host"))[GPU][0], "vfio-pci");
    assert!(matches!(&revive(copy.path()).recover(&|| false)[..], [Recovery::GivenBack { .. }]));
    assert_eq!(observe(&copy.path().join("host")), before);
    bound.give_back().unwrap();
}

/// Earlier versions of this program would take it for a crashed machine's: they leave formats alone that they do not know.
#[test]
fn the_record_is_of_a_newer_format() {
    let fake = bound();
    let name = fake.journal_names().remove(0);
    let text = fs::read_to_string(fake.journals().join(name)).unwrap();
    assert!(text.contains("\"format\": 4") && text.contains("\"lasting\": true"), "{text}");
    // That of a machine is as it was.
    let other = Fake::new();
    let bound = other.manager().bind("vm", &gpu_and_audio()).unwrap();
    let text = fs::read_to_string(other.journals().join(other.journal_names().remove(0))).unwrap();
    assert!(text.contains("\"format\": 2") && !text.contains("lasting"), "{text}");
    bound.give_back().unwrap();
    // A kernel of its own, as another process has.
    let again = manager_of(fake.root().parent().unwrap(), Arc::new(FakeKernel::of(&fake.root())));
    again.release(address(GPU)).unwrap();
}
