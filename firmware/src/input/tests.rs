//! What is no file is refused at once, whatever its name promises.

use std::fs;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

/// Fails instead of hanging.
fn at_once<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(60)).expect("it waits")
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    for (path, what) in [
        (fifo.clone(), "it is a FIFO, not a regular file"),
        (dir.path().into(), "it is a directory, not a regular file"),
        ("/dev/zero".into(), "it is a character device, not a regular file"),
        ("/dev/null".into(), "it is a character device, not a regular file"),
    ] {
        let (at, again) = (path.clone(), path.clone());
        assert_eq!(at_once(move || read(&at, 10)).unwrap_err().to_string(), what, "{}", path.display());
        let error = at_once(move || open_writable(&again)).unwrap_err().to_string();
        assert_eq!(error, what, "{}", path.display());
    }
    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(matches!(read(&socket, 10), Err(InputError::Io(_))));
    assert!(matches!(read(&dir.path().join("none"), 10),
        Err(InputError::Io(error)) if error.kind() == io::ErrorKind::NotFound));
}

/// The name leads to a file when it is looked at and to a FIFO when it is opened: whatever the order, nobody waits, and
/// only a file is read.
#[test]
fn a_swap_between_look_and_opening_gains_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [name, file, fifo] = ["name", "file", "fifo"].map(|name| dir.path().join(name));
    fs::write(&file, "text").unwrap();
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    std::os::unix::fs::symlink(&file, &name).unwrap();
    let swapping = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (go_on, at, aside) = (swapping.clone(), name.clone(), dir.path().join("aside"));
    let swapper = thread::spawn(move || {
        for target in [&fifo, &file].into_iter().cycle() {
            if !go_on.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
            std::os::unix::fs::symlink(target, &aside).unwrap();
            fs::rename(&aside, &at).unwrap();
        }
    });
    at_once(move || {
        for _ in 0..3000 {
            match read(&name, 10) {
                Ok(bytes) => assert_eq!(bytes, b"text"),
                Err(error) => assert_eq!(error.to_string(), "it is a FIFO, not a regular file"),
            }
        }
    });
    swapping.store(false, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
}

#[test]
fn length_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, [7; 10]).unwrap();
    assert_eq!(read(&path, 10).unwrap(), [7; 10]);
    assert!(matches!(read(&path, 9), Err(InputError::TooLarge { size: 10, limit: 9 })));
    // Files of the kernel's tell no length.
    assert!(matches!(read(Path::new("/proc/self/status"), 9), Err(InputError::TooLarge { limit: 9, .. })));
}
