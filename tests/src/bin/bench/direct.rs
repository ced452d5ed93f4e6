//! A kernel that starts without OVMF, beside our own way through OVMF and every way of QEMU's to start one directly.

use statistics::{Goal, median};

use crate::guests::{self, Files};
use crate::monitor::{Board, Flash, Monitor};
use crate::stats::Comparison;
use crate::{Options, Part, Result, tell};

/// Of our own way through OVMF.
const GOAL_OF_FIRMWARE: f64 = 0.25;
/// Of the fastest of QEMU's ways that give the guest its devices.
const GOAL_OF_PEERS: f64 = 0.7;
/// Of the memory of QEMU's leanest way, and in MiB.
const GOAL_OF_MEMORY: (f64, f64) = (0.15, 10.0);

/// What was seen of one way.
#[derive(Debug, Clone)]
struct Samples {
    name: &'static str,
    /// Whether the goals are of this way too: its guest has all devices.
    complete: bool,
    /// Seconds from exec to the guest's userspace.
    userspace: Vec<f64>,
    /// MiB beyond the guest's RAM.
    memory: Vec<f64>,
}

impl Samples {
    fn new(name: &'static str, complete: bool) -> Self {
        Self { name, complete, userspace: Vec::new(), memory: Vec::new() }
    }
}

/// Measures all ways in turn. `keep` gets what there is after each round.
pub(crate) fn measure(options: &Options, keep: impl Fn(&Part) -> Result<()>) -> Result<Part> {
    let scratch = tempfile::Builder::new().prefix("optimus-bench-").tempdir()?;
    let files = Files::copy(options, scratch.path())?;
    let ours = Monitor::Ours { program: files.program().into() };
    let peer = Monitor::find_qemu(&options.lab, "host")?;
    let mut part = Part::new("direct", &ours, &peer)?;
    let mut ways = vec![
        Way { monitor: ours.clone(), firmware: false, samples: Samples::new("ours, direct", true) },
        Way { monitor: ours, firmware: true, samples: Samples::new("ours, OVMF", true) },
    ];
    ways.extend(Board::DIRECT.map(|board| Way {
        monitor: peer.clone().with_board(board),
        firmware: false,
        samples: Samples::new(board.name, board.complete),
    }));
    let mut order: Vec<usize> = (0..ways.len()).collect();
    for round in 0..options.pairs {
        for index in &order {
            let Some(Way { monitor, firmware, samples }) = ways.get_mut(*index) else { continue };
            let flash = if *firmware { files.ovmf()? } else { Flash::Absent };
            let (run, userspace) = guests::to_userspace(options, &files, monitor, flash)?;
            let memory = guests::settled_memory(options, &run)?.proportional / 1024.0;
            samples.userspace.push(userspace);
            samples.memory.push(memory);
            tell(&format!(
                "round {} of {}, {}: userspace after {userspace:.2} s, {memory:.1} MiB",
                round + 1,
                options.pairs,
                samples.name
            ));
        }
        let samples: Vec<Samples> = ways.iter().map(|way| way.samples.clone()).collect();
        if let [direct, firmware, peers @ ..] = samples.as_slice() {
            part.comparisons = compare(direct, firmware, peers);
        }
        keep(&part)?;
        // There and back, so that what drifts evenly is taken out, as ABBA does it for two.
        order.reverse();
    }
    Ok(part)
}

/// A way to start the kernel, and what was seen of it.
struct Way {
    monitor: Monitor,
    firmware: bool,
    samples: Samples,
}

/// A row for each peer and metric; of QEMU's, the best one makes the goal.
fn compare(direct: &Samples, firmware: &Samples, peers: &[Samples]) -> Vec<Comparison> {
    let row = |metric: &str, unit: &str, of: fn(&Samples) -> &Vec<f64>, peer: &Samples| {
        let row = Comparison::new(metric, unit, None).beside(peer.name);
        Comparison { ours: of(direct).clone(), peer: of(peer).clone(), ..row }
    };
    let least = |of: fn(&Samples) -> &Vec<f64>| {
        let all = peers.iter().filter(|peer| peer.complete).filter_map(|peer| median(of(peer)));
        all.min_by(f64::total_cmp)
    };
    let userspace: fn(&Samples) -> &Vec<f64> = |samples| &samples.userspace;
    let memory: fn(&Samples) -> &Vec<f64> = |samples| &samples.memory;

    let mut rows = Vec::new();
    let name = "exec to guest userspace, direct";
    rows.push(Comparison {
        goal: Some(Goal::AtMost(GOAL_OF_FIRMWARE)),
        ..row(name, "s", userspace, firmware)
    });
    for peer in peers {
        let best = peer.complete && median(userspace(peer)) == least(userspace);
        let goal = best.then_some(Goal::AtMost(GOAL_OF_PEERS));
        rows.push(Comparison { goal, ..row(name, "s", userspace, peer) });
    }
    let name = "memory beyond guest RAM, direct (Pss)";
    rows.push(row(name, "MiB", memory, firmware));
    for peer in peers {
        let (ratio, limit) = GOAL_OF_MEMORY;
        let best = peer.complete && median(memory(peer)) == least(memory);
        rows.push(Comparison {
            goal: best.then_some(Goal::AtMost(ratio)),
            limit: best.then_some(limit),
            ..row(name, "MiB", memory, peer)
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use statistics::Verdict;

    use super::*;

    #[test]
    fn the_best_of_the_peers_makes_the_goal() {
        let samples = |name, complete, userspace: &[f64], memory| Samples {
            name,
            complete,
            userspace: userspace.iter().copied().cycle().take(9).collect(),
            memory: vec![memory; 9],
        };
        let direct = samples("ours, direct", true, &[3.0, 2.0, 4.0], 7.0);
        let firmware = samples("ours, OVMF", true, &[20.0], 12.0);
        // The fastest by its median, not by its least, and another than the leanest. One gives its guest no devices.
        let peers = [
            samples("slow", true, &[1.0, 9.0, 9.0], 50.0),
            samples("fast", true, &[5.0, 6.0, 7.0], 60.0),
            samples("lean", true, &[8.0], 40.0),
            samples("poor", false, &[1.0], 30.0),
        ];
        let rows = compare(&direct, &firmware, &peers);
        let told: Vec<_> =
            rows.iter().map(|row| (row.peer_name.as_str(), row.goal, row.limit, row.verdict())).collect();
        assert_eq!(
            told,
            [
                ("ours, OVMF", Some(Goal::AtMost(0.25)), None, Some(Verdict::Passed)),
                ("slow", None, None, None),
                ("fast", Some(Goal::AtMost(0.7)), None, Some(Verdict::Passed)),
                ("lean", None, None, None),
                ("poor", None, None, None),
                ("ours, OVMF", None, None, None),
                ("slow", None, None, None),
                ("fast", None, None, None),
                ("lean", Some(Goal::AtMost(0.15)), Some(10.0), Some(Verdict::Missed)),
                ("poor", None, None, None),
            ]
        );
        // The median of 3/5, 2/6 and 4/7.
        assert!((rows.get(2).unwrap().ratio().unwrap() - 4.0 / 7.0).abs() < 1e-12);
    }
}
