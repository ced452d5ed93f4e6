//! swtpm(8) as the counterpart, and one that does not keep to its protocol.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::IoSliceMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::driver::*;
use crate::tpm::swtpm::Client;
use crate::tpm::{Backend, BackendError, Crb, Interruption};

/// A swtpm. Dropped, it is killed.
struct Swtpm(Child);

impl Swtpm {
    /// With its state in a folder, which needs nothing in it, and our end of its control channel.
    fn start(folder: &std::path::Path) -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // Its standard input is the control channel.
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "-t", "--ctrl", "type=unixio,clientfd=0", "--tpmstate"])
            .arg(format!("dir={}", folder.display()))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start swtpm: {error}; install the package swtpm"));
        (Self(child), ours)
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn machine(folder: &std::path::Path) -> (Swtpm, Driver) {
    let (swtpm, control) = Swtpm::start(folder);
    let mut client = Client::new(control).unwrap();
    client.reset().unwrap();
    (swtpm, Driver::new(Crb::new("tpm", Box::new(client)).unwrap()))
}

fn pcr(driver: &Driver) -> Vec<u8> {
    let response = driver.send(&bytes(READ_PCR));
    assert_eq!(code(&response), 0, "{response:x?}");
    response[response.len() - 32..].to_vec()
}

#[test]
fn the_firmwares_start_and_what_follows() {
    let folder = tempfile::tempdir().unwrap();
    let (_swtpm, mut driver) = machine(folder.path());
    assert_eq!(code(&driver.send(&bytes(GET_RANDOM))), 0x100, "TPM_RC_INITIALIZE: nobody has started it");
    assert_eq!(code(&driver.send(&bytes(STARTUP))), 0);
    assert_eq!(code(&driver.send(&bytes(STARTUP))), 0x100, "it has been started");
    for width in [1, 2, 4, 8] {
        driver.width = width;
        let [one, other] = [(); 2].map(|()| driver.send(&bytes(GET_RANDOM)));
        assert_eq!((one.len(), code(&one)), (20, 0));
        assert_ne!(one, other);
    }
    // TPM2_GetCapability: the largest command and response that it takes (TPM_PT_MAX_COMMAND_SIZE, TPM_PT_MAX_RESPONSE_SIZE) fit the buffer.
    let sizes = driver.send(&bytes("8001000000160000017a000000060000011e00000002"));
    assert_eq!(code(&sizes), 0);
    let number = |at: usize| u32::from_be_bytes(sizes[at..at + 4].try_into().unwrap());
    assert_eq!([number(19), number(23), number(27), number(31)], [0x11e, 0xf80, 0x11f, 0xf80]);
}

#[test]
fn a_reset_begins_the_pcrs_anew_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (swtpm, driver) = machine(folder.path());
    assert_eq!(code(&driver.send(&bytes(STARTUP))), 0);
    assert_eq!(pcr(&driver), [0; 32]);
    assert_eq!(code(&driver.send(&extend_pcr())), 0);
    let extended = pcr(&driver);
    assert_ne!(extended, [0; 32]);
    // TPM2_HierarchyChangeAuth: the owner's password becomes "secret".
    let change = authorised(0x129, "40000001", "0006736563726574");
    assert_eq!(code(&driver.send(&change)), 0);
    driver.tpm.reset();
    assert_eq!(code(&driver.send(&bytes(GET_RANDOM))), 0x100, "it was reset");
    assert_eq!(code(&driver.send(&bytes(STARTUP))), 0);
    assert_eq!(pcr(&driver), [0; 32]);
    // The empty password of `change` does not do any more: TPM_RC_BAD_AUTH for session 1.
    assert_eq!(code(&driver.send(&change)), 0x9a2);
    assert_eq!(code(&driver.send(&bytes(SHUTDOWN))), 0);
    drop((driver, swtpm));
    // Another run of the machine.
    let (_swtpm, driver) = machine(folder.path());
    assert_eq!(code(&driver.send(&bytes(STARTUP))), 0);
    assert_eq!(code(&driver.send(&change)), 0x9a2);
}

#[test]
fn a_long_command_can_be_cancelled_or_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (_swtpm, driver) = machine(folder.path());
    assert_eq!(code(&driver.send(&bytes(STARTUP))), 0);
    // TPM2_CreatePrimary of an RSA key of 2048 bits below the null hierarchy.
    let template = "0001000b00030072000000060080004300100800000000000000";
    let public = format!("{:04x}{template}", template.len() / 2);
    let command = authorised(0x131, "40000007", &format!("000400000000{public}000000000000"));
    for _ in 0..8 {
        driver.start(&command);
        write32(&driver.tpm, crate::tpm::registers::CTRL_CANCEL, 1);
        let response = driver.response();
        // It may have been ready before.
        assert!([0, 0x909].contains(&code(&response)), "{response:x?}");
        write32(&driver.tpm, crate::tpm::registers::CTRL_CANCEL, 0);
        if code(&response) == 0 {
            // TPM2_FlushContext of the key, of which there is room for three.
            let flush = [bytes("80010000000e00000165"), response[10..14].to_vec()].concat();
            assert_eq!(code(&driver.send(&flush)), 0);
        }
        assert_eq!(code(&driver.send(&bytes(GET_RANDOM))), 0);
    }
}

#[test]
fn one_that_is_killed_is_a_fatal_error() {
    let folder = tempfile::tempdir().unwrap();
    let (mut swtpm, driver) = machine(folder.path());
    assert_eq!(code(&driver.send(&bytes(STARTUP))), 0);
    swtpm.0.kill().unwrap();
    swtpm.0.wait().unwrap();
    assert_eq!(code(&driver.send(&bytes(GET_RANDOM))), 0x101);
    driver.tpm.reset();
    // Nobody has started another.
    until("the reset succeeds", || read32(&driver.tpm, crate::tpm::registers::CTRL_STS) & 1 == 1);
}

/// The other side of a protocol, played by a thread.
struct Other {
    control: UnixStream,
    data: UnixStream,
}

impl Other {
    fn request(&mut self) -> u32 {
        let mut number = [0; 4];
        self.control.read_exact(&mut number).unwrap();
        u32::from_be_bytes(number)
    }

    /// Takes the data channel.
    fn welcome(mut control: UnixStream, capabilities: u32) -> Option<Self> {
        let mut number = [0; 4];
        control.read_exact(&mut number).unwrap();
        assert_eq!(u32::from_be_bytes(number), 1);
        control.write_all(&[&[0; 4][..], &capabilities.to_be_bytes()].concat()).unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(&control, &mut [IoSliceMut::new(&mut number)], &mut ancillary, RecvFlags::empty())
            .unwrap();
        if got.bytes == 0 {
            return None;
        }
        assert_eq!(u32::from_be_bytes(number), 0x10);
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut all) => all.next(),
            _ => None,
        });
        control.write_all(&[0; 4]).unwrap();
        Some(Self { control, data: descriptor.unwrap().into() })
    }
}

/// A client of another side that does `play`.
fn client(play: impl FnOnce(Other) + Send + 'static) -> Client {
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || play(Other::welcome(theirs, 0xffff).unwrap()));
    Client::new(ours).unwrap()
}

#[test]
fn one_that_lacks_requests_is_too_old() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let other = std::thread::spawn(move || Other::welcome(theirs, 0xfffe).is_none());
    assert!(matches!(Client::new(ours), Err(BackendError::TooOld)));
    assert!(other.join().unwrap());
}

#[test]
fn an_error_may_be_all_of_an_answer() {
    let mut client = client(|mut other| {
        assert_eq!(other.request(), 14);
        other.control.write_all(&[0; 4]).unwrap();
        assert_eq!(other.request(), 17);
        // The size that was wanted.
        assert_eq!(other.request(), 0xf80);
        other.control.write_all(&[0, 0, 0, 10]).unwrap();
        let _ = other.control.read(&mut [0; 1]);
    });
    let error = client.reset().unwrap_err();
    assert!(matches!(error, BackendError::Refused { request: "SET_BUFFERSIZE", code: 10 }), "{error}");
}

#[test]
fn responses_may_come_in_pieces_and_late() {
    let mut client = client(|mut other| {
        let mut command = [0; 12];
        other.data.read_exact(&mut command).unwrap();
        for byte in bytes("80010000000c000000000001") {
            std::thread::sleep(Duration::from_millis(5));
            other.data.write_all(&[byte]).unwrap();
        }
        let _ = other.control.read(&mut [0; 1]);
    });
    let response = client.execute(&bytes(GET_RANDOM), &Interruption::new().unwrap()).unwrap();
    assert_eq!(response, bytes("80010000000c000000000001"));
}

/// As swtpm does: it reads what the control channel has when it is through with a command.
#[test]
fn a_cancellation_is_answered_with_the_response() {
    let mut client = client(|mut other| {
        for cancelled in [true, false] {
            other.data.read_exact(&mut [0; 12]).unwrap();
            // Longer than a request may take.
            std::thread::sleep(if cancelled { Duration::from_secs(11) } else { Duration::ZERO });
            other.data.write_all(&bytes("80010000000a00000000")).unwrap();
            if cancelled {
                assert_eq!(other.request(), 9);
                other.control.write_all(&[0; 4]).unwrap();
            }
        }
        // Nothing else was asked for.
        assert_eq!(other.request(), 14);
    });
    let interruption = Interruption::new().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2 {
                interruption.raise();
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        assert_eq!(code(&client.execute(&bytes(GET_RANDOM), &interruption).unwrap()), 0);
    });
    assert_eq!(code(&client.execute(&bytes(GET_RANDOM), &interruption).unwrap()), 0);
    assert!(matches!(client.reset(), Err(BackendError::Gone)));
}

#[test]
fn responses_that_lie_are_refused() {
    for (response, len, announced) in [
        ("80010000000a0000000000", 11, 10),
        ("80010000000900000000", 10, 9),
        ("800100000f8100000000", 10, 0xf81),
        ("8001ffffffff00000000", 10, 0xffff_ffff),
    ] {
        let mut client = client(move |mut other| {
            other.data.read_exact(&mut [0; 12]).unwrap();
            other.data.write_all(&bytes(response)).unwrap();
            let _ = other.control.read(&mut [0; 1]);
        });
        let error = client.execute(&bytes(GET_RANDOM), &Interruption::new().unwrap()).unwrap_err();
        let BackendError::Response { len: found, announced: said } = error else { panic!("{error}") };
        assert_eq!((found, said), (len, announced));
    }
}

/// A guest goes on, and the machine ends, while the other side hangs.
#[test]
fn one_that_hangs_holds_up_nobody() {
    let (hang, hung) = std::sync::mpsc::channel::<()>();
    let client = client(move |other| {
        let _ = hung.recv();
        drop(other);
    });
    let driver = Driver::new(Crb::new("tpm", Box::new(client)).unwrap());
    driver.start(&bytes(GET_RANDOM));
    assert!(driver.is_busy());
    let begun = Instant::now();
    drop(driver);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(hang);
}

#[test]
fn one_that_closes_is_gone() {
    let mut client = client(|other| drop(other.data));
    let error = client.execute(&bytes(GET_RANDOM), &Interruption::new().unwrap()).unwrap_err();
    assert!(matches!(error, BackendError::Gone), "{error}");
}
