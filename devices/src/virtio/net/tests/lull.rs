//! A worker that looks at its rings by itself for a while, and a driver that rings only when it is asked to (VIRTIO_F_EVENT_IDX).

use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::super::traffic::{BURST, LULL};
use super::*;

/// Of which chain the card wants to be told (virtio 1.2, 2.7.10).
fn event(guest: &Guest, ring: usize) -> u16 {
    fence(Ordering::SeqCst);
    let base = Guest::base(guest.rings[ring].index);
    guest.driver.ram.read_obj(GuestAddress(base + 0x1004 + 8 * u64::from(SIZE))).unwrap()
}

/// Whether it wants to be told of the chain that was made available last.
fn wants_bell(guest: &Guest, ring: usize) -> bool {
    event(guest, ring) == guest.rings[ring].avail.wrapping_sub(1)
}

/// Waits until it wants to be told of the next chain; when it does.
fn wait_for_bell(guest: &Guest, ring: usize) -> Instant {
    let deadline = Instant::now() + PATIENCE;
    while event(guest, ring) != guest.rings[ring].avail {
        assert!(Instant::now() < deadline, "the bell of ring {ring} stays silent");
        std::hint::spin_loop();
    }
    Instant::now()
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
    // The second frame of a burst needs none even if the card asks for one as soon as it can.
    assert!(rung > 0 && rung < frames, "{rung} bells for {frames} frames");
}

/// Every 50 µs a frame of the driver's: for a while after it, the card looks for the next one by itself.
#[test]
fn frames_of_the_driver_that_follow_each_other_need_no_bell() {
    let (mut guest, log, _wake) = with_all(BASIC | transport::EVENT_IDX);
    // Once is enough: how often depends on what else the machine does.
    let silent = (0..200).any(|_| {
        guest.offer(1, &[(DATA, 72, 0)]);
        guest.used(1);
        let used = Instant::now();
        while used.elapsed() < LULL / 2 {
            std::hint::spin_loop();
        }
        event(&guest, 1) != guest.rings[1].avail
    });
    let frames = log.lock().unwrap().sent.len();
    assert!(silent, "{frames} frames, and a bell wanted after each");
}

/// A request that soon follows another one: the driver's answer is wanted at once.
#[test]
fn single_frames_for_the_driver_silence_no_bell() {
    let (mut guest, log, mut wake) = with_all(BASIC | transport::EVENT_IDX);
    // What the card does by itself begins when it has looked at the driver's frames. One try is enough, of those in which the machine let two
    // requests follow each other.
    let at_once = (0..500).any(|_| {
        guest.offer(0, &[(DATA, 200, WRITE)]);
        guest.offer(0, &[(DATA, 200, WRITE)]);
        std::thread::sleep(2 * BURST);
        let mut request = || {
            let sent = Instant::now();
            log.lock().unwrap().incoming.push((Header::default(), frame(MAC, 60)));
            io::Write::write_all(&mut wake, &[1]).unwrap();
            guest.used(0);
            loop {
                // Not locked while the card may want it.
                let asked = log.lock().unwrap().asked;
                if let Some(asked) = asked.filter(|asked| *asked > sent) {
                    return (sent, asked, wait_for_bell(&guest, 1));
                }
                std::hint::spin_loop();
            }
        };
        let (first, ..) = request();
        std::thread::sleep(Duration::from_micros(300));
        let (_, asked, wanted) = request();
        asked - first < BURST && wanted - asked < LULL
    });
    assert!(at_once, "a bell that is wanted only after a pause");
}
