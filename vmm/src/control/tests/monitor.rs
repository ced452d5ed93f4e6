//! `human-monitor-command`.

use ::devices::input::Key;

use super::devices::Desk;
use super::*;
use crate::screenshot::wall::Wall;

fn monitor(client: &mut Client, line: &str) -> String {
    let answer = client.ask("human-monitor-command", json!({ "command-line": line }));
    answer["return"].as_str().unwrap_or_else(|| panic!("{line}: {answer}")).to_owned()
}

#[test]
fn what_scripts_ask_is_answered_in_qemus_words() {
    let rig = Rig::new();
    let mut client = rig.client();
    for (line, expected) in [
        ("info status", "VM status: running\r\n"),
        ("info name", "vm\r\n"),
        ("info uuid", "00000000-0000-0000-0000-000000001234\r\n"),
        ("info kvm", "kvm support: enabled\r\n"),
        ("info cpus", "* CPU #0: thread_id=7001\r\n  CPU #1: thread_id=7002\r\n"),
        (
            "info block",
            "disk[0]: /images/a.qcow2 (qcow2)\r\n    Cache mode:       writeback, direct\r\n\r\n\
             cdrom[0]: [not inserted]\r\n    Removable device: not locked, tray closed\r\n",
        ),
        ("info chardev", "serial0: filename=pty:/dev/pts/7\r\n"),
        ("info vnc", "default:\r\n  Server: 127.0.0.1:5901 (ipv4)\r\n    Auth: vnc (Sub: none)\r\n"),
        ("  ", ""),
        ("foo bar", "unknown command: 'foo'\r\n"),
        ("info foo", "unknown command: 'info foo'\r\n"),
        ("sendkey zz", "Error: there is no key \"zz\": did you mean \"z\"?\r\n"),
        ("sendkey a", "Error: this machine has neither keyboard nor mouse\r\n"),
        ("system_powerdown", ""),
        ("system_reset", ""),
        ("q", ""),
    ] {
        assert_eq!(monitor(&mut client, line), expected, "{line}");
    }
    assert_eq!(
        *rig.asked.lock().unwrap(),
        [MachineRequest::PowerButton, MachineRequest::Reset, MachineRequest::Quit]
    );
    let version = monitor(&mut client, "info version");
    assert!(version.starts_with("10.0.0 optimus-vmm"), "{version}");
    let mistaken = json!({ "command-line": "info cpus", "cpu-index": 2 });
    assert_eq!(
        client.refusal("human-monitor-command", mistaken),
        "Parameter 'cpu-index' expects a CPU number"
    );
}

#[test]
fn what_takes_time_takes_it() {
    let (desk, wall) = (Arc::<Desk>::default(), Arc::<Wall>::default());
    wall.show(2, 1);
    let rig = Rig::with(Some(Arc::clone(&wall) as _), Some(Arc::clone(&desk) as _));
    let mut client = rig.client();
    assert_eq!(monitor(&mut client, "sendkey ctrl-0x1e 0"), "");
    let pressed: Vec<Key> = desk.keys.lock().unwrap().iter().map(|(key, _)| *key).collect();
    assert_eq!(pressed, [Key::LEFT_CTRL, Key::A, Key::A, Key::LEFT_CTRL]);
    let file = rig.path.with_file_name("a");
    assert_eq!(monitor(&mut client, &format!("screendump {}", file.display())), "");
    assert!(std::fs::read(&file).unwrap().starts_with(b"P6\n2 1\n255\n"));
    assert_eq!(monitor(&mut client, &format!("screendump {} -f png", file.display())), "");
    assert!(std::fs::read(&file).unwrap().starts_with(b"\x89PNG"));
    client.send(br#"{"execute":"human-monitor-command","arguments":{"command-line":"stop"}}"#);
    assert_eq!(client.line()["event"], "STOP");
    assert_eq!(client.line(), json!({ "return": "" }));
    assert_eq!(monitor(&mut client, "info status"), "VM status: paused\r\n");
}
