//! `ctl console` on the terminal of real shells with job control. The machine is a made-up one that sends back each byte
//! plus one; a real guest does the same in the end-to-end tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the made-up machine is a part of the tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tests::shell::check_job_control;
use tests::{Outcome, binary};

/// Serves a socket as a machine does; sends the number of each process that takes its serial port.
fn machine(socket: &Path) -> Receiver<i32> {
    let listener = UnixListener::bind(socket).unwrap();
    let (sender, clients) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, sender) = (client.unwrap(), sender.clone());
            let pid = rustix::net::sockopt::socket_peercred(&client).unwrap().pid.as_raw_nonzero().get();
            std::thread::spawn(move || serve(client, || sender.send(pid).unwrap()));
        }
    });
    clients
}

fn serve(client: UnixStream, taken: impl FnOnce()) {
    let mut lines = BufReader::new(client.try_clone().unwrap());
    let mut client = client;
    client.write_all(b"{\"optimus-vmm\": {\"name\": \"echo\", \"pid\": 1, \"capabilities\": []}}\n").unwrap();
    for (command, then) in [("qmp_capabilities", ""), ("console", ">")] {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.contains(command), "{line}");
        write!(client, "{{\"return\": {{}}}}\n{then}").unwrap();
    }
    taken();
    let mut buffer = [0; 64];
    while let Ok(count @ 1..) = lines.read(&mut buffer) {
        let answer: Vec<u8> = buffer[..count].iter().map(|byte| byte.wrapping_add(1)).collect();
        if client.write_all(&answer).is_err() {
            break;
        }
    }
}

fn job_control(shell: &[&str]) -> Outcome {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("vm.sock");
    let clients = machine(&socket);
    let command = format!("{} ctl {} console", binary::path()?.display(), socket.display());
    check_job_control(shell, &command, "connected to echo", &mut || {
        clients.recv_timeout(Duration::from_secs(60)).map_err(|_| "nobody connected".into())
    })
}

/// What a script writes is answered before the console leaves, and it does leave.
#[test]
fn the_console_leaves_after_the_end_of_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("vm.sock");
    let _clients = machine(&socket);
    let program = binary::path().unwrap_or_else(|error| panic!("{}", error.message().unwrap_or_default()));
    let mut child = Command::new(program)
        .arg("ctl")
        .arg(&socket)
        .args(["console", "--linger", "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"abc").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), ">bcd");
}

fn passes(outcome: Outcome) {
    outcome.unwrap_or_else(|failed| panic!("{}", failed.message().unwrap_or_default()));
}

#[test]
fn the_console_follows_bash() {
    passes(job_control(&["bash", "--norc", "--noprofile", "--noediting", "-i"]));
}

#[test]
fn the_console_follows_dash() {
    passes(job_control(&["dash", "-i", "-m"]));
}
