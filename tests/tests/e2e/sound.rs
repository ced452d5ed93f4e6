//! Sound: what Linux plays arrives sample by sample, in a file and at real sound servers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tests::machine::{Disk, Format, Machine};
use tests::run::{Options, Running, ctl};
use tests::{Outcome, ensure};

use crate::{Scenario, by_hand, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("what_linux_plays_is_written_sample_by_sample", 25, played),
    by_hand("sound_is_written_sample_by_sample", to_a_file),
    by_hand("sound_through_pulseaudio", || through(&PULSEAUDIO)),
    by_hand("sound_through_pipewire", || through(&PIPEWIRE)),
    by_hand("sound_for_ten_minutes", ten_minutes),
];

type Frame = [i16; 2];

/// Noise in which no frame is silent and no stretch is like another.
fn noise(seconds: usize) -> Vec<Frame> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        ((state >> 16) as i16 / 2) | 1
    };
    (0..seconds * 48_000).map(|_| [next(), next()]).collect()
}

/// What was heard of something that was played.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    /// Frames in order.
    frames: usize,
    /// Silences between them, and their frames.
    gaps: usize,
    silent: usize,
    /// Frames that are missing, and places where some came again.
    missing: usize,
    repeats: usize,
}

impl Heard {
    /// Compares what came with what was played.
    fn of(played: &[Frame], came: &[Frame]) -> Self {
        let mut heard = Self::default();
        let (mut at, mut expected, mut silence) = (0, 0, 0);
        while let Some(frame) = came.get(at) {
            if played.get(expected) == Some(frame) {
                if silence > 0 && heard.frames > 0 {
                    heard.gaps += 1;
                    heard.silent += silence;
                }
                silence = 0;
                (heard.frames, expected, at) = (heard.frames + 1, expected + 1, at + 1);
                continue;
            }
            if *frame == [0, 0] {
                silence += 1;
                at += 1;
                continue;
            }
            let Some(found) =
                came.get(at..at + 4).and_then(|some| played.windows(4).position(|there| there == some))
            else {
                // Of a cross-fade, or the last frames.
                at += 1;
                continue;
            };
            if found > expected {
                heard.missing += found - expected;
            } else {
                heard.repeats += 1;
            }
            expected = found;
        }
        heard
    }
}

/// The frames of samples of 32 bits.
fn frames(data: &[u8]) -> Vec<Frame> {
    let sample = |bytes: &[u8; 4]| (i32::from_le_bytes(*bytes) >> 16) as i16;
    let samples: Vec<i16> = data.as_chunks::<4>().0.iter().map(sample).collect();
    samples.as_chunks::<2>().0.to_vec()
}

/// A guest that has noise on a disk, and the section for its sound card.
fn machine(played: &[Frame], section: &str) -> Outcome<Machine> {
    let mut machine = Machine::small("test=shell")?.with_tools()?.directly().with_topology(1, 2, 1);
    let path = machine.file("noise");
    let data: Vec<u8> = played.iter().flatten().flat_map(|sample| sample.to_le_bytes()).collect();
    fs::write(&path, data)?;
    machine = machine.with_disk(Disk::new(path, Format::Raw, "noise").readonly());
    machine.sections = format!("[audio]\n{section}");
    Ok(machine)
}

/// Starts it, with the driver of its sound card and ALSA's programs.
fn start(machine: &Machine, seconds: u64) -> Outcome<Running> {
    let mut running = machine.start(&Options { interactive: true, ..Options::default().within(seconds) })?;
    running.expect("L2-USERSPACE-UP")?;
    for command in [
        "for m in crc32c_generic libcrc32c ext4; do modprobe -q $m; done",
        "for s in /sys/block/vd*/serial; do d=${s#/sys/block/}; ln -s /dev/${d%%/*} /dev/disk-$(cat $s); done",
        "mkdir -p /tools /usr/share /lib64; mount -t ext4 -o ro /dev/disk-tools /tools",
        "ln -s /tools/share/alsa /usr/share/alsa; ln -s /tools/lib/ld-linux-x86-64.so.2 /lib64/",
        "export LD_LIBRARY_PATH=/tools/lib PATH=$PATH:/tools/bin",
        "for m in /tools/sound/*; do insmod $m 2>/dev/null; done; true",
        "until [ -e /dev/snd/pcmC0D0p ]; do sleep 1; done",
        // Linux leaves its outputs muted.
        "amixer -q -c 0 sset Master 74 unmute",
    ] {
        running.shell(command)?;
    }
    Ok(running)
}

const PLAY: &str = "aplay -q -D hw:0,0 -t raw -f S16_LE -r 48000 -c 2 --buffer-time=500000 /dev/disk-noise";

/// What a driver says that does not get on with the card.
fn is_content(running: &mut Running) -> Outcome {
    let log = running.shell("dmesg | grep -iE 'hda|snd|azx'; true")?;
    for complaint in [
        "Invalid position buffer",
        "IRQ timing workaround",
        "azx_get_response timeout",
        "CORB reset timeout",
        "spurious response",
        "No response from codec",
        "switching to polling",
        "fallback",
    ] {
        ensure(!log.contains(complaint), format!("the guest's driver says: {complaint}\n{log}"))?;
    }
    Ok(())
}

/// A sound of a second arrives frame by frame. What the driver thinks of the card's timing is left to the scenarios that have the host
/// for themselves.
fn played() -> Outcome {
    let played = noise(1);
    let mut machine = machine(&played, "")?;
    let wav = machine.file("heard.wav");
    machine.sections = format!("[audio]\nbackend = \"wav:{}\"\n", wav.display());
    let mut running = start(&machine, 400)?;
    running.shell(PLAY)?;
    running.send("poweroff -f\n")?;
    running.wait()?.status(0)?;
    let heard = Heard::of(&played, &frames(fs::read(&wav)?.get(44..).unwrap_or_default()));
    ensure(
        heard == Heard { frames: played.len(), ..Heard::default() },
        format!("of {} frames was heard: {heard:?}", played.len()),
    )
}

/// Everything that needs no server, in one boot: what is played arrives once and whole although the machine is paused meanwhile; the
/// mixer's volume is obeyed; recording takes its time; other formats play.
fn to_a_file() -> Outcome {
    let played = noise(5);
    let mut machine = machine(&played, "")?;
    let wav = machine.file("heard.wav");
    machine.sections = format!("[audio]\nbackend = \"wav:{}\"\nmic = true\n", wav.display());
    let mut running = start(&machine, 300)?;
    let codec = running.shell("cat /proc/asound/card0/codec#0")?;
    for words in [
        "Node 0x02 [Audio Output]",
        "Node 0x03 [Pin Complex]",
        "Node 0x04 [Audio Input]",
        "rates [0x1e0]: 44100 48000 88200 96000",
        "bits [0xa]: 16 24",
    ] {
        ensure(codec.contains(words), format!("the codec has no '{words}':\n{codec}"))?;
    }
    running.send(&format!("{PLAY}; echo PLAYED $?\n"))?;
    sleep(Duration::from_secs(2));
    let must = |words: &[&str]| ctl(words).and_then(|(done, said)| ensure(done, &said).map(|()| said));
    must(&["pause"])?;
    let before = fs::metadata(&wav)?.len();
    sleep(Duration::from_secs(3));
    // What had been played was on its way to the file.
    let written = fs::metadata(&wav)?.len() - before;
    ensure(written < 100_000, format!("{written} bytes were played during a pause"))?;
    must(&["resume"])?;
    running.expect("PLAYED 0")?;
    let said = must(&["audio"])?;
    ensure(said.contains("plays        nothing"), said)?;
    let recorded =
        running.shell("arecord -q -D hw:0,0 -t raw -f S16_LE -r 48000 -c 2 -d 1 /tmp/a; wc -c </tmp/a")?;
    ensure(recorded.trim() == "192000", format!("a second of recording has {recorded} bytes"))?;
    let first = frames(fs::read(&wav)?.get(44..).unwrap_or_default());
    let heard = Heard::of(&played, &first);
    let whole = Heard { frames: played.len(), ..Heard::default() };
    if heard != whole {
        return Err(running.failure(format!("of {} frames was heard: {heard:?}", played.len())));
    }
    // 20 dB less.
    running.shell("amixer -q -c 0 sset Master 54")?;
    running.shell("head -c 96000 /dev/disk-noise | aplay -q -D hw:0,0 -t raw -f S16_LE -r 48000 -c 2 -")?;
    running.shell("head -c 384000 /dev/zero | aplay -q -D hw:0,0 -t raw -f S32_LE -r 96000 -c 2 -")?;
    running.shell("head -c 88200 /dev/zero | aplay -q -D hw:0,0 -t raw -f S16_LE -r 44100 -c 2 -")?;
    is_content(&mut running)?;
    running.send("poweroff -f\n")?;
    running.wait()?.status(0)?;
    let all = frames(fs::read(&wav)?.get(44..).unwrap_or_default());
    let quiet = all.get(first.len()..).unwrap_or_default();
    let loudest =
        |some: &[Frame]| some.iter().flatten().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    let ratio = f64::from(loudest(quiet)) / f64::from(loudest(&first));
    ensure((0.09..0.11).contains(&ratio), format!("20 dB less are a factor of {ratio:.3}"))
}

/// A sound server with a device that nobody hears.
struct ServerKind {
    /// Starts it, with its socket in `$PULSE_RUNTIME_PATH`.
    script: &'static str,
}

const PULSEAUDIO: ServerKind = ServerKind {
    script: "exec pulseaudio -n --daemonize=no --exit-idle-time=-1 --use-pid-file=no \
             -L \"module-native-protocol-unix socket=$PULSE_RUNTIME_PATH/native\" \
             -L 'module-null-sink sink_name=null format=s32le rate=48000 channels=2'",
};

const PIPEWIRE: ServerKind = ServerKind {
    script: "export XDG_RUNTIME_DIR=$PULSE_RUNTIME_PATH; mkdir -p $XDG_RUNTIME_DIR/pulse; pipewire & \
             until [ -S $XDG_RUNTIME_DIR/pipewire-0 ]; do sleep 0.2; done; \
             pw-cli create-node adapter '{ factory.name=support.null-audio-sink node.name=null media.class=Audio/Sink \
             object.linger=true audio.position=[FL FR] }'; pipewire-pulse & ln -s pulse/native $XDG_RUNTIME_DIR/native; wait",
};

/// A server that runs, and what it plays.
struct Server {
    server: Child,
    recorder: Child,
    capture: PathBuf,
}

impl Server {
    fn start(kind: &ServerKind, folder: &Path, capture: PathBuf) -> Outcome<Self> {
        let _ = fs::remove_file(folder.join("native"));
        fs::create_dir_all(folder)?;
        let log = File::options().create(true).append(true).open(folder.join("log"))?;
        let mut server = Command::new("setsid")
            .args(["sh", "-c", kind.script])
            .env("PULSE_RUNTIME_PATH", folder)
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let socket = format!("unix:{}", folder.join("native").display());
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            let sinks = Command::new("pactl").args(["-s", &socket, "list", "short", "sinks"]).output()?;
            if String::from_utf8_lossy(&sinks.stdout).contains("null") {
                break;
            }
            if Instant::now() >= limit {
                Self::kill(&mut server)?;
                let log = fs::read_to_string(folder.join("log"))?;
                return Err(format!("the sound server has no device after 60 s; it says:\n{log}").into());
            }
            sleep(Duration::from_millis(500));
        }
        let recorder = Command::new("parec")
            .args([
                "-s",
                &socket,
                "-d",
                "null.monitor",
                "--format=s32le",
                "--rate=48000",
                "--channels=2",
                "--raw",
            ])
            .stdin(Stdio::null())
            .stdout(File::create(&capture)?)
            .spawn()?;
        sleep(Duration::from_secs(2));
        Ok(Self { server, recorder, capture })
    }

    /// Ends it, and returns what it has played.
    fn end(mut self) -> Outcome<Vec<Frame>> {
        sleep(Duration::from_secs(1));
        self.recorder.kill()?;
        self.recorder.wait()?;
        Self::kill(&mut self.server)?;
        Ok(frames(&fs::read(&self.capture)?))
    }

    /// Ends it with all that its shell has started.
    fn kill(server: &mut Child) -> Outcome {
        Command::new("kill").args(["-9", "--", &format!("-{}", server.id())]).status()?;
        server.wait()?;
        Ok(())
    }
}

/// What is played arrives in order; a server that is killed and started again is a pause.
fn through(kind: &ServerKind) -> Outcome {
    let played = noise(12);
    let mut machine = machine(&played, "")?;
    let folder = machine.file("server");
    machine.sections = format!("[audio]\nlatency = 60\nserver = \"{}\"\n", folder.join("native").display());
    let server = Server::start(kind, &folder, machine.file("first"))?;
    let mut running = start(&machine, 600)?;
    running.shell(PLAY)?;
    let first = Heard::of(&played, &server.end()?);
    let (_, said) = ctl(&["audio"])?;
    crate::say(&format!("whole: {first:?}\n{said}"));
    // Without a server, the guest's time goes on.
    running.shell(PLAY)?;
    let (_, said) = ctl(&["audio"])?;
    ensure(said.contains("not heard"), &said)?;
    let server = Server::start(kind, &folder, machine.file("second"))?;
    running.shell(PLAY)?;
    let second = Heard::of(&played, &server.end()?);
    crate::say(&format!("after a restart: {second:?}"));
    is_content(&mut running)?;
    running.send("poweroff -f\n")?;
    running.wait()?.status(0)?;
    ensure(
        first.frames + first.missing >= played.len() - 4800,
        format!("the first time {first:?} was heard"),
    )?;
    ensure(first.repeats == 0 && second.repeats == 0, format!("heard twice: {first:?}, {second:?}"))?;
    // It was found two seconds after it was there, or as soon as something played.
    ensure(second.frames > played.len() / 2, format!("after the restart {second:?} was heard"))
}

/// A long sound, to the file and frame by frame.
fn ten_minutes() -> Outcome {
    let played = noise(600);
    let mut machine = machine(&played, "")?;
    let wav = machine.file("heard.wav");
    machine.sections = format!("[audio]\nbackend = \"wav:{}\"\n", wav.display());
    let mut running = start(&machine, 1500)?;
    running.send(&format!("{PLAY}; echo PLAYED $?\n"))?;
    running.expect("PLAYED 0")?;
    is_content(&mut running)?;
    let (_, said) = ctl(&["audio"])?;
    running.send("poweroff -f\n")?;
    running.wait()?.status(0)?;
    let heard = Heard::of(&played, &frames(fs::read(&wav)?.get(44..).unwrap_or_default()));
    crate::say(&format!("{heard:?}\n{said}"));
    ensure(heard == Heard { frames: played.len(), ..Heard::default() }, format!("{heard:?}"))
}
