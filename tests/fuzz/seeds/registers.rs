//! Samples of drivers of disk and USB controllers: accesses to registers, and the memory behind them.

use crate::Outcome;

/// A write of a dword to a register.
fn write(offset: u16, value: u32) -> [u8; 8] {
    let ([o0, o1], [v0, v1, v2, v3]) = (offset.to_le_bytes(), value.to_le_bytes());
    [0, o0, o1, 0, v0, v1, v2, v3]
}

/// The steps, and memory with these bytes at these places.
fn sample(steps: &[[u8; 8]], memory: &[(usize, Vec<u8>)]) -> Outcome<Vec<u8>> {
    let end = memory.iter().map(|(at, bytes)| at + bytes.len()).max().unwrap_or(0);
    let mut all = vec![0; end];
    for (at, bytes) in memory {
        all.get_mut(*at..at + bytes.len()).ok_or("memory has an end")?.copy_from_slice(bytes);
    }
    Ok([&[u8::try_from(steps.len())?], steps.concat().as_slice(), &all].concat())
}

fn dwords(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Where the samples for the SATA controller have the list, received frames, tables and data.
const FRAMES: u32 = 0x400;
const TABLES: usize = 0x800;
const DATA: u32 = 0x2000;

/// A frame with a command: its code, features, address, device and count.
fn frame(code: u8, features: u8, lba: u32, device: u8, count: u8) -> Vec<u8> {
    let [l0, l1, l2, l3] = lba.to_le_bytes();
    vec![0x27, 0x80, code, features, l0, l1, l2, device, l3, 0, 0, 0, count, 0, 0, 0]
}

/// A port that performs commands, each in a slot: frame, packet, and whether it is queued.
fn port(index: u16, commands: &[(Vec<u8>, Vec<u8>, bool)]) -> Outcome<Vec<u8>> {
    let base = 0x100 + 0x80 * index;
    let mut steps = vec![
        write(4, 0x8000_0002),
        write(base, 0),
        write(base + 0x08, FRAMES),
        write(base + 0x14, u32::MAX),
        write(base + 0x18, 0x11),
    ];
    let mut memory = Vec::new();
    let (mut queued, mut issued) = (0, 0);
    for (slot, (frame, packet, is_queued)) in commands.iter().enumerate() {
        let table = TABLES + 0x100 * slot;
        memory.push((32 * slot, dwords(&[5 | 2 << 16, 0, u32::try_from(table)?, 0])));
        memory.push((table, frame.clone()));
        memory.push((table + 0x40, packet.clone()));
        // Two regions of memory: 512 bytes, and 3.5 KiB.
        memory.push((table + 0x80, dwords(&[DATA, 0, 0, 0x1ff, DATA + 0x800, 0, 0, 0xdff])));
        issued |= 1 << slot;
        queued |= u32::from(*is_queued) << slot;
    }
    memory.push((DATA as usize, vec![1; 0x10]));
    steps.extend([write(base + 0x34, queued), write(base + 0x38, issued), write(base + 0x10, u32::MAX)]);
    // As after an error, and once more.
    steps.extend([write(base + 0x18, 0x10), write(base + 0x18, 0x11), write(base + 0x38, 1)]);
    sample(&steps, &memory)
}

pub(crate) fn ahci(put: impl Fn(&str, &[u8]) -> Outcome) -> Outcome {
    let plain = |frame: Vec<u8>| (frame, vec![], false);
    // Code, features, address, device, count.
    for (name, command) in [
        ("identify", frame(0xec, 0, 0, 0xa0, 0)),
        ("read-dma", frame(0x25, 0, 3, 0x40, 2)),
        ("read-pio", frame(0x20, 0, 3, 0x40, 1)),
        ("write-dma", frame(0xca, 0, 5, 0x40, 4)),
        ("write-fua", frame(0x3d, 0, 5, 0x40, 1)),
        ("verify", frame(0x42, 0, 0, 0x40, 31)),
        ("beyond", frame(0x25, 0, 31, 0x40, 2)),
        ("trim", frame(0x06, 1, 0, 0x40, 1)),
        ("log", frame(0x2f, 0, 0x10, 0x40, 1)),
        ("multiple", frame(0xc6, 0, 0, 0x40, 16)),
        ("cache-off", frame(0xef, 0x82, 0, 0x40, 0)),
        ("flush", frame(0xea, 0, 0, 0x40, 0)),
    ] {
        put(name, &port(0, &[plain(command)])?)?;
    }
    let queued = |code: u8, slot: u8, lba: u32, sectors: u8| {
        (frame(code, sectors, lba, 0x40, slot << 3), vec![], true)
    };
    put("queued", &port(0, &[queued(0x60, 0, 1, 2), queued(0x61, 1, 9, 7), queued(0x60, 2, 20, 1)])?)?;
    put("queued-error", &port(0, &[queued(0x60, 0, 31, 2), queued(0x61, 1, 9, 7)])?)?;
    put(
        "mixed",
        &port(0, &[queued(0x61, 0, 0, 1), plain(frame(0xe7, 0, 0, 0x40, 0)), queued(0x60, 2, 0, 1)])?,
    )?;
    let control = |bits: u8| {
        let mut frame = frame(0, 0, 0, 0, 0);
        for (at, value) in [(1, 0), (15, bits)] {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        plain(frame)
    };
    put("reset", &port(0, &[control(4), control(0), plain(frame(0xec, 0, 0, 0, 0))])?)?;
    let packets: [(&str, &[u8]); 14] = [
        ("ready", &[0]),
        ("sense", &[3, 0, 0, 0, 18]),
        ("inquiry", &[0x12, 0, 0, 0, 36]),
        ("start", &[0x1b, 0, 0, 0, 2]),
        ("prevent", &[0x1e, 0, 0, 0, 1]),
        ("capacity", &[0x25]),
        ("read", &[0x28, 0, 0, 0, 0, 1, 0, 0, 1]),
        ("read-12", &[0xa8, 0, 0, 0, 0, 34, 0, 0, 0, 4]),
        ("contents", &[0x43, 2, 0, 0, 0, 0, 0, 0, 200]),
        ("configuration", &[0x46, 0, 0, 0, 0, 0, 0, 1, 0]),
        ("event", &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]),
        ("disc", &[0x51, 0, 0, 0, 0, 0, 0, 0, 34]),
        ("mode", &[0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0]),
        ("structure", &[0xad, 0, 0, 0, 0, 0, 0, 0, 8]),
    ];
    for (name, bytes) in packets {
        for (way, features) in [("pio", 0), ("dma", 1)] {
            let packet = |bytes: &[u8]| (frame(0xa0, features, 0xff_fe00, 0xa0, 0), bytes.to_vec(), false);
            // The first one takes the attention after power-on.
            put(&format!("{name}-{way}"), &port(1, &[packet(&[3, 0, 0, 0, 18]), packet(bytes)])?)?;
        }
    }
    Ok(())
}

/// Where the samples for the NVMe controller have the admin queues and a pair of others, and data.
const ADMIN: u32 = 0x1000;
const PAIR: u32 = 0x3000;
const BUFFER: u32 = 0x6000;

/// A command: code, namespace, PRP and the last dwords.
fn command(code: u32, namespace: u32, prp: u32, rest: [u32; 4]) -> Vec<u8> {
    let [d10, d11, d12, d13] = rest;
    dwords(&[code, namespace, 0, 0, 0, 0, prp, 0, 0, 0, d10, d11, d12, d13, 0, 0])
}

pub(crate) fn nvme(put: impl Fn(&str, &[u8]) -> Outcome) -> Outcome {
    let pair =
        [command(5, 0, PAIR + 0x1000, [0xf_0001, 1, 0, 0]), command(1, 0, PAIR, [0xf_0001, 0x1_0001, 0, 0])];
    let run = |admin: &[Vec<u8>], io: &[Vec<u8>], after: &[Vec<u8>]| -> Outcome<Vec<u8>> {
        let first = u32::try_from(admin.len())?;
        let last = first + u32::try_from(after.len())?;
        let steps = [
            write(0x24, 0x000f_000f),
            write(0x28, ADMIN),
            write(0x30, ADMIN + 0x1000),
            write(0x14, 0x0046_0001),
            write(0x1000, first),
            write(0x1008, u32::try_from(io.len())?),
            write(0x100c, u32::try_from(io.len())?),
            write(0x1000, last),
            write(0x1004, last),
            write(0x14, 0x0046_4001),
            write(0x14, 0),
        ];
        let data = dwords(&[0, 8, 0, 0, 0, 4, 16, 0]);
        let memory = [
            (ADMIN as usize, [admin, after].concat().concat()),
            (PAIR as usize, io.concat()),
            (BUFFER as usize, data),
        ];
        sample(&steps, &memory)
    };
    let io = |code: u32, rest: [u32; 4]| command(code, 1, BUFFER, rest);
    for (name, commands) in [
        ("write-read", vec![io(1, [3, 0, 0, 0]), io(2, [3, 0, 7, 0])]),
        ("flush", vec![io(1, [0, 0, 1 << 30, 0]), io(0, [0; 4])]),
        ("zeroes", vec![io(8, [4, 0, 7, 0]), io(8, [4, 0, 1 << 25, 0])]),
        ("deallocate", vec![io(9, [1, 4, 0, 0])]),
        ("beyond", vec![io(2, [31, 0, 1, 0])]),
    ] {
        put(name, &run(&pair, &commands, &[])?)?;
    }
    let delete = [command(0, 0, 0, [1, 0, 0, 0]), command(4, 0, 0, [1, 0, 0, 0])];
    put("delete", &run(&pair, &[io(2, [0; 4])], &delete)?)?;
    put("shadow", &run(&[&pair[..], &[command(0x7c, 0, BUFFER, [0; 4])]].concat(), &[io(2, [0; 4])], &[])?)?;
    for structure in 0..4 {
        put(
            &format!("identify-{structure}"),
            &run(&[command(6, 1, BUFFER, [structure, 0, 0, 0])], &[], &[])?,
        )?;
    }
    for log in 1..6 {
        put(&format!("log-{log}"), &run(&[command(2, 0, BUFFER, [log | 0x7f_0000, 0, 0, 0])], &[], &[])?)?;
    }
    for feature in 1..12 {
        let set = command(9, 0, 0, [feature, 0, 0, 0]);
        put(&format!("feature-{feature}"), &run(&[set, command(10, 0, 0, [feature, 0, 0, 0])], &[], &[])?)?;
    }
    put("events", &run(&[command(0xc, 0, 0, [0; 4]), command(8, 0, 0, [0; 4])], &[], &[])?)?;
    Ok(())
}

/// A USB driver that gives the keyboard a slot and makes transfers: of the control endpoint (1) and of that of reports (3).
pub(crate) fn xhci(put: impl Fn(&str, &[u8]) -> Outcome) -> Outcome {
    const TABLE: u32 = 0x40;
    const CONTEXTS: u32 = 0x80;
    const EVENTS: u32 = 0x400;
    const COMMANDS: u32 = 0x800;
    const ADDRESSED: u32 = 0xa00;
    const INPUT: u32 = 0xc00;
    const OUTPUT: u32 = 0x1000;
    const CONTROL: u32 = 0x1800;
    const REPORTS: u32 = 0x1900;
    const DATA: u32 = 0x1a00;
    // Where a target finds operational registers, ports, the interrupter and doorbells.
    let (port, interrupter, doorbells) = (0x2000, 0x4000, 0x8000);
    let run = |commands: &[[u32; 4]], control: &[[u32; 4]], target: u32| -> Outcome<Vec<u8>> {
        let mut steps = vec![
            write(0x38, 8),
            write(0x30, CONTEXTS),
            write(0x18, COMMANDS | 1),
            write(0x1c, 0),
            write(interrupter + 0x08, 1),
            write(interrupter + 0x18, EVENTS),
            write(interrupter + 0x10, TABLE),
            write(interrupter + 0x14, 0),
            write(interrupter, 2),
            write(0, 5),
            write(port, 0x210),
            write(doorbells, 0),
            write(doorbells + 4, 1),
            write(doorbells + 4, target),
            write(interrupter + 0x18, EVENTS + 0x88),
            write(doorbells, 0),
            write(port, 0x1_0260),
            write(0, 0),
        ];
        // The second half happens once a user has typed.
        steps.extend([write(0, 5), write(port, 0x1_0200), write(doorbells + 4, target)]);
        let enabled = [[0, 0, 0, 9 << 10 | 1], [ADDRESSED, 0, 0, 11 << 10 | 1 << 24 | 1]];
        let all = [&enabled[..], commands].concat();
        let memory = [
            (TABLE as usize, dwords(&[EVENTS, 0, 32, 0])),
            (CONTEXTS as usize + 8, dwords(&[OUTPUT, 0])),
            (COMMANDS as usize, dwords(&all.concat())),
            (ADDRESSED as usize, dwords(&[0, 3])),
            (ADDRESSED as usize + 32, dwords(&[1 << 27 | 1 << 20, 5 << 16])),
            (ADDRESSED as usize + 64, dwords(&[0, 4 << 3 | 64 << 16, CONTROL | 1, 0, 8])),
            (INPUT as usize, dwords(&[0, 1 | 1 << 3])),
            (INPUT as usize + 32, dwords(&[3 << 27 | 1 << 20, 5 << 16])),
            (INPUT as usize + 128, dwords(&[0, 7 << 3 | 8 << 16, REPORTS | 1, 0, 8])),
            (CONTROL as usize, dwords(&control.concat())),
            (REPORTS as usize, dwords(&[DATA, 0, 8, 1 << 10 | 0x25, DATA, 0, 4, 1 << 10 | 0x25])),
        ];
        sample(&steps, &memory)
    };
    let on_slot = |kind: u32, endpoint: u32| [INPUT, 0, 0, kind << 10 | 1 << 24 | endpoint << 16 | 1];
    let setup = |low: u32, high: u32| [low, high, 8, 2 << 10 | 0x61];
    let status = [0, 0, 0, 4 << 10 | 0x21];
    let data = |length: u32, rest: u32| [DATA, 0, length, 3 << 10 | 1 << 16 | 0x25 | rest];
    let configured = [setup(0x0001_0900, 0), status];
    for (name, low) in [("device", 0x0100_0680), ("configuration", 0x0200_0680), ("string", 0x0302_0680)] {
        put(name, &run(&[], &[setup(low, 0x00ff_0000), data(255, 0), status], 1)?)?;
    }
    put(
        "stall",
        &run(&[on_slot(14, 1), on_slot(16, 1)], &[setup(0x03ee_0680, 0x12_0000), data(18, 0), status], 1)?,
    )?;
    put(
        "chain",
        &run(&[], &[setup(0x0200_0680, 0x22_0000), data(9, 0x10), [DATA, 0, 25, 1 << 10 | 0x21], status], 1)?,
    )?;
    put(
        "event-data",
        &run(&[], &[setup(0x0200_0680, 0x22_0000), data(34, 0x10), [1, 2, 0, 7 << 10 | 0x21], status], 1)?,
    )?;
    put("reports", &run(&[on_slot(12, 0)], &configured, 3)?)?;
    for (name, kind) in [("evaluate", 13), ("stop", 15), ("reset", 17), ("disable", 10), ("bandwidth", 21)] {
        put(name, &run(&[on_slot(12, 0), on_slot(kind, 3)], &configured, 3)?)?;
    }
    put("link", &run(&[[COMMANDS, 0, 0, 6 << 10 | 3]], &configured, 1)?)?;
    Ok(())
}
