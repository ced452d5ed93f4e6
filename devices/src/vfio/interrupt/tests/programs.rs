//! Whatever a guest does, the interrupts follow a simple model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const MSIX_VECTORS: u64 = 4;
const MSI_VECTORS: u32 = 8;

#[derive(Debug, Clone)]
enum Step {
    Control(u16),
    Mask(u64, bool),
    Data(u64, u32),
    /// A write of any size anywhere.
    Table(u64, u64, usize),
    Msi(MsiRegisters),
    /// The device interrupts by this vector of what is on.
    Interrupt(u32),
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let control = prop_oneof![Just(ENABLE), Just(ENABLE | FUNCTION_MASK), Just(0), any::<u16>(),];
    let registers = (any::<bool>(), 0u8..8, 0u32..0x100)
        .prop_map(|(enabled, multiple, data)| MsiRegisters { enabled, ..msi(multiple, data) });
    let step = prop_oneof![
        3 => control.prop_map(Step::Control),
        6 => (0..MSIX_VECTORS, any::<bool>()).prop_map(|(vector, masked)| Step::Mask(vector, masked)),
        2 => (0..MSIX_VECTORS, 0u32..0x100).prop_map(|(vector, data)| Step::Data(vector, data)),
        1 => (0u64..0x50, any::<u64>(), 0usize..4).prop_map(|(at, value, size)| Step::Table(at, value, size)),
        2 => registers.prop_map(Step::Msi),
        6 => (0..MSI_VECTORS).prop_map(Step::Interrupt),
        1 => Just(Step::Reset),
    ];
    proptest::collection::vec(step, 0..60)
}

/// What the guest may expect.
#[derive(Default)]
struct Model {
    control: u16,
    msi: MsiRegisters,
    entries: BTreeMap<u64, [u8; 16]>,
    /// Vectors unmasked since MSI-X was last turned on.
    triggered: BTreeSet<u32>,
    pending: BTreeSet<u64>,
}

impl Model {
    fn entry(&self, vector: u64) -> [u8; 16] {
        let fresh = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        self.entries.get(&vector).copied().unwrap_or(fresh)
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        for (at, value) in (offset..).zip(data) {
            if at < MSIX_VECTORS * 16 {
                let mut entry = self.entry(at / 16);
                entry[at as usize % 16] = match at % 16 {
                    0 => value & !3,
                    12 => value & 1,
                    13.. => 0,
                    _ => *value,
                };
                self.entries.insert(at / 16, entry);
            }
        }
    }

    fn mode(&self) -> u32 {
        match (self.control & ENABLE != 0, self.msi.enabled) {
            (true, _) => irq::MSIX,
            (false, true) => irq::MSI,
            (false, false) => irq::INTX,
        }
    }

    /// What a vector of MSI-X sends now, if it may.
    fn msix_message(&self, vector: u64) -> Option<MsiMessage> {
        let entry = self.entry(vector);
        let open = self.control & (ENABLE | FUNCTION_MASK) == ENABLE && entry[12] == 0;
        open.then(|| MsiMessage {
            address: u64::from_le_bytes(entry[..8].try_into().unwrap()),
            data: u32::from_le_bytes(entry[8..12].try_into().unwrap()),
        })
    }

    fn routed(&self) -> Vec<MsiMessage> {
        match self.mode() {
            irq::MSIX => (0..MSIX_VECTORS).filter_map(|vector| self.msix_message(vector)).collect(),
            irq::MSI => {
                let count = 1 << self.msi.multiple.min(5);
                (0..count.min(MSI_VECTORS))
                    .map(|v| message(self.msi.message.data & !(count - 1) | v))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Brings the model up to date after a step, and says what is delivered by that.
    fn settle(&mut self) -> Vec<MsiMessage> {
        if self.mode() != irq::MSIX {
            self.triggered.clear();
            self.pending.clear();
        }
        let open: Vec<_> = (0..MSIX_VECTORS).filter_map(|v| Some((v, self.msix_message(v)?))).collect();
        self.triggered.extend(open.iter().map(|(vector, _)| *vector as u32));
        open.into_iter()
            .filter(|(vector, _)| self.pending.remove(vector))
            .map(|(_, message)| message)
            .collect()
    }
}

fn sorted(mut messages: Vec<MsiMessage>) -> Vec<(u32, u64)> {
    messages.sort_by_key(|message| (message.data, message.address));
    messages.into_iter().map(|message| (message.data, message.address)).collect()
}

proptest! {
    #[test]
    fn interrupts_follow_the_registers(steps in steps(), fixed in any::<bool>()) {
        let device = FakeDevice::new()
            .with_irq(irq::INTX, 1, false)
            .with_irq(irq::MSI, MSI_VECTORS, true)
            .with_irq(irq::MSIX, MSIX_VECTORS as u32, fixed);
        let mut bench = Bench::started(device);
        let mut model = Model::default();
        for step in steps {
            let before = (model.mode(), model.triggered.len());
            let msi_before = model.msi.multiple.min(3);
            let mut delivered = Vec::new();
            match step.clone() {
                Step::Control(control) => {
                    bench.interrupts.set_msix_control(control);
                    model.control = control;
                }
                Step::Mask(vector, masked) => {
                    bench.mask(vector, masked);
                    model.write(vector * 16 + 12, &[u8::from(masked), 0, 0, 0]);
                }
                Step::Data(vector, data) => {
                    bench.interrupts.write_table(vector * 16 + 8, &data.to_le_bytes());
                    model.write(vector * 16 + 8, &data.to_le_bytes());
                }
                Step::Table(offset, value, size) => {
                    bench.interrupts.write_table(offset, &value.to_le_bytes()[..1 << size]);
                    model.write(offset, &value.to_le_bytes()[..1 << size]);
                }
                Step::Msi(registers) => {
                    bench.interrupts.set_msi(registers);
                    model.msi = registers;
                }
                Step::Interrupt(vector) => {
                    let told = bench.device.interrupt(model.mode(), vector);
                    match model.mode() {
                        irq::MSIX => {
                            prop_assert_eq!(told, model.triggered.contains(&vector));
                            match model.msix_message(vector.into()) {
                                Some(message) => delivered.push(message),
                                None if told => { model.pending.insert(vector.into()); }
                                None => {}
                            }
                        }
                        irq::MSI => delivered.extend(model.routed().get(vector as usize)),
                        _ => {
                            prop_assert_eq!(told, vector == 0);
                            prop_assert_eq!(bench.line.is_asserted(), told);
                            bench.line.acknowledge();
                        }
                    }
                }
                Step::Reset => {
                    bench.interrupts.before_reset();
                    prop_assert_eq!(bench.device.triggers(), None);
                    bench.interrupts.after_reset();
                    model = Model::default();
                }
            }
            delivered.extend(model.settle());
            prop_assert_eq!(sorted(bench.allocator.delivered()), sorted(delivered), "after {:?}", step);
            prop_assert_eq!(sorted(bench.allocator.routed()), sorted(model.routed()), "after {:?}", step);
            let pending = model.pending.iter().fold(0, |bits, vector| bits | 1 << vector);
            prop_assert_eq!(bench.pending(), pending, "after {:?}", step);
            let on = match model.mode() {
                irq::MSIX => model.triggered.iter().copied().collect(),
                irq::MSI => (0..1 << model.msi.multiple.min(3)).collect(),
                _ => vec![0],
            };
            prop_assert_eq!(bench.device.triggers(), Some((model.mode(), on)), "after {:?}", step);
            prop_assert_eq!(bench.line.is_connected(), model.mode() == irq::INTX);
            prop_assert_eq!(bench.device.violations(), [""; 0]);
            // The host is asked for no more than a new mode, a new number of MSI vectors, or a vector's first unmask.
            let log = bench.device.take_log();
            let resized = model.mode() == irq::MSI && model.msi.multiple.min(3) != msi_before;
            if before.0 == model.mode() && !resized && !matches!(step, Step::Reset) {
                prop_assert_eq!(log.len(), model.triggered.len() - before.1, "after {:?}: {:?}", step, log);
            }
            for vector in 0..MSIX_VECTORS {
                let mut entry = [0; 16];
                bench.interrupts.read_table(vector * 16, &mut entry);
                prop_assert_eq!(entry, model.entry(vector));
            }
        }
    }
}
