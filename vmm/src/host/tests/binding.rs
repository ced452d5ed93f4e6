//! Binding and giving back, with and without faults.

use std::fs;
use std::sync::Arc;

use super::fake::{AUDIO, Fake, FakeKernel, Fault, GPU, NVME, PORT, address, gpu_and_audio, manager_of};
use crate::host::binding::step::StepError;
use crate::host::{BindError, GiveBackError, NotLent, Obstacle, Unready};

fn lent(control: &str) -> [String; 4] {
    ["vfio-pci", "vfio-pci", control, "0"].map(String::from)
}

#[test]
fn binds_keeps_awake_and_gives_back() {
    let fake = Fake::new();
    let before = fake.observe();
    let bound = fake.manager().bind("win11", &gpu_and_audio()).unwrap();
    let during = fake.observe();
    assert_eq!(during[GPU], lent("on"));
    assert_eq!(during[AUDIO], lent("on"));
    assert_eq!(during[PORT], ["pcieport", "(null)", "on", "0"].map(String::from));
    assert_eq!(during[NVME], before[NVME]);
    let [journal] = fake.journal_names().try_into().unwrap();
    assert_eq!(journal, format!("win11-{}.json", std::process::id()));
    bound.give_back().unwrap();
    assert_eq!(fake.observe(), before);
    assert!(fake.journal_names().is_empty());
}

#[test]
fn dropping_gives_back() {
    let fake = Fake::new();
    let before = fake.observe();
    drop(fake.manager().bind("vm", &gpu_and_audio()).unwrap());
    assert_eq!(fake.observe(), before);
}

#[test]
fn what_was_bound_stays_bound() {
    let fake = Fake::new();
    fake.link(&format!("sys/bus/pci/devices/{GPU}/driver"), "drivers/vfio-pci");
    let before = fake.observe();
    let bound = fake.manager().bind("vm", &gpu_and_audio()).unwrap();
    assert!(!fake.log().iter().any(|write| write.contains("0000:01:00.0/driver/unbind")));
    assert_eq!(fake.observe()[GPU][2..], ["on", "0"], "kept awake");
    bound.give_back().unwrap();
    assert_eq!(fake.observe(), before);
}

#[test]
fn former_overrides_and_the_lack_of_a_driver_come_back() {
    let fake = Fake::new();
    fs::remove_file(fake.root().join(format!("sys/bus/pci/devices/{AUDIO}/driver"))).unwrap();
    fake.attribute(AUDIO, "driver_override", "pci-stub\n");
    fake.attribute(GPU, "power/control", "on\n");
    fake.attribute(GPU, "d3cold_allowed", "0\n");
    let before = fake.observe();
    let bound = fake.manager().bind("vm", &gpu_and_audio()).unwrap();
    assert_eq!(fake.observe()[AUDIO], lent("on"));
    bound.give_back().unwrap();
    assert_eq!(fake.observe(), before);
}

#[test]
fn nothing_to_bind_touches_nothing() {
    let fake = Fake::new();
    fake.manager().bind("vm", &[]).unwrap().give_back().unwrap();
    assert!(fake.log().is_empty() && !fake.journals().exists());
}

#[test]
fn loads_the_module_or_says_how() {
    let fake = Fake::new();
    fs::remove_dir_all(fake.root().join("sys/bus/pci/drivers/vfio-pci")).unwrap();
    drop(fake.manager().bind("vm", &gpu_and_audio()).unwrap());
    assert_eq!(fake.log()[0], "modprobe vfio-pci");

    let fake = Fake::new();
    fs::remove_dir_all(fake.root().join("sys/bus/pci/drivers/vfio-pci")).unwrap();
    let dir = fake.root().parent().unwrap().to_owned();
    let manager = manager_of(&dir, Arc::new(FakeKernel::default()));
    let error = manager.bind("vm", &gpu_and_audio()).unwrap_err();
    assert!(matches!(error, BindError::NoModule { .. }));
    assert!(error.to_string().contains("sudo modprobe vfio-pci"), "{error}");
}

#[test]
fn a_group_with_others_is_refused_before_any_change() {
    let fake = Fake::new();
    let error = fake.manager().bind("vm", &[address(GPU)]).unwrap_err();
    let BindError::Refused(obstacles) = &error else { panic!("{error}") };
    let [Obstacle { device, why: NotLent::Function(Unready::NotViable { culprits, .. }) }] = &obstacles[..]
    else {
        panic!("{error}")
    };
    assert_eq!((device.function(), culprits.len()), (Some(address(GPU)), 1));
    assert!(error.to_string().contains("functions = \"all\""), "{error}");
    assert!(fake.log().is_empty() && fake.journal_names().is_empty());
}

#[test]
fn every_refused_write_leaves_the_host_as_it_was() {
    let writes = {
        let fake = Fake::new();
        let bound = fake.manager().bind("vm", &gpu_and_audio()).unwrap();
        let writes = fake.log();
        bound.give_back().unwrap();
        writes
    };
    assert!(writes.len() >= 10, "{writes:?}");
    for write in writes {
        for fault in [Fault::Refuse, Fault::Deny] {
            let fake = Fake::new();
            let before = fake.observe();
            fake.fault(&write, fault);
            match fake.manager().bind("vm", &gpu_and_audio()).unwrap_err() {
                BindError::Step(StepError::Denied { .. }) => assert_eq!(fault, Fault::Deny),
                BindError::Step(StepError::Refused { .. }) => assert_eq!(fault, Fault::Refuse),
                // The same write is needed on the way back: the next start does it.
                BindError::AndLeft { .. } => {
                    assert_eq!(fake.journal_names().len(), 1, "{write}");
                    fake.kernel.faults.lock().unwrap().clear();
                    fake.manager().recover(&|| false);
                }
                other => panic!("{write}: {other}"),
            }
            assert_eq!(fake.observe(), before, "{write}");
            assert!(fake.journal_names().is_empty(), "{write}");
        }
    }
}

#[test]
fn a_hang_is_left_to_the_next_start_and_the_rest_given_back() {
    let fake = Fake::new();
    let before = fake.observe();
    fake.fault(&format!("{AUDIO}/driver/unbind"), Fault::Hang);
    let error = fake.manager().bind("vm", &gpu_and_audio()).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("taking 0000:01:00.1 from snd_hda_intel did not end within 10 s"), "{said}");
    assert!(matches!(error, BindError::AndLeft { error, .. }
        if matches!(*error, BindError::Step(StepError::Hung { .. }))));
    let after = fake.observe();
    assert_eq!((&after[GPU], &after[PORT]), (&before[GPU], &before[PORT]));
    let asked = fake.log().iter().filter(|write| write.contains(&format!("{AUDIO}/driver/unbind"))).count();
    assert_eq!(asked, 1, "it is not asked again");
    // The kernel has come to an end with it.
    fake.kernel.faults.lock().unwrap().clear();
    fs::remove_file(fake.root().join(format!("sys/bus/pci/devices/{AUDIO}/driver"))).unwrap();
    fake.manager().recover(&|| false);
    assert_eq!(fake.observe(), before);
    assert!(fake.journal_names().is_empty());
}

#[test]
fn the_next_run_takes_over_what_could_not_be_given_back() {
    let fake = Fake::new();
    let before = fake.observe();
    let bound = fake.manager().bind("vm", &gpu_and_audio()).unwrap();
    fake.fault("drivers/nouveau/bind", Fault::Refuse);
    let error = bound.give_back().unwrap_err();
    assert!(matches!(&error, GiveBackError::Left { left, .. } if left.len() == 1), "{error}");
    assert!(error.to_string().contains("giving 0000:01:00.0 back to nouveau failed"), "{error}");
    assert_eq!(fake.observe()[GPU][0], "");
    fake.manager().recover(&|| false);
    let bound = fake.manager().bind("other", &gpu_and_audio()).unwrap();
    assert_eq!(fake.journal_names().len(), 1);
    assert!(fake.journal_names()[0].starts_with("other-"));
    fake.kernel.faults.lock().unwrap().clear();
    bound.give_back().unwrap();
    assert_eq!(fake.observe()[GPU][0], before[GPU][0]);
    assert_eq!(fake.observe()[AUDIO], before[AUDIO]);
}

#[test]
fn an_absent_driver_gets_nothing_back() {
    let fake = Fake::new();
    let bound = fake.manager().bind("vm", &gpu_and_audio()).unwrap();
    fs::remove_dir_all(fake.root().join("sys/bus/pci/drivers/nouveau")).unwrap();
    bound.give_back().unwrap();
    assert_eq!(fake.observe()[GPU][..2], ["", "(null)"]);
    assert!(fake.journal_names().is_empty());
}

#[test]
fn a_device_that_left_the_host_needs_nothing() {
    let fake = Fake::new();
    let bound = fake.manager().bind("vm", &gpu_and_audio()).unwrap();
    fs::remove_file(fake.root().join(format!("sys/bus/pci/devices/{GPU}"))).unwrap();
    bound.give_back().unwrap();
    assert!(fake.journal_names().is_empty());
}

#[test]
fn a_second_machine_is_told_who_has_the_device() {
    let fake = Fake::new();
    let bound = fake.manager().bind("first", &gpu_and_audio()).unwrap();
    let error = fake.manager().bind("second", &[address(AUDIO)]).unwrap_err();
    let pid = std::process::id();
    assert_eq!(
        error.to_string(),
        format!(
            "0000:01:00.1 belongs to the machine first, which is running (process {pid}): shut that down first"
        )
    );
    // Another device is free, and the first machine's journal is left alone.
    let other = fake.manager().bind("second", &[address(NVME)]).unwrap();
    assert!(fake.manager().recover(&|| false).is_empty());
    assert_eq!(fake.journal_names().len(), 2);
    other.give_back().unwrap();
    bound.give_back().unwrap();
}

#[test]
fn vfio_pci_that_declines_is_told() {
    let fake = Fake::new();
    let before = fake.observe();
    // A probe that finds no driver is no error for the kernel.
    fake.fault(&format!("drivers_probe={GPU}"), Fault::Ignore);
    let error = fake.manager().bind("vm", &gpu_and_audio()).unwrap_err();
    assert!(error.to_string().contains("vfio-pci did not take 0000:01:00.0, which is now without driver"));
    assert_eq!(fake.observe(), before);
}

/// A signal before any of the changes: those before it are put back, and none of those after it is made.
#[test]
fn an_interrupted_start_gives_back_what_it_took() {
    let fake = Fake::new();
    let before = fake.observe();
    let changes = {
        drop(fake.manager().bind("vm", &gpu_and_audio()).unwrap());
        fake.log().len()
    };
    let mut interrupted_at = 0;
    for moment in 0.. {
        let asked = std::cell::Cell::new(0);
        let interrupted = || asked.replace(asked.get() + 1) >= moment;
        match fake.manager().lend("vm", &gpu_and_audio(), &[], &interrupted) {
            Err(BindError::Interrupted) => interrupted_at += 1,
            Err(error) => panic!("{error}"),
            Ok(bound) => {
                drop(bound);
                break;
            }
        }
        assert_eq!(fake.observe(), before, "interrupted at moment {moment}");
        assert!(fake.journal_names().is_empty(), "interrupted at moment {moment}");
    }
    // Two functions and a port, each with more than one change.
    assert!(interrupted_at >= 6 && changes > 6, "{interrupted_at} of {changes}");
}

/// Another start has the record for up to a minute: a signal ends the waiting.
#[test]
fn waiting_for_another_start_is_interrupted() {
    let fake = Fake::new();
    fs::create_dir_all(fake.journals()).unwrap();
    let other = fs::File::open(fake.journals()).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let asked = std::cell::Cell::new(0);
    let interrupted = || asked.replace(asked.get() + 1) > 3;
    let error = fake.manager().lend("vm", &gpu_and_audio(), &[], &interrupted).unwrap_err();
    assert!(matches!(error, BindError::Interrupted), "{error}");
    assert!(fake.manager().recover(&|| true).is_empty());
    assert!(fake.log().is_empty());
}
