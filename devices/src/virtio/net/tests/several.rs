//! Several pairs of queues.

use super::*;

const SEVERAL: u64 = BASIC | feature::MQ;

/// A card with three pairs, what each peer has done, and what wakes it.
fn with_three(features: u64, rings: u16) -> (Guest, Vec<Arc<Mutex<Log>>>, Vec<UnixStream>) {
    let (mut peers, mut logs, mut wakes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        peers.push(Box::new(Able::new(&log, ours)) as Box<dyn Peer>);
        logs.push(log);
        wakes.push(theirs);
    }
    (Guest::of_cable(Cable::of_queues(peers, true, None).unwrap(), features, rings), logs, wakes)
}

/// Waits until peers were told so often whether frames are to come.
fn wait_active(log: &Mutex<Log>, wanted: &[bool]) {
    let deadline = Instant::now() + PATIENCE;
    while log.lock().unwrap().active != wanted {
        assert!(Instant::now() < deadline, "{:?}, not {wanted:?}", log.lock().unwrap().active);
        std::thread::yield_now();
    }
}

#[test]
fn the_card_says_how_many_pairs_it_has() {
    let (guest, ..) = with_three(SEVERAL, 7);
    assert_eq!(guest.config()[8..10], [3, 0]);
    assert_ne!(guest.driver.device_features() & feature::MQ, 0);
    assert_eq!(guest.driver.common_u16(0x12), 7);
    let (one, _) = over_stream(BASIC);
    assert_eq!(one.config()[8..10], [1, 0]);
    assert_eq!(one.driver.device_features() & feature::MQ, 0);
}

#[test]
fn a_driver_of_one_pair_has_its_commands_on_the_third_queue() {
    let (mut guest, logs, _wakes) = with_three(BASIC, 3);
    assert_eq!(guest.command(&[0, 0, 0]), 0);
    assert_eq!(guest.command(&[4, 0, 2, 0]), 1);
    guest.send(Header::default(), &frame(MAC, 60));
    let sent: Vec<_> = logs.iter().map(|log| log.lock().unwrap().sent.len()).collect();
    assert_eq!(sent, [1, 0, 0]);
}

#[test]
fn pairs_are_in_use_once_the_driver_says_so() {
    let (mut guest, logs, mut wakes) = with_three(SEVERAL, 7);
    let incoming = (Header::default(), frame(MAC, 100));
    logs[1].lock().unwrap().incoming.push(incoming.clone());
    io::Write::write_all(&mut wakes[1], &[1]).unwrap();
    guest.offer(2, &[(DATA + 0x1000, 2000, WRITE)]);
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert_eq!(guest.used_index(2), 0, "the driver does not look at this pair yet");
    assert_eq!(guest.command(&[4, 0, 2, 0]), 0);
    assert_eq!(guest.used(2), 112);
    guest.send_over(3, Header::default(), &frame(MAC, 61));
    assert_eq!(logs[1].lock().unwrap().sent, [(Header::default(), frame(MAC, 61))]);
    wait_active(&logs[1], &[true]);
    // From the answer on, none of the second pair's buffers is used.
    guest.offer(2, &[(DATA + 0x1000, 2000, WRITE)]);
    assert_eq!(guest.command(&[4, 0, 1, 0]), 0);
    logs[1].lock().unwrap().incoming.push(incoming);
    let _ = io::Write::write_all(&mut wakes[1], &[1]);
    wait_active(&logs[1], &[true, false]);
    assert_eq!(guest.used_index(2), 1);
    assert_eq!(logs[2].lock().unwrap().active, [] as [bool; 0]);
}

#[test]
fn filters_and_offloads_hold_for_all_pairs() {
    let tasks = feature::GUEST_CSUM | feature::CTRL_GUEST_OFFLOADS;
    let (mut guest, logs, mut wakes) = with_three(SEVERAL | tasks, 7);
    assert_eq!(guest.command(&[4, 0, 3, 0]), 0);
    assert_eq!(guest.command(&[0, 0, 0]), 0);
    let checked = Header { flags: 2, ..Header::default() };
    {
        let mut log = logs[2].lock().unwrap();
        log.incoming.push((checked, frame([8; 6], 100)));
        log.incoming.push((checked, frame(MAC, 101)));
    }
    guest.offer(4, &[(DATA + 0x1000, 2000, WRITE)]);
    io::Write::write_all(&mut wakes[2], &[1]).unwrap();
    assert_eq!(guest.used(4), 113);
    assert_eq!(guest.memory(DATA + 0x1000, 1), [2]);
    assert_eq!(guest.command(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 0);
    guest.offer(4, &[(DATA + 0x1000, 2000, WRITE)]);
    logs[2].lock().unwrap().incoming.push((checked, frame(MAC, 101)));
    io::Write::write_all(&mut wakes[2], &[1]).unwrap();
    guest.used(4);
    assert_eq!(guest.memory(DATA + 0x1000, 1), [0]);
    // The interface behind all was told once, by the first.
    let accepted: Vec<_> = logs.iter().map(|log| log.lock().unwrap().accepted.len()).collect();
    assert_eq!(accepted, [2, 0, 0]);
}

#[test]
fn a_reset_goes_back_to_one_pair() {
    let (mut guest, logs, _wakes) = with_three(SEVERAL, 7);
    assert_eq!(guest.command(&[4, 0, 3, 0]), 0);
    wait_active(&logs[1], &[true]);
    wait_active(&logs[2], &[true]);
    guest.start(SEVERAL);
    assert_eq!(logs[1].lock().unwrap().active, [true, false]);
    assert_eq!(logs[2].lock().unwrap().active, [true, false]);
    // And again.
    assert_eq!(guest.command(&[4, 0, 3, 0]), 0);
    guest.send_over(5, Header::default(), &frame(MAC, 62));
    assert_eq!(logs[2].lock().unwrap().sent.len(), 1);
}

#[test]
fn a_driver_may_set_up_fewer_pairs_than_there_are() {
    let (mut guest, logs, _wakes) = with_three(SEVERAL, 7);
    guest.driver.set_status(0);
    guest.set_up(SEVERAL);
    // As a driver that leaves out the fifth queue.
    guest.driver.set_status(0);
    let rings = std::mem::take(&mut guest.rings);
    guest.rings = rings.into_iter().filter(|ring| ring.index != 4).collect();
    guest.start(SEVERAL);
    assert_eq!(guest.command(&[4, 0, 3, 0]), 1);
    assert_eq!(guest.command(&[4, 0, 2, 0]), 0);
    guest.send_over(3, Header::default(), &frame(MAC, 62));
    assert_eq!(logs[1].lock().unwrap().sent.len(), 1);
}
