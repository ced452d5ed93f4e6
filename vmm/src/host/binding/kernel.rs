//! Writing to sysfs without being caught in it.
//!
//! A write that unbinds or probes a driver runs the driver's code, and a driver whose device is in use may wait in the
//! kernel for ever, where no signal reaches. A thread of ours that waits there would keep this process from ending, and
//! with it every lock and device it has. So each write is made by a child process, `dd` of coreutils or BusyBox: the
//! child can be left behind, it has no copy of our descriptors (as one that is only forked would), and starting it does
//! not copy the page tables of the guest's memory. `dd` passes one read on as one write, which sysfs needs, and says
//! why the kernel refused, which the shell's `printf` does not.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Pid;

use crate::programs;

/// Why the kernel did not take a value.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It did not answer in time. What was asked for may still happen.
    #[error("the kernel did not answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The file cannot be opened, or the child not started.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What the child said.
    #[error("{0}")]
    Said(String),
}

impl WriteError {
    /// Whether more privileges would help.
    pub(in crate::host) fn is_denial(&self) -> bool {
        matches!(self, Self::Io(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem))
    }
}

/// What changes the host: the kernel, or a test's imitation of it.
pub trait Kernel: Debug + Send + Sync {
    /// Writes `value` to the existing file `path` in one piece, waiting at most `patience`.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    fn write(&self, path: &Path, value: &str, patience: Duration) -> Result<(), WriteError>;

    /// Loads a kernel module with what it depends on.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    fn load_module(&self, name: &str, patience: Duration) -> Result<(), WriteError>;

    /// Looks for a driver for an interface of the USB device with this node, which has none.
    ///
    /// # Errors
    ///
    /// The node cannot be opened, or there is no such interface.
    fn connect_usb(&self, node: &Path, interface: u8) -> io::Result<()>;
}

/// The kernel, by child processes.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChildWriter;

impl Kernel for ChildWriter {
    fn write(&self, path: &Path, value: &str, patience: Duration) -> Result<(), WriteError> {
        // Opened here: the error keeps its number, and opening a file of sysfs never waits.
        let file = OpenOptions::new().write(true).open(path)?;
        let mut command = programs::system("dd")?;
        command.args(["bs=4096", "status=none"]).stdout(file);
        run(command, value, patience)
    }

    fn load_module(&self, name: &str, patience: Duration) -> Result<(), WriteError> {
        let mut command = programs::system("modprobe")?;
        command.arg(name).stdout(Stdio::null());
        run(command, "", patience)
    }

    /// By this process: a driver starts with some transfers, each of which the kernel gives up after five seconds.
    fn connect_usb(&self, node: &Path, interface: u8) -> io::Result<()> {
        crate::host::usb::connect(node, interface)
    }
}

/// Runs `command` with `input`, at most for `patience`.
fn run(mut command: Command, input: &str, patience: Duration) -> Result<(), WriteError> {
    // A group of its own: Ctrl-C on our terminal must not end it halfway.
    command.stdin(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // A write that comes after the next start has put everything back would stay.
    programs::end_with_us(&mut command);
    let program = command.get_program().to_owned();
    let spawned = command.spawn();
    // It has the file's descriptor too.
    drop(command);
    let mut child = spawned.map_err(|error| cannot_start(&program, &error))?;
    // A child that ends before it reads says why by itself.
    let _ = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    if !programs::ends_within(Pid::from_child(&child), patience)? {
        // Enough for one that waits where signals reach; any other is the kernel's, and not waited for.
        let _ = child.kill();
        let _ = programs::ends_within(Pid::from_child(&child), Duration::from_millis(50))
            .map(|_| child.try_wait());
        return Err(WriteError::TimedOut(patience));
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(4096).read_to_string(&mut said)?;
    }
    Err(WriteError::Said(match reason(&said) {
        "" => format!("{}: {status}", program.display()),
        reason => reason.to_owned(),
    }))
}

fn cannot_start(program: &OsStr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot start `{}`: {error}", program.display()))
}

/// The last line without the program and file that it speaks of: `No such device`.
fn reason(said: &str) -> &str {
    let line = said.trim_end().lines().next_back().unwrap_or_default();
    line.rsplit(": ").next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsRawFd;
    use std::time::Instant;

    use super::*;
    use crate::testing::own_process;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn writes_in_one_piece_into_an_existing_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("driver_override");
        assert!(matches!(ChildWriter.write(&path, "x", SOON),
            Err(WriteError::Io(error)) if error.kind() == io::ErrorKind::NotFound));
        fs::write(&path, "").unwrap();
        ChildWriter.write(&path, "vfio-pci", SOON).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "vfio-pci");
    }

    const ELSEWHERE: &str = "KERNEL_TEST_ELSEWHERE";

    /// In a process of its own, whose `PATH` and folder have programs of the same names.
    #[test]
    fn programs_of_the_callers_are_not_run() {
        if let Some(path) = std::env::var_os(ELSEWHERE) {
            ChildWriter.write(Path::new(&path), "value", SOON).unwrap();
            let _ = ChildWriter.load_module("no-such-module", SOON);
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for name in ["dd", "modprobe"] {
            let program = dir.path().join(name);
            fs::write(&program, "#!/bin/sh\ntouch \"$0.ran\"\n").unwrap();
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let path = dir.path().join("attribute");
        fs::write(&path, "").unwrap();
        let mut again = own_process::command(module_path!(), "programs_of_the_callers_are_not_run");
        again.env(ELSEWHERE, &path).env("PATH", format!(":.:{}", dir.path().display()));
        own_process::pass(again.current_dir(dir.path()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "value");
        assert!(!dir.path().join("dd.ran").exists() && !dir.path().join("modprobe.ran").exists());
    }

    #[test]
    fn tells_what_the_kernel_said() {
        let error = ChildWriter.write(Path::new("/dev/full"), "1", SOON).unwrap_err();
        assert_eq!(error.to_string(), "No space left on device");
        assert!(!error.is_denial());
    }

    #[test]
    fn leaves_a_write_that_hangs() {
        let (_reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while (&writer).write(&[0; 4096]).is_ok() {}
        // Opened anew by its path the pipe blocks.
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let start = Instant::now();
        let error = ChildWriter.write(Path::new(&path), "1", Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, WriteError::TimedOut(_)), "{error}");
        assert!(start.elapsed() < SOON);
    }

    #[test]
    fn a_child_has_none_of_our_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let lock = File::create(dir.path().join("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let (reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while (&writer).write(&[0; 4096]).is_ok() {}
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let waiting =
            std::thread::spawn(move || ChildWriter.write(Path::new(&path), "1", 4 * SOON).unwrap_err());
        std::thread::sleep(Duration::from_millis(250));
        drop(lock);
        let again = File::open(dir.path().join("lock")).unwrap();
        let start = Instant::now();
        // Children of tests beside this one have it for a moment, until they are programs of their own.
        while rustix::fs::flock(&again, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            assert!(start.elapsed() < SOON, "a child has the lock");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!waiting.is_finished(), "the child has ended: it could have had it before");
        drop(reader);
        waiting.join().unwrap();
    }

    #[test]
    fn reasons_are_the_last_words() {
        for (said, expected) in [
            ("dd: error writing 'standard output': No such device\n", "No such device"),
            (
                "modprobe: FATAL: Module x not found in directory /lib/modules/6\n",
                "Module x not found in directory /lib/modules/6",
            ),
            ("odd", "odd"),
            ("", ""),
        ] {
            assert_eq!(reason(said), expected);
        }
    }
}
