//! Devices that come and go, beside commands.

mod hands;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::attachments::State;
use super::testing::{Both, by_id, by_port, device, receiver, wanted};
use super::wake::Wake;
use super::{Choice, Meant, UsbError, Wanted, assign};
use crate::host::Holders;
use crate::host::usb::{HostUsbDevice, UsbRefusal};

fn state(both: &Both, wanted: Vec<Wanted>) -> State {
    let wake = Arc::new(Wake::new().unwrap());
    let mut state = State::new(Arc::new(both.clone()), Box::new(both.clone()), wake, wanted);
    state.start().unwrap();
    state
}

/// Plugs a device in again: it has another address.
fn again(both: &Both, mut device: HostUsbDevice) -> HostUsbDevice {
    device.number += 1;
    both.0.lock().unwrap().devices = vec![device.clone()];
    device
}

#[test]
fn the_narrowest_choice_has_its_device_first() {
    let devices = [
        device("1-1", "1:1", Some("a"), ""),
        device("1-2", "1:1", Some("b"), ""),
        device("1-3", "1:1", Some("c"), ""),
        device("1-4", "2:2", None, ""),
    ];
    let serial = |serial: &str| Choice { serial: Some(serial.into()), ..Choice::default() };
    let choices = [by_id("1:1"), by_port("1-2"), serial("a"), by_id("2:2"), by_id("3:3"), by_port("1-4")];
    let choices: Vec<&Choice> = choices.iter().collect();
    let meant = assign(&choices, &devices);
    let ports = |meant: &Meant<'_>| match meant {
        Meant::One(device) => device.port.to_string(),
        Meant::None => "none".into(),
        Meant::Several(devices) => format!("{} of them", devices.len()),
    };
    let found: Vec<_> = meant.iter().map(ports).collect();
    // By what the others leave, the first is clear; the port has the last one's device.
    assert_eq!(found, ["1-3", "1-2", "1-1", "none", "none", "1-4"]);
    assert_eq!(assign(&[&by_id("1:1")], &devices).iter().map(ports).collect::<Vec<_>>(), ["3 of them"]);
    // All of it has to fit.
    let both = Choice { serial: Some("a".into()), ..by_port("1-2") };
    assert_eq!(assign(&[&both], &devices), [Meant::None]);
    assert_eq!(both.to_string(), "with the serial number a at port 1-2");
}

proptest! {
    #[test]
    fn no_device_is_had_twice_and_each_is_one_that_is_meant(
        choices in proptest::collection::vec((0_u8..3, 0_u8..3, 0_u8..4), 0..6),
        devices in proptest::collection::vec((1_u8..3, 1_u8..3), 0..6),
    ) {
        let devices: Vec<_> = (1..).zip(devices).map(|(port, (id, serial))| {
            device(&format!("1-{port}"), &format!("{id}:1"), Some(&serial.to_string()), "")
        }).collect();
        let choices: Vec<_> = choices.into_iter().map(|(id, serial, port)| Choice {
            id: (id > 0).then(|| format!("{id}:1").parse().unwrap()),
            serial: (serial > 0).then(|| serial.to_string()),
            port: (port > 0).then(|| format!("1-{port}").parse().unwrap()),
        }).collect();
        let meant = assign(&choices.iter().collect::<Vec<_>>(), &devices);
        let mut had = std::collections::BTreeSet::new();
        for (choice, meant) in choices.iter().zip(&meant) {
            match meant {
                Meant::One(device) => {
                    prop_assert!(choice.means(device));
                    prop_assert!(had.insert(device.port.clone()));
                }
                Meant::Several(devices) => prop_assert!(devices.len() > 1 && devices.iter().all(|it| choice.means(it))),
                Meant::None => {}
            }
        }
    }
}

#[test]
fn what_is_there_is_attached_at_the_start_and_given_back_at_the_end() {
    let both = Both::with(&[receiver(), device("1-5", "1:1", None, "")]);
    let mut state = state(&both, vec![wanted(0, by_id("046d:c52b"), false), wanted(1, by_id("9:9"), true)]);
    assert_eq!(both.log(), ["open 1-4", "plug 1"]);
    assert_eq!(state.look(Instant::now()), None);
    assert_eq!(both.log(), [""; 0]);
    state.end();
    assert_eq!(both.log(), ["unplug 1", "close 1-4", "give back 1-4"]);
    assert_eq!(state.look(Instant::now()), None);
    assert!(matches!(state.attach_by_command(by_port("1-5")), Err(UsbError::Ended)));
    assert_eq!(both.log(), [""; 0]);
}

#[test]
fn a_device_that_must_be_there_and_cannot_be_had_ends_the_start() {
    for (optional, full) in [(false, false), (false, true), (true, false), (true, true)] {
        let both = Both::with(&[receiver()]);
        both.0.lock().unwrap().full = full;
        both.0.lock().unwrap().broken = (!full).then(|| "it is stuck".into());
        let nodes = tempfile::tempdir().unwrap();
        let started = both.start(vec![wanted(0, by_port("1-4"), optional)], nodes.path());
        match started {
            Ok(_) => assert!(optional),
            Err(error) => {
                assert!(!optional);
                let why = if full { "no port is free" } else { "it is stuck" };
                assert_eq!(error.to_string(), format!("usb_device[0]: {why}"));
            }
        }
        // What was opened was given back.
        let expected: &[&str] = if full { &["open 1-4", "close 1-4", "give back 1-4"] } else { &[] };
        let log = both.log();
        assert_eq!(&log[..expected.len()], expected, "{log:?}");
    }
}

#[test]
fn a_device_that_is_plugged_in_again_is_attached_again() {
    let both = Both::with(&[receiver()]);
    let mut state = state(&both, vec![wanted(0, by_port("1-4"), false)]);
    both.log();
    // The kernel tells whoever has it open first.
    let gone = both.0.lock().unwrap().gone.remove(&receiver().port).unwrap();
    both.0.lock().unwrap().devices.clear();
    gone();
    state.look(Instant::now());
    assert_eq!(both.log(), ["unplug 1", "close 1-4", "give back 1-4"]);
    let second = again(&both, receiver());
    state.look(Instant::now());
    assert_eq!(both.log(), ["open 1-4", "plug 2"]);
    // Enumerated anew between two looks.
    again(&both, second);
    state.look(Instant::now());
    assert_eq!(both.log(), ["unplug 2", "close 1-4", "give back 1-4", "open 1-4", "plug 3"]);
    // Another device at the same port, which nobody wants by its make.
    let mut state = state_of_id(&both);
    both.0.lock().unwrap().devices = vec![device("1-4", "1:1", None, "")];
    state.look(Instant::now());
    assert_eq!(both.log(), ["unplug 4", "close 1-4", "give back 1-4"]);
}

#[test]
fn what_stops_answering_is_not_taken_again_and_again() {
    let both = Both::with(&[receiver()]);
    let mut state = state(&both, vec![wanted(0, by_port("1-4"), false)]);
    let gone = both.0.lock().unwrap().gone.remove(&receiver().port).unwrap();
    gone();
    state.look(Instant::now());
    state.look(Instant::now());
    assert_eq!(both.log(), ["open 1-4", "plug 1", "unplug 1", "close 1-4", "give back 1-4"]);
    // A command knows better, and so does whoever plugs it in again.
    state.attach_by_command(by_port("1-4")).unwrap();
    assert_eq!(both.log(), ["open 1-4", "plug 2"]);
    let gone = both.0.lock().unwrap().gone.remove(&receiver().port).unwrap();
    gone();
    state.look(Instant::now());
    both.log();
    again(&both, receiver());
    state.look(Instant::now());
    assert_eq!(both.log(), ["open 1-4", "plug 3"]);
}

fn state_of_id(both: &Both) -> State {
    let state = state(both, vec![wanted(0, by_id("046d:c52b"), true)]);
    both.log();
    state
}

#[test]
fn what_passes_is_waited_for_and_what_stays_is_told_once() {
    let both = Both::default();
    let mut state = state(&both, vec![wanted(0, by_port("1-4"), true)]);
    let claimed = UsbRefusal::Claimed { holders: Holders::default() };
    both.0.lock().unwrap().refusals.insert(receiver().port, claimed);
    again(&both, receiver());
    let now = Instant::now();
    let at = state.look(now).unwrap();
    assert!(at > now);
    assert!(state.look(at).is_some());
    assert_eq!(both.log(), [""; 0]);
    both.0.lock().unwrap().refusals.clear();
    assert_eq!(state.look(at), None);
    assert_eq!(both.log(), ["open 1-4", "plug 1"]);
    // Not for ever.
    both.0.lock().unwrap().devices.clear();
    state.look(at);
    let stays = UsbRefusal::NotConfigured { port: "1-4".into() };
    both.0.lock().unwrap().refusals.insert(receiver().port, stays);
    again(&both, receiver());
    assert!(state.look(now).is_some());
    assert_eq!(state.look(now + Duration::from_secs(4)), None);
    // What never passes is not tried again.
    both.0.lock().unwrap().refusals.insert(receiver().port, UsbRefusal::Hub);
    assert_eq!(state.look(now), None);
}

#[test]
fn of_several_none_is_taken() {
    let both = Both::default();
    let mut state = state(&both, vec![wanted(0, by_id("1:1"), true)]);
    let (one, other) = (device("1-1", "1:1", None, ""), device("1-2", "1:1", None, ""));
    both.0.lock().unwrap().devices = vec![one.clone(), other];
    assert_eq!(state.look(Instant::now()), None);
    assert_eq!(both.log(), [""; 0]);
    both.0.lock().unwrap().devices = vec![one.clone()];
    state.look(Instant::now());
    assert_eq!(both.log(), ["open 1-1", "plug 1"]);
    // It stays with the one that it has.
    both.0.lock().unwrap().devices = vec![one, device("1-3", "1:1", None, "")];
    state.look(Instant::now());
    assert_eq!(both.log(), [""; 0]);
}

#[test]
fn commands_attach_and_detach() {
    let both = Both::with(&[
        receiver(),
        device("1-5", "1:1", Some("x"), "usb-storage"),
        device("1-6", "1:1", Some("y"), ""),
    ]);
    let mut state = state(&both, vec![wanted(0, by_id("046d:c52b"), false)]);
    both.log();
    let said = |result: Result<_, UsbError>| result.map(|_: super::Status| ()).unwrap_err().to_string();
    assert_eq!(
        said(state.attach_by_command(by_id("1:1"))),
        "1:1 is at port 1-5 (serial number x), port 1-6 (serial number y): say which one by its port"
            .replace("1:1", "0001:0001")
    );
    assert!(
        said(state.attach_by_command(by_port("1-9")))
            .contains("no USB device of the host is at port 1-9 now")
    );
    assert!(said(state.attach_by_command(by_port("1-4"))).ends_with("already, by usb_device[0]"));
    both.0.lock().unwrap().refusals.insert("1-5".parse().unwrap(), UsbRefusal::Hub);
    assert!(said(state.attach_by_command(by_port("1-5"))).contains("it is a hub"));
    both.0.lock().unwrap().refusals.clear();
    both.0.lock().unwrap().broken = Some("it is stuck".into());
    assert!(said(state.attach_by_command(by_port("1-5"))).ends_with("it is stuck"));
    both.0.lock().unwrap().broken = None;
    // What failed is not wanted.
    state.look(Instant::now());
    assert_eq!(both.log(), [""; 0]);
    let status = state.attach_by_command(by_port("1-5")).unwrap();
    assert_eq!((status.guest_port, status.wanted_by.as_deref()), (Some(2), Some("ctl usb")));
    assert_eq!(both.log(), ["open 1-5", "plug 2"]);
    let (listed, absent) = state.list();
    let ports: Vec<_> = listed.iter().map(|device| (device.port.to_string(), device.guest_port)).collect();
    assert_eq!(ports, [("1-4".into(), Some(1)), ("1-5".into(), Some(2)), ("1-6".into(), None)]);
    assert_eq!(absent, []);
    // A section's is kept from the guest until a command gives it again.
    let status = state.detach_by_command(&by_id("046d:c52b")).unwrap().unwrap();
    assert_eq!((status.guest_port, status.drivers), (None, vec!["usbhid".to_owned()]));
    assert_eq!(both.log(), ["unplug 1", "close 1-4", "give back 1-4"]);
    state.look(Instant::now());
    assert_eq!(both.log(), [""; 0]);
    assert!(state.list().1[0].held_back);
    assert!(matches!(state.detach_by_command(&by_port("1-4")), Err(UsbError::NotAttached(_))));
    assert_eq!(state.attach_by_command(by_port("1-4")).unwrap().wanted_by.as_deref(), Some("usb_device[0]"));
    both.log();
    // A command's is forgotten.
    state.detach_by_command(&by_port("1-5")).unwrap();
    state.look(Instant::now());
    assert_eq!(both.log(), ["unplug 2", "close 1-5", "give back 1-5"]);
    assert_eq!(state.list().1, []);
}

#[test]
fn what_a_command_has_attached_comes_back_until_another_forgets_it() {
    let both = Both::with(&[receiver()]);
    let mut state = state(&both, Vec::new());
    state.attach_by_command(by_id("046d:c52b")).unwrap();
    both.0.lock().unwrap().devices.clear();
    state.look(Instant::now());
    assert_eq!(state.list().1[0].wanted_by, "ctl usb");
    again(&both, receiver());
    state.look(Instant::now());
    assert_eq!(
        both.log(),
        ["open 1-4", "plug 1", "unplug 1", "close 1-4", "give back 1-4", "open 1-4", "plug 2"]
    );
    both.0.lock().unwrap().devices.clear();
    state.look(Instant::now());
    assert_eq!(state.detach_by_command(&by_id("046d:c52b")).unwrap(), None);
    assert_eq!(state.list().1, []);
}

/// Waits until something was noted.
fn noted(both: &Both, what: &str) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if both.0.lock().unwrap().log.iter().any(|line| line == what) {
            return both.log();
        }
        assert!(Instant::now() < deadline, "{what}: {:?}", both.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nodes_that_come_and_go_are_followed_on_all_buses() {
    let folder = tempfile::tempdir().unwrap();
    let node = |path: &str| folder.path().join(path);
    let touch = |path: &Path| fs::write(path, "").unwrap();
    fs::create_dir(node("001")).unwrap();
    let both = Both::default();
    let server = both.start(vec![wanted(0, by_port("1-4"), true)], folder.path()).unwrap();
    both.0.lock().unwrap().devices = vec![receiver()];
    touch(&node("001/002"));
    assert_eq!(noted(&both, "plug 1"), ["open 1-4", "plug 1"]);
    both.0.lock().unwrap().devices.clear();
    fs::remove_file(node("001/002")).unwrap();
    noted(&both, "give back 1-4");
    // A controller comes, and its bus with it; whoever has a device open knows first that it has gone.
    fs::create_dir(node("002")).unwrap();
    server.attachments().detach(&by_port("1-4")).unwrap();
    both.0.lock().unwrap().devices = vec![device("2-1", "1:1", None, "")];
    server.attachments().attach(by_port("2-1")).unwrap();
    noted(&both, "plug 2");
    let gone = both.0.lock().unwrap().gone.remove(&"2-1".parse().unwrap()).unwrap();
    both.0.lock().unwrap().devices.clear();
    gone();
    noted(&both, "give back 2-1");
    std::thread::sleep(Duration::from_millis(200));
    both.0.lock().unwrap().devices = vec![device("2-1", "1:1", None, "")];
    touch(&node("002/002"));
    noted(&both, "plug 3");
    drop(server);
    assert_eq!(both.log(), ["unplug 3", "close 2-1", "give back 2-1"]);
}

#[test]
fn a_machine_that_wants_none_has_no_thread_until_a_command_does() {
    let folder = tempfile::tempdir().unwrap();
    let both = Both::with(&[receiver()]);
    let server = both.start(Vec::new(), folder.path()).unwrap();
    assert_eq!(server.attachments().list().0.len(), 1);
    server.attachments().attach(by_port("1-4")).unwrap();
    let attachments = server.attachments();
    drop(server);
    assert_eq!(both.log(), ["open 1-4", "plug 1", "unplug 1", "close 1-4", "give back 1-4"]);
    assert!(matches!(attachments.attach(by_port("1-4")), Err(UsbError::Ended)));
}
