//! Clocks over a pause, and interrupts that come too late.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime, clock_settime};
use tests::machine::Machine;
use tests::qmp::Qmp;
use tests::run::{Options, Running};
use tests::transcript::Transcript;
use tests::{Outcome, binary, ensure, program};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("clocks_go_on_over_a_pause", 110, pause),
    scenario("late_ticks_are_merged_or_caught_up", 40, ticks),
];

/// The clocks of a Linux guest at one moment, which lies between two moments of the host.
#[derive(Debug)]
struct Reading {
    asked: Instant,
    seen: Instant,
    /// Seconds: since the guest's start, and since 1970 by its kernel and by the real-time clock.
    clocks: [f64; 3],
}

impl Reading {
    fn take(running: &mut Running) -> Outcome<Self> {
        let asked = Instant::now();
        running.send(
            "echo AT $(cut -d ' ' -f 1 /proc/uptime) $(date +%s) $(cat /sys/class/rtc/rtc0/since_epoch) END\n",
        )?;
        let found = running.expect(r"AT ([\d.]+) (\d+) (\d+) END")?;
        let seen = Instant::now();
        let number = |index: usize| -> Outcome<f64> { Ok(found.get(index).ok_or("no clock")?.parse()?) };
        Ok(Self { asked, seen, clocks: [number(1)?, number(2)?, number(3)?] })
    }

    /// The clocks have gone on as the host's since `before`, to whole seconds.
    fn follows(&self, before: &Self) -> Outcome {
        let least = self.asked.duration_since(before.seen).as_secs_f64() - 2.0;
        let most = self.seen.duration_since(before.asked).as_secs_f64() + 2.0;
        let all = ["uptime", "date", "RTC"].iter().zip(self.clocks.iter().zip(before.clocks));
        for (clock, (now, then)) in all {
            let passed = now - then;
            ensure(
                (least..=most).contains(&passed),
                format!("the guest's {clock} has gone on by {passed:.1} s, not {least:.1} to {most:.1} s"),
            )?;
        }
        Ok(())
    }
}

/// Longer than the kernel's watchdogs wait, for a lockup 20 s and for a stall of RCU 21 s.
const PAUSE: Duration = Duration::from_secs(60);

/// A guest that knows KVM's clock, and one that knows no hypervisor and is told to take the TSC.
fn pause() -> Outcome {
    let tsc = format!("test=shell clocksource=tsc tsc=reliable tsc_early_khz={}", tsc_khz()?);
    let guests =
        [("kvm-clock", "test=shell", "hypervisor = true"), ("tsc", tsc.as_str(), "hypervisor = false")];
    let mut running = Vec::new();
    for (clock, words, key) in guests {
        let machine = Machine::small(words)?.directly().with_memory("512M");
        let control = format!("control = \"unix:{}\"", machine.file("qmp.sock").display());
        let mut machine = machine.with_key(&control);
        machine.cpu_keys.push(key.into());
        let guest = machine.start(&Options { interactive: true, ..Options::default() })?;
        running.push((clock, machine, guest));
    }
    let mut paused = Vec::new();
    for (clock, machine, mut guest) in running {
        guest.expect("L2-USERSPACE-UP")?;
        // The TSC is called `tsc-early` until Linux has measured it.
        let current = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        guest.shell(&until(&format!("grep -q ^{clock} {current}")))?;
        // An alarm that is due during the pause.
        guest.shell("dmesg -c >/dev/null; echo +30 >/sys/class/rtc/rtc0/wakealarm")?;
        let before = Reading::take(&mut guest)?;
        let mut qmp = Qmp::connect(&machine.file("qmp.sock"))?;
        qmp.execute("stop")?;
        paused.push((clock, machine, guest, before, qmp));
    }
    std::thread::sleep(PAUSE);
    for (.., qmp) in &mut paused {
        qmp.execute("cont")?;
    }
    for (clock, _machine, mut guest, before, _) in paused {
        let after = Reading::take(&mut guest)?;
        let rung = alarm_rings(&mut guest);
        let log = guest.shell("dmesg")?;
        let told = |what: &str| format!("with {clock}, {what}: {before:?}, then {after:?}\n{log}");
        rung.map_err(|failed| told(failed.message().unwrap_or_default()))?;
        after.follows(&before).map_err(|failed| told(failed.message().unwrap_or_default()))?;
        if clock == "kvm-clock" {
            // The other has nothing by which it could be told.
            let complaint = ["soft lockup", "stall", "unstable"].iter().find(|word| log.contains(**word));
            ensure(complaint.is_none(), told(&format!("the guest complains of '{complaint:?}'")))?;
            follows_a_clock_that_is_set(&mut guest)?;
        }
        guest.send("poweroff -f\n")?;
        guest.wait()?.status(0)?;
    }
    Ok(())
}

/// The frequency of this processor's TSC in kHz, which the emulated guest has no time to measure.
fn tsc_khz() -> Outcome<u64> {
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let mhz = info.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split_once(':'));
    let mhz: f64 = mhz.ok_or("/proc/cpuinfo has no frequency")?.1.trim().parse()?;
    Ok((mhz * 1000.0) as u64)
}

/// The kernel forgets an alarm once it has rung.
fn alarm_rings(guest: &mut Running) -> Outcome {
    guest.shell(&until("[ -z \"$(cat /sys/class/rtc/rtc0/wakealarm)\" ]")).map(drop)
}

/// A command for the guest's shell that waits for another's success, for a minute at most.
fn until(condition: &str) -> String {
    format!("n=0; until {condition} || [ $n = 300 ]; do n=$((n+1)); sleep 0.2; done; {condition}")
}

/// An alarm of the real-time clock for the next hour rings when the host's clock is set to that.
fn follows_a_clock_that_is_set(guest: &mut Running) -> Outcome {
    guest.shell("echo +3600 >/sys/class/rtc/rtc0/wakealarm")?;
    let step = |seconds: i64| -> Outcome {
        let mut time = clock_gettime(ClockId::Realtime);
        time.tv_sec += seconds;
        Ok(clock_settime(ClockId::Realtime, time)?)
    };
    step(3605)?;
    let rung = alarm_rings(guest);
    step(-3605)?;
    rung
}

/// A machine that runs [`program::tick_counter_image`], ours or the peer's.
struct Counter {
    name: &'static str,
    child: Child,
    serial: Transcript,
    qmp: Qmp,
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds that have passed by the ticks of the real-time clock and of the PIT, at a moment between two of the host's.
#[derive(Debug, Clone, Copy)]
struct Counts {
    rtc: f64,
    pit: f64,
    asked: Instant,
    seen: Instant,
}

impl Counts {
    /// Seconds that the clocks are behind the host's since `first`, at least and at most: of the real-time clock, of the PIT.
    fn behind(&self, first: &Self) -> [(f64, f64); 2] {
        let least = self.asked.duration_since(first.seen).as_secs_f64();
        let most = self.seen.duration_since(first.asked).as_secs_f64();
        [self.rtc - first.rtc, self.pit - first.pit].map(|passed| (least - passed, most - passed))
    }
}

impl Counter {
    fn start(name: &'static str, folder: &Path, mut command: Command) -> Outcome<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut serial = Transcript::of_socket(&folder.join(format!("{name}.serial")));
        serial.wait(">", Duration::from_secs(60), || false)?;
        let qmp = Qmp::connect(&folder.join(format!("{name}.qmp")))?;
        Ok(Self { name, child, serial, qmp })
    }

    fn ours(name: &'static str, folder: &Path, policy: &str) -> Outcome<Self> {
        let at = |suffix: &str| folder.join(format!("{name}.{suffix}"));
        let toml = format!(
            "[machine]\nmemory = \"256M\"\ncontrol = \"unix:{}\"\nrtc_tickpolicy = \"{policy}\"\n\
             [firmware]\nkind = \"raw\"\ncode = \"image\"\n",
            at("qmp").display()
        );
        std::fs::write(at("toml"), toml)?;
        let mut command = Command::new(binary::path()?);
        command.args(["run", "--headless", "--serial"]);
        command.arg(format!("unix:{}", at("serial").display())).arg(at("toml"));
        Self::start(name, folder, command)
    }

    fn peer(name: &'static str, folder: &Path, fix: &str) -> Outcome<Self> {
        let socket = |suffix: &str| {
            format!("unix:{},server=on,wait=off", folder.join(format!("{name}.{suffix}")).display())
        };
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-display", "none", "-machine", "q35,accel=kvm,hpet=off", "-m", "256"]);
        command.args(["-rtc", &format!("driftfix={fix}")]).arg("-bios").arg(folder.join("image"));
        command.args(["-serial", &socket("serial"), "-qmp", &socket("qmp")]);
        Self::start(name, folder, command)
    }

    fn counts(&mut self) -> Outcome<Counts> {
        let asked = Instant::now();
        self.serial.send("c")?;
        let patience = Duration::from_secs(60);
        let found = self.serial.wait("([0-9A-F]{8}) ([0-9A-F]{8})\n", patience, || false)?;
        let seen = Instant::now();
        let number = |index: usize| -> Outcome<f64> {
            Ok(u32::from_str_radix(found.get(index).ok_or("no count")?, 16)?.into())
        };
        Ok(Counts { rtc: number(1)? / 64.0, pit: number(2)? / 100.0, asked, seen })
    }

    /// Its counts once it has made up for what it missed before: on a busy machine it waited for a processor.
    fn steady_counts(&mut self) -> Outcome<Counts> {
        let began = Instant::now();
        let mut before = self.counts()?;
        loop {
            std::thread::sleep(Duration::from_secs(2));
            let now = self.counts()?;
            let [(least, most), _] = now.behind(&before);
            if least < 0.25 && most > -0.25 {
                return Ok(now);
            }
            let waited = began.elapsed() < Duration::from_secs(120);
            ensure(
                waited,
                format!("{}: the real-time clock goes by {:?} s wrong", self.name, (least, most)),
            )?;
            before = now;
        }
    }
}

/// For that long the guests take no interrupts, and then they are paused for as long.
const LATE: Duration = Duration::from_secs(5);

/// Ours with either policy, beside the peer's.
fn ticks() -> Outcome {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    std::fs::write(folder.join("image"), program::tick_counter_image())?;
    let mut counters = [
        Counter::ours("merge", folder, "merge")?,
        Counter::ours("catchup", folder, "catchup")?,
        Counter::peer("none", folder, "none")?,
        Counter::peer("slew", folder, "slew")?,
    ];
    let first: Vec<Counts> = counters.iter_mut().map(Counter::steady_counts).collect::<Outcome<_>>()?;
    for counter in &mut counters {
        counter.serial.send("b")?;
    }
    std::thread::sleep(LATE);
    for counter in &mut counters {
        counter.serial.send("g")?;
    }
    for counter in &mut counters {
        counter.qmp.execute("stop")?;
    }
    std::thread::sleep(LATE);
    for counter in &mut counters {
        counter.qmp.execute("cont")?;
    }
    for (index, counter) in counters.iter_mut().enumerate() {
        let (name, first) = (counter.name, first.get(index).ok_or("no counts")?);
        let late = 2.0 * LATE.as_secs_f64();
        if name == "catchup" {
            // Soon it has had all ticks, but for what the last look takes.
            let began = Instant::now();
            while counter.counts()?.behind(first)[0].0 > 0.5 {
                let waited = began.elapsed() < Duration::from_secs(120);
                ensure(waited, format!("{name} is still {:?} s behind", counter.counts()?.behind(first)))?;
                std::thread::sleep(Duration::from_secs(1));
            }
            std::thread::sleep(Duration::from_secs(2));
        }
        let [rtc, pit] = counter.counts()?.behind(first);
        let told = format!("{name}: the real-time clock is {rtc:?} s behind, the PIT {pit:?} s");
        match name {
            // The peer's slewing sees no lost tick where interrupts take the 8259s.
            "merge" | "none" | "slew" => ensure(rtc.1 > late - 1.0, &told)?,
            _ => ensure(rtc.0 < 0.5 && rtc.1 > -0.5, &told)?,
        }
        // The peer has KVM count what comes late, and stops the PIT itself over a pause.
        match name {
            "merge" | "catchup" => ensure(pit.1 > late - 1.0, &told)?,
            _ => ensure(pit.0 < late, &told)?,
        }
    }
    Ok(())
}
