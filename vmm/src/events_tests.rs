//! The events file read back.

use std::path::Path;

use super::*;

fn lines(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_event_is_a_line_that_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let log = EventLog::create(&path).unwrap();
    let exits = ExitCounts { io_in: 3, other: u64::MAX, ..ExitCounts::default() };
    let crash = ReportedCrash {
        system: "windows".into(),
        name: Some("VIDEO_TDR_FAILURE".into()),
        parameters: [0x116, 1, 2, 3, u64::MAX].map(|parameter| format!("{parameter:#x}")),
    };
    let events = [
        Event::MemoryReady { bytes: 1 << 40 },
        Event::FirstInstruction,
        Event::FirmwareFwCfg,
        Event::TableLoader,
        Event::KernelHandedOver,
        Event::BootDevice { device: "disk \"0\"\n".into() },
        Event::Console { device: "serial".into(), path: "/dev/pts/3".into() },
        Event::Display { vnc: "[::1]:5900".into() },
        Event::GuestReset,
        Event::GuestPoweroff,
        Event::GuestPanic { crash: None },
        Event::GuestPanic { crash: Some(crash) },
        Event::PowerButton,
        Event::Exit {
            reason: "power-off".into(),
            status: 0,
            exits,
            counters: BTreeMap::from([("disk_reads".into(), 7)]),
        },
    ];
    let before = now_ns();
    for event in &events {
        log.emit(event.clone());
    }
    let read = lines(&path);
    assert_eq!(read.iter().map(|line| line.event.clone()).collect::<Vec<_>>(), events);
    assert!(read.is_sorted_by_key(|line| line.ns));
    assert!(read[0].ns >= before && read[13].ns <= now_ns());
}

#[test]
fn the_shape_of_a_line_is_what_scripts_were_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let log = EventLog::create(&path).unwrap();
    let reason = "timed out".into();
    log.emit(Event::Exit { reason, status: 4, exits: ExitCounts::default(), counters: BTreeMap::new() });
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(line["event"], "exit");
    assert!(line["ns"].is_u64());
    assert_eq!(line["status"], 4);
    for kind in ["io_in", "io_out", "mmio_read", "mmio_write", "halt", "interrupted", "hyperv", "other"] {
        assert_eq!(line["exits"][kind], 0, "{kind}");
    }
}

#[test]
fn a_milestone_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let log = EventLog::create(&path).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| log.reach(Milestone::FirmwareFwCfg, || Event::FirmwareFwCfg));
        }
    });
    log.reach(Milestone::BootDevice, || Event::BootDevice { device: "a".into() });
    assert!(log.has_reached(Milestone::BootDevice) && !log.has_reached(Milestone::TableLoader));
    assert_eq!(lines(&path).len(), 2);
}

#[test]
fn the_process_is_older_than_its_main() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let log = EventLog::create(&path).unwrap();
    let start = ProcessStart::now();
    log.process_start(start);
    let read = lines(&path);
    assert_eq!(read[0].ns, start.main_ns);
    let Event::ProcessStart { created_ns: Some(created), tick_ns: Some(tick) } = read[0].event else {
        panic!("{read:?}")
    };
    assert!(tick > 0 && created <= read[0].ns + tick);
    // The test runner did not start an hour ago: an offset between the clocks would show.
    assert!(read[0].ns - created < 3600 * 1_000_000_000, "{read:?}");
}

#[test]
fn the_start_time_is_found_behind_any_name() {
    let stat = "12 (a) R 1 (b)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
    assert_eq!(start_ticks(stat), Some(4242));
    assert_eq!(start_ticks("12 (a) R 1"), None);
}

#[test]
fn a_full_disk_and_a_disabled_log_stop_nothing() {
    let log = EventLog::create(Path::new("/dev/full")).unwrap();
    log.emit(Event::PowerButton);
    log.emit(Event::PowerButton);
    EventLog::disabled().emit(Event::PowerButton);
    EventLog::disabled().reach(Milestone::BootDevice, || panic!("called"));
}

#[test]
fn a_reader_that_pauses_gets_whole_lines_when_it_goes_on() {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    let mut fifo = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    rustix::pipe::fcntl_setpipe_size(&fifo, 4096).unwrap();
    let log = EventLog::create(&path).unwrap();
    let long = |last: char| Event::BootDevice { device: "a".repeat(3000) + &last.to_string() };
    // Longer than the FIFO: the beginning finds room.
    let longer = Event::BootDevice { device: "b".repeat(6000) };
    let mut seen = Vec::new();
    let mut read = |seen: &mut Vec<u8>| match fifo.read_to_end(seen) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        other => panic!("{other:?}"),
    };
    log.emit(long('1'));
    log.emit(long('2'));
    read(&mut seen);
    log.emit(longer.clone());
    log.emit(long('3'));
    read(&mut seen);
    log.emit(Event::GuestReset);
    read(&mut seen);
    let lines: Vec<Line> = seen
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let events: Vec<_> = lines.into_iter().map(|line| line.event).collect();
    assert_eq!(events, [long('1'), longer, Event::GuestReset]);
}
