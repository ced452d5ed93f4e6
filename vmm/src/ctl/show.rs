//! Answers of a machine in words.

mod usb;

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;
use vocabulary::ByteSize;
use vocabulary::printable::printable_char;

use crate::cli::{CtlCommand, DiscAction, UsbAction};

/// The answer to a command.
pub(super) fn answer(command: &CtlCommand, answer: &Value) -> String {
    match command {
        CtlCommand::Status => status(answer),
        CtlCommand::Wait { .. } | CtlCommand::Powerdown { wait: true, .. } => {
            format!("{}\n", text(&answer["reason"]))
        }
        CtlCommand::Screenshot { file } => {
            format!("{}: {} × {} pixels\n", file.display(), answer["width"], answer["height"])
        }
        CtlCommand::Net { action: None } => cards(answer),
        CtlCommand::Disk { action: None } => disks(answer),
        CtlCommand::Cdrom { action: None | Some(DiscAction::List) } => drives(answer),
        CtlCommand::Grab { action: None } => input_devices(answer),
        CtlCommand::Grab { action: Some(_) } => {
            let holder = if answer["grabbed"] == true { "guest" } else { "host" };
            format!("the devices are the {holder}'s when nothing of them is down\n")
        }
        CtlCommand::Usb { action: None | Some(UsbAction::List) } => usb::devices(answer),
        CtlCommand::Usb { action: Some(UsbAction::Attach(_)) } => usb::attached(answer),
        CtlCommand::Usb { action: Some(UsbAction::Detach(_)) } => usb::detached(answer),
        CtlCommand::Audio => sound(answer),
        _ => String::new(),
    }
}

/// Input devices of the host, a line each.
fn input_devices(answer: &Value) -> String {
    let mut lines = String::new();
    for device in answer["devices"].as_array().into_iter().flatten() {
        let holder = match device["holder"].as_str() {
            Some("guest") => "the guest's",
            Some("host") => "the host's",
            _ => "kept by another program of the host",
        };
        let waits = if device["waits"] == true { ", until nothing of it is down" } else { "" };
        let field = |name: &str| text(&device[name]);
        let (name, kind, path, model) = (field("name"), field("kind"), field("path"), field("model"));
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{name}  {kind}  {holder}{waits}  {path}  {model}");
    }
    if lines.is_empty() { "none of the machine's input devices is there now\n".into() } else { lines }
}

/// Network cards, some lines each.
fn cards(cards: &Value) -> String {
    let mut lines = String::new();
    for card in cards.as_array().into_iter().flatten() {
        let why = match (card["plugged"].as_bool(), card["connected"].as_bool()) {
            (Some(false), _) => ", the cable is pulled out",
            (_, Some(false)) => ", nobody is at the other end",
            _ => "",
        };
        let link = if card["up"] == true { "up" } else { "down" };
        let (name, mac, carrier) = (text(&card["name"]), text(&card["mac"]), text(&card["carrier"]));
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{name}  {mac}  link {link}{why}  {carrier}");
        for what in ["sent", "received"] {
            let count = |field: &str| card[what][field].as_u64().unwrap_or_default();
            let (frames, bytes, dropped) = (count("frames"), count("bytes"), count("dropped"));
            let _ = writeln!(lines, "  {what:<9} {frames} frames, {bytes} bytes, {dropped} dropped");
        }
    }
    if lines.is_empty() { "the machine has no network card\n".into() } else { lines }
}

/// Disks, a line each.
fn disks(disks: &Value) -> String {
    let mut lines = String::new();
    let fixed = |disk: &&Value| disk["removable"] != true;
    for disk in disks.as_array().into_iter().flatten().filter(fixed) {
        let inserted = &disk["inserted"];
        let size = ByteSize::from_bytes(inserted["image"]["virtual-size"].as_u64().unwrap_or_default());
        let access = if inserted["ro"] == true { ", read-only" } else { "" };
        let (name, format, file) = (text(&disk["device"]), text(&inserted["drv"]), text(&inserted["file"]));
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{name}  {size}  {format}{access}  {file}");
    }
    if lines.is_empty() { "the machine has no disk\n".into() } else { lines }
}

/// CD drives, a line each.
fn drives(drives: &Value) -> String {
    let mut lines = String::new();
    for drive in drives.as_array().into_iter().flatten() {
        let disc = if drive["file"].is_null() { "empty".into() } else { text(&drive["file"]) };
        let tray = if drive["open"] == true { "open" } else { "closed" };
        let lock = if drive["locked"] == true { ", locked by the guest" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}  {disc}  tray {tray}{lock}", text(&drive["name"]));
    }
    if lines.is_empty() {
        "the machine has no CD drive: add [[cdrom]] to its vm.toml\n".into()
    } else {
        lines
    }
}

/// The sound card, a line for each thing.
fn sound(cards: &Value) -> String {
    let Some(card) = cards.as_array().and_then(|cards| cards.first()) else {
        return "the machine has no sound card: add [audio] to its vm.toml\n".into();
    };
    let count = |field: &str| card[field].as_u64().unwrap_or_default();
    let rate = |field: &str| card[field].as_u64().map(|rate| format!("{rate} Hz"));
    let playing = rate("playing").map_or_else(
        || "nothing".to_owned(),
        |rate| match card["level"].as_f64() {
            Some(level) => format!("{rate}, {level:.1} dB"),
            None => format!("{rate}, silence"),
        },
    );
    let mut rows = vec![("backend", text(&card["backend"])), ("plays", playing)];
    rows.extend(rate("recording").map(|rate| ("records", rate)));
    rows.extend(card["latency"].as_u64().map(|latency| ("waits", format!("{latency} ms, after gaps"))));
    rows.push(("under-runs", count("underruns").to_string()));
    rows.push(("left out", format!("{} frames", count("dropped"))));
    rows.push(("stood still", format!("{:.3} s", Duration::from_nanos(count("lost-ns")).as_secs_f64())));
    if !card["trouble"].is_null() {
        rows.push(("not heard", text(&card["trouble"])));
    }
    let mut lines = String::new();
    for (what, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{what:<12} {value}");
    }
    lines
}

/// All machines, a line each.
pub(super) fn list(machines: &[Value]) -> String {
    if machines.is_empty() {
        return "no machine of this user runs\n".into();
    }
    let name = |machine: &Value| text(&machine["name"]);
    let width = machines.iter().map(|machine| name(machine).chars().count()).max().unwrap_or_default();
    let mut lines = String::new();
    for machine in machines {
        let what = match machine["error"].as_str() {
            Some(error) => error.to_owned(),
            None => format!(
                "{}, process {}, since {}",
                text(&machine["status"]),
                machine["pid"],
                time(&machine["uptime"])
            ),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{:width$}  {what}", name(machine));
    }
    lines
}

fn status(status: &Value) -> String {
    let screen = &status["screen"];
    let shown = match (screen["present"].as_bool(), screen["shown"].as_bool()) {
        (Some(true), Some(true)) => "shows something".into(),
        (Some(true), _) => format!("blank: {}", text(&screen["reason"])),
        _ => "none".into(),
    };
    let memory =
        status["memory"].as_u64().map_or_else(String::new, |bytes| ByteSize::from_bytes(bytes).to_string());
    let mut rows = vec![
        ("name", text(&status["name"])),
        ("status", text(&status["status"])),
        ("process", status["pid"].to_string()),
        ("running for", time(&status["uptime"])),
        ("vCPUs", status["vcpus"].to_string()),
        ("memory", memory),
        ("exits", status["exits"].to_string()),
    ];
    rows.extend(msrs(&status["msrs"]));
    rows.extend([("resets", status["resets"].to_string()), ("screen", shown)]);
    for device in status["devices"].as_array().into_iter().flatten() {
        rows.push(("device", format!("{} ({})", text(&device["host"]), text(&device["key"]))));
    }
    for what in status["failed"].as_array().into_iter().flatten() {
        rows.push(("failed", text(what)));
    }
    if !status["crash"].is_null() {
        rows.push(("crash", text(&status["crash"])));
    }
    for (index, schedule) in status["schedule"].as_array().into_iter().flatten().enumerate() {
        rows.push(("scheduling", format!("vCPU {index} on the host's CPU {}", scheduling(schedule))));
    }
    let mut lines = String::new();
    for (what, value) in rows {
        let _ = writeln!(lines, "{what:<12} {value}");
    }
    lines
}

/// Where a vCPU runs, and what it has waited for its CPU.
fn scheduling(schedule: &Value) -> String {
    let cpus = text(&schedule["cpus"]);
    let seconds = |key: &str| schedule[key].as_u64().map(|ns| Duration::from_nanos(ns).as_secs_f64());
    match (seconds("ran_ns"), seconds("waited_ns")) {
        (Some(ran), Some(waited)) => format!("{cpus}: ran {ran:.3} s, waited {waited:.3} s for it"),
        _ => cpus,
    }
}

/// So many registers are named in a line.
const NAMED: usize = 8;

/// What became of accesses to registers that KVM does not know: a line for each fate.
fn msrs(told: &Value) -> Vec<(&'static str, String)> {
    let accesses = told["accesses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut rows = Vec::new();
    for (what, fate) in [("MSR refused", "refused"), ("MSR ignored", "ignored"), ("MSR answered", "answered")]
    {
        let count = |access: &Value| access[fate].as_u64().unwrap_or_default();
        let met: Vec<String> = accesses
            .iter()
            .filter(|access| count(access) > 0)
            .map(|access| {
                let name = access["name"].as_str().map(|_| format!(" {}", text(&access["name"])));
                let index = access["index"].as_u64().unwrap_or_default();
                format!(
                    "{} {index:#x}{} × {}",
                    text(&access["access"]),
                    name.unwrap_or_default(),
                    count(access)
                )
            })
            .collect();
        let (named, more) = met.split_at(met.len().min(NAMED));
        if !named.is_empty() {
            let rest = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            rows.push((what, format!("{}{rest}", named.join(", "))));
        }
    }
    if let Some(beyond) = told["beyond"].as_u64().filter(|beyond| *beyond > 0) {
        rows.push(("MSR beyond", beyond.to_string()));
    }
    rows
}

fn text(value: &Value) -> String {
    // From another process, to a terminal.
    value.as_str().unwrap_or("?").chars().map(printable_char).collect()
}

/// Seconds, as hours, minutes and seconds.
fn time(seconds: &Value) -> String {
    let seconds = seconds.as_u64().unwrap_or_default();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours}:{minutes:02}:{seconds:02}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_shown_in_lines() {
        let shown = status(&json!({
            "running": true, "status": "running", "name": "a\u{1b}[b", "pid": 7, "uptime": 3725, "vcpus": 2,
            "memory": 2_147_483_648_u64, "exits": 9, "resets": 1,
            "screen": { "present": true, "shown": false, "reason": "no driver" },
            "devices": [{ "key": "dgpu", "host": "0000:01:00.0" }],
            "schedule": [{ "cpus": "2-3", "ran_ns": 12_345_678_901_u64, "waited_ns": 5_600_000 }, { "cpus": "0" }],
            "failed": ["disk[0] (a.img): failed to write at byte 0: no space"],
            "crash": "Windows stopped: 0x000000e2\u{1b}",
        }));
        let expected = "name         a�[b\nstatus       running\nprocess      7\nrunning for  1:02:05\nvCPUs        2\n\
            memory       2G\nexits        9\nresets       1\nscreen       blank: no driver\n\
            device       0000:01:00.0 (dgpu)\nfailed       disk[0] (a.img): failed to write at byte 0: no space\ncrash        Windows stopped: 0x000000e2�\n\
            scheduling   vCPU 0 on the host's CPU 2-3: ran 12.346 s, waited 0.006 s for it\n\
            scheduling   vCPU 1 on the host's CPU 0\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn drives_are_shown_in_lines() {
        let shown = drives(&json!([
            { "name": "cdrom[0]", "file": "/a.iso", "blocks": 9, "open": false, "locked": true },
            { "name": "cdrom[1]", "blocks": 0, "open": true, "locked": false },
        ]));
        assert_eq!(shown, "cdrom[0]  /a.iso  tray closed, locked by the guest\ncdrom[1]  empty  tray open\n");
        assert!(drives(&json!([])).contains("no CD drive"));
    }

    #[test]
    fn sound_is_shown_in_lines() {
        let shown = sound(&json!([{
            "backend": "pulse", "playing": 48000, "level": -12.34, "recording": 44100, "latency": 31, "underruns": 2,
            "dropped": 9,
            "lost-ns": 1_500_000_u64, "trouble": "no server",
        }]));
        let expected = "backend      pulse\nplays        48000 Hz, -12.3 dB\nrecords      44100 Hz\nwaits        31 ms, after gaps\n\
            under-runs   2\n\
            left out     9 frames\nstood still  0.002 s\nnot heard    no server\n";
        assert_eq!(shown, expected);
        assert!(sound(&json!([])).contains("[audio]"));
        assert!(sound(&json!([{}])).contains("nothing"));
    }

    #[test]
    fn registers_are_shown_by_what_became_of_them() {
        let access = |index: u32, access: &str, fates: [u64; 3]| json!({ "index": index, "access": access, "refused": fates[0], "ignored": fates[1], "answered": fates[2] });
        assert_eq!(msrs(&json!({ "accesses": [], "beyond": 0 })), []);
        let mut accesses = vec![access(0x150, "write", [2, 0, 0]), access(0x35, "read", [0, 1, 4])];
        let rows = |accesses: &[Value], beyond: u64| -> Vec<String> {
            let rows = msrs(&json!({ "accesses": accesses, "beyond": beyond }));
            rows.into_iter().map(|(what, value)| format!("{what}: {value}")).collect()
        };
        assert_eq!(
            rows(&accesses, 0),
            ["MSR refused: write 0x150 × 2", "MSR ignored: read 0x35 × 1", "MSR answered: read 0x35 × 4"]
        );
        accesses.extend((0..20).map(|index| access(index, "read", [1, 0, 0])));
        let rows = rows(&accesses, 7);
        assert!(rows[0].ends_with("read 0x6 × 1 and 13 more"), "{rows:?}");
        assert_eq!(rows[3], "MSR beyond: 7");
    }

    #[test]
    fn whatever_a_machine_answers_can_be_shown() {
        for answer in
            [json!(null), json!([]), json!({ "screen": 3, "devices": {}, "memory": -1, "msrs": [3] })]
        {
            assert!(status(&answer).contains("status"), "{answer}");
        }
        assert_eq!(list(&[]), "no machine of this user runs\n");
        let found = list(&[
            json!({ "name": "a", "pid": 1, "status": "running", "uptime": 60 }),
            json!({ "name": "long", "error": "stuck" }),
        ]);
        assert_eq!(found, "a     running, process 1, since 0:01:00\nlong  stuck\n");
    }
}
