//! Accesses to BARs that trap.

use super::images::MSIX;
use super::*;

#[test]
fn the_page_around_the_table_is_the_devices() {
    let bench = Bench::running();
    bench.device().poke(MSIX_BAR, 0x2030, &[1, 2, 3, 4, 5, 6, 7, 8]);
    bench.device().poke(MSIX_BAR, 0x1ff8, &[9; 8]);
    assert_eq!(bench.load(BAR1 + 0x2030), [1, 2, 3, 4, 5, 6, 7, 8]);
    bench.store(BAR1 + 0x2034, &[0xaa; 4]);
    assert_eq!(bench.changes(), [Op::Write { index: MSIX_BAR, offset: 0x2034, data: vec![0xaa; 4] }]);
    // Across both ends of the table, of which the guest has its own.
    bench.store(BAR1 + 0x2000, &[0x11, 0x22, 0x33, 0x44]);
    assert_eq!(bench.load(BAR1 + 0x1ffc), [9, 9, 9, 9, 0x10, 0x22, 0x33, 0x44]);
    assert_eq!(bench.load(BAR1 + 0x202c), [1, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(bench.load(BAR1 + 0x3006), [0, 0, 0, 0], "pending bits, and the device behind them");
}

#[test]
fn memory_that_does_not_answer_reads_as_ones() {
    let bench = Bench::running();
    bench.device().poke(MSIX_BAR, 0x2030, &[1, 2, 3, 4]);
    // Behind our back, as when the host resets the device.
    bench.write(BEHIND, MSIX + 2, &[0, 0]);
    bench.device().close_memory();
    assert_eq!(bench.load(BAR1 + 0x2030), [0xff; 4]);
    bench.store(BAR1 + 0x2030, &[0; 4]);
    assert_eq!(bench.load(BAR1 + 0x2000), [0; 4], "the table is not the device's");
}
