//! A file size limit is a full disk: an error for what is written, and the end of nothing else (setrlimit(2)).

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use devices::disk::{DiskOptions, open_disk};
use firmware::nvram::{NvramError, NvramStore};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vm_memory::VolatileSlice;
use vocabulary::ConsoleSpec;

use crate::console::Console;
use crate::events::{Event, EventLog};
use crate::signals;
use crate::testing::own_process;

const FOLDER: &str = "FILE_SIZE_TEST_FOLDER";
/// Bytes that a file may have.
const LIMIT: u64 = 64 << 10;

/// The tests of this process go on without the limit.
#[test]
fn a_file_size_limit_ends_nothing() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return within_the_limit(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let raw = fs::File::create(folder.path().join("disk.img")).unwrap();
    raw.set_len(1 << 20).unwrap();
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "disk.qcow2", "16M"])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(made.success());
    fs::copy(VARS, folder.path().join("vm_VARS.fd")).unwrap();
    let mut again = own_process::command(module_path!(), "a_file_size_limit_ends_nothing");
    own_process::pass(again.env(FOLDER, folder.path()));
    assert_eq!(fs::metadata(folder.path().join("events")).unwrap().len(), LIMIT);
    assert_eq!(fs::metadata(folder.path().join("serial")).unwrap().len(), LIMIT);
}

const VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

fn within_the_limit(folder: &Path) {
    let place = |name: &str| -> PathBuf { folder.join(name) };
    signals::survive_file_size_limit();
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: Some(LIMIT), maximum }).unwrap();

    // Programs that are started die of it, as they expect to.
    let shell = Command::new("sh").args(["-c", "kill -XFSZ $$"]).status().unwrap();
    assert_eq!(shell.signal(), Some(libc::SIGXFSZ));

    let log = EventLog::create(&place("events")).unwrap();
    for _ in 0..4096 {
        log.emit(Event::PowerButton);
    }

    let spec = ConsoleSpec::File(place("serial"));
    let console = Console::open(&spec, true, "serial port", None, &EventLog::disabled()).unwrap();
    console.output().write_all(&vec![b'x'; 2 * LIMIT as usize]).unwrap();
    console.finish();

    let mut store = NvramStore::open(&place("vm_VARS.fd"), None, None).unwrap();
    assert!(matches!(store.write(LIMIT + 4096, &[0x5a; 16]), Err(NvramError::Write { .. })));
    store.write(4096, &[0x5a; 16]).unwrap();

    for name in ["disk.img", "disk.qcow2"] {
        let mut disk = open_disk(&DiskOptions::new(place(name))).unwrap();
        let mut data = vec![7; 4096];
        let buffer = [VolatileSlice::from(data.as_mut_slice())];
        let mut refused = 0;
        for at in 0..64 {
            refused += u64::from(disk.write(at << 14, &buffer).is_err());
        }
        assert!(refused > 0, "{name} grew beyond the limit");
    }
}
