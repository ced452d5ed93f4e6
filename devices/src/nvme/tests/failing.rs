//! Images that fail, or take their time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::host::{Host, SIZE, plain};
use super::write;
use crate::disk::tests::gated::Gated;
use crate::disk::{Failures, OnError, SECTOR};

const FLUSH: u32 = 0;
/// Capacity exceeded; command aborted due to deletion of its queue.
const FULL: (u16, u16) = (0, 0x81);
const DELETED: (u16, u16) = (0, 0x08);

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "nothing happens");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// What the log was told.
type Said = Arc<Mutex<Vec<String>>>;

/// A disk that is full, and stops the machine.
fn stopping() -> (Host, Arc<AtomicBool>, Arc<Failures>, Said) {
    stopping_with(|| ())
}

/// Likewise; its worker does `more` before it goes on.
fn stopping_with(more: impl Fn() + Send + Sync + 'static) -> (Host, Arc<AtomicBool>, Arc<Failures>, Said) {
    let image = Gated::new(SIZE / SECTOR);
    let full = Arc::clone(&image.control.full);
    full.store(true, Ordering::SeqCst);
    let said = Said::default();
    let told = Arc::clone(&said);
    let stop = OnError::Stop(Box::new(move |what| {
        told.lock().unwrap().push(what.to_owned());
        more();
    }));
    let failures = Failures::new("disk[1] (b.img)", stop);
    (Host::over(Box::new(image), Arc::clone(&failures), None).queued(), full, failures, said)
}

#[test]
fn a_full_disk_is_reported_or_stops_the_machine() {
    let image = Gated::new(SIZE / SECTOR);
    let full = Arc::clone(&image.control.full);
    let mut host = Host::over(Box::new(image), Failures::new("disk", OnError::Report), None).queued();
    full.store(true, Ordering::SeqCst);
    assert_eq!(host.io(write(3, 1, 0x10_0000)), FULL);

    let (mut host, full, failures, said) = stopping();
    let count = || said.lock().unwrap().len();
    let ids = [host.submit(1, write(3, 1, 0x10_0000)), host.submit(1, plain(FLUSH, [0; 6]))];
    until(|| count() == 2);
    assert!(
        said.lock()
            .unwrap()
            .iter()
            .any(|said| said.starts_with("disk[1] (b.img): failed to write at byte 1536: "))
    );
    failures.resumed();
    until(|| count() == 4);
    std::thread::sleep(Duration::from_millis(20));
    assert!(host.peek(1).is_none(), "the guest knows nothing");
    full.store(false, Ordering::SeqCst);
    failures.resumed();
    let mut ended = [host.wait(1), host.wait(1)].map(|entry| (entry.id, entry.status));
    ended.sort_unstable();
    assert_eq!(ended, ids.map(|id| (id, (0, 0))));
    assert_eq!(count(), 4);
}

#[test]
fn what_waits_for_the_machine_ends_with_its_queue() {
    let (mut host, full, failures, said) = stopping();
    let id = host.submit(1, write(3, 1, 0x10_0000));
    until(|| said.lock().unwrap().len() == 1);
    // Delete the submission queue.
    assert_eq!(host.admin(0, 0, [1, 0, 0, 0, 0, 0]).1, (0, 0));
    let entry = host.wait(1);
    assert_eq!((entry.id, entry.status), (id, DELETED));
    full.store(false, Ordering::SeqCst);
    failures.resumed();
    // A reset forgets them.
    let (mut host, full, failures, said) = stopping();
    host.submit(1, write(3, 1, 0x10_0000));
    until(|| said.lock().unwrap().len() == 1);
    host.set(super::CC, 0);
    full.store(false, Ordering::SeqCst);
    failures.resumed();
    host.forget();
    let mut host = host.queued();
    assert_eq!(host.io(write(4, 1, 0x10_0000)), (0, 0));
}

/// What was held is not repeated with memory that the driver may have given to others since.
#[test]
fn what_waits_for_the_machine_ends_without_bus_mastering() {
    let (mut host, full, failures, said) = stopping();
    let id = host.submit(1, write(3, 1, 0x10_0000));
    until(|| said.lock().unwrap().len() == 1);
    host.config_write(4, &[2, 0]);
    full.store(false, Ordering::SeqCst);
    // Enabled before the worker has had time to look.
    host.config_write(4, &[6, 0]);
    failures.resumed();
    let entry = host.wait(1);
    assert_eq!((entry.id, entry.status), (id, (0, 0x04)), "data transfer error");
    assert_eq!(host.io(write(4, 1, 0x10_0000)), (0, 0));
    assert_eq!(said.lock().unwrap().len(), 1);
}

/// It fails after the driver has begun to disable bus mastering, which waits for it.
#[test]
fn what_fails_while_bus_mastering_is_disabled_ends() {
    let disabling = Arc::new(AtomicBool::new(false));
    let begun = Arc::clone(&disabling);
    let (mut host, full, failures, said) = stopping_with(move || {
        until(|| begun.load(Ordering::SeqCst));
        std::thread::sleep(Duration::from_millis(50));
    });
    let id = host.submit(1, write(3, 1, 0x10_0000));
    until(|| said.lock().unwrap().len() == 1);
    disabling.store(true, Ordering::SeqCst);
    host.config_write(4, &[2, 0]);
    // Time for the worker to forget it.
    std::thread::sleep(Duration::from_millis(20));
    full.store(false, Ordering::SeqCst);
    host.config_write(4, &[6, 0]);
    failures.resumed();
    let entry = host.wait(1);
    assert_eq!((entry.id, entry.status), (id, (0, 0x04)), "data transfer error");
}

#[test]
fn a_flush_at_shutdown_that_fails_stops_the_machine() {
    let (host, _full, _failures, said) = stopping();
    host.set(super::CC, host.u32(super::CC) | 1 << 14);
    assert_eq!(said.lock().unwrap().len(), 1);
    assert!(said.lock().unwrap()[0].starts_with("disk[1] (b.img): failed to flush at byte 0: "));
}

#[test]
fn a_write_that_outlasts_the_write_cache_is_durable() {
    let image = Gated::new(SIZE / SECTOR);
    let (gate, seen) = (Arc::clone(&image.control.gate), Arc::clone(&image.control.seen));
    let mut host = Host::over(Box::new(image), Failures::new("disk", OnError::Report), None).queued();
    let (held, holds) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let gate = gate.lock().unwrap();
            held.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            drop(gate);
        });
        holds.recv().unwrap();
        let id = host.submit(1, write(3, 1, 0x10_0000));
        until(|| seen.lock().unwrap().len() == 1);
        // The write cache is switched off while the write is under way.
        assert_eq!(host.admin(9, 0, [6, 0, 0, 0, 0, 0]).1, (0, 0));
        assert_eq!(host.wait(1).id, id);
    });
    let flushes = || seen.lock().unwrap().iter().filter(|what| *what == "flush 0").count();
    assert_eq!(flushes(), 2, "of what was complete, and of that write");
    assert_eq!(host.io(write(3, 1, 0x10_0000)), (0, 0));
    assert_eq!(flushes(), 3);
}
