//! Devices on record, and what a later start makes of the record.

use std::fs;

use super::laptop::{home, port};
use crate::host::binding::recover::Recovery;
use crate::host::tests::fake::{Fake, Fault};
use crate::host::usb::UsbLoans;

/// Takes the host's drivers from a device, as whoever opens it for the guest does.
fn detach(fake: &Fake, name: &str) {
    for interface in &fake.usb(name).interfaces {
        let _ = fs::remove_file(
            fake.root().join(home(name)).join(format!("{name}:1.{}/driver", interface.number)),
        );
    }
}

fn lent(fake: &Fake, names: &[&str]) -> UsbLoans {
    let mut loans = UsbLoans::with(fake.manager(), "vm");
    for name in names {
        loans.lend(&fake.usb(name)).unwrap();
        detach(fake, name);
    }
    loans
}

/// What the next start says, if it says one thing.
fn recovered(fake: &Fake) -> String {
    match &fake.manager().recover(&|| false)[..] {
        [only @ Recovery::GivenBack { .. }] => only.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_machine_that_ends_leaves_neither_record_nor_devices_without_drivers() {
    let fake = Fake::with_usb();
    let mut loans = lent(&fake, &["1-4", "1-5.2"]);
    assert_eq!(fake.journal_names().len(), 1);
    // It runs: another start leaves its devices alone.
    assert!(fake.manager().recover(&|| false).is_empty());
    assert_eq!(fake.log(), Vec::<String>::new());
    loans.give_back(&port("1-4")).unwrap();
    assert_eq!(fake.log(), ["connect 1-4 0", "connect 1-4 1", "connect 1-4 2"]);
    assert_eq!(fake.usb("1-4").drivers(), ["usbhid"]);
    assert_eq!(fake.journal_names().len(), 1);
    loans.give_back(&port("1-5.2")).unwrap();
    assert_eq!(fake.journal_names(), [""; 0]);
    // What is not on record is nobody's.
    loans.give_back(&port("1-8")).unwrap();
}

#[test]
fn what_had_no_driver_needs_no_record() {
    let fake = Fake::with_usb();
    let mut loans = lent(&fake, &["1-8"]);
    assert_eq!(fake.journal_names(), [""; 0]);
    loans.give_back(&port("1-8")).unwrap();
    assert_eq!(fake.log(), Vec::<String>::new());
}

#[test]
fn the_start_after_a_crash_gives_drivers_their_devices() {
    let fake = Fake::with_usb();
    drop(lent(&fake, &["1-4", "1-5.2"]));
    let said = recovered(&fake);
    assert_eq!(
        said,
        "an earlier run of vm ended without giving its USB devices back to the host: the drivers have 1-4, 1-5.2 again"
    );
    assert_eq!(fake.log(), ["connect 1-5.2 0", "connect 1-4 0", "connect 1-4 1", "connect 1-4 2"]);
    assert_eq!(fake.journal_names(), [""; 0]);
}

#[test]
fn what_has_drivers_or_was_plugged_in_again_is_left_alone() {
    let fake = Fake::with_usb();
    drop(lent(&fake, &["1-4", "1-5.2", "2-1"]));
    // The kernel gave this one to a driver; another machine has the next; the last one was pulled out.
    fake.link(&format!("{}/1-4:1.1/driver", home("1-4")), "../drivers/usbhid");
    fake.link(&format!("{}/1-5.2:1.0/driver", home("1-5.2")), "../drivers/usbfs");
    fake.pull("2-1");
    recovered(&fake);
    assert_eq!(fake.log(), ["connect 1-4 0", "connect 1-4 2"]);
    drop(lent(&fake, &["1-4"]));
    fake.pull("1-4");
    fake.plug("1-4", 40);
    let before = fake.log().len();
    recovered(&fake);
    assert_eq!(fake.log().len(), before);
}

#[test]
fn what_does_not_come_back_stays_on_record() {
    let fake = Fake::with_usb();
    let mut loans = lent(&fake, &["1-4"]);
    fake.fault("connect 1-4 1", Fault::Deny);
    let error = loans.give_back(&port("1-4")).unwrap_err().to_string();
    assert!(
        error.contains("interface 1 of the USB device at port 1-4")
            && error.contains("plug the device in again"),
        "{error}"
    );
    assert_eq!(fake.journal_names().len(), 1);
    fake.kernel.faults.lock().unwrap().clear();
    drop(loans);
    recovered(&fake);
    assert_eq!(fake.usb("1-4").interfaces.iter().filter(|it| it.driver.is_some()).count(), 3);
    assert_eq!(fake.journal_names(), [""; 0]);
}

#[test]
fn records_name_ports_and_nothing_else() {
    let fake = Fake::with_usb();
    fs::create_dir_all(fake.journals()).unwrap();
    let text = r#"{"format":6,"machine":"vm","pid":1,"boot":"b007","claims":[],"steps":[{"usb_drivers":{"port":"../1-4","number":3,"interfaces":[0]}}]}"#;
    fs::write(fake.journals().join("vm-1.json"), text).unwrap();
    assert!(matches!(&fake.manager().recover(&|| false)[..], [Recovery::Unusable { .. }]));
}
