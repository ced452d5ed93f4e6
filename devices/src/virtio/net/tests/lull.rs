//! A worker that looks at its rings by itself for a while, and a driver that rings only when it is asked to (VIRTIO_F_EVENT_IDX).

use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::*;

/// Whether the card wants to be told of the chain that was made available last (virtio 1.2, 2.7.10).
fn wants_bell(guest: &Guest, ring: usize) -> bool {
    fence(Ordering::SeqCst);
    let base = Guest::base(guest.rings[ring].index);
    let event: u16 = guest.driver.ram.read_obj(GuestAddress(base + 0x1004 + 8 * u64::from(SIZE))).unwrap();
    event == guest.rings[ring].avail.wrapping_sub(1)
}

#[test]
fn a_driver_that_rings_only_when_asked_to_is_always_heard() {
    let (mut guest, log, _wake) = with_all(BASIC | transport::EVENT_IDX);
    let (mut frames, mut rung) = (0, 0);
    // Gaps from none to longer than the worker looks by itself.
    for round in 0..400u64 {
        let burst = 1 + round % 4;
        for _ in 0..burst {
            guest.make_available(1, &[(DATA, 72, 0)]);
            if wants_bell(&guest, 1) {
                guest.ring(1);
                rung += 1;
            }
        }
        for _ in 0..burst {
            guest.used(1);
            frames += 1;
        }
        std::thread::sleep(Duration::from_micros(round % 10 * 40));
    }
    assert_eq!(log.lock().unwrap().sent.len(), frames);
    assert!(rung > 0 && rung < frames, "{rung} bells for {frames} frames");
}
