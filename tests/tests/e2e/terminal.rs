//! The user's side of a run: signals as timeout(1) sends them, and a terminal that a shell lends and takes away. The guest
//! is a few instructions without firmware, so that many runs cost little.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tests::shell::{Shell, check_job_control};
use tests::{Outcome, binary, ensure, program};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("timeout_ends_the_run_gently", 60, timeout),
    scenario("the_terminal_follows_job_control", 40, job_control),
    scenario("keys_work_on_the_debug_ports_terminal", 5, debug_port),
    scenario("a_script_talks_to_the_guest", 10, script),
    scenario("last_words_end_a_machine_that_is_kept", 5, last_words),
];

fn machine(folder: &Path) -> Outcome<PathBuf> {
    flat_machine(folder, &program::echo_image(), "destroy")
}

fn flat_machine(folder: &Path, image: &[u8], on_crash: &str) -> Outcome<PathBuf> {
    let config = folder.join("flat.toml");
    std::fs::write(folder.join("flat.fd"), image)?;
    let toml = format!(
        "[machine]\nmemory = \"256M\"\ncontrol = \"off\"\non_crash = \"{on_crash}\"\n\
         [firmware]\nkind = \"raw\"\ncode = \"flat.fd\"\n"
    );
    std::fs::write(&config, toml)?;
    Ok(config)
}

/// timeout(1) signals its child and then its own process group, which the child is in: when its time is over, and when it gets a
/// signal itself, as here, where the guest runs by then.
fn timeout() -> Outcome {
    let folder = tempfile::tempdir()?;
    let config = machine(folder.path())?;
    let serial = folder.path().join("serial");
    let mut cut_off = 0;
    for round in 0..20 {
        let signal = [Signal::TERM, Signal::INT][round % 2];
        let mut timeout = Command::new("timeout")
            .args(["--preserve-status", "3600"])
            .arg(binary::path()?)
            .args(["run", "--serial", &format!("file:{}", serial.display())])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()?;
        let runs = || std::fs::read(&serial).is_ok_and(|output| output.contains(&b'>'));
        while !runs() {
            if let Some(status) = timeout.try_wait()? {
                return Err(format!("the run ended by itself: {status}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        rustix::process::kill_process(Pid::from_child(&timeout), signal)?;
        cut_off += usize::from(timeout.wait()?.code() != Some(0));
        std::fs::remove_file(&serial)?;
    }
    ensure(cut_off == 0, format!("{cut_off} of 20 runs did not end with status 0"))
}

fn job_control() -> Outcome {
    let folder = tempfile::tempdir()?;
    let config = machine(folder.path())?;
    let program = binary::path()?;
    let command = format!("{} run {}", program.display(), config.display());
    let mut former = 0;
    // The youngest process of this program.
    let mut process = || {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let found = Command::new("pgrep").args(["-n", "-f", "-x", &command]).output()?;
            let pid = String::from_utf8_lossy(&found.stdout).trim().parse().unwrap_or(former);
            if pid != former {
                former = pid;
                return Ok(pid);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("the program does not run".into())
    };
    check_job_control(&["dash", "-i", "-m"], &command, ">", &mut process)?;
    check_job_control(&["bash", "--norc", "--noprofile", "--noediting", "-i"], &command, ">", &mut process)
}

/// The debug port takes no input, but its terminal is the user's.
fn debug_port() -> Outcome {
    let folder = tempfile::tempdir()?;
    let config = machine(folder.path())?;
    let mut shell = Shell::start(&["dash", "-i", "-m"])?;
    shell.press(&format!(
        "{} run --serial none --debugcon stdio {}; echo status-$?-told\n",
        binary::path()?.display(),
        config.display()
    ))?;
    shell.wait_raw(true)?;
    shell.press("for nobody\x01h")?;
    shell.wait_for("press the power button")?;
    shell.press("\x01x")?;
    shell.wait_for("status-0-told")?;
    shell.wait_raw(false)
}

/// The guest sends back each byte plus one.
fn script() -> Outcome {
    let folder = tempfile::tempdir()?;
    let config = machine(folder.path())?;
    let run = |words: &[&str]| -> Outcome<std::process::Output> {
        let mut command = Command::new(binary::path()?);
        command.args(["run", "--headless", "--timeout", "60"]).args(words).arg(&config).stdin(Stdio::null());
        Ok(command.output()?)
    };
    let talk = ["--expect", ">", "--send", r"abc\x00", "--expect", "bcd\x01", "--send", "x", "--expect", "y"];
    let done = run(&talk)?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure(done.status.code() == Some(0) && said == ">bcd\u{1}y", format!("{done:?}"))?;
    // What is forbidden ends the run also when it answers what was sent.
    let done = run(&[&talk[..6], &["--fail-on", "[c-e]d", "--expect", "never"]].concat())?;
    ensure(done.status.code() == Some(5), format!("{done:?}"))
}

/// They are seen when the guest has stopped already.
fn last_words() -> Outcome {
    let folder = tempfile::tempdir()?;
    let config = flat_machine(folder.path(), &program::last_words_image(), "preserve")?;
    for (words, said) in [(["--expect", "LAST"], "panicked"), (["--fail-on", "LAST"], "--fail-on forbids")] {
        let began = Instant::now();
        let done = Command::new(binary::path()?)
            .args(["run", "--headless", "--timeout", "120"])
            .args(words)
            .arg(&config)
            .stdin(Stdio::null())
            .output()?;
        let told = String::from_utf8_lossy(&done.stderr).contains(said);
        ensure(done.status.code() == Some(5) && told, format!("{done:?}"))?;
        ensure(began.elapsed() < Duration::from_secs(100), "it was kept until the time-out")?;
    }
    Ok(())
}
