//! The display adapter: what the firmware draws on it, Linux' driver for it, and viewers that want another size.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tests::machine::Machine;
use tests::picture::Picture;
use tests::run::{Options, Running};
use tests::{Outcome, ensure};

use super::viewers::{connect, handshake};
use super::{at_rest, captured, ctl, decodes, firmware, screenshot};
use crate::{Scenario, by_hand, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("display_adapter_has_linuxs_driver_and_takes_a_viewers_size", 50, adapter),
    by_hand("display_adapter_of_a_viewers_size_is_shown_at_once_and_by_the_next_firmware", sizes),
    by_hand("firmware_on_the_display_adapter_is_as_the_peer_shows_it", shell),
];

const ADAPTER: &str = "adapter = \"bochs\"\nresolution = \"1280x720\"";

/// The console of Linux' driver, and a size that a viewer wants.
fn adapter() -> Outcome {
    let (_machine, running, _client) = bound_anew()?;
    ctl(["quit"])?;
    running.wait()?.status(0)
}

/// A guest whose driver has begun anew with the size that a viewer wants, 1600 × 900.
fn bound_anew() -> Outcome<(Machine, Running, Client)> {
    let lines = format!("{ADAPTER}\n{}", super::VNC);
    let machine = Machine::small("test=screen screen=bochs console=tty0 console=ttyS0")?.with_screen(&lines);
    let mut running = machine.start(&Options::default().within(400))?;

    let edid = running.expect("EDID ([0-9a-f]{256,})\r?\n")?;
    decodes(&machine, edid.get(1).map(String::as_str).unwrap_or_default())?;
    running.expect("SCREEN-READY bochs\r?\n")?;
    let file = machine.file("adapter-linux.png");
    let linux = at_rest(0, console, || screenshot(&file))?;
    ensure(linux.size() == (1280, 720), format!("the guest chose {:?} pixels", linux.size()))?;
    captured(&machine, &linux)?;

    // Linux 6.12 reads the EDID when its driver begins.
    let mut client = Client::new()?;
    for (width, height, wanted) in [
        (64, 64, [1, 3, 1280, 720]),
        // More than a mode of 60 Hz may have.
        (4095, 4095, [1, 3, 1280, 720]),
        (1600, 900, [1, 4, 1280, 720]),
    ] {
        let told = client.wants(width, height)?;
        ensure(told == wanted, format!("a viewer that wants {width} × {height} is told {told:?}"))?;
    }
    typed("cd /sys/bus/pci/drivers/bochs-drm; set -- 0000:*; echo $1 >unbind; echo $1 >bind")?;
    typed("echo Bound $(head -n 1 /sys/class/drm/card*-Virtual-1/modes) >/dev/ttyS0")?;
    running.expect("Bound 1600x900\r?\n")?;
    // A server's size: reason 0.
    let told = client.resized()?;
    ensure(told == [0, 0, 1600, 900], format!("the viewer is told {told:?} when the guest takes the size"))?;
    let file = machine.file("adapter-bound.png");
    let rebound = at_rest(usize::MAX, |picture| picture.size() == (1600, 900), || screenshot(&file))?;
    ensure(rebound.colours() > 1, "the console on the new size is blank")?;
    Ok((machine, running, client))
}

/// From there to the firmware's next start.
fn sizes() -> Outcome {
    let (machine, mut running, mut client) = bound_anew()?;
    ensure(client.wants(1024, 768)?[..2] == [1, 4], "a wish for 1024 × 768 is not forwarded to the guest")?;
    ctl(["reset"])?;
    firmwares(&machine, &mut running)?;
    ctl(["quit"])?;
    running.wait()?.status(0)
}

/// The firmware begins in the mode that the panel prefers now.
fn firmwares(machine: &Machine, running: &mut Running) -> Outcome {
    let file = machine.file("adapter-firmware.png");
    loop {
        // There is none before the firmware has set a mode.
        let picture = screenshot(&file).ok();
        if picture.is_some_and(|picture| picture.size() == (1024, 768) && picture.colours() > 1) {
            return Ok(());
        }
        if running.is_overdue() {
            return Err(running.failure("the firmware shows nothing of 1024 × 768 after a reset"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A stripe of Linux' console.
fn console(picture: &Picture) -> bool {
    picture.count([0, 0xaa, 0xaa]) > 500
}

/// A line at the shell on the screen.
fn typed(line: &str) -> Outcome {
    ctl(["type", &format!("{line}\\n")]).map(drop)
}

/// Without anything to boot there is the shell.
fn shell() -> Outcome {
    let machine = || -> Outcome<Machine> { Ok(Machine::new()?.with_memory("256M").with_screen(ADAPTER)) };
    let (ours, theirs) = firmware::shells(machine, "adapter")?;
    ensure(ours.size() == (1280, 720), format!("the firmware chose {:?} pixels", ours.size()))?;
    firmware::same(&ours, &theirs, firmware::CURSOR)
}

/// A viewer that follows sizes.
struct Client(TcpStream);

impl Client {
    fn new() -> Outcome<Self> {
        let mut client = connect()?;
        handshake(&mut client)?;
        // SetEncodings: raw, and ExtendedDesktopSize (-308).
        client.write_all(&[2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xfe, 0xcc])?;
        let mut client = Self(client);
        let told = client.resized()?;
        ensure(told == [0, 0, 1280, 720], format!("the viewer is told {told:?} at first"))?;
        Ok(client)
    }

    /// FramebufferUpdateRequest: what is new on any screen.
    fn request(&mut self) -> Outcome {
        Ok(self.0.write_all(&[3, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])?)
    }

    /// SetDesktopSize with one screen; what the answer says: reason, status, width and height.
    fn wants(&mut self, width: u16, height: u16) -> Outcome<[u16; 4]> {
        let [[a, b], [c, d]] = [width, height].map(u16::to_be_bytes);
        let mut message = vec![251, 0, a, b, c, d, 1, 0];
        message.extend([0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0]);
        self.0.write_all(&message)?;
        loop {
            let told = self.resized()?;
            if told.first() == Some(&1) {
                return Ok(told);
            }
        }
    }

    /// Asks for updates up to one with a size; what that says.
    fn resized(&mut self) -> Outcome<[u16; 4]> {
        loop {
            self.request()?;
            let [_, _, count_high, count_low] = self.take()?;
            let mut told = None;
            for _ in 0..u16::from_be_bytes([count_high, count_low]) {
                let head: [u8; 12] = self.take()?;
                let (words, encoding) = head.split_at(8);
                let mut place = [0; 4];
                for (word, bytes) in place.iter_mut().zip(words.as_chunks().0) {
                    *word = u16::from_be_bytes(*bytes);
                }
                if encoding == (-308_i32).to_be_bytes() {
                    let _: [u8; 20] = self.take()?;
                    told = Some(place);
                } else {
                    let mut pixels = vec![0; usize::from(place[2]) * usize::from(place[3]) * 4];
                    self.0.read_exact(&mut pixels)?;
                }
            }
            if let Some(told) = told {
                return Ok(told);
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
