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
