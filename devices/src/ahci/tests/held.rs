//! Images that take their time or fail: what comes after what, resets under load, and disks that stop the machine.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::super::registers::port as p;
use super::disks::{SECTORS, access, with_image};
use super::queued::{READ, WRITE, queued, settled};
use super::*;
use crate::disk::OnError;
use crate::disk::tests::gated::{Control, Gated};

fn gated(on_error: OnError) -> (Bench, Control, Arc<Failures>) {
    let image = Gated::new(SECTORS);
    let control = image.control.clone();
    let failures = Failures::new("disk[0] (a.img)", on_error);
    (with_image(512, Box::new(image), Arc::clone(&failures)), control, failures)
}

#[test]
fn a_command_that_is_not_queued_comes_after_all_that_are() {
    let (bench, Control { gate, seen, .. }, _) = gated(OnError::Report);
    let mut trim = access(0x06, true, 0, 1);
    trim[3] = 1;
    let mut ranges = vec![0; 512];
    ranges[..8].copy_from_slice(&(50 | 8u64 << 48).to_le_bytes());
    bench.put(DATA + 0x8000, &ranges);
    for (alone, regions, name) in
        [(frame(0xea), vec![], "flush 0"), (trim, vec![(DATA + 0x8000, 512)], "discard 50")]
    {
        seen.lock().unwrap().clear();
        let held = gate.lock().unwrap();
        for slot in 1..5 {
            bench.prepare(slot, &queued(WRITE, slot, u64::from(slot) * 10, 1), &[], &[(DATA, 512)]);
        }
        bench.prepare(5, &alone, &[], &regions);
        bench.prepare(6, &queued(READ, 6, 99, 1), &[], &[(DATA + 0x1000, 512)]);
        bench.enqueue(0b1_1110);
        bench.issue(0, 5);
        bench.enqueue(1 << 6);
        std::thread::sleep(Duration::from_millis(20));
        assert!(bench.port(0, p::CI) >> 5 & 1 == 1);
        drop(held);
        until(|| bench.port(0, p::CI) | bench.port(0, p::SACT) == 0);
        let seen = seen.lock().unwrap().clone();
        let at = seen.iter().position(|what| what == name).unwrap();
        assert_eq!(seen[..at].iter().filter(|what| what.starts_with("write")).count(), 4, "{seen:?}");
        assert_eq!(seen.len(), 6);
        assert_eq!(bench.port(0, p::TFD), 0x50);
    }
}

/// Whoever takes guest memory away from a disk finds it at rest.
#[test]
fn nothing_moves_when_commands_were_given_up() {
    type Way = (&'static str, fn(&Bench));
    let ways: [Way; 5] = [
        ("stop", |bench| bench.set_port(0, p::CMD, 1 << 4)),
        ("link", |bench| bench.set_port(0, p::SCTL, 1)),
        ("controller", |bench| bench.write(4, 0x8000_0001)),
        ("machine", |bench| PciFunction::reset(&*bench.function)),
        ("bus master", |bench| {
            let _ = bench.function.config_write(reg::COMMAND, &[2, 0]);
        }),
    ];
    for alone in [false, true] {
        for (name, give_up) in ways {
            let (bench, Control { gate, seen, .. }, _) = gated(OnError::Report);
            let held = gate.lock().unwrap();
            if alone {
                bench.prepare(0, &access(0x25, true, 0, 8), &[], &[(DATA, 4096)]);
                bench.issue(0, 0);
            } else {
                for slot in 0..8 {
                    let data = DATA + u64::from(slot) * 0x1000;
                    bench.prepare(slot, &queued(READ, slot, u64::from(slot), 8), &[], &[(data, 4096)]);
                }
                bench.enqueue(0xff);
            }
            until(|| !seen.lock().unwrap().is_empty());
            std::thread::scope(|scope| {
                let giving_up = scope.spawn(|| {
                    give_up(&bench);
                    // At once another's.
                    bench.put(DATA, &[0x11; 0x8000]);
                });
                std::thread::sleep(Duration::from_millis(30));
                assert!(!giving_up.is_finished(), "{name}: the image still has the memory");
                drop(held);
                giving_up.join().unwrap();
            });
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(bench.get(DATA, 0x8000), [0x11; 0x8000], "{name}, alone: {alone}");
            if name == "machine" {
                continue;
            }
            if name == "bus master" {
                // One that has ended before the memory was gone has ended well.
                assert!(alone || bench.port(0, p::IS) & 1 << 29 != 0);
                continue;
            }
            assert_eq!((bench.port(0, p::CI), bench.port(0, p::SACT)), (0, 0), "{name}");
            assert!(bench.port(0, p::CMD) & 1 << 15 == 0 || name == "link");
        }
    }
}

#[test]
fn a_disk_that_stops_the_machine_tries_again() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&said);
    let stop = OnError::Stop(Box::new(move |what| told.lock().unwrap().push(what.to_owned())));
    let (bench, Control { full, seen, .. }, failures) = gated(stop);
    let count = || said.lock().unwrap().len();
    full.store(true, Ordering::SeqCst);
    // Queued ones, one of them alone, and a flush.
    for slot in [0, 1] {
        bench.prepare(slot, &queued(WRITE, slot, 5 + u64::from(slot), 2), &[], &[(DATA, 1024)]);
    }
    bench.enqueue(0b11);
    until(|| count() == 2);
    let first = "disk[0] (a.img): failed to write at byte 2560: ";
    assert!(said.lock().unwrap().iter().any(|said| said.starts_with(first)));
    // It goes on, and the image is still full.
    failures.resumed();
    until(|| count() == 4);
    assert_eq!((bench.port(0, p::SACT), bench.port(0, p::IS)), (0b11, 0), "the guest knows nothing");
    full.store(false, Ordering::SeqCst);
    failures.resumed();
    settled(&bench);
    assert_eq!((bench.port(0, p::SACT), bench.port(0, p::TFD)), (0, 0x50));
    full.store(true, Ordering::SeqCst);
    bench.prepare(2, &frame(0xe7), &[], &[]);
    bench.issue(0, 2);
    until(|| count() == 5);
    seen.lock().unwrap().clear();
    // A reset ends what waits, and it is not tried again.
    bench.recover(0);
    full.store(false, Ordering::SeqCst);
    failures.resumed();
    assert_eq!(bench.perform(0, &access(0x25, true, 5, 3), &[], &[(DATA, 1536)]), (0x50, 1536));
    assert_eq!(count(), 5);
    assert_eq!(*seen.lock().unwrap(), ["read 5"], "no flush");
}

/// The flush of a durable write is no sector's failure: nothing is written again, and the machine stops, or the guest is told.
#[test]
fn a_durable_write_whose_flush_fails_is_not_searched_for_a_sector() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&said);
    let stop = OnError::Stop(Box::new(move |what| told.lock().unwrap().push(what.to_owned())));
    let (bench, Control { forgetful, seen, .. }, failures) = gated(stop);
    forgetful.store(true, Ordering::SeqCst);
    bench.prepare(0, &access(0x3d, true, 8, 4), &[], &[(DATA, 2048)]);
    bench.issue(0, 0);
    until(|| said.lock().unwrap().len() == 1);
    assert!(said.lock().unwrap()[0].starts_with("disk[0] (a.img): failed to flush at byte 0: "));
    assert_eq!(*seen.lock().unwrap(), ["write 8", "flush 0"]);
    assert_eq!((bench.port(0, p::CI), bench.port(0, p::IS)), (1, 0), "the guest knows nothing");
    forgetful.store(false, Ordering::SeqCst);
    failures.resumed();
    until(|| bench.port(0, p::CI) == 0);
    assert_eq!(bench.port(0, p::TFD), 0x50);
    assert_eq!(*seen.lock().unwrap(), ["write 8", "flush 0", "flush 0"]);

    let (bench, Control { forgetful, seen, .. }, _) = gated(OnError::Report);
    forgetful.store(true, Ordering::SeqCst);
    let (status, _) = bench.perform(0, &access(0x3d, true, 8, 4), &[], &[(DATA, 2048)]);
    assert_eq!(status & 0xff, 0x51);
    assert_eq!(*seen.lock().unwrap(), ["write 8", "flush 0"]);
}
