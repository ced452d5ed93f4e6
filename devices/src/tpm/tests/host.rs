//! The host's TPM, played by the other end of a socket.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::driver::*;
use crate::tpm::host::HostTpm;
use crate::tpm::{Backend, BackendError, Interruption};

fn tpm() -> (HostTpm, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (HostTpm::new(File::from(OwnedFd::from(ours))), theirs)
}

#[test]
fn commands_go_there_and_responses_come_back() {
    let (mut tpm, mut kernel) = tpm();
    let other = std::thread::spawn(move || {
        let mut command = [0; 12];
        kernel.read_exact(&mut command).unwrap();
        assert_eq!(command.to_vec(), bytes(GET_RANDOM));
        kernel.write_all(&bytes("80010000000c000000000001")).unwrap();
        kernel
    });
    tpm.reset().unwrap();
    let never = Interruption::new().unwrap();
    assert_eq!(tpm.execute(&bytes(GET_RANDOM), &never).unwrap(), bytes("80010000000c000000000001"));
    let mut kernel = other.join().unwrap();
    // What the kernel hands over is whole.
    kernel.write_all(&bytes("80010000000c0000000000")).unwrap();
    let error = tpm.execute(&bytes(GET_RANDOM), &never).unwrap_err();
    assert!(matches!(error, BackendError::Response { len: 11, announced: 12 }), "{error}");
    drop(kernel);
    assert!(tpm.execute(&bytes(GET_RANDOM), &never).is_err());
}

#[test]
fn what_would_take_from_the_host_is_refused() {
    let (mut tpm, mut kernel) = tpm();
    let never = Interruption::new().unwrap();
    // TPM2_Clear with the password of the lockout authorisation, which is empty as a rule, and others.
    for code in [
        0x11f, 0x121, 0x122, 0x124, 0x125, 0x126, 0x127, 0x129, 0x12b, 0x12e, 0x12f, 0x132, 0x13a, 0x13f,
        0x140, 0x141,
    ] {
        let command = authorised(code, "4000000a", "");
        assert_eq!(tpm.execute(&command, &never).unwrap(), bytes("80010000000a00000143"), "{code:#x}");
    }
    // TPM2_EvictControl for the owner: of an object that is persistent, which it would remove, and of one that is not.
    let evict = |handle: &str| bytes(&format!("8001000000160000012040000001{handle}81000001"));
    assert_eq!(tpm.execute(&evict("81000001"), &never).unwrap(), bytes("80010000000a00000143"));
    kernel.set_nonblocking(true).unwrap();
    assert!(kernel.read(&mut [0; 1]).is_err(), "one has gone there");
    kernel.write_all(&bytes("80010000000a00000000")).unwrap();
    assert_eq!(tpm.execute(&evict("80000001"), &never).unwrap(), bytes("80010000000a00000000"));
    let mut sent = [0; 22];
    kernel.read_exact(&mut sent).unwrap();
    assert_eq!(sent.to_vec(), evict("80000001"));
}
