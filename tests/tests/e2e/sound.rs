//! Sound: what Linux plays arrives sample by sample, in a file and at real sound servers, and what these hear is recorded.

mod beside_qemu;
mod heard;
mod server;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use tests::machine::{Disk, Format, Machine};
use tests::run::{Options, Running, ctl};
use tests::{Outcome, ensure};

use crate::{Scenario, by_hand, scenario};

use heard::{Frame, Heard, RATE, frames, noise, short_frames};
use server::{Kind, PIPEWIRE, PULSEAUDIO, Server, socket, with_clock};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("what_linux_plays_is_written_sample_by_sample", 25, played),
    by_hand("sound_is_written_sample_by_sample", to_a_file),
    by_hand("sound_through_pulseaudio", || through(PULSEAUDIO)),
    by_hand("sound_through_pipewire", || through(PIPEWIRE)),
    by_hand("sound_at_a_fast_and_a_slow_card", other_clocks),
    by_hand("sound_for_ten_minutes", ten_minutes),
    by_hand("sound_beside_qemu", beside_qemu::compare),
];

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
    start_by(machine, Options::default().within(seconds))
}

fn start_by(machine: &Machine, options: Options) -> Outcome<Running> {
    let mut running = machine.start(&Options { interactive: true, ..options })?;
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
        "amixer -q -c 0 sset Master 100% unmute",
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

/// A sound of a second arrives frame by frame, and the driver is content.
fn played() -> Outcome {
    let played = noise(1);
    let mut machine = machine(&played, "")?;
    let wav = machine.file("heard.wav");
    machine.sections = format!("[audio]\nbackend = \"wav:{}\"\n", wav.display());
    let mut running = start(&machine, 400)?;
    running.shell(PLAY)?;
    is_content(&mut running)?;
    running.send("poweroff -f\n")?;
    running.wait()?.status(0)?;
    let heard = Heard::of(&played, &frames(fs::read(&wav)?.get(44..).unwrap_or_default()));
    ensure(heard == Heard::whole(played.len()), format!("of {} frames was heard: {heard:?}", played.len()))
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
    let whole = Heard::whole(played.len());
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

/// A machine that is heard through a server in a folder of its own.
fn machine_at_server(played: &[Frame], keys: &str) -> Outcome<Machine> {
    let mut machine = machine(played, "")?;
    let server = socket(&machine.file("server"));
    machine.sections = format!("[audio]\nlatency = 60\nserver = \"{}\"\n{keys}", server.display());
    Ok(machine)
}

/// What is played arrives in order, and what the server hears is recorded; a server that is killed in the middle of a sound and started again is
/// a pause.
fn through(kind: Kind) -> Outcome {
    let played = noise(12);
    let mut machine = machine_at_server(&played, "mic = true\n")?;
    let taken = machine.file("taken");
    fs::File::create(&taken)?.set_len(4 << 20)?;
    machine = machine.with_disk(Disk::new(&taken, Format::Raw, "taken"));
    let folder = machine.file("server");
    let server = Server::start(kind, &folder)?;
    let mut running = start(&machine, 900)?;
    running.shell(PLAY)?;
    // The default source is what the device plays: it all comes back.
    running.shell("amixer -q -c 0 sset Capture 100% cap")?;
    running.send(&format!("{PLAY} & {RECORD} /tmp/taken; echo TA''KEN $?; wait; echo WAI''TED $?\n"))?;
    running.expect("TAKEN 0")?;
    running.expect("WAITED 0")?;
    running.shell("dd if=/tmp/taken of=/dev/disk-taken bs=64k conv=sync; sync")?;
    let tone = tone_comes_back(&mut running);
    running.shell("speaker-test -D hw:0,0 -c 2 -r 48000 -F S16_LE -t sine -f 500 -l 1 >/dev/null")?;
    let captured = server.end()?.frames();
    let twice = Heard::of(&played, &captured);
    let (_, said) = ctl(&["audio"])?;
    crate::say(&format!("twice: {twice:?}\n{said}"));
    let recorded = short_frames(fs::read(&taken)?.get(..6 * RATE * 4).unwrap_or_default());
    let recorded = Heard::of(&played, &recorded);
    crate::say(&format!("recorded: {recorded:?}"));
    tone?;
    let alone = |side: usize| {
        let sounds = |frame: &&Frame| frame[side].unsigned_abs() > 3000 && frame[1 - side] == 0;
        captured.iter().filter(sounds).count()
    };
    ensure(
        alone(0) > RATE && alone(1) > RATE,
        format!("speaker-test is heard at the left for {} frames, at the right for {}", alone(0), alone(1)),
    )?;
    // Without a server, the guest's time goes on.
    running.shell(PLAY)?;
    let (_, said) = ctl(&["audio"])?;
    ensure(said.contains("not heard"), &said)?;
    let mut server = Server::start(kind, &folder)?;
    running.send(&format!("{PLAY}; echo PLA''YED $?\n"))?;
    sleep(Duration::from_secs(4));
    let before = Heard::of(&played, &server.stop()?.frames());
    let server = Server::start(kind, &folder)?;
    running.expect("PLAYED 0")?;
    let after = Heard::of(&played, &server.end()?.frames());
    crate::say(&format!("killed in the middle: {before:?}, then {after:?}"));
    is_content(&mut running)?;
    running.send("poweroff -f\n")?;
    running.wait()?.status(0)?;
    // Each time a server that wakes its device may lose a moment of the beginning.
    ensure(twice.frames >= 2 * (12 * RATE - RATE / 20), format!("played twice, {twice:?} was heard"))?;
    ensure(twice.repeats == 1, format!("heard more than the two times that it was played: {twice:?}"))?;
    ensure(recorded.frames > 4 * RATE && recorded.repeats == 0, format!("recorded was {recorded:?}"))?;
    ensure(before.repeats == 0 && after.repeats == 0, format!("heard twice: {before:?}, {after:?}"))?;
    // What is not heard is lost: the rest comes in time.
    let rest = before.range.zip(after.range).is_some_and(|((_, last), (first, _))| last < first);
    ensure(
        rest && after.frames > 2 * RATE,
        format!("a server killed in the middle: {before:?}, then {after:?}"),
    )
}

/// What the card counts of the lapses of those around it.
fn lapses() -> Outcome<String> {
    let (_, said) = ctl(&["audio"])?;
    let counts = said.lines().filter(|line| {
        ["under-runs", "left out", "stood still"].iter().any(|name| line.trim_start().starts_with(name))
    });
    Ok(counts.collect::<Vec<_>>().join(", "))
}

/// ALSA's own test finds its tone in a recording of it, and nothing else. It looks at a time in which the tone sounds already, and the
/// recording has begun: the silence before that would be other frequencies beside it. A host without a processor for the server or the machine has gaps, which
/// the card counts: a try with some says nothing of the card.
fn tone_comes_back(running: &mut Running) -> Outcome {
    // It fails since nothing records, and keeps what it has played.
    running.shell(&format!("{TEST} -D null --saveplay=/tmp/tone >/dev/null 2>&1; test -s /tmp/tone"))?;
    // For the head of a file of as many frames.
    running.shell("arecord -q -D hw:0,0 -f S16_LE -r 48000 -c 2 -s 65536 /tmp/silence")?;
    let mut tries = Vec::new();
    let mut steady = 0;
    for _ in 0..4 {
        let before = lapses()?;
        running.shell("aplay -q -D hw:0,0 /tmp/tone & sleep 1; arecord -q -D hw:0,0 -f S16_LE -r 48000 -c 2 -s 98304 /tmp/came; wait")?;
        running.shell("{ head -c 44 /tmp/silence; tail -c 262144 /tmp/came; } >/tmp/part")?;
        let said = running.shell(&format!("{TEST} --local --file=/tmp/part 2>&1; true"))?;
        if said.contains("Return value is 0") {
            return Ok(());
        }
        let after = lapses()?;
        // A guest that gets no processor for half a second misses its own samples, and nobody counts that: once may be so.
        steady += u32::from(before == after);
        tries.push(format!("before: {before}; after: {after}; {said}"));
        if steady == 2 {
            return Err(format!("alsabat hears no clean tone, and nobody was late: {tries:#?}").into());
        }
    }
    crate::say(&format!("alsabat was hardly ever without gaps of the host's: {tries:#?}"));
    Ok(())
}

const TEST: &str = "alsabat -f S16_LE -c 2 -r 48000 -F 997";
const RECORD: &str = "arecord -q -D hw:0,0 -t raw -f S16_LE -r 48000 -c 2 -d 6";

/// Cards with clocks 0.3 % off the host's. Without following them there would be a gap every few seconds, or some frames too many.
fn other_clocks() -> Outcome {
    let played = noise(90);
    let machine = machine_at_server(&played, "")?;
    let folder = machine.file("server");
    for ppm in [3000, -3000] {
        let server = Server::start(with_clock(ppm), &folder)?;
        let mut running = start(&machine, 600)?;
        running.shell(PLAY)?;
        let (_, said) = ctl(&["audio"])?;
        let heard = Heard::of(&played, &server.end()?.frames());
        crate::say(&format!("{ppm} parts per million: {heard:?}\n{said}"));
        is_content(&mut running)?;
        running.send("poweroff -f\n")?;
        running.wait()?.status(0)?;
        // In 90 s the clocks come apart by 12,960 frames, and some 4,000 wait on the way. A server without a processor has its gaps anyhow.
        ensure(
            heard.repeats == 0 && heard.silent < 5000 && heard.missing < 5000,
            format!("{ppm}: {heard:?} was heard"),
        )?;
    }
    Ok(())
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
    ensure(heard == Heard::whole(played.len()), format!("{heard:?}"))
}
