//! Devices that change hands when that is not simple.

use super::*;

/// Between the plan and the machine's start seconds may pass, in which a desktop mounts a stick.
#[test]
fn what_the_host_has_begun_to_use_since_the_plan_is_not_taken_at_the_start() {
    for optional in [false, true] {
        let both = Both::with(&[receiver()]);
        both.0.lock().unwrap().refusals.insert(receiver().port, UsbRefusal::Hub);
        let nodes = tempfile::tempdir().unwrap();
        let started = both.start(vec![wanted(0, by_port("1-4"), optional)], nodes.path());
        assert_eq!(started.is_ok(), optional);
        if let Err(error) = started {
            assert_eq!(error.to_string(), format!("usb_device[0]: {}", UsbRefusal::Hub));
        }
        assert_eq!(both.log(), [""; 0]);
    }
}

/// The drivers of a device that is still busy cannot have it: the record stays, for the next start.
#[test]
fn what_does_not_let_go_is_not_given_back() {
    let both = Both::with(&[receiver(), device("1-5", "1:1", None, "")]);
    both.0.lock().unwrap().stuck = true;
    let mut state = state(&both, vec![wanted(0, by_port("1-4"), false), wanted(1, by_port("1-5"), false)]);
    both.log();
    let error = state.detach_by_command(&by_port("1-4")).unwrap_err();
    assert!(error.to_string().contains("does not let go of its last transfers"), "{error}");
    assert_eq!(both.log(), ["unplug 1", "close 1-4"]);
    assert_eq!(state.look(Instant::now()), None);
    assert_eq!(both.log(), [""; 0]);
    state.end();
    assert_eq!(both.log(), ["unplug 2", "close 1-5"]);
}

/// The kernel ends all transfers when the host goes to sleep, as if the device had been unplugged.
#[test]
fn what_is_interrupted_after_it_has_worked_is_taken_again() {
    let both = Both::with(&[receiver()]);
    let mut state = state(&both, vec![wanted(0, by_port("1-4"), false)]);
    both.log();
    let begun = Instant::now();
    let interrupt = || both.0.lock().unwrap().gone.remove(&receiver().port).unwrap()();
    interrupt();
    let later = begun + Duration::from_secs(11);
    let again = state.look(later).unwrap();
    assert!(again > later, "it may be on its way out");
    assert_eq!(both.log(), ["unplug 1", "close 1-4", "give back 1-4"]);
    assert_eq!(state.look(again), None);
    assert_eq!(both.log(), ["open 1-4", "plug 2"]);
    // As soon again it does not work here.
    interrupt();
    state.look(Instant::now());
    state.look(Instant::now() + Duration::from_secs(11));
    assert_eq!(both.log(), ["unplug 2", "close 1-4", "give back 1-4"]);
}

/// What the kernel tells of drivers makes those look that it may be about; what was lost of it, all.
#[test]
fn devices_that_a_driver_may_have_taken_look_whether_it_has() {
    let both = Both::with(&[receiver(), device("1-5", "1:1", None, "")]);
    let state = state(&both, vec![wanted(0, by_port("1-4"), false), wanted(1, by_port("1-5"), false)]);
    both.log();
    let ports = |ports: &[&str]| ports.iter().map(|port| port.parse().unwrap()).collect::<Vec<_>>();
    for (told, asked) in [
        (Some(ports(&["1-5", "1-6"])), &["check 1-5"][..]),
        (Some(ports(&[])), &[]),
        (None, &["check 1-4", "check 1-5"]),
    ] {
        state.check_kept(told.as_deref());
        assert_eq!(both.log(), asked);
    }
}

/// After the host's sleep its driver has the device, and somebody has mounted what is on it before the guest has it again.
#[test]
fn what_the_host_has_begun_to_use_meanwhile_is_not_taken_again() {
    let both = Both::with(&[receiver()]);
    let mut state = state(&both, vec![wanted(0, by_port("1-4"), false)]);
    both.0.lock().unwrap().gone.remove(&receiver().port).unwrap()();
    let again = state.look(Instant::now() + Duration::from_secs(11)).unwrap();
    both.log();
    both.0.lock().unwrap().refusals.insert(receiver().port, UsbRefusal::Hub);
    assert_eq!(state.look(again), None);
    assert_eq!(both.log(), [""; 0]);
}

#[test]
fn what_is_interrupted_and_does_not_let_go_is_not_taken_again() {
    let both = Both::with(&[receiver()]);
    let mut state = state(&both, vec![wanted(0, by_port("1-4"), false)]);
    both.0.lock().unwrap().stuck = true;
    both.0.lock().unwrap().gone.remove(&receiver().port).unwrap()();
    state.look(Instant::now() + Duration::from_secs(11));
    assert_eq!(both.log(), ["open 1-4", "plug 1", "unplug 1", "close 1-4"]);
}

/// Of two sections that mean a device the other does not take it from the host again.
#[test]
fn what_a_command_has_given_back_is_not_taken_by_another_section() {
    let both = Both::with(&[receiver()]);
    let wants = vec![wanted(0, by_port("1-4"), false), wanted(1, by_id("046d:c52b"), true)];
    let mut state = state(&both, wants);
    both.log();
    state.detach_by_command(&by_port("1-4")).unwrap();
    assert_eq!(both.log(), ["unplug 1", "close 1-4", "give back 1-4"]);
    assert_eq!(state.look(Instant::now()), None);
    assert_eq!(both.log(), [""; 0]);
    // Another of its make is the other section's all the same.
    let second = device("1-5", "046d:c52b", None, "");
    both.0.lock().unwrap().devices.push(second);
    state.look(Instant::now());
    assert_eq!(both.log(), ["open 1-5", "plug 2"]);
    state.attach_by_command(by_port("1-4")).unwrap();
    assert_eq!(both.log(), ["open 1-4", "plug 3"]);
    // The command's word has ended: interrupted, it comes back.
    both.0.lock().unwrap().gone.remove(&receiver().port).unwrap()();
    let again = state.look(Instant::now() + Duration::from_secs(11)).unwrap();
    state.look(again);
    assert_eq!(both.log(), ["unplug 3", "close 1-4", "give back 1-4", "open 1-4", "plug 4"]);
}
