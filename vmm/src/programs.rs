//! Programs of others that this one starts: `dd`, `modprobe`, `iasl` and what `vbios find` unpacks with.
//!
//! Started as root, a program that was found by the caller's `PATH`, or that obeys the caller's environment, is a way to do
//! as root what the caller likes. So programs are looked for in the directories of the system, whatever `PATH` says, and
//! get an environment of our own, with the limit of open files that this program was started with ([`crate::descriptors`]) and
//! with no signal blocked: this program takes its own from a descriptor ([`crate::signals`]),
//! and a program with SIGTERM blocked would outlive everybody who asks it to end.
#![allow(
    unsafe_code,
    reason = "the signal mask and a limit of a child process are set between fork and exec"
)]

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, pidfd_open, setrlimit};
use vmm_sys_util::signal::create_sigset;

use crate::descriptors;

/// Where systems keep their programs: the merged and the separate `/usr`, what an administrator has installed, NixOS, Guix.
const SYSTEM: [&str; 8] = [
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/run/current-system/sw/bin",
    "/run/current-system/profile/bin",
];

/// The directories of the system in the form of `PATH`.
pub(crate) fn system_path() -> OsString {
    SYSTEM.join(":").into()
}

/// Where to look for programs that only read what they are given: also in the user's own directories, unless the user is
/// root.
pub(crate) fn user_path() -> OsString {
    let mut path = system_path();
    if let Some(own) = std::env::var_os("PATH").filter(|_| !rustix::process::geteuid().is_root()) {
        path.push(":");
        path.push(own);
    }
    path
}

/// Finds a program in the directories of `search`, which has the form of `PATH`. Relative ones are left out.
pub(crate) fn find(name: &str, search: &std::ffi::OsStr) -> Option<PathBuf> {
    std::env::split_paths(search).filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(
        |path| {
            std::fs::metadata(path)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        },
    )
}

/// A command that runs `program`, an absolute path, in an environment of our own and in the root directory.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", system_path()).env("LC_ALL", "C").current_dir("/");
    let limit = descriptors::of_others();
    let prepare = move || {
        if let Some(limit) = limit {
            // A program that has more than it needs works all the same.
            let _ = setrlimit(Resource::Nofile, limit);
        }
        unblock_signals()
    };
    // SAFETY: in the child of a process with several threads, only what is async-signal-safe may run: this allocates nothing,
    // takes no lock, and calls sigemptyset(3) and pthread_sigmask(3), which signal-safety(7) has, and prlimit(2), a mere system call.
    unsafe { command.pre_exec(prepare) };
    command
}

/// Has the command's process killed when the thread that starts it ends, so that it does nothing any more after this process was
/// killed. What the kernel is doing for it at that moment comes to its end.
pub(crate) fn end_with_us(command: &mut Command) {
    let parent = rustix::process::getpid();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // It may have ended before.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    };
    // SAFETY: in the child of a process with several threads, only what is async-signal-safe may run: this allocates nothing, takes
    // no lock, and makes the system calls prctl(2) and getppid(2), which is all that these functions are.
    unsafe { command.pre_exec(prepare) };
}

/// Unblocks all signals in this thread. Without this, a child has the mask of the thread that starts it.
fn unblock_signals() -> io::Result<()> {
    let none = create_sigset(&[])?;
    // SAFETY: `none` is an initialised signal set that lives across the call, which only reads it; the former mask is not
    // asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) } {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

/// A command that runs the system's program of this name.
///
/// # Errors
///
/// It is not installed.
pub(crate) fn system(name: &str) -> io::Result<Command> {
    let path = find(name, &system_path());
    path.map(|path| command(&path)).ok_or_else(|| {
        let why = format!("`{name}` is not installed: it is not in {}", SYSTEM.join(", "));
        io::Error::new(io::ErrorKind::NotFound, why)
    })
}

/// Waits until a child has ended, at most for `patience`; whether it has. It is not reaped.
///
/// # Errors
///
/// The kernel has no descriptor for it.
pub(crate) fn ends_within(pid: Pid, patience: Duration) -> io::Result<bool> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use vmm_sys_util::signal::block_signal;

    use super::*;

    #[test]
    fn only_absolute_directories_are_searched_for_programs() {
        let folder = tempfile::tempdir().unwrap();
        let here = std::env::current_dir().unwrap();
        for (name, mode) in [("program", 0o755), ("text", 0o644)] {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        let absolute = folder.path().as_os_str();
        assert_eq!(find("program", absolute), Some(folder.path().join("program")));
        assert_eq!(find("text", absolute), None);
        // The same directory by a relative path.
        let up = "../".repeat(here.components().count());
        let relative = format!("{up}{}", folder.path().display());
        assert!(Path::new(&relative).join("program").exists());
        assert_eq!(find("program", relative.as_ref()), None);
        assert_eq!(find("program", "".as_ref()), None);
    }

    /// As while a machine starts.
    #[test]
    fn a_program_has_no_signal_blocked() {
        // The mask is a thread's own.
        let start = || {
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGTSTP] {
                block_signal(signal).unwrap();
            }
            system("grep").unwrap().args(["SigBlk", "/proc/self/status"]).output().unwrap()
        };
        let shown = std::thread::spawn(start).join().unwrap().stdout;
        assert_eq!(String::from_utf8(shown).unwrap().trim(), "SigBlk:\t0000000000000000");
    }

    #[test]
    fn a_program_gets_an_environment_of_our_own() {
        let shown = system("env").unwrap().output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let mut names: Vec<_> = shown.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        names.sort_unstable();
        assert_eq!(names, ["LC_ALL", "PATH"], "{shown}");
        let error = system("no-such-program").unwrap_err().to_string();
        assert!(error.contains("`no-such-program` is not installed"), "{error}");
    }
}
