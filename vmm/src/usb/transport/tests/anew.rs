//! Endpoints that a guest begins anew (USB Mass Storage Class, Bulk-Only Transport 1.0, 5.3.4): what was sent before is not sent to what comes after.

use super::super::end::End;
use super::*;

/// As edk2 does after a time-out: the transfer is withdrawn, the device reset by a request of its class, and the halts of both pipes are cleared.
#[test]
fn what_a_withdrawn_transfer_has_brought_ends_with_the_halt() {
    let rig = Rig::configured();
    assert_eq!(rig.read(0x81, 13), None);
    rig.bench.end(0x81, sent(&[0x55, 0x53, 0x42, 0x53]));
    rig.device.cancel(0x81);
    assert_eq!(rig.request([0x21, 0xff, 0, 0, 0, 0, 0, 0]), None);
    rig.bench.expect("control 21 ff []");
    rig.bench.end(0, sent(&[]));
    assert_eq!(rig.next(0).outcome, Outcome::Done);
    assert_eq!(rig.control([2, 1, 0, 0, 0x81, 0, 0, 0]), Completion::took(0));
    assert_eq!(rig.control([2, 1, 0, 0, 2, 0, 0, 0]), Completion::took(0));
    assert_eq!(rig.read(0x81, 13), None, "it is asked anew");
    rig.bench.end(0x81, sent(&[1]));
    assert_eq!(rig.next(0x81), Completion::sent(vec![1]));
}

/// The kernel may be done with it only after the halt is cleared.
#[test]
fn what_a_withdrawn_transfer_still_brings_is_of_before() {
    for forgets in [false, true] {
        let bench = Bench::default();
        let mut end = End::new(Box::new(FakePipe(bench.clone(), 0x81, 0, None)), Waker::noop().clone());
        assert_eq!(end.begin(Transfer::In { length: 8 }, false), None);
        assert!(end.cancel());
        if forgets {
            end.forget();
        }
        assert_eq!(end.begin(Transfer::In { length: 4 }, false), None);
        bench.end(0x81, sent(&[1, 2]));
        assert!(end.withdrawn());
        let answered = end.begin_deferred();
        assert_eq!(answered, !forgets);
        if forgets {
            bench.end(0x81, sent(&[3]));
        }
        assert_eq!(end.take(), Some(Completion::sent(if forgets { vec![3] } else { vec![1, 2] })));
        // The next one that is withdrawn keeps what it brings.
        assert_eq!(end.begin(Transfer::In { length: 4 }, false), None);
        assert!(end.cancel());
        bench.end(0x81, sent(&[4]));
        assert!(end.withdrawn());
        assert_eq!(end.begin(Transfer::In { length: 4 }, false), Some(Completion::sent(vec![4])));
    }
}
