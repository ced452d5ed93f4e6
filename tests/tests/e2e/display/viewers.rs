//! VNC viewers of Debian and rude clients, at the console of a Linux guest on the firmware's framebuffer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tests::machine::Machine;
use tests::picture::Picture;
use tests::run::{Options, Running};
use tests::{Outcome, ensure, lab};

use super::{VNC, at_rest, held, screenshot, vncdo};
use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] =
    &[scenario("viewers_see_what_the_guest_shows_and_type_while_some_are_rude", 85, viewers)];

/// A Linux guest with a still picture and a shell on its screen.
fn viewers() -> Outcome {
    let machine = Machine::small("test=screen console=tty0 console=ttyS0")?.with_screen(VNC);
    let mut running = machine.start(&Options::default().within(400))?;
    running.expect("SCREEN-READY none\r?\n")?;
    seen(&machine, &mut running)?;
    rude(&machine, &mut running)?;
    // Ctrl-D at an empty line ends the shell.
    vncdo(["key", "ctrl-d"])?;
    let finished = running.wait()?;
    finished.passed("screen")?;
    finished.ensure(!finished.stderr.contains("panicked"), "a thread panicked")
}

/// What viewers of Debian see, and that they can type.
fn seen(machine: &Machine, running: &mut Running) -> Outcome {
    let file = machine.file("console.png");
    let ours = at_rest(0, |picture| picture.colours() >= 8, || screenshot(&file))?;

    let capture = machine.file("vncdotool.png");
    vncdo(["capture", &capture.display().to_string()])?;
    let differing = Picture::load(&capture)?.differing(&ours, 0);
    ensure(differing == 0, format!("vncdotool sees {differing} pixels otherwise than a screenshot"))?;

    // It writes JPEG, which changes colours a little, at edges more.
    let capture = machine.file("vncsnapshot.jpg");
    lab::call("vncsnapshot", &["-quality", "100", "127.0.0.1:0", &capture.display().to_string()])?;
    let seen = Picture::load(&capture)?;
    let differing = seen.differing(&ours, 80);
    ensure(
        seen.size() == ours.size() && differing * 200 < ours.width * ours.height,
        format!("vncsnapshot sees {differing} pixels otherwise, of {:?}", seen.size()),
    )?;

    vncdo(["type", "echo \"Typed $((6*7))\" >/dev/ttyS0", "key", "enter"])?;
    running.expect("Typed 42\r?\n")?;
    Ok(())
}

/// Clients that come and go, talk nonsense or do not listen hold up nobody, and leave nothing behind.
fn rude(machine: &Machine, running: &mut Running) -> Outcome {
    // Whatever is made at first use has been made.
    let before = settled(running, None)?;

    for turn in 0..20 {
        let mut client = connect()?;
        if turn % 2 == 0 {
            handshake(&mut client)?;
            ask(&mut client)?;
        }
    }
    garbage()?;
    // One that asks for pictures all the time and reads none.
    let mut stalled = connect()?;
    handshake(&mut stalled)?;
    stalled.set_write_timeout(Some(Duration::from_millis(100)))?;
    for _ in 0..200 {
        if ask(&mut stalled).is_err() {
            break;
        }
    }
    // Others are served meanwhile, and so is the guest.
    vncdo(["type", "echo still-$((40+2)) >/dev/ttyS0", "key", "enter"])?;
    running.expect("still-42\r?\n")?;
    let _ = screenshot(&machine.file("rude.png"))?;
    drop(stalled);

    let after = settled(running, Some(before))?;
    ensure(after == before, format!("files and threads were {before:?} and are {after:?}"))
}

/// Files and threads of the process: once they are as wanted, or after they had the time for it.
fn settled(running: &Running, wanted: Option<(usize, usize)>) -> Outcome<(usize, usize)> {
    let start = Instant::now();
    loop {
        std::thread::sleep(Duration::from_secs(2));
        let now = held(running)?;
        if wanted.is_none_or(|wanted| wanted == now) || start.elapsed() > Duration::from_secs(120) {
            return Ok(now);
        }
    }
}

pub(super) fn connect() -> Outcome<TcpStream> {
    let stream = TcpStream::connect("127.0.0.1:5900")?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Version 3.8 without a password, sharing the screen.
pub(super) fn handshake(client: &mut TcpStream) -> Outcome {
    client.read_exact(&mut [0; 12])?;
    client.write_all(b"RFB 003.008\n")?;
    let mut types = [0; 2];
    client.read_exact(&mut types)?;
    ensure(types == [1, 1], format!("the server offers the security types {types:?}"))?;
    client.write_all(&[1])?;
    client.read_exact(&mut [0; 4])?;
    client.write_all(&[1])?;
    let mut head = [0; 24];
    client.read_exact(&mut head)?;
    let [.., a, b, c, d] = head;
    let mut name = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
    Ok(client.read_exact(&mut name)?)
}

/// Asks for all of the picture.
fn ask(client: &mut TcpStream) -> Outcome {
    Ok(client.write_all(&[3, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])?)
}

/// Bytes without sense, at every stage at which there could be some.
fn garbage() -> Outcome {
    let noise: Vec<u8> = (0..20_000_u32).map(|each| (each.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for stage in 0..3 {
        let mut client = connect()?;
        match stage {
            0 => {}
            1 => {
                client.read_exact(&mut [0; 12])?;
                client.write_all(b"RFB 003.008\n")?;
            }
            _ => handshake(&mut client)?,
        }
        // The server may have hung up already.
        let _ = client.write_all(&noise);
        let _ = client.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let end = client.read_to_end(&mut rest);
        let hung_up =
            end.as_ref().map_or_else(|error| error.kind() != std::io::ErrorKind::WouldBlock, |_| true);
        ensure(hung_up, format!("at stage {stage} a client that sends garbage is kept: {end:?}"))?;
    }
    Ok(())
}
