//! Sequences of the drivers of Linux (sound/hda, sound/pci/hda) and of Windows (hdaudbus.sys, hdaudio.sys), step by step.

use super::*;

/// What Linux' driver does to bring controller and rings up.
fn linux_init(bench: &Bench) {
    // Out of reset: the bit is awaited both ways.
    bench.write8(0x08, bench.read8(0x08) & !1);
    assert_eq!(bench.read8(0x08) & 1, 0);
    bench.write8(0x08, bench.read8(0x08) | 1);
    assert_eq!(bench.read8(0x08) & 1, 1);
    assert_eq!(bench.read16(0x0e), 1, "the codec has made itself known");
    bench.write32(0x08, bench.read32(0x08) | 0x100);
    // Interrupts are cleared and enabled.
    for stream in 0..8 {
        let control = 0x80 + 0x20 * stream;
        bench.write8(control, bench.read8(control) & !0x1c);
        bench.write8(control + 3, 0x1c);
    }
    bench.write16(0x0e, 0xff);
    bench.write8(0x5d, 5);
    bench.write32(0x24, 0xc000_00ff);
    bench.write32(0x20, bench.read32(0x20) | 0xc000_0000);
    // The rings.
    bench.write32(0x40, CORB as u32);
    bench.write32(0x44, 0);
    bench.write8(0x4e, 0x02);
    bench.write16(0x48, 0);
    bench.write16(0x4a, 0x8000);
    assert_eq!(bench.read16(0x4a) & 0x8000, 0x8000);
    bench.write16(0x4a, 0);
    assert_eq!(bench.read16(0x4a), 0);
    bench.write8(0x4c, 2);
    bench.write32(0x50, RIRB as u32);
    bench.write32(0x54, 0);
    bench.write8(0x5e, 0x02);
    bench.write16(0x58, 0x8000);
    bench.write16(0x5a, 1);
    bench.write8(0x5c, 3);
    bench.write32(0x70, POSITIONS as u32 | 1);
    bench.write32(0x74, 0);
}

/// A verb by the rings, with its interrupt.
fn linux_verb(bench: &Bench, node: u32, verb: u32) -> u32 {
    let next = bench.read8(0x48).wrapping_add(1);
    bench.put(CORB + 4 * u64::from(next), &(node << 20 | verb).to_le_bytes());
    bench.write16(0x48, next.into());
    assert!(bench.line.is_high(), "an answer interrupts");
    assert_eq!(bench.read32(0x24), 0xc000_0000);
    assert_eq!(bench.read8(0x5d) & 5, 1);
    bench.write8(0x5d, 5);
    assert!(!bench.line.is_high());
    let at = bench.read16(0x58);
    let entry = RIRB + 8 * u64::from(at);
    assert_eq!(bench.get_u32(entry + 4), 0, "codec 0, and not unsolicited");
    bench.get_u32(entry)
}

#[test]
fn linux_plays_by_rings_held_starts_and_positions_in_memory() {
    let bench = bench();
    linux_init(&bench);
    assert_eq!(linux_verb(&bench, 0, 0xf0000), 0x8086_293e);
    assert_eq!(linux_verb(&bench, 1, 0xf0004), 0x0002_0004);
    // Many verbs at once wrap around the ring.
    for round in 0..600 {
        assert_eq!(linux_verb(&bench, 3, 0xf1c00), 0x0101_4010, "{round}");
    }
    linux_verb(&bench, 1, 0x70500);
    linux_verb(&bench, 2, 0x70650);
    linux_verb(&bench, 2, 0x20011);
    // The stream is reset, and set up with four periods of 10 ms.
    let base = 0x80 + 0x20 * OUT;
    bench.write8(base, bench.read8(base) & !2);
    bench.write8(base, bench.read8(base) | 1);
    assert_eq!(bench.read8(base) & 1, 1);
    bench.write8(base, bench.read8(base) & !1);
    assert_eq!(bench.read8(base) & 1, 0);
    bench.put(POSITIONS + 8 * OUT, &[0; 8]);
    bench.buffers(OUT, 0x11, &[1920; 4]);
    bench.write32(base, bench.read32(base) & !0xf0_0000 | 5 << 20);
    bench.write32(base, bench.read32(base) | 0x1c);
    bench.put(BUFFER, &counted(0, 1920));
    // Held, started, awaited, let go. Whoever waits for a FIFO that is only ready then gives up after half a second.
    bench.write32(0x34, bench.read32(0x34) | 1 << OUT);
    bench.write32(0x20, bench.read32(0x20) | 1 << OUT);
    assert_eq!(bench.read8(base + 3), 0);
    bench.write8(base, bench.read8(base) | 2 | 0x1c);
    assert_eq!(bench.read8(base + 3), 0x20, "the FIFO is ready");
    bench.time.advance(ms(3));
    assert_eq!(bench.position(OUT), 0, "held");
    bench.write32(0x34, bench.read32(0x34) & !(1 << OUT));
    assert_eq!(bench.read8(base + 3), 0x20);
    let began = bench.read32(0x30);
    for period in 1..=10_u32 {
        while !bench.line.is_high() {
            let rest = bench.rest().unwrap();
            bench.tick(rest);
        }
        assert_eq!(bench.read32(0x24), 0x8000_0000 | 1 << OUT);
        let status = bench.read8(base + 3);
        bench.write8(base + 3, status);
        assert_eq!(status & 0x1c, 4);
        // What azx_position_ok() checks: neither early nor late.
        let wall = bench.read32(0x30).wrapping_sub(began);
        assert!(wall >= period * 240_000 && wall < period * 240_000 + 24_000, "{period}: {wall}");
        let position = bench.get_u32(POSITIONS + 8 * OUT);
        assert!(position < 7680 && position % 1920 < 96 * 2, "{position}");
        assert_eq!(position, bench.position(OUT));
        assert_eq!(position, bench.read32(0x2084 + 0x20 * OUT));
        assert!(!bench.line.is_high());
    }
    bench.write8(base, bench.read8(base) & !0x1e);
    assert_eq!(bench.read8(base + 3), 0, "it is awaited there, too");
    bench.tick(ms(50));
    assert!(!bench.line.is_high());
    let heard = numbers(&bench.ear.frames());
    assert!((4800..4850).contains(&heard.len()), "{}", heard.len());
    assert!(heard.iter().zip(0..).all(|(number, index)| *number == index % 1920));
    assert_eq!(bench.report().underruns, 0);
}

#[test]
fn windows_plays_through_a_message_with_two_short_buffers() {
    let bench = bench();
    // The message, then the line is off.
    let msi = 0x58;
    let capability = {
        let mut id = [0; 2];
        bench.function.config_read(msi, &mut id);
        id[0]
    };
    assert_eq!(capability, 5);
    let _ = bench.function.config_write(msi + 4, &(MESSAGE.address as u32).to_le_bytes());
    let _ = bench.function.config_write(msi + 8, &[0; 4]);
    let _ = bench.function.config_write(msi + 12, &[0x42, 0]);
    let _ = bench.function.config_write(msi + 2, &[1, 0]);
    bench.enable();
    bench.start(OUT);
    bench.stop(OUT);
    // 24 bits in 32, two buffers of 10 ms.
    bench.buffers(OUT, 0x31, &[3840; 2]);
    bench.write32(0x70, POSITIONS as u32 | 1);
    bench.start(OUT);
    for period in 0..8_u32 {
        // The guest fills one while the other plays.
        let half = BUFFER + 3840 * u64::from(period % 2);
        let samples: Vec<u8> = (period * 480..(period + 1) * 480)
            .flat_map(|number| [number << 8; 2])
            .flat_map(u32::to_le_bytes)
            .collect();
        bench.put(half, &samples);
        for _ in 0..10 {
            bench.tick(ms(1));
        }
        assert_eq!(bench.vectors.delivered(), [MESSAGE], "{period}");
        assert_eq!(bench.position(OUT), (period + 1) % 2 * 3840);
        assert!(bench.finished(OUT));
        assert!(!bench.finished(OUT));
        bench.vectors.delivered();
    }
    let heard = bench.ear.frames();
    assert_eq!(heard.len(), 3840);
    assert!(heard.iter().zip(0..).all(|([left, right], index)| *left == index << 8 && left == right));
    // Idle, the driver holds everything in reset.
    bench.write32(0x08, 0);
    assert_eq!(bench.rest(), None);
    assert_eq!(bench.ear.take(), [Err(0)]);
    bench.tick(ms(1000));
    bench.enable();
    assert_eq!(bench.read16(0x0e), 1);
}

#[test]
fn a_guest_records() {
    let bench = bench();
    bench.enable();
    bench.buffers(0, 0x11, &[1920; 2]);
    bench.start(0);
    let mut got = Vec::new();
    for period in 0..6 {
        for _ in 0..10 {
            bench.tick(ms(1));
        }
        assert!(bench.finished(0));
        got.extend(bench.get(BUFFER + 1920 * (period % 2), 1920));
    }
    let frames: Vec<_> = got.chunks(4).map(|frame| i16::from_le_bytes([frame[0], frame[1]])).collect();
    assert_eq!(frames, (1..=2880).collect::<Vec<i16>>());
    assert_eq!(bench.report().recording, Some(48_000));
    bench.stop(0);
    assert_eq!(bench.report().recording, None);
    // Without the converter, it is silent.
    bench.verb(4, 0x70600);
    bench.write8(0x80, 6);
    bench.tick(ms(10));
    assert!(bench.get(BUFFER, 400).iter().all(|byte| *byte == 0));
}
