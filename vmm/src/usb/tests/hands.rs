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
