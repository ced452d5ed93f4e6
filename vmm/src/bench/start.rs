//! How long the start of the machine took, from what `--events` would tell. One start is one sample: to compare starts, run it again.

use statistics::{Figure, Measure, Owner};

use crate::events::{Event, Line};

/// What a phase ends with.
fn phase(event: &Event) -> Option<(&'static str, &'static str)> {
    Some(match event {
        Event::MemoryReady { .. } => ("start.memory", "start: until memory is mapped"),
        Event::KernelHandedOver => ("start.devices", "start: devices, until the guest is loaded"),
        Event::FirstInstruction => ("start.vcpus", "start: vCPUs, until the first instruction"),
        _ => return None,
    })
}

/// The phases that `events`, lines of JSON, tell of, each from the end of the one before.
pub(super) fn phases(events: &str) -> Vec<Measure> {
    let mut before = None;
    let mut measures = Vec::new();
    for line in events.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        if matches!(line.event, Event::ProcessStart { .. }) {
            before = Some(line.ns);
        }
        if let Some((id, title)) = phase(&line.event)
            && let Some(since) = before.replace(line.ns)
        {
            let mut measure = Measure::new(id, title, Owner::Monitor, Figure::Median);
            measure.round_of(&[line.ns.saturating_sub(since) as f64]);
            measures.push(measure);
        }
    }
    measures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other() {
        let events = r#"{"event":"process_start","created_ns":1,"tick_ns":2,"ns":1000}
{"event":"memory_ready","bytes":5,"ns":4000}
{"event":"kernel_handed_over","ns":9000}
{"event":"console","device":"serial","path":"/x","ns":9500}
{"event":"first_instruction","ns":9600}
not a line
"#;
        let found: Vec<_> =
            phases(events).into_iter().map(|measure| (measure.id.clone(), measure.rounds[0])).collect();
        let expected = [("start.memory", 3000.0), ("start.devices", 5000.0), ("start.vcpus", 600.0)];
        assert_eq!(found, expected.map(|(id, time)| (id.to_owned(), time)));
        assert!(phases("").is_empty());
    }
}
