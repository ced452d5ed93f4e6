//! Queues and doorbells.

use std::time::Duration;

use vm_memory::{Bytes, GuestAddress};

use super::host::{ENTRIES, Format, Host, read, write};

const OK: (u16, u16) = (0, 0);
/// Copies of the doorbells, and the values that they are compared with.
const COPIES: u64 = 0x31_0000;
const EVENTS: u64 = 0x31_1000;

#[test]
fn many_rounds_through_the_rings() {
    let mut host = Host::with_queue(Format::Raw);
    for round in 0..ENTRIES * 3 + 5 {
        host.ram.write_slice(&[round as u8; 512], GuestAddress(0x10_0000)).unwrap();
        assert_eq!(host.io(write(round, 1, 0x10_0000)), OK);
    }
    assert_eq!(host.image(512 * 100, 512), [100; 512]);
}

#[test]
fn commands_are_under_way_side_by_side_and_each_is_answered_once() {
    let mut host = Host::with_queue(Format::Raw);
    let mut waiting: Vec<u16> = (0..ENTRIES - 1).map(|n| host.put(1, write(n * 8, 8, 0x10_0000))).collect();
    host.ring(1);
    while !waiting.is_empty() {
        let entry = host.wait(1);
        assert_eq!(entry.status, OK);
        let at = waiting.iter().position(|id| *id == entry.id).expect("answered once");
        waiting.remove(at);
    }
    assert_eq!(host.peek(1), None);
}

#[test]
fn a_full_completion_queue_waits_for_room() {
    let mut host = Host::with_queue(Format::Raw);
    // A second submission queue that posts to the same completion queue, whose entries the host leaves alone.
    let size = (ENTRIES - 1) << 16 | 2;
    assert_eq!(host.admin_at(1, 0x1_8000, [size, 1 << 16 | 1, 0, 0, 0, 0]).1, OK);
    for _ in 0..20 {
        host.put(1, read(0, 1, 0x10_0000));
        host.put(2, read(0, 1, 0x11_0000));
    }
    host.ring(1);
    host.ring(2);
    let mut taken = Vec::new();
    while taken.len() < ENTRIES as usize - 1 {
        host.await_news(1);
        taken.push(host.take_silently(1).unwrap());
    }
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(host.peek(1), None, "nothing is written over what the host has not let go");
    while taken.len() < 40 {
        host.ring_head(1);
        host.await_news(1);
        taken.push(host.take_silently(1).unwrap());
    }
    for queue in [1, 2] {
        assert_eq!(taken.iter().filter(|entry| entry.queue == queue && entry.status == OK).count(), 20);
    }
}

#[test]
fn a_deleted_queue_answers_what_it_has_taken() {
    let mut host = Host::with_queue(Format::Raw);
    for _ in 0..20 {
        let commands: Vec<u16> =
            (0..ENTRIES - 1).map(|n| host.put(1, write(n * 128, 8, 0x10_0000))).collect();
        host.ring(1);
        assert_eq!(host.admin_at(0, 0, [1, 0, 0, 0, 0, 0]).1, OK);
        let mut answered = Vec::new();
        while let Some(entry) = host.take(1) {
            assert!([OK, (0, 8)].contains(&entry.status), "{entry:?}");
            assert!(commands.contains(&entry.id) && !answered.contains(&entry.id));
            answered.push(entry.id);
        }
        assert_eq!(host.admin_at(4, 0, [1, 0, 0, 0, 0, 0]).1, OK);
        host.create_pair(1, 1);
        assert_eq!(host.io(read(0, 1, 0x10_0000)), OK);
    }
}

fn copy(host: &Host, queue: u16) {
    let at = COPIES + 8 * u64::from(queue);
    host.ram.write_obj(host.tail(queue), GuestAddress(at)).unwrap();
    host.ram.write_obj(host.head(queue), GuestAddress(at + 4)).unwrap();
}

/// What Linux does with a new value: whether it is to be written to the register, too.
fn passes(event: u32, new: u32, old: u32) -> bool {
    (new.wrapping_sub(event).wrapping_sub(1) as u16) < (new.wrapping_sub(old) as u16)
}

#[test]
fn copies_of_doorbells_in_memory_do_instead_of_most_writes() {
    let mut host = Host::with_queue(Format::Raw);
    assert_eq!(host.io(read(0, 1, 0x10_0000)), OK);
    for wrong in [(COPIES + 8, EVENTS, (0, 0x13)), (1 << 40, EVENTS, (0, 2)), (COPIES, 0, (0, 2))] {
        let mut command = super::host::plain(0x7c, [0; 6]);
        (command[6], command[7], command[8]) = (wrong.0 as u32, (wrong.0 >> 32) as u32, wrong.1 as u32);
        host.submit(0, command);
        assert_eq!(host.take(0).unwrap().status, wrong.2);
    }
    let mut command = super::host::plain(0x7c, [0; 6]);
    (command[6], command[8]) = (COPIES as u32, EVENTS as u32);
    host.submit(0, command);
    assert_eq!(host.take(0).unwrap().status, OK);
    assert_eq!(
        host.ram.read_obj::<u32>(GuestAddress(COPIES + 8)).unwrap(),
        1,
        "they begin with the registers"
    );

    for round in 0..200 {
        let before = host.tail(1);
        let depth = 1 + round % 7;
        for n in 0..depth {
            host.put(1, read(n * 8, 1, 0x10_0000));
        }
        copy(&host, 1);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let event = host.ram.read_obj::<u32>(GuestAddress(EVENTS + 8)).unwrap();
        if passes(event, host.tail(1), before) {
            host.ring(1);
        }
        for _ in 0..depth {
            host.await_news(1);
            assert_eq!(host.take_silently(1).unwrap().status, OK);
            let old = host.ram.read_obj::<u32>(GuestAddress(COPIES + 12)).unwrap();
            copy(&host, 1);
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            let event = host.ram.read_obj::<u32>(GuestAddress(EVENTS + 12)).unwrap();
            if passes(event, host.head(1), old) {
                host.ring_head(1);
            }
        }
        // The interrupt is a level here, which has to follow the copies.
        host.await_line(false);
    }
    // A queue that is made anew does not go by what an old one has left.
    assert_eq!(host.admin_at(0, 0, [1, 0, 0, 0, 0, 0]).1, OK);
    assert_eq!(host.admin_at(4, 0, [1, 0, 0, 0, 0, 0]).1, OK);
    host.create_pair(1, 1);
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(host.peek(1), None);
    assert_eq!(host.ram.read_obj::<u32>(GuestAddress(EVENTS + 8)).unwrap(), 0);
    host.put(1, read(0, 1, 0x10_0000));
    copy(&host, 1);
    host.ring(1);
    assert_eq!(host.wait(1).status, OK);
    // A value of no entry is no news.
    host.ram.write_obj(ENTRIES, GuestAddress(COPIES + 8)).unwrap();
    host.ring(1);
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(host.peek(1), None);
    // A reset forgets them.
    host.set(super::CC, 0);
    host.forget();
    host.enable();
    host.create_pair(1, 1);
    assert_eq!(host.io(read(0, 1, 0x10_0000)), OK);
}
