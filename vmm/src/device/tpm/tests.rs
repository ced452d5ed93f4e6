//! swtpm(8) and swtpm_setup(8) themselves, and what is told of them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use devices::tpm::{Backend, BackendError, Interruption};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use super::certificates::Maker;
use super::emulator::Emulator;
use super::error::TpmError;
use super::process::{Keeper, Start};
use super::state::{self, State};
use super::*;

/// TPM2_Startup(CLEAR), and TPM2_GetRandom.
const STARTUP: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0];
const GET_RANDOM: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8];

fn code(tpm: &mut Emulator, command: &[u8]) -> u32 {
    let response = tpm.execute(command, &Interruption::new().unwrap()).unwrap();
    u32::from_be_bytes(response[6..10].try_into().unwrap())
}

/// A folder in which a TPM's state is to be.
fn place() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("vm_TPM, the first");
    (place, folder)
}

fn new_tpm(folder: &Path) -> (Emulator, Keeper) {
    state::make(folder, &state::look(folder).unwrap(), None).unwrap();
    Emulator::start(Start::find(folder).unwrap()).unwrap()
}

/// The process that uses a state.
fn process(folder: &Path) -> Option<(Pid, String)> {
    match state::look(folder) {
        Err(TpmError::InUse { holder, .. }) => {
            let number = holder.split_once("(process ").unwrap().1.split_once(')').unwrap().0;
            Some((Pid::from_raw(number.parse().unwrap()).unwrap(), holder))
        }
        _ => None,
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_new_tpm_works_and_is_this_machines() {
    let (_place, folder) = place();
    let (mut tpm, keeper) = new_tpm(&folder);
    assert_eq!(code(&mut tpm, &STARTUP), 0);
    assert_eq!(code(&mut tpm, &GET_RANDOM), 0);
    let (swtpm, holder) = process(&folder).unwrap();
    assert!(holder.starts_with("swtpm (process "), "{holder}");
    assert!(holder.ends_with(&format!("(process {}) has started", std::process::id())), "{holder}");
    // Who has looked before does not get it, either.
    let Err(TpmError::Backend { error, said }) = Emulator::start(Start::find(&folder).unwrap()) else {
        panic!("two have it")
    };
    assert!(matches!(error, BackendError::Refused { request: "INIT", .. }), "{error}");
    assert!(!said.is_empty());
    assert_eq!(code(&mut tpm, &GET_RANDOM), 0);
    drop(keeper);
    assert_eq!(test_kill_process(swtpm), Err(Errno::SRCH), "it is left behind");
    assert_eq!(state::look(&folder).unwrap(), State::There);
    assert!(
        matches!(tpm.reset(), Err(BackendError::Io { .. })),
        "nothing is started for a machine that ends"
    );
}

#[test]
fn one_that_is_killed_is_replaced_at_the_reset() {
    let (_place, folder) = place();
    let (mut tpm, _keeper) = new_tpm(&folder);
    assert_eq!(code(&mut tpm, &STARTUP), 0);
    let (first, _) = process(&folder).unwrap();
    kill_process(first, Signal::KILL).unwrap();
    until("it does not end", || test_kill_process(first) == Err(Errno::SRCH));
    for _ in 0..2 {
        let error = tpm.execute(&GET_RANDOM, &Interruption::new().unwrap()).unwrap_err();
        assert!(matches!(error, BackendError::Gone), "{error}");
    }
    assert_eq!(process(&folder), None, "nothing takes its place before the reset");
    tpm.reset().unwrap();
    assert_eq!(code(&mut tpm, &GET_RANDOM), 0x100, "it is as after power-on");
    assert_eq!(code(&mut tpm, &STARTUP), 0);
    let (second, _) = process(&folder).unwrap();
    assert_ne!(first, second);
    // A reset keeps the process.
    tpm.reset().unwrap();
    assert_eq!(process(&folder).unwrap().0, second);
    assert_eq!(code(&mut tpm, &STARTUP), 0);
}

/// As when the machine is killed; the kernel tells the end of the thread that has started it.
#[test]
fn it_ends_with_who_has_started_it() {
    let (_place, folder) = place();
    let theirs = folder.clone();
    let started = std::thread::spawn(move || {
        let (tpm, keeper) = new_tpm(&theirs);
        // Nobody ends it, and its channels stay open.
        std::mem::forget(keeper);
        (tpm, process(&theirs).unwrap().0)
    });
    let (_tpm, swtpm) = started.join().unwrap();
    until("it is left behind", || test_kill_process(swtpm) == Err(Errno::SRCH));
}

#[test]
fn a_damaged_state_is_told_and_kept() {
    let (_place, folder) = place();
    drop(new_tpm(&folder));
    let file = folder.join("tpm2-00.permall");
    std::fs::write(&file, [7; 1000]).unwrap();
    assert_eq!(state::look(&folder).unwrap(), State::There);
    state::make(&folder, &State::There, None).unwrap();
    let Err(error) = Emulator::start(Start::find(&folder).unwrap()) else { panic!("it works") };
    let text = error.to_string();
    assert!(text.contains("INIT is answered with the error") && text.contains("it says: "), "{text}");
    assert_eq!(std::fs::read(file).unwrap(), [7; 1000]);
}

#[test]
fn certificates_are_of_an_authority_of_its_own() {
    // TPM2_NV_ReadPublic of the certificate of the RSA endorsement key.
    const CERTIFICATE: [u8; 14] = [0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x69, 1, 0xc0, 0, 2];
    let (place, folder) = place();
    assert!(Maker::find(Some(true), &State::There).unwrap().is_none(), "one that is there stays as it is");
    assert!(Maker::find(Some(false), &State::Missing).unwrap().is_none());
    let maker = Maker::find(None, &State::Missing)
        .unwrap()
        .expect("swtpm_setup is missing: apt-get install swtpm-tools");
    state::make(&folder, &State::Missing, Some(maker)).unwrap();
    let (mut tpm, keeper) = Emulator::start(Start::find(&folder).unwrap()).unwrap();
    assert_eq!(code(&mut tpm, &STARTUP), 0);
    assert_eq!(code(&mut tpm, &CERTIFICATE), 0);
    drop(keeper);
    let authority = std::fs::read_dir(folder.join("ca")).unwrap();
    let names: Vec<_> = authority.map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name == "issuercert.pem"), "{names:?}");
    // Nothing else is left there.
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    let mode = std::fs::metadata(folder.join("tpm2-00.permall")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // In a folder that is there.
    let prepared = place.path().join("prepared");
    std::fs::create_dir(&prepared).unwrap();
    let maker = Maker::find(Some(true), &State::Empty).unwrap();
    state::make(&prepared, &State::Empty, maker).unwrap();
    let (mut tpm, keeper) = Emulator::start(Start::find(&prepared).unwrap()).unwrap();
    assert_eq!(code(&mut tpm, &STARTUP), 0);
    assert_eq!(code(&mut tpm, &CERTIFICATE), 0);
    drop(keeper);
    let left = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_str().unwrap().starts_with(".tpm-")
    };
    assert!(!std::fs::read_dir(&prepared).unwrap().any(left));
    // Without them.
    let plain = place.path().join("plain");
    let (mut tpm, _keeper) = new_tpm(&plain);
    assert_eq!(code(&mut tpm, &STARTUP), 0);
    assert_ne!(code(&mut tpm, &CERTIFICATE), 0);
}

#[test]
fn devices_are_told_by_their_names() {
    for (path, expected) in [
        ("/dev/tpmrm0", true),
        ("/dev/tpm12", true),
        ("/dev/tpm", false),
        ("/dev/tpmrm", false),
        ("/dev/tpm0x", false),
        ("/dev/null", false),
        ("tpmrm0", false),
    ] {
        assert_eq!(host::is_device(path), expected, "{path}");
    }
    let error = host::open(Path::new("/dev/tpmrm99")).unwrap_err();
    assert!(error.help().contains("ls /dev/tpm*"), "{error}: {}", error.help());
    assert!(matches!(host::open(Path::new("/dev/../etc/passwd")), Err(TpmError::NotADevice(_))));
}
