//! The thread against a server that does what each test says, step by step.

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use pulseaudio::protocol::stream::BufferAttr;
use pulseaudio::protocol::{
    AuthReply, ChannelMap, Command, CreatePlaybackStreamReply, CreateRecordStreamReply, MAX_VERSION,
    PulseError, Request, SetClientNameReply, SetPlaybackStreamBufferAttrReply, Underflow, read_descriptor,
    write_ack_message, write_command_message, write_error, write_memblock, write_reply_message,
};

use super::*;
use crate::audio::Report;

/// What the server has got.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum Got {
    Command(u32, Command),
    Frames(Vec<Frame>),
}

struct Server {
    listener: UnixListener,
    client: Option<BufReader<UnixStream>>,
    _folder: tempfile::TempDir,
}

const CHANNEL: u32 = 3;
const INDEX: u32 = 77;

fn start() -> (Server, Speaker, Microphone, Arc<Monitor>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("native");
    let listener = UnixListener::bind(&socket).unwrap();
    let options = Options { place: Place::of(&socket), device: None, name: "test".into(), latency: 20 };
    let monitor = Arc::<Monitor>::default();
    let (speaker, microphone) = open(options, Arc::clone(&monitor)).unwrap();
    (Server { listener, client: None, _folder: folder }, speaker, microphone, monitor)
}

impl Server {
    fn accept(&mut self) {
        let (client, _) = self.listener.accept().unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        self.client = Some(BufReader::new(client));
    }

    fn reader(&mut self) -> &mut BufReader<UnixStream> {
        self.client.as_mut().unwrap()
    }

    fn next(&mut self) -> Got {
        let reader = self.reader();
        let descriptor = read_descriptor(reader).unwrap();
        let mut payload = vec![0; descriptor.length as usize];
        reader.read_exact(&mut payload).unwrap();
        if descriptor.channel == u32::MAX {
            let (sequence, command) =
                Command::read_tag_prefixed(&mut Cursor::new(payload), MAX_VERSION).unwrap();
            return Got::Command(sequence, command);
        }
        assert_eq!(descriptor.channel, CHANNEL);
        Got::Frames(recording::frames(&payload).collect())
    }

    fn command(&mut self) -> (u32, Command) {
        match self.next() {
            Got::Command(sequence, command) => (sequence, command),
            other @ Got::Frames(_) => panic!("{other:?}"),
        }
    }

    fn out(&mut self) -> &mut UnixStream {
        self.reader().get_mut()
    }

    /// Greets the client.
    fn greet(&mut self) {
        self.accept();
        let (sequence, Command::Auth(auth)) = self.command() else { panic!() };
        assert_eq!(auth.cookie.len(), 256);
        let reply = AuthReply { version: MAX_VERSION, use_memfd: false, use_shm: false };
        write_reply_message(self.out(), sequence, &reply, MAX_VERSION).unwrap();
        let (sequence, Command::SetClientName(_)) = self.command() else { panic!() };
        write_reply_message(self.out(), sequence, &SetClientNameReply { client_id: 1 }, MAX_VERSION).unwrap();
    }

    /// Makes the stream that the client asks for, and asks for so many frames at once.
    fn make(&mut self, wanted: u32) -> u32 {
        let (sequence, command) = self.command();
        let Command::CreatePlaybackStream(asked) = command else { panic!("{command:?}") };
        assert_eq!(asked.channel_map, ChannelMap::stereo());
        let reply = CreatePlaybackStreamReply {
            channel: CHANNEL,
            stream_index: INDEX,
            requested_bytes: wanted * 8,
            buffer_attr: BufferAttr { ..asked.buffer_attr },
            sample_spec: asked.sample_spec,
            channel_map: asked.channel_map,
            sink_index: 1,
            ..CreatePlaybackStreamReply::default()
        };
        write_reply_message(self.out(), sequence, &reply, MAX_VERSION).unwrap();
        asked.sample_spec.sample_rate
    }

    fn tell(&mut self, command: &Command) {
        write_command_message(self.out(), u32::MAX, command, MAX_VERSION).unwrap();
    }

    fn request(&mut self, frames: u32) {
        self.tell(&Command::Request(Request { channel: CHANNEL, length: frames * 8 }));
    }

    /// The next frames, `count` or more.
    fn frames(&mut self, count: usize) -> Vec<Frame> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.next() {
                Got::Frames(frames) => all.extend(frames),
                Got::Command(_, Command::Stat | Command::SetPlaybackStreamBufferAttr(_)) => {}
                other @ Got::Command(..) => panic!("{other:?}"),
            }
        }
        all
    }
}

fn numbered(numbers: std::ops::Range<i32>) -> Vec<Frame> {
    numbers.map(|number| [number, -number]).collect()
}

/// Waits until the monitor tells something.
fn until(monitor: &Monitor, fits: impl Fn(&Report) -> bool) -> Report {
    let begun = Instant::now();
    loop {
        let report = monitor.report();
        if fits(&report) {
            return report;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{report:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_server_gets_every_frame_in_order_as_it_asks() {
    let (mut server, mut speaker, _microphone, monitor) = start();
    server.greet();
    assert_eq!(speaker.surplus(), None);
    speaker.start(48_000);
    speaker.write(&numbered(0..960));
    assert_eq!(server.make(480), 48_000);
    let mut got = server.frames(480);
    assert_eq!(got.len(), 480, "not more than it asks for");
    server.tell(&Command::Started(CHANNEL));
    for round in 0..50 {
        server.request(240);
        got.extend(server.frames(240));
        speaker.write(&numbered(960 + round * 240..960 + (round + 1) * 240));
    }
    assert_eq!(got, numbered(0..got.len() as i32));
    assert_eq!(got.len(), 480 + 50 * 240);
    // What is in the queue, and what the server has, against what is wanted.
    while speaker.surplus().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let waits = 480 + 1920 - (1920 - 1920 / 4);
    assert_eq!(speaker.surplus(), Some(i64::from(waits) * 1_000_000_000 / 48_000));
    assert_eq!((monitor.report().underruns, monitor.report().dropped), (0, 0));
}

#[test]
fn a_short_sound_is_begun_by_its_end_and_the_stream_is_corked_later() {
    let (mut server, mut speaker, _microphone, _) = start();
    server.greet();
    speaker.start(48_000);
    speaker.write(&numbered(0..100));
    let stopped = Instant::now();
    speaker.stop();
    server.make(1920);
    assert_eq!(server.frames(100), numbered(0..100));
    let (sequence, command) = server.command();
    assert_eq!(command, Command::TriggerPlaybackStream(CHANNEL));
    write_ack_message(server.out(), sequence).unwrap();
    server.tell(&Command::Started(CHANNEL));
    let (_, command) = server.command();
    let Command::CorkPlaybackStream(cork) = command else { panic!("{command:?}") };
    assert!(cork.cork && stopped.elapsed() >= session::IDLE);
    speaker.start(48_000);
    speaker.write(&numbered(100..200));
    let (mut frames, mut uncorked) = (Vec::new(), false);
    while frames.len() < 100 || !uncorked {
        match server.next() {
            Got::Frames(more) => frames.extend(more),
            Got::Command(_, Command::CorkPlaybackStream(cork)) => uncorked = !cork.cork,
            other @ Got::Command(..) => panic!("{other:?}"),
        }
    }
    assert_eq!(frames, numbered(100..200));
}

#[test]
fn a_server_that_is_gone_is_a_pause_and_nothing_is_heard_twice() {
    let (mut server, mut speaker, _microphone, monitor) = start();
    server.greet();
    speaker.start(48_000);
    speaker.write(&numbered(0..1000));
    server.make(500);
    assert_eq!(server.frames(500), numbered(0..500));
    server.client = None;
    until(&monitor, |report| report.trouble.is_some());
    speaker.write(&numbered(1000..5000));
    assert_eq!(speaker.surplus(), None);
    server.greet();
    server.make(1000);
    speaker.write(&numbered(5000..6000));
    let got = server.frames(500);
    assert!(got.iter().zip(got.iter().skip(1)).all(|(one, next)| next[0] == one[0] + 1));
    assert!(got[0][0] >= 1000, "{:?}", got[0]);
    until(&monitor, |report| report.trouble.is_none());
}

#[test]
fn another_rate_has_another_stream_after_the_last_frame_of_the_first() {
    let (mut server, mut speaker, _microphone, _) = start();
    server.greet();
    speaker.start(48_000);
    speaker.write(&numbered(0..300));
    speaker.stop();
    speaker.start(44_100);
    speaker.write(&numbered(300..600));
    assert_eq!(server.make(1000), 48_000);
    assert_eq!(server.frames(300), numbered(0..300));
    loop {
        match server.command().1 {
            Command::TriggerPlaybackStream(CHANNEL) => {}
            Command::DeletePlaybackStream(CHANNEL) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.make(1000), 44_100);
    assert_eq!(server.frames(300), numbered(300..600));
}

#[test]
fn what_piles_up_is_left_out_once_and_without_a_click() {
    let (mut server, mut speaker, _microphone, monitor) = start();
    server.greet();
    speaker.start(48_000);
    let level = |count| vec![[1 << 20, 1 << 20]; count];
    speaker.write(&level(2000));
    server.make(1920);
    server.frames(1920);
    server.tell(&Command::Started(CHANNEL));
    // The server sleeps for half a second.
    speaker.write(&level(24_000));
    server.request(1920);
    let got = server.frames(1400);
    assert!(got.iter().all(|frame| *frame == [1 << 20, 1 << 20]), "a cross-fade of the same is the same");
    let report = until(&monitor, |report| report.dropped > 0);
    assert!((20_000..24_500).contains(&report.dropped), "{report:?}");
    assert_eq!(report.underruns, 0);
}

#[test]
fn underruns_are_counted_while_the_guest_plays() {
    let (mut server, mut speaker, _microphone, monitor) = start();
    server.greet();
    speaker.start(48_000);
    speaker.write(&numbered(0..1920));
    server.make(1920);
    server.frames(1920);
    server.tell(&Command::Started(CHANNEL));
    server.tell(&Command::Underflow(Underflow { channel: CHANNEL, offset: 0 }));
    until(&monitor, |report| report.underruns == 1);
    // It has run dry already.
    server.tell(&Command::Underflow(Underflow { channel: CHANNEL, offset: 0 }));
    server.request(10);
    speaker.write(&numbered(0..400));
    server.frames(10);
    assert_eq!(monitor.report().underruns, 1);
}

#[test]
fn each_gap_makes_the_latency_longer() {
    let (mut server, mut speaker, _microphone, monitor) = start();
    server.greet();
    speaker.start(48_000);
    speaker.write(&numbered(0..1920));
    server.make(1920);
    server.frames(1920);
    assert_eq!(monitor.report().latency, None);
    for (latency, round) in [(31, 0), (47, 1)] {
        server.tell(&Command::Started(CHANNEL));
        server.tell(&Command::Underflow(Underflow { channel: CHANNEL, offset: 0 }));
        let (sequence, command) = server.command();
        let Command::SetPlaybackStreamBufferAttr(asked) = command else { panic!("{command:?}") };
        assert_eq!((asked.index, asked.adjust_latency), (CHANNEL, true));
        assert_eq!(asked.buffer_attr.target_length, 2 * latency * 48 * 8);
        assert_eq!(asked.buffer_attr.pre_buffering, 2 * latency * 48 * 8 * 3 / 4);
        let reply =
            SetPlaybackStreamBufferAttrReply { buffer_attr: asked.buffer_attr, configured_sink_latency: 0 };
        write_reply_message(server.out(), sequence, &reply, MAX_VERSION).unwrap();
        assert_eq!(until(&monitor, |report| report.underruns == round + 1).latency, Some(latency));
        // It asks for all that it has room for now.
        let room = 2 * latency * 48;
        server.request(room);
        speaker.write(&numbered(0..room as i32));
        server.frames(room as usize);
    }
}

#[test]
fn who_is_refused_is_told_why() {
    let (mut server, mut speaker, _microphone, monitor) = start();
    server.accept();
    let (sequence, _) = server.command();
    write_error(server.out(), sequence, &PulseError::AccessDenied).unwrap();
    let report = until(&monitor, |report| report.trouble.is_some());
    assert!(report.trouble.unwrap().contains("PULSE_COOKIE"));
    // Not tried again before it is needed.
    speaker.start(48_000);
    server.greet();
    let (sequence, _) = server.command();
    write_error(server.out(), sequence, &PulseError::NoEntity).unwrap();
    let report = until(&monitor, |report| report.trouble.as_ref().is_some_and(|why| why.contains("device")));
    assert!(report.trouble.unwrap().contains("no such device"));
    // Nor is the connection given up for it.
    assert_eq!(server.make(100), 48_000);
    until(&monitor, |report| report.trouble.is_none());
}

#[test]
fn a_guest_records_while_it_wants_to_and_no_longer() {
    let (mut server, mut speaker, mut microphone, monitor) = start();
    server.greet();
    microphone.start(48_000);
    // By a connection of its own.
    let playing = server.client.take();
    server.greet();
    let (sequence, command) = server.command();
    let Command::CreateRecordStream(asked) = command else { panic!("{command:?}") };
    let reply = CreateRecordStreamReply {
        channel: 9,
        sample_spec: asked.sample_spec,
        channel_map: asked.channel_map,
        ..CreateRecordStreamReply::default()
    };
    write_reply_message(server.out(), sequence, &reply, MAX_VERSION).unwrap();
    let bytes: Vec<u8> = numbered(1..1001).into_iter().flatten().flat_map(i32::to_le_bytes).collect();
    let mut silent = [[1, 1]; 10];
    microphone.read(&mut silent);
    assert_eq!(silent, [[0, 0]; 10]);
    write_memblock(server.out(), 9, &bytes, 0).unwrap();
    server.out().flush().unwrap();
    while microphone.frames.slots() < 1000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut frames = [[0, 0]; 900];
    microphone.read(&mut frames);
    assert_eq!(frames.to_vec(), numbered(1..901));
    assert_eq!(microphone.surplus(), Some((100 - 960) * 1_000_000_000 / 48_000));
    let mut frames = [[7, 7]; 200];
    microphone.read(&mut frames);
    assert_eq!((frames[99], frames[100]), ([1000, -1000], [0, 0]));
    assert_eq!(monitor.report().underruns, 1);
    // What nobody has read in time, beyond four times what is to wait, is left out and told of.
    assert_eq!(monitor.report().dropped, 0);
    let bytes: Vec<u8> = numbered(1001..7001).into_iter().flatten().flat_map(i32::to_le_bytes).collect();
    write_memblock(server.out(), 9, &bytes, 0).unwrap();
    server.out().flush().unwrap();
    while microphone.frames.slots() < 6000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    microphone.read(&mut frames[..1]);
    assert_eq!((frames[0], monitor.report().dropped), ([3161, -3161], 6000 - 4 * 960));
    microphone.stop();
    assert!(server.reader().fill_buf().unwrap().is_empty(), "nobody is listened to any longer");
    // The other one is still there.
    server.client = playing;
    speaker.start(48_000);
    assert_eq!(server.make(1920), 48_000);
    assert_eq!(monitor.report().trouble, None);
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let (mut server, mut speaker, _microphone, monitor) = start();
    speaker.start(48_000);
    server.accept();
    let report = until(&monitor, |report| report.trouble.is_some());
    assert!(report.trouble.unwrap().contains("does not answer"));
    server.greet();
}

#[test]
fn a_server_that_accepts_nobody_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("native");
    let listener = UnixListener::bind(&socket).unwrap();
    // Linux lets one more wait than that.
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(&socket).unwrap();
    let options = Options { place: Place::of(&socket), device: None, name: "test".into(), latency: 20 };
    let monitor = Arc::<Monitor>::default();
    let (mut speaker, microphone) = open(options, Arc::clone(&monitor)).unwrap();
    // Dropped before the ends, should this fail: a connection that waits would wait for ever.
    let _listener = listener;
    speaker.start(48_000);
    let report = until(&monitor, |report| report.trouble.is_some());
    assert!(report.trouble.unwrap().contains("does not answer"));
    drop((speaker, microphone));
}

#[test]
fn the_device_waits_for_a_stream_and_not_for_a_server_that_has_none() {
    let ready = |speaker: &Speaker| {
        let begun = Instant::now();
        while !speaker.ready() {
            assert!(begun.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let (mut server, mut speaker, _microphone, monitor) = start();
    assert!(speaker.ready(), "nothing has begun");
    server.greet();
    speaker.start(48_000);
    assert!(!speaker.ready());
    let (sequence, command) = server.command();
    assert!(matches!(command, Command::CreatePlaybackStream(_)), "{command:?}");
    std::thread::sleep(Duration::from_millis(50));
    assert!(!speaker.ready());
    write_error(server.out(), sequence, &PulseError::NoEntity).unwrap();
    ready(&speaker);
    // It is asked again.
    server.make(1920);
    until(&monitor, |report| report.trouble.is_none());
    ready(&speaker);
    speaker.stop();
    // Another rate has another stream, whatever the thread did meanwhile.
    for round in 1..20 {
        let rate = if round % 2 == 1 { 44_100 } else { 48_000 };
        speaker.start(rate);
        assert!(!speaker.ready(), "{round}");
        loop {
            match server.command().1 {
                Command::DeletePlaybackStream(CHANNEL) => break,
                // On a busy host.
                Command::Stat => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(!speaker.ready(), "{round}");
        assert_eq!(server.make(1920), rate);
        ready(&speaker);
        speaker.stop();
        // The same one is there already.
        speaker.start(rate);
        assert!(speaker.ready(), "{round}");
        speaker.stop();
    }
    // Nobody is there.
    drop(server);
    speaker.start(96_000);
    ready(&speaker);
}
