//! `optimus-vmm ctl` against a server, and against programs that are none.

use std::os::unix::net::UnixListener;

use clap::Parser;

use super::devices::Desk;
use super::*;
use crate::cli::{Cli, Command};
use crate::ctl::{self, CtlError};
use crate::screenshot::wall::Wall;

fn run(path: &std::path::Path, words: &[&str]) -> Result<String, CtlError> {
    let path = path.to_str().unwrap();
    let first = ["optimus-vmm", "ctl", path];
    match Cli::try_parse_from(first.iter().chain(words)).unwrap().command {
        Command::Ctl(args) => ctl::run(&args),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_command_arrives() {
    let (desk, wall) = (Arc::<Desk>::default(), Arc::<Wall>::default());
    let rig = Rig::with(Some(Arc::clone(&wall) as _), Some(Arc::clone(&desk) as _));
    let ctl = |words: &[&str]| run(&rig.path, words);
    let status = ctl(&[]).unwrap();
    assert!(status.starts_with("name         vm\nstatus       running\n"), "{status}");
    assert!(status.contains("screen       blank: no driver yet\n"), "{status}");
    assert!(status.contains("MSR answered read 0x1a2 TEMPERATURE_TARGET × 3\nMSR beyond   1\n"), "{status}");
    let raw: Value = serde_json::from_str(&ctl(&["status", "--json"]).unwrap()).unwrap();
    assert_eq!(raw["exits"], 42);
    for words in ["powerdown", "reset", "quit"] {
        assert_eq!(ctl(&[words]).unwrap(), "");
    }
    assert_eq!(ctl(&["pause"]).unwrap(), "");
    assert!(ctl(&["status"]).unwrap().contains("status       paused\n"));
    assert_eq!(ctl(&["resume"]).unwrap(), "");
    assert_eq!(
        *rig.asked.lock().unwrap(),
        [MachineRequest::PowerButton, MachineRequest::Reset, MachineRequest::Quit]
    );

    let long = "ab".repeat(600);
    ctl(&["type", &long]).unwrap();
    assert_eq!(std::mem::take(&mut *desk.keys.lock().unwrap()).len(), 2400);
    ctl(&["key", "--hold", "0", "ctrl-alt-f1", "a"]).unwrap();
    assert_eq!(desk.keys.lock().unwrap().len(), 8);
    ctl(&["mouse", "move", "-1", "2"]).unwrap();
    ctl(&["mouse", "click", "right"]).unwrap();
    ctl(&["mouse", "wheel", "-3"]).unwrap();
    let pointer = desk.pointer.lock().unwrap();
    let wheel: i32 = pointer.iter().map(|event| event.wheel).sum();
    assert_eq!((pointer.len(), wheel, pointer[2].buttons.right), (7, -3, true));

    let blank = ctl(&["screenshot", "a.png"]).unwrap_err();
    assert_eq!(blank.status(), 5);
    assert!(blank.to_string().starts_with("vm refuses: "), "{blank}");
    wall.show(3, 1);
    let file = rig.path.with_file_name("a.png");
    let said = ctl(&["screenshot", file.to_str().unwrap()]).unwrap();
    assert!(said.ends_with("a.png: 3 × 1 pixels\n") && file.exists(), "{said}");
}

#[test]
fn what_cannot_be_typed_is_found_before_anything_is() {
    let (rig, none) = (Rig::new(), std::path::Path::new("/nowhere/vm.sock"));
    for (words, expected) in [(["type", "a€"], "cannot type '€'"), (["type", r"a\q"], "after a backslash")]
    {
        let error = run(none, &words).unwrap_err();
        assert_eq!(error.status(), 2);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = run(&rig.path, &["key", "a"]).unwrap_err();
    assert!(error.to_string().contains("vm refuses: this machine has neither keyboard nor mouse"), "{error}");
}

#[test]
fn who_is_no_machine_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let error = run(&path, &[]).unwrap_err();
    assert_eq!(error.status(), 3);
    assert!(error.to_string().contains("there is no such socket"), "{error}");
    drop(UnixListener::bind(&path).unwrap());
    let error = run(&path, &[]).unwrap_err().to_string();
    assert!(error.contains("only its socket was left"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    for (says, expected) in [
        (&b"SSH-2.0-x\n"[..], "it says `SSH-2.0-x`"),
        (b"{\"QMP\": {}}\n", "is not the control socket of an optimus-vmm"),
        (b"", "it has ended"),
        (b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"full\"}}\n", "refuses: full"),
        (&[b'['; 2 << 20], "it says `[[["),
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = listener.accept().unwrap().0;
                // It may have heard enough before the end.
                let _ = stream.write_all(says);
            });
            let error = run(&path, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        });
    }
}

#[test]
fn usb_devices_are_shown_with_who_has_them() {
    let rig = Rig::new();
    assert_eq!(
        run(&rig.path, &["usb"]).unwrap(),
        "1-4  046d:c52b  the host's (usbhid)  Thing\n1-5.2  0781:5567  the host's (usb-storage)  Thing\n"
    );
    assert_eq!(
        run(&rig.path, &["usb", "attach", "1-4"]).unwrap(),
        "the guest has 046d:c52b at its port 1-4 (Thing), at port 1 of its USB controller\n"
    );
    assert!(
        run(&rig.path, &["usb", "list"])
            .unwrap()
            .starts_with("1-4  046d:c52b  the guest's (ctl usb), at its port 1  Thing\n")
    );
    let error = run(&rig.path, &["usb", "attach", "046d:c52b"]).unwrap_err();
    assert_eq!((error.status(), error.to_string().contains("already, by ctl usb")), (5, true));
    assert_eq!(
        run(&rig.path, &["usb", "detach", "046d:c52b"]).unwrap(),
        "the host has 046d:c52b at its port 1-4 (Thing)\n"
    );
}

#[test]
fn the_end_is_waited_for() {
    let rig = Rig::new();
    let error = run(&rig.path, &["wait", "--timeout", "0.02"]).unwrap_err();
    assert_eq!((error.status(), error.to_string().as_str()), (4, "vm has not ended within 0.02 s"));
    let error = run(&rig.path, &["powerdown", "--wait", "--timeout", "0.01"]).unwrap_err();
    assert_eq!(error.status(), 4);
    assert_eq!(*rig.asked.lock().unwrap(), [MachineRequest::PowerButton]);

    // A pause is no end; a machine that is kept has ended for its guest.
    let path = rig.path.clone();
    let waiting = std::thread::spawn(move || run(&path, &["wait"]));
    run(&rig.path, &["pause"]).unwrap();
    run(&rig.path, &["resume"]).unwrap();
    assert!(!waiting.is_finished());
    rig.announcer.announce(&Announcement::Stopped("shutdown"));
    assert_eq!(waiting.join().unwrap().unwrap(), "shutdown\n");
    assert_eq!(run(&rig.path, &["wait"]).unwrap(), "shutdown\n");
}

/// A machine that closes its control socket before it ends.
const SLOW_END: &str = r#"
import json, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
client = listener.accept()[0]
def say(message):
    client.sendall(json.dumps(message).encode() + b"\n")
say({"QMP": {}, "optimus-vmm": {"name": "vm", "pid": 0}})
for status in ({}, {"status": "running"}):
    client.recv(4096)
    say({"return": status})
say({"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-shutdown"}})
client.close()
time.sleep(0.05)
"#;

#[test]
fn the_end_is_that_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut machine = std::process::Command::new(peers::program("python"))
        .args(["-c", SLOW_END])
        .arg(&path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(machine.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(run(&path, &["wait"]).unwrap(), "guest-shutdown\n");
    assert!(machine.try_wait().unwrap().is_some());
}
