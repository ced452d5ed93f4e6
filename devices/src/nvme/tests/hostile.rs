//! A driver that means no good: nothing but what a driver may see happens, and the controller works after a reset.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::host::{ASQ, Format, Host, read};

#[derive(Debug, Clone)]
enum Step {
    Register { offset: u64, value: u32, wide: bool },
    Doorbell { number: u64, value: u32 },
    Command { queue: u16, opcode: u8, dwords: [u32; 15] },
    Memory { address: u64, words: Vec<u64> },
    BusMaster(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let interesting =
        prop_oneof![0..40u32, any::<u32>(), Just(u32::MAX), (0..2048u32).prop_map(|page| page << 12)];
    let dword = interesting.clone();
    let dwords = proptest::collection::vec(dword, 15).prop_map(|all| {
        let mut dwords: [u32; 15] = all.try_into().unwrap();
        // Mostly the namespace that there is, and addresses that are memory.
        dwords[0] = if dwords[0].is_multiple_of(4) { dwords[0] } else { 1 };
        dwords[6] %= 2;
        dwords[8] %= 2;
        dwords
    });
    let opcode = prop_oneof![3 => 0..13u8, 1 => Just(0x7c), 1 => any::<u8>()];
    let step = prop_oneof![
        1 => (0..0x40u64, interesting.clone(), any::<bool>())
            .prop_map(|(offset, value, wide)| Step::Register { offset, value, wide }),
        3 => (0..16u64, 0..64u32).prop_map(|(number, value)| Step::Doorbell { number, value }),
        1 => (0..0x1000u64, interesting.clone()).prop_map(|(number, value)| Step::Doorbell { number, value }),
        6 => (0..3u16, opcode, dwords)
            .prop_map(|(queue, opcode, dwords)| Step::Command { queue, opcode, dwords }),
        1 => (0..0x100u64, proptest::collection::vec(any::<u64>(), 1..8))
            .prop_map(|(page, words)| Step::Memory { address: 0x1_0000 + page * 0x800, words }),
        1 => any::<bool>().prop_map(Step::BusMaster),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_survives_any_driver(steps in steps()) {
        let mut host = Host::with_queue(Format::Raw);
        host.create_pair(2, 2);
        for step in steps {
            match step {
                Step::Register { offset, value, wide } => {
                    let bytes = [value.to_le_bytes(), value.to_le_bytes()].concat();
                    let len = if wide { 8 } else { 1 << (value % 3) };
                    let _ = host.bar.write(offset, &bytes[..len]);
                }
                Step::Doorbell { number, value } => host.set(0x1000 + number * 4, value),
                Step::Command { queue, opcode, dwords } => {
                    let mut all = [0; 16];
                    all[0] = u32::from(opcode);
                    all[1..].copy_from_slice(&dwords);
                    host.submit(queue, all);
                }
                Step::Memory { address, words } => {
                    for (index, word) in (0u64..).zip(words) {
                        host.ram.write_obj(word, GuestAddress(address + index * 8)).unwrap();
                    }
                }
                Step::BusMaster(on) => host.config_write(4, &[if on { 6 } else { 2 }, 0]),
            }
            let mut data = [0; 8];
            host.bar.read(super::CSTS, &mut data);
            while host.take_silently(0).is_some() {}
        }
        host.config_write(4, &[6, 0]);
        host.set(super::CC, 0);
        host.forget();
        host.ram.write_slice(&[0; 0x1_0000], GuestAddress(ASQ)).unwrap();
        host.enable();
        prop_assert_eq!(host.u32(super::CSTS), 1);
        host.create_pair(1, 1);
        prop_assert_eq!(host.io(read(0, 1, 0x10_0000)), (0, 0));
    }
}
