//! Where the data of a command is.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use crate::GuestRam;
use crate::disk::engine::Piece;
use crate::nvme::command::{Command, Status};
use crate::nvme::prp::{PAGE, pieces};

const TOP: u64 = 0x10_0000;

fn command(first: u64, second: u64) -> Command {
    let mut bytes = [0; 64];
    bytes[24..32].copy_from_slice(&first.to_le_bytes());
    bytes[32..40].copy_from_slice(&second.to_le_bytes());
    Command::new(bytes)
}

fn found(first: u64, second: u64, len: u32, ram: &GuestRam) -> Result<Vec<Piece>, Status> {
    let mut all = Vec::new();
    pieces(&command(first, second), len, ram, &mut all).map(|()| all)
}

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), TOP as usize)]).unwrap()
}

#[test]
fn neighbours_are_one_piece() {
    let ram = ram();
    assert_eq!(found(0x1004, 0x2000, 0x1000, &ram), Ok(vec![Piece { address: 0x1004, len: 0x1000 }]));
    assert_eq!(
        found(0x1f00, 0x5000, 0x200, &ram),
        Ok(vec![Piece { address: 0x1f00, len: 0x100 }, Piece { address: 0x5000, len: 0x100 }])
    );
    // The last page of all addresses has no neighbour.
    let last = u64::MAX - 0xfff;
    assert_eq!(
        found(last, 0, 0x2000, &ram),
        Ok(vec![Piece { address: last, len: 0x1000 }, Piece { address: 0, len: 0x1000 }])
    );
}

#[test]
fn a_list_that_leads_to_itself_comes_to_an_end() {
    let ram = ram();
    // Its last entry points to the page itself; with 4096 pages it is read eight times, and no more.
    for entry in 0..512u64 {
        ram.write_obj(if entry == 511 { 0x3000u64 } else { 0x8000 }, GuestAddress(0x3000 + entry * 8))
            .unwrap();
    }
    let all = found(0x8000, 0x3000, 4096 * 4096, &ram).unwrap();
    assert_eq!(all.iter().map(|piece| u64::from(piece.len)).sum::<u64>(), 4096 * 4096);
    // A list of one entry that is the pointer to the next.
    ram.write_obj(0x5ff8u64, GuestAddress(0x5ff8)).unwrap();
    assert_eq!(found(0x8000, 0x5ff8, 0x4000, &ram), Err(Status::INVALID_PRP_OFFSET));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is in memory, what is found is as long as the data, or there is an error.
    #[test]
    fn no_list_gives_more_or_less_than_the_data(
        words in proptest::collection::vec(
            prop_oneof![0..TOP, (0..TOP / PAGE).prop_map(|page| page * PAGE), any::<u64>()], 2048),
        first in prop_oneof![0..TOP, any::<u64>()],
        second in prop_oneof![(0..0x800u64).prop_map(|entry| entry * 8), 0..TOP, any::<u64>()],
        len in 1u32..=1 << 20,
    ) {
        let ram = ram();
        for (index, word) in (0u64..).zip(&words) {
            ram.write_obj(*word, GuestAddress(index * 8)).unwrap();
        }
        if let Ok(all) = found(first, second, len, &ram) {
            prop_assert_eq!(all.iter().map(|piece| u64::from(piece.len)).sum::<u64>(), u64::from(len));
            prop_assert!(all.iter().all(|piece| piece.len > 0));
            prop_assert_eq!(all[0].address, first);
            prop_assert!(all[1..].iter().all(|piece| piece.address % PAGE == 0));
        }
    }
}
