//! MSI through the registers (PCIe 6.0, 7.7.1).

use proptest::prelude::*;

use super::*;
use crate::pci::Ids;
use crate::pci::msix::testing::FakeVector;

struct Bench {
    config: ConfigSpace,
    msi: Msi,
    vectors: Vec<Arc<FakeVector>>,
}

fn bench(count: usize, masking: bool) -> Bench {
    let vectors: Vec<_> = (0..count).map(|_| FakeVector::new()).collect();
    let mut config = ConfigSpace::endpoint(Ids::default(), false);
    let handles = vectors.iter().map(|vector| Arc::clone(vector) as Arc<dyn MsiVector>).collect();
    let msi = Msi::add(&mut config, handles, masking).unwrap();
    Bench { config, msi, vectors }
}

impl Bench {
    fn write(&mut self, offset: u16, data: &[u8]) {
        self.config.write(self.msi.at + offset, data);
        self.msi.follow(&self.config, true);
    }
    fn enable(&mut self, granted_log2: u8) {
        self.write(4, &0xfee0_3003u32.to_le_bytes());
        self.write(8, &1u32.to_le_bytes());
        self.write(12, &0x4567u16.to_le_bytes());
        self.write(2, &[1 | granted_log2 << 4, 0]);
    }
    fn routed(&self) -> Vec<Option<u32>> {
        self.vectors.iter().map(|vector| vector.routed().map(|message| message.data)).collect()
    }
    fn pending(&self) -> u32 {
        let mut bits = [0; 4];
        self.msi.overlay_pending(self.msi.at + 0x14, &mut bits);
        u32::from_le_bytes(bits)
    }
}

#[test]
fn the_capability_has_the_form_that_it_says() {
    for (vectors_log2, wide, masking, control, len) in [
        (0, false, false, 0x0000, 0x0a),
        (0, true, false, 0x0080, 0x0e),
        (3, false, true, 0x0106, 0x14),
        (5, true, true, 0x018a, 0x18),
    ] {
        let mut config = ConfigSpace::endpoint(Ids::default(), false);
        let at = Layout { vectors_log2, wide, masking }.append(&mut config).unwrap();
        assert_eq!(config.u16(at), u16::from(capability::MSI));
        assert_eq!(config.u16(at + 2), control);
        for register in (at..at + len).step_by(2) {
            config.write(register, &[0xff; 2]);
        }
        let granted = if vectors_log2 == 0 { 0 } else { 0x70 };
        assert_eq!(config.u16(at + 2), control | 1 | granted);
        assert_eq!(config.u32(at + 4), 0xffff_fffc);
        if wide {
            assert_eq!(config.u32(at + 8), u32::MAX);
        }
        let data = if wide { 12 } else { 8 };
        assert_eq!(config.u16(at + data), 0xffff);
        if masking {
            assert_eq!(config.u32(at + data + 4).count_ones(), 1 << vectors_log2);
            assert_eq!(config.u32(at + data + 8), 0, "pending bits are read-only");
        }
        let next = config.add_capability(capability::VENDOR, &[], &[]).unwrap();
        assert_eq!(next, (at + len).next_multiple_of(4));
    }
}

#[test]
fn as_many_vectors_as_make_a_power_of_two() {
    for (count, used) in [(1, 0), (3, 1), (31, 4), (40, 5)] {
        let bench = bench(count, false);
        assert_eq!(bench.config.u16(bench.msi.at + 2) >> 1 & 7, used);
    }
    assert!(Msi::add(&mut ConfigSpace::endpoint(Ids::default(), false), vec![], false).is_none());
}

#[test]
fn the_low_bits_of_the_data_tell_vectors_apart() {
    let mut bench = bench(8, false);
    bench.enable(2);
    let data = [Some(0x4564), Some(0x4565), Some(0x4566), Some(0x4567)];
    assert_eq!(bench.routed(), [&data[..], &[None; 4]].concat(), "four are granted");
    assert_eq!(bench.vectors[0].routed().unwrap().address, 0x1_fee0_3000);
    bench.msi.trigger(5);
    assert_eq!(bench.vectors[1].delivered().len(), 1, "the others share them");
    bench.write(2, &[0x71, 0]);
    assert!(bench.routed().iter().all(Option::is_some), "no more than there are");
    bench.write(2, &[0x70, 0]);
    assert_eq!(bench.routed(), [None; 8]);
    bench.msi.trigger(0);
    bench.write(2, &[0x71, 0]);
    assert_eq!(bench.vectors[0].delivered(), [], "while it was off, nothing was signalled");
}

#[test]
fn masks_hold_single_vectors_back() {
    let mut bench = bench(4, true);
    bench.enable(2);
    bench.write(0x10, &[0b0110]);
    (0..4).for_each(|vector| bench.msi.trigger(vector));
    assert_eq!(bench.pending(), 0b0110);
    let mut middle = [0xaa; 2];
    bench.msi.overlay_pending(bench.msi.at + 0x13, &mut middle);
    assert_eq!(middle, [0xaa, 0b0110], "of a wider read, its own byte");
    bench.write(0x10, &[0b0100]);
    assert_eq!((bench.vectors[1].delivered().len(), bench.pending()), (1, 0b0100));
    bench.msi.reset();
    assert_eq!(bench.pending(), 0);
    assert!(!bench.msi.enabled());
}

proptest! {
    /// A vector is routed exactly while it can be delivered, and no access panics.
    #[test]
    fn routes_are_what_the_registers_say(
        masking in any::<bool>(),
        writes in prop::collection::vec((0u16..0x18, any::<u8>(), any::<bool>()), 0..60),
    ) {
        let mut bench = bench(4, masking);
        for (offset, value, active) in writes {
            bench.config.write(bench.msi.at + offset, &[value]);
            bench.msi.follow(&bench.config, active);
            bench.msi.trigger(value.into());
            let control = bench.config.u16(bench.msi.at + 2);
            let masks = if masking { bench.config.u32(bench.msi.at + 0x10) } else { 0 };
            for (index, vector) in bench.vectors.iter().enumerate() {
                let granted = index < 1 << (control >> 4 & 7).min(2);
                let wanted = control & 1 != 0 && active && granted && masks >> index & 1 == 0;
                prop_assert_eq!(vector.routed().is_some(), wanted);
            }
        }
    }
}
