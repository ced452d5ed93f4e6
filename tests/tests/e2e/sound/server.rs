//! Sound servers of the host, each with a device that nobody hears, and what that plays.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant, SystemTime};

use tests::Outcome;

use super::heard::{Frame, RATE, frames};

/// A kind of server.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Starts it, with its socket in `$PULSE_RUNTIME_PATH`.
    script: &'static str,
    /// The clock of its device, in parts per million of the host's; the host's own without.
    clock: Option<i64>,
}

pub(super) const PULSEAUDIO: Kind = Kind {
    script: "exec pulseaudio -n --daemonize=no --exit-idle-time=-1 --use-pid-file=no \
             -L \"module-native-protocol-unix socket=$PULSE_RUNTIME_PATH/native\" \
             -L 'module-null-sink sink_name=null format=s32le rate=48000 channels=2'",
    clock: None,
};

/// WirePlumber makes its links. It takes no sink's monitor for the default source on its own, as PulseAudio does.
pub(super) const PIPEWIRE: Kind = Kind {
    script: "export XDG_RUNTIME_DIR=$PULSE_RUNTIME_PATH; pipewire & \
             until [ -S $XDG_RUNTIME_DIR/pipewire-0 ]; do sleep 0.2; done; wireplumber & pipewire-pulse & \
             until pactl -s unix:$PULSE_RUNTIME_PATH/native load-module module-null-sink sink_name=null; do sleep 0.5; done; \
             pactl -s unix:$PULSE_RUNTIME_PATH/native set-default-source null.monitor; wait",
    clock: None,
};

/// PulseAudio with a device that takes samples by a clock of its own, so many parts per million faster than the host's.
pub(super) const fn with_clock(ppm: i64) -> Kind {
    Kind {
        script: "exec pulseaudio -n --daemonize=no --exit-idle-time=-1 --use-pid-file=no \
                 -L \"module-native-protocol-unix socket=$PULSE_RUNTIME_PATH/native\" \
                 -L \"module-pipe-sink sink_name=null file=$PULSE_RUNTIME_PATH/card format=s32le rate=48000 channels=2\"",
        clock: Some(ppm),
    }
}

/// What a device has played, and when it came here.
#[derive(Default)]
pub(super) struct Captured {
    data: Vec<u8>,
    /// Bytes so far, at a time.
    arrivals: Vec<(usize, SystemTime)>,
}

/// Bytes of a frame.
const FRAME: usize = 8;

impl Captured {
    fn add(&mut self, data: &[u8]) {
        self.data.extend_from_slice(data);
        self.arrivals.push((self.data.len(), SystemTime::now()));
    }

    pub(super) fn frames(&self) -> Vec<Frame> {
        frames(&self.data)
    }

    /// The frames that came between two times, in whole pieces.
    pub(super) fn between(&self, from: SystemTime, to: SystemTime) -> Range<usize> {
        let before = |limit: SystemTime| {
            let piece = self.arrivals.partition_point(|(_, time)| *time < limit);
            piece
                .checked_sub(1)
                .and_then(|last| self.arrivals.get(last))
                .map_or(0, |(bytes, _)| bytes / FRAME)
        };
        before(from)..before(to)
    }

    /// When the frame of this number had come.
    pub(super) fn arrival(&self, frame: usize) -> Option<SystemTime> {
        let end = (frame + 1) * FRAME;
        let at = self.arrivals.partition_point(|(bytes, _)| *bytes < end);
        self.arrivals.get(at).map(|(_, time)| *time)
    }
}

type Shared = Arc<Mutex<Captured>>;

fn note(shared: &Shared, data: &[u8]) {
    shared.lock().unwrap_or_else(PoisonError::into_inner).add(data);
}

/// Takes all that there is.
fn listen(mut from: impl Read, shared: &Shared) {
    let mut piece = [0; 1 << 14];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        note(shared, piece.get(..count).unwrap_or_default());
    }
}

/// A sound card: takes as many frames as its clock says, and plays silence where there are none.
fn play(mut from: File, ppm: i64, shared: &Shared, over: &AtomicBool) {
    let begin = Instant::now();
    let mut played = 0_usize;
    let mut piece = vec![0; 1 << 16];
    while !over.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(5));
        let due = begin.elapsed().as_secs_f64() * RATE as f64 * (1.0 + ppm as f64 / 1e6);
        let due = (due as usize - played).min(piece.len() / FRAME) * FRAME;
        let Some(place) = piece.get_mut(..due) else { return };
        let mut done = 0;
        while let Some(rest) = place.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match from.read(rest) {
                Ok(count @ 1..) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => {
                    rest.fill(0);
                    break;
                }
            }
        }
        note(shared, place);
        played += due / FRAME;
    }
}

/// A server that runs, and what it plays.
pub(super) struct Server {
    server: Child,
    recorder: Option<Child>,
    over: Arc<AtomicBool>,
    captured: Shared,
    thread: JoinHandle<()>,
}

/// Where a server in this folder listens.
pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join("native")
}

impl Server {
    pub(super) fn start(kind: Kind, folder: &Path) -> Outcome<Self> {
        for leftover in [socket(folder), folder.join("card")] {
            let _ = fs::remove_file(leftover);
        }
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
        let address = format!("unix:{}", socket(folder).display());
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            let sinks = Command::new("pactl").args(["-s", &address, "list", "short", "sinks"]).output()?;
            // By its whole name: PipeWire has an `auto_null` before.
            if String::from_utf8_lossy(&sinks.stdout).split('\t').any(|word| word == "null") {
                break;
            }
            if Instant::now() >= limit {
                Self::kill(&mut server)?;
                let log = fs::read_to_string(folder.join("log"))?;
                return Err(format!("the sound server has no device after 60 s; it says:\n{log}").into());
            }
            sleep(Duration::from_millis(500));
        }
        let (over, captured) = (Arc::<AtomicBool>::default(), Shared::default());
        let (ended, shared) = (Arc::clone(&over), Arc::clone(&captured));
        let mut recorder = None;
        let thread = match kind.clock {
            Some(ppm) => {
                let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
                let card = File::options().read(true).custom_flags(flags).open(folder.join("card"))?;
                spawn(move || play(card, ppm, &shared, &ended))
            }
            None => {
                let words = [
                    "-s",
                    &address,
                    "-d",
                    "null.monitor",
                    "--format=s32le",
                    "--rate=48000",
                    "--channels=2",
                    "--latency-msec=10",
                    "--raw",
                ];
                let mut child =
                    Command::new("parec").args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
                let output = child.stdout.take().ok_or("parec has no output")?;
                recorder = Some(child);
                spawn(move || listen(output, &shared))
            }
        };
        sleep(Duration::from_secs(2));
        Ok(Self { server, recorder, over, captured, thread })
    }

    /// Kills it, and returns what it has played.
    pub(super) fn end(mut self) -> Outcome<Captured> {
        sleep(Duration::from_secs(1));
        self.stop()
    }

    /// The same at once.
    pub(super) fn stop(&mut self) -> Outcome<Captured> {
        Self::kill(&mut self.server)?;
        self.over.store(true, Ordering::Relaxed);
        if let Some(mut recorder) = self.recorder.take() {
            // It may have ended with its server.
            let _ = recorder.kill();
            recorder.wait()?;
        }
        while !self.thread.is_finished() {
            sleep(Duration::from_millis(10));
        }
        Ok(std::mem::take(&mut *self.captured.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Ends it with all that its shell has started.
    fn kill(server: &mut Child) -> Outcome {
        Command::new("kill").args(["-9", "--", &format!("-{}", server.id())]).status()?;
        server.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Harmless after its end.
        let _ = self.stop();
    }
}
