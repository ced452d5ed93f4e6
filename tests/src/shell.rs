//! An interactive shell with job control on a pseudoterminal, as a user has it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::{Outcome, ensure};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A shell.
pub struct Shell {
    child: Child,
    master: File,
    seen: Arc<Mutex<Vec<u8>>>,
    /// What of it was waited for already.
    read: usize,
}

impl Shell {
    /// Starts `shell`, such as `bash`, whose terminal is its own and whose editor of lines, if it has one, is off: so its
    /// modes are the terminal's.
    pub fn start(shell: &[&str]) -> Outcome<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let open =
            || rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
        // setsid gives the shell a session of its own, with its standard input as terminal.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .args(shell)
            .env("PS1", "READY> ")
            .env("TERM", "dumb")
            .env_remove("ENV")
            .stdin(Stdio::from(open()?))
            .stdout(Stdio::from(open()?))
            .stderr(Stdio::from(open()?))
            .spawn()?;
        let master = File::from(master);
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let (mut reader, store) = (master.try_clone()?, Arc::clone(&seen));
        // Ends with the last process that has the terminal.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if let (Ok(mut seen), Some(bytes)) = (store.lock(), buffer.get(..count)) {
                    seen.extend_from_slice(bytes);
                }
            }
        });
        let mut this = Self { child, master, seen, read: 0 };
        this.wait_for("READY> ")?;
        Ok(this)
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> Outcome {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Waits until the terminal has shown `text` after what was waited for before.
    pub fn wait_for(&mut self, text: &str) -> Outcome {
        self.until(&format!("'{text}' to appear"), |shell| {
            let all = shell.text();
            let found = all.get(shell.read..).and_then(|rest| rest.find(text));
            if let Some(at) = found {
                shell.read += at + text.len();
            }
            Ok(found.is_some())
        })
    }

    /// Waits until the terminal is raw, or is not.
    pub fn wait_raw(&mut self, raw: bool) -> Outcome {
        self.until(if raw { "raw mode" } else { "lines and echo" }, |shell| Ok(shell.is_raw()? == raw))
    }

    /// Whether keys go to a program as they are.
    pub fn is_raw(&self) -> Outcome<bool> {
        // The modes are those of the other end.
        let modes = tcgetattr(&self.master)?.local_modes;
        Ok(!modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> Outcome<bool>) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self)? {
            ensure(
                Instant::now() < deadline,
                format!("waited in vain for {what}; the terminal:\n{}", self.text()),
            )?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn text(&self) -> String {
        self.seen.lock().map(|seen| String::from_utf8_lossy(&seen).into_owned()).unwrap_or_default()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // setsid waits for the shell, and does not pass signals on: the hangup reaches both.
        let _ = self.master.write_all(b"\x04");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is expected of a program that uses the terminal for a guest which sends back each byte plus one: `command` starts
/// it, `shown` appears when it is ready, and `process` tells its number while it runs. Ctrl-A X ends it.
pub fn check_job_control(
    shell: &[&str],
    command: &str,
    shown: &str,
    process: &mut dyn FnMut() -> Outcome<i32>,
) -> Outcome {
    let mut shell = Shell::start(shell)?;
    shell.wait_raw(false)?;
    shell.press(&format!("{command}\n"))?;
    shell.wait_for(shown)?;
    shell.wait_raw(true)?;
    shell.press("abc")?;
    shell.wait_for("bcd")?;
    let pid = process()?;
    for (signal, seconds) in [("STOP", 0), ("TSTP", 1), ("STOP", 1)] {
        Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status()?;
        shell.wait_for("topped")?;
        shell.wait_for("READY> ")?;
        if signal == "TSTP" {
            // It was told, and could give back what it had taken.
            shell.wait_raw(false)?;
        }
        std::thread::sleep(Duration::from_secs(seconds));
        shell.press("fg\n")?;
        // A shell says what it continues, and takes no more keys then.
        shell.wait_for(command)?;
        shell.wait_raw(true)?;
        // Ctrl-C and Ctrl-Z are the guest's.
        shell.press("\x03\x1amno")?;
        shell.wait_for("\x04\x1bnop")?;
    }
    shell.press("\x01x")?;
    shell.wait_for("READY> ")?;
    shell.wait_raw(false)?;
    // From the background to the foreground: the shell has no reason to signal it.
    shell.press(&format!("{command} &\n"))?;
    let pid = process()?;
    let before = processor_time(pid)?;
    std::thread::sleep(Duration::from_secs(2));
    let used = processor_time(pid)? - before;
    shell.press("echo still-$((40+2))-here\n")?;
    shell.wait_for("still-42-here")?;
    ensure(!shell.is_raw()?, "the terminal is raw while the program is in the background")?;
    shell.press("fg\n")?;
    shell.wait_raw(true)?;
    shell.press("xyz")?;
    shell.wait_for("yz{")?;
    shell.press("\x01x")?;
    shell.wait_for("READY> ")?;
    shell.wait_raw(false)?;
    ensure(used < 50, format!("{used} of 200 ticks of the processor were used in the background"))
}

/// Time that the first thread of a process has used, in ticks of 10 ms (proc_pid_stat(5)): that of the event loop.
fn processor_time(pid: i32) -> Outcome<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // Numbered from 1 there; the first after the name is number 3.
    Ok(fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
}
