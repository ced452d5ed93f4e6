//! Guests that write whatever they like, wherever they like.

use proptest::prelude::*;

use super::super::fis::{Command, TaskFile};
use super::super::table::{Fault, Issued};
use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any accesses, with any memory behind them: the controller answers, and works for the next guest.
    #[test]
    fn any_accesses_leave_a_controller_that_works(
        memory in proptest::collection::vec(any::<u8>(), 0x800),
        accesses in proptest::collection::vec((0u64..0x1000, any::<u32>(), 0u8..8), 1..120),
    ) {
        let bench = bench();
        for at in (0..RAM).step_by(0x800).take(64) {
            bench.put(at, &memory);
        }
        bench.start(DRIVE);
        for (offset, value, kind) in accesses {
            match kind {
                0 => { bench.read(offset & !3); }
                1 => bench.issue(DRIVE, value % 32),
                2 => bench.set_port(DRIVE, value as u64 % 0x20 * 4, value),
                3 => bench.set_port(DRIVE, 0x18, 1 << 4 | value & 1),
                // A list that is somewhere.
                4 => bench.set_port(DRIVE, 0, value % (2 * RAM as u32)),
                _ => bench.write(offset & !3, value),
            }
        }
        bench.write(4, 0x8000_0001);
        bench.set_port(DRIVE, 0x2c, 0);
        for at in (LIST..FRAMES + 0x1000).step_by(0x800) {
            bench.put(at, &[0; 0x800]);
        }
        bench.set_port(DRIVE, 4, 0);
        bench.set_port(DRIVE, 0xc, 0);
        bench.start(DRIVE);
        prop_assert_eq!(bench.perform(DRIVE, &frame(0xa1), &[], &[(DATA, 512)]), (0x50, 512));
    }

    /// Frames are read as they are written.
    #[test]
    fn frames_keep_all_fields(command in any::<u8>(), features in any::<u16>(), lba in 0u64..1 << 48, count in any::<u16>(), control in any::<u8>()) {
        let l = lba.to_le_bytes();
        let (f, c) = (features.to_le_bytes(), count.to_le_bytes());
        let mut bytes = [0; 64];
        bytes[..16].copy_from_slice(&[
            0x27, 0x85, command, f[0], l[0], l[1], l[2], 0xe0, l[3], l[4], l[5], f[1], c[0], c[1], 0, control,
        ]);
        let expected =
            Command { multiplier_port: 5, is_command: true, command, features, lba, device: 0xe0, count, control };
        prop_assert_eq!(Command::parse(&bytes), Some(expected));
        // What goes the other way has its fields at the same places.
        let file = TaskFile { status: command, error: control, count, lba, device: 0xe0 };
        let mut back = [0; 64];
        back[..20].copy_from_slice(&file.frame(false));
        back[0] = 0x27;
        let read = Command::parse(&back).unwrap();
        prop_assert_eq!((read.lba, read.count, read.device, read.command), (lba, count, 0xe0, command));
        let setup = file.pio_setup(true, count);
        prop_assert_eq!((setup[0], setup[15], &setup[16..18]), (0x5f, command, &c[..]));
    }

    /// Copies through regions of any shape are the bytes, and say how far they came.
    #[test]
    fn regions_carry_bytes_in_order(lens in proptest::collection::vec(1u32..600, 0..40), wanted in 0usize..9000, outside in proptest::option::of(0usize..40)) {
        let bench = bench();
        let mut regions: Vec<(u64, u32)> = lens.iter().zip(0u64..).map(|(len, at)| (DATA + 0x1000 * at, len * 2)).collect();
        if let Some(region) = outside.and_then(|index| regions.get_mut(index)) {
            region.0 = RAM + 0x1000;
        }
        bench.prepare(0, &frame(0), &[], &regions);
        let dma = Dma::new(bench.ram.clone());
        let issued = Issued::fetch(&dma, LIST, 0);
        prop_assert_eq!(issued.err(), Some(Fault::HostBus), "no bus master");
        let dma = bench.function.device().hba.port(DRIVE).unwrap().dma.clone();
        let mut issued = Issued::fetch(&dma, LIST, 0).unwrap();
        let (mut again, data) = (issued.regions, (0..wanted).map(|at| at as u8 | 1).collect::<Vec<u8>>());
        let (done, result) = issued.regions.fill(&dma, &data);
        let room = |regions: &[(u64, u32)]| regions.iter().map(|(_, len)| *len as usize).sum::<usize>();
        let reachable = regions.iter().position(|(at, _)| *at >= RAM).unwrap_or(regions.len());
        prop_assert_eq!(done, wanted.min(room(&regions[..reachable])));
        let expected = match (done == wanted, reachable == regions.len()) {
            (true, _) => Ok(()),
            (false, true) => Err(Fault::Overflow),
            (false, false) => Err(Fault::HostBus),
        };
        prop_assert_eq!(result, expected);
        let joined: Vec<u8> = regions[..reachable].iter().flat_map(|(at, len)| bench.get(*at, *len as usize)).collect();
        prop_assert_eq!(&joined[..done], &data[..done]);
        prop_assert!(joined[done..].iter().all(|byte| *byte == 0));
        let mut back = vec![0; wanted];
        prop_assert_eq!(again.drain(&dma, &mut back).0, done);
        prop_assert_eq!(&back[..done], &data[..done]);
    }
}
