//! How a report reads.

use serde_json::json;

use super::{Pair, laptop, running};
use crate::code43::condition::CONDITIONS;
use crate::code43::facts::{BatteryMode, Facts};
use crate::code43::{Driver, Report};

#[test]
fn a_laptop_with_mistakes_is_told_what_to_change() {
    let mut facts = laptop();
    facts.gpu.as_mut().unwrap().own.as_mut().unwrap().subsystem = Pair::default();
    facts.battery.mode = BatteryMode::None;
    facts.tables = 1;
    let report = Report::new(&facts, Driver::Branch(551));
    assert!(!report.holds());
    assert_eq!(report.text(), include_str!("mistakes.txt"));
}

#[test]
fn a_running_machine_without_mistakes() {
    let report = Report::new(&running(), Driver::Any);
    assert!(report.holds());
    assert_eq!(report.text(), include_str!("running.txt"));
}

#[test]
fn json_has_the_same() {
    let facts = Facts { gpu: None, rom_method: None, ..laptop() };
    let report: serde_json::Value =
        serde_json::from_str(&Report::new(&facts, Driver::Branch(442)).json().unwrap()).unwrap();
    assert_eq!(
        report,
        json!({
            "machine": "win10", "config": "vm.toml", "running": false, "driver": 442,
            "conditions": [{
                "id": "gpu", "state": "fails", "found": "no GPU is passed through",
                "why": "the driver looks for a function of NVIDIA's that is a display controller",
                "change": {
                    "advice": "add `host = \"0000:01:00.0\"` to [dgpu], with the GPU's address: `lspci -D -d 10de::03xx` lists \
                               this host's",
                    "key": "dgpu.host", "line": 3,
                },
            }],
            "note": report["note"],
        })
    );
}

#[test]
fn facts_survive_the_control_socket() {
    for facts in [laptop(), running(), Facts::default()] {
        let sent = serde_json::to_value(&facts).unwrap();
        assert_eq!(serde_json::from_value::<Facts>(sent).unwrap(), facts);
    }
}

#[test]
fn a_machine_of_an_older_version_does_not_tell_its_system() {
    let mut sent = serde_json::to_value(running()).unwrap();
    assert!(sent.as_object_mut().unwrap().remove("os").is_some());
    assert_eq!(serde_json::from_value::<Facts>(sent).unwrap(), running());
}

/// Headings of the third level are conditions, and all of them.
#[test]
fn the_documentation_has_each_condition() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/code43.md");
    let text = std::fs::read_to_string(path).unwrap();
    let documented: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let ids: Vec<String> = CONDITIONS.iter().map(|condition| format!("`{}`", condition.id)).collect();
    assert_eq!(documented, ids);
}
