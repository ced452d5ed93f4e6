//! Model-specific registers that KVM does not know, and those that firmware leaves set. The lab's processor is one of AMD's.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::machine::Machine;
use tests::program::msr;
use tests::run::{Options, Running};
use tests::{Outcome, ensure};

use crate::crash::kernel;
use crate::display::ctl;
use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("unknown_registers_fault", 15, fault),
    scenario("unknown_registers_can_be_ignored", 10, ignored),
    scenario("refused_register_is_told_beside_a_crash", 10, told),
    scenario("registers_are_those_of_the_peer", 60, as_with_the_peer),
];

/// Nobody's.
const UNKNOWN: u32 = 0x1234;
/// IA32_PERF_CAPABILITIES, which KVM knows, but not for AMD's processors.
const NOT_HERE: u32 = 0x345;
/// TEMPERATURE_TARGET, Intel's.
const INTELS: u32 = 0x1a2;
/// AMD's PSTATE_CURRENT_LIMIT, which cannot be written, and the first PSTATE_DEF.
const LIMIT: u32 = 0xc001_0061;
const PSTATE: u32 = 0xc001_0064;
/// HWCR.
const HWCR: u32 = 0xc001_0015;

/// `R` or `W`, and the register.
type Access = (char, u32);

/// What is to come of an access: what the guest gets, `None` for #GP, and how often it is counted as answered, ignored and refused,
/// `None` where KVM answers by itself.
type Expected = (Access, Option<u64>, Option<[u64; 3]>);

/// A machine whose guest accesses registers.
fn machine(list: &[(u32, Option<u64>)]) -> Outcome<Machine> {
    kernel(&msr::accesses(list))
}

/// The lines of the guest from the last line on that was waited for: by access and index, the value, or `None` for #GP. Of one kind
/// of access, the last counts.
fn results(running: &mut Running) -> Outcome<BTreeMap<Access, Option<u64>>> {
    let found = running.expect("(?s)APPLICATION-UP\\r\\n(.*?)DONE\\n")?;
    let lines = found.get(1).map(String::as_str).unwrap_or_default();
    let mut results = BTreeMap::new();
    for line in lines.lines() {
        let words: Vec<&str> = line.trim_end_matches(['.', '#']).split(' ').collect();
        let (&[kind, index], value) = words.split_at(2.min(words.len())) else {
            return Err(running.failure(format!("the guest says '{line}'")));
        };
        let value = value.first().map(|value| u64::from_str_radix(value, 16)).transpose()?;
        results.insert((kind.chars().next().unwrap_or('?'), u32::from_str_radix(index, 16)?), value);
    }
    Ok(results)
}

/// What `ctl status` counts of an access: answered, ignored, refused.
fn counted(status: &Value, access: &str, index: u32) -> Option<[u64; 3]> {
    let mut accesses = status["msrs"]["accesses"].as_array()?.iter();
    let met = accesses.find(|met| met["index"] == index && met["access"] == access)?;
    let count = |fate: &str| met[fate].as_u64();
    Some([count("answered")?, count("ignored")?, count("refused")?])
}

fn status() -> Outcome<Value> {
    Ok(serde_json::from_str(&ctl(["status", "--json"])?)?)
}

/// Requires what the guest found, and what was counted.
fn check(running: &mut Running, expected: &[Expected]) -> Outcome {
    let found = results(running)?;
    let status = status()?;
    for (access, value, counts) in expected {
        let got = found.get(access).copied().ok_or("the guest has left an access out")?;
        let word = if access.0 == 'R' { "read" } else { "write" };
        let counted = counted(&status, word, access.1);
        if got != *value || counted != *counts {
            return Err(running.failure(format!(
                "{word} of {:#x}: the guest got {got:x?} and not {value:x?}; counted as {counted:?} and not {counts:?}",
                access.1
            )));
        }
    }
    Ok(())
}

fn fault() -> Outcome {
    let list = [
        (UNKNOWN, None),
        (UNKNOWN, None),
        (UNKNOWN, Some(5)),
        (NOT_HERE, None),
        (INTELS, None),
        (LIMIT, None),
        (LIMIT, Some(1)),
        (PSTATE, None),
        (PSTATE, Some(1 << 63)),
        (HWCR, None),
    ];
    let expected = [
        (('R', UNKNOWN), None, Some([0, 0, 2])),
        (('W', UNKNOWN), None, Some([0, 0, 1])),
        (('R', NOT_HERE), None, Some([0, 0, 1])),
        (('R', INTELS), None, Some([0, 0, 1])),
        (('R', LIMIT), Some(0), Some([1, 0, 0])),
        (('W', LIMIT), None, Some([0, 0, 1])),
        (('R', PSTATE), Some(0), Some([1, 0, 0])),
        (('W', PSTATE), Some(1 << 63), Some([1, 0, 0])),
        // KVM's own: it is set when the guest starts, and not counted.
        (('R', HWCR), Some(1 << 24), None),
    ];
    let machine = machine(&[&list[..], &[(HWCR, Some(0))]].concat())?;
    let mut running = machine.start(&Options::default())?;
    check(&mut running, &expected)?;
    let words = ctl(["status"])?;
    ensure(words.contains("read 0x1234 × 2"), format!("ctl status does not count the reads:\n{words}"))?;
    // The guest has cleared HWCR; a reset is to bring it back.
    ctl(["reset"])?;
    let again = results(&mut running)?;
    ensure(
        again.get(&('R', HWCR)) == Some(&Some(1 << 24)),
        format!("after a reset HWCR is not as at power-on: {again:x?}"),
    )?;
    ctl(["quit"])?;
    running.wait()?.status(0)
}

fn ignored() -> Outcome {
    let list = [
        (UNKNOWN, None),
        (UNKNOWN, Some(5)),
        (NOT_HERE, None),
        (INTELS, None),
        (LIMIT, None),
        (LIMIT, Some(1)),
    ];
    let expected = [
        (('R', UNKNOWN), Some(0), Some([0, 1, 0])),
        (('W', UNKNOWN), Some(5), Some([0, 1, 0])),
        // CPUID says that it is not there.
        (('R', NOT_HERE), None, Some([0, 0, 1])),
        (('R', INTELS), Some(0), Some([0, 1, 0])),
        (('R', LIMIT), Some(0), Some([1, 0, 0])),
        (('W', LIMIT), Some(1), Some([0, 1, 0])),
    ];
    let mut machine = machine(&list)?;
    machine.cpu_keys.push("msrs = \"ignore\"".into());
    let mut running = machine.start(&Options::default())?;
    check(&mut running, &expected)?;
    ctl(["quit"])?;
    running.wait()?.status(0)
}

fn told() -> Outcome {
    let finished = kernel(&msr::fatal_read(UNKNOWN))?.run(&Options::default().within(60))?;
    finished.printed("APPLICATION-UP")?;
    finished.status(5)?;
    finished.said("triple fault")?;
    finished.said("read of MSR 0x1234 by vCPU 0 at RIP")?;
    finished.said("`msrs = \"ignore\"`")?;
    // The advice holds.
    let mut machine = kernel(&msr::fatal_read(UNKNOWN))?.with_key("grace = 0");
    machine.cpu_keys.push("msrs = \"ignore\"".into());
    machine.run(&Options::default().within(60).with(["--expect", "READ"]))?.status(0)
}

/// Registers of the table, of Windows' and Linux' drivers, of KVM's, and nobody's.
const COMPARED: &[u32] = &[
    0x17,
    0x2a,
    0x34,
    0x35,
    0x3a,
    0x3b,
    0x79,
    0x8b,
    0xcd,
    0xce,
    0xcf,
    0xe2,
    0xe7,
    0xe8,
    0xfe,
    0x10a,
    0x11e,
    0x122,
    0x123,
    0x140,
    0x150,
    0x179,
    0x17a,
    0x186,
    0x194,
    0x198,
    0x199,
    0x19a,
    0x19b,
    0x19c,
    0x1a0,
    0x1a2,
    0x1a4,
    0x1a6,
    0x1aa,
    0x1ad,
    0x1b0,
    0x1b1,
    0x1d9,
    0x1f1,
    0x1fc,
    0x345,
    0x3f8,
    0x3fc,
    0x601,
    0x606,
    0x610,
    0x611,
    0x613,
    0x614,
    0x618,
    0x619,
    0x638,
    0x639,
    0x640,
    0x641,
    0x64e,
    0x64f,
    0x660,
    0x690,
    0x6e0,
    0x770,
    0x771,
    0x774,
    0xda0,
    0x1234,
    0x4000_0000,
    0x4000_0020,
    0xc000_0104,
    0xc001_0010,
    HWCR,
    0xc001_001f,
    0xc001_0055,
    0xc001_0058,
    LIMIT,
    0xc001_0062,
    0xc001_0063,
    PSTATE,
    0xc001_006b,
    0xc001_0071,
    0xc001_0112,
    0xc001_0114,
    0xc001_0115,
    0xc001_0117,
    0xc001_0140,
    0xc001_0141,
    0xc001_0293,
    0xc001_0299,
    0xc001_029a,
    0xc001_029b,
    0xc001_02b0,
    0xc001_1020,
    0xc001_1021,
    0xc001_1022,
    0xc001_1023,
    0xc001_1029,
    0xc001_102a,
    0xc001_102b,
    0xc001_102c,
    0xc001_1030,
];

/// Where the two answer otherwise, it is because of the table, of what is set before the start, and of three registers that QEMU sets or
/// answers, as docs/hiding.md says.
fn as_with_the_peer() -> Outcome {
    let list: Vec<_> = COMPARED.iter().map(|index| (*index, None)).collect();
    let machine = machine(&list)?;
    let read = |options: &Options| -> Outcome<_> {
        let mut running = machine.start(options)?;
        results(&mut running)
    };
    let (ours, peers) = (read(&Options::default())?, read(&Options::peer())?);
    ensure(ours.len() == COMPARED.len(), "the guest has left registers out")?;
    let differing: Vec<u32> = ours
        .iter()
        .filter(|(access, value)| peers.get(access) != Some(value))
        .map(|(access, _)| access.1)
        .collect();
    let expected: Vec<u32> =
        ours.keys().map(|access| access.1).filter(|index| is_ours(*index) || PEERS.contains(index)).collect();
    ensure(
        differing == expected,
        format!(
            "registers differ from the peer's: {differing:x?}, and not {expected:x?}\nours {ours:x?}\npeer's {peers:x?}"
        ),
    )
}

/// CORE_THREAD_COUNT, which QEMU answers on processors of all vendors; the number of machine-check banks; MISC_ENABLE.
const PEERS: [u32; 3] = [0x35, 0x179, 0x1a0];

/// Whether the register is in the table for AMD, and not known to KVM, or is set before the start.
fn is_ours(index: u32) -> bool {
    matches!(index, HWCR | LIMIT..=0xc001_006b | 0xc001_0071 | 0xc001_0293 | 0xc001_0299..=0xc001_029b)
        || matches!(index, 0xc001_0115 | 0xc001_1020 | 0xc001_102b | 0xc001_1030)
}
