//! A made-up endpoint through configuration cycles and its BARs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use proptest::prelude::*;
use vm_memory::GuestAddress;

use super::*;
use crate::GuestRam;
use crate::interrupt::MsiMessage;
use crate::pci::config::{reg, status};
use crate::pci::dma::DmaError;
use crate::pci::msix::testing::FakeAllocator;
use crate::pci::power::AfterD3;
use crate::pci::{BarKind, Ids, Placement, capability, express::Express};
use crate::test_support::{Line, read_u32};

/// Registers: a write sets bits of the interrupt causes (offset 0) or clears them (offset 4), as many devices have it.
struct Causes {
    causes: AtomicU32,
    resets: AtomicU32,
    interrupts: Arc<Interrupts>,
}

impl EndpointDevice for Causes {
    fn bar_read(&self, bar: usize, _offset: u64, data: &mut [u8]) {
        let value = self.causes.load(Ordering::SeqCst) | (bar as u32) << 16;
        data.copy_from_slice(&value.to_le_bytes()[..data.len()]);
    }
    fn bar_write(&self, _bar: usize, offset: u64, data: &[u8]) -> Action {
        let value = u32::from(data[0]);
        match offset {
            0 => self.causes.fetch_or(value, Ordering::SeqCst),
            _ => self.causes.fetch_and(!value, Ordering::SeqCst),
        };
        self.interrupts.set_condition(self.causes.load(Ordering::SeqCst) != 0);
        Action::None
    }
    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
        self.causes.store(0, Ordering::SeqCst);
    }
}

struct Bench {
    function: Arc<Endpoint<Causes>>,
    line: Arc<Line>,
    vectors: FakeAllocator,
    dma: Dma,
}

const BAR0: u32 = 0xc000_0000;
const MESSAGE: MsiMessage = MsiMessage { address: 0xfee0_1000, data: 0x41 };

/// A function with a memory and an I/O BAR, one MSI vector and power states.
fn bench(after: AfterD3, masking: bool) -> Bench {
    let mut config = ConfigSpace::endpoint(Ids { vendor: 0x1234, ..Ids::default() }, true);
    assert!(
        config.add_bar(0, crate::pci::Bar { kind: BarKind::Memory32 { prefetchable: false }, size: 0x1000 })
    );
    assert!(config.add_bar(2, crate::pci::Bar { kind: BarKind::Io, size: 0x20 }));
    let (line, vectors) = (Arc::<Line>::default(), FakeAllocator::default());
    let mut interrupts = Interrupts::new(&mut config, line.clone());
    let vector = crate::interrupt::MsiAllocator::allocate(&vectors).unwrap();
    assert!(interrupts.add_msi(&mut config, vec![vector], masking));
    Express::endpoint(Placement::RootComplexIntegrated).add(&mut config).unwrap();
    let power = PowerManagement::add(&mut config, after);
    let interrupts = Arc::new(interrupts);
    let dma = Dma::new(GuestRam::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap());
    let device =
        Causes { causes: AtomicU32::new(0), resets: AtomicU32::new(0), interrupts: Arc::clone(&interrupts) };
    let function = Endpoint::new(config, interrupts, dma.clone(), power, Arc::new(device));
    let bench = Bench { function, line, vectors, dma };
    bench.write(reg::BAR0, &BAR0.to_le_bytes());
    bench.write(reg::BAR0 + 8, &0x6000u32.to_le_bytes());
    bench.write(reg::COMMAND, &[7, 0]);
    bench
}

impl Bench {
    /// Says whether the write has changed what is decoded.
    fn write(&self, register: u16, data: &[u8]) -> bool {
        self.function.config_write(register, data).decode_changed
    }
    fn u32(&self, register: u16) -> u32 {
        let mut data = [0; 4];
        self.function.config_read(register, &mut data);
        u32::from_le_bytes(data)
    }
    fn capability(&self, id: u8) -> u16 {
        let mut at = self.u32(reg::CAPABILITIES) as u8;
        while self.u32(at.into()) as u8 != id {
            at = (self.u32(at.into()) >> 8) as u8;
            assert_ne!(at, 0);
        }
        at.into()
    }
    fn power(&self, state: u8) -> bool {
        self.write(self.capability(capability::POWER_MANAGEMENT) + 4, &[state, 0])
    }
    fn power_bits(&self) -> u32 {
        self.u32(self.capability(capability::POWER_MANAGEMENT) + 4) & 3
    }
    fn use_msi(&self) {
        let at = self.capability(capability::MSI);
        self.write(at + 4, &(MESSAGE.address as u32).to_le_bytes());
        self.write(at + 12, &(MESSAGE.data as u16).to_le_bytes());
        self.write(at + 2, &[1, 0]);
    }
    fn bar(&self) -> Arc<dyn BusDevice> {
        let region = self.function.regions().into_iter().find(|region| region.space == Space::Memory);
        region.unwrap().device
    }
    fn raise(&self, causes: u8) {
        let _ = self.bar().write(0, &[causes]);
    }
    fn clear(&self, causes: u8) {
        let _ = self.bar().write(4, &[causes]);
    }
    fn messages(&self) -> usize {
        self.vectors.delivered().len()
    }
    fn decoded(&self) -> Vec<(Space, u64)> {
        self.function.regions().iter().map(|region| (region.space, region.range.base())).collect()
    }
    fn status(&self) -> u16 {
        (self.u32(reg::COMMAND) >> 16) as u16 & status::INTERRUPT
    }
}

#[test]
fn each_bar_reaches_the_device() {
    let bench = bench(AfterD3::Kept, false);
    assert_eq!(bench.decoded(), [(Space::Memory, BAR0.into()), (Space::Io, 0x6000)]);
    bench.raise(3);
    for region in bench.function.regions() {
        let bar = u32::from(region.space == Space::Io) * 2;
        assert_eq!(read_u32(region.device.as_ref(), 0), 3 | bar << 16);
    }
    assert!(!bench.write(reg::INTERRUPT_LINE, &[9]));
    assert!(!bench.write(reg::BAR0, &BAR0.to_le_bytes()));
    assert!(bench.write(reg::COMMAND, &[6, 0]));
    assert_eq!(bench.decoded(), [(Space::Memory, BAR0.into())]);
}

#[test]
fn the_line_follows_the_condition_unless_it_is_disabled() {
    let bench = bench(AfterD3::Kept, false);
    assert_eq!((bench.line.is_high(), bench.status()), (false, 0));
    bench.raise(1);
    assert_eq!((bench.line.is_high(), bench.status()), (true, status::INTERRUPT));
    bench.write(reg::COMMAND, &(7 | command::INTX_DISABLE).to_le_bytes());
    assert_eq!((bench.line.is_high(), bench.status()), (false, status::INTERRUPT), "pending all the same");
    bench.write(reg::COMMAND, &[7, 0]);
    assert!(bench.line.is_high());
    bench.use_msi();
    assert!(!bench.line.is_high(), "messages take its place");
    let at = bench.capability(capability::MSI);
    bench.write(at + 2, &[0, 0]);
    assert!(bench.line.is_high());
    bench.clear(1);
    assert_eq!((bench.line.is_high(), bench.status()), (false, 0));
    bench.raise(1);
    bench.function.reset();
    assert!(!bench.line.is_high());
}

#[test]
fn a_condition_that_stays_is_sent_again_after_each_register_write() {
    let bench = bench(AfterD3::Kept, false);
    bench.use_msi();
    bench.raise(0b111);
    assert_eq!(bench.vectors.delivered(), [MESSAGE]);
    // A driver that handles one cause for each interrupt.
    bench.clear(0b001);
    assert_eq!(bench.messages(), 1, "two causes are left");
    bench.clear(0b010);
    assert_eq!(bench.messages(), 1, "one is left");
    bench.clear(0b100);
    assert_eq!(bench.messages(), 0);
    bench.clear(0b111);
    assert_eq!(bench.messages(), 0);
}

#[test]
fn a_condition_that_was_there_before_msi_is_sent() {
    let bench = bench(AfterD3::Kept, false);
    bench.raise(1);
    bench.use_msi();
    assert_eq!(bench.vectors.delivered(), [MESSAGE]);
    bench.write(reg::INTERRUPT_LINE, &[3]);
    assert_eq!(bench.messages(), 0, "configuration writes do not repeat it");
}

#[test]
fn masked_messages_wait_in_the_pending_bit() {
    let bench = bench(AfterD3::Kept, true);
    bench.use_msi();
    let at = bench.capability(capability::MSI);
    bench.write(at + 0x10, &[1]);
    bench.raise(1);
    assert_eq!((bench.messages(), bench.u32(at + 0x14)), (0, 1));
    bench.write(at + 0x14, &[0; 4]);
    assert_eq!(bench.u32(at + 0x14), 1, "read-only");
    bench.write(at + 0x10, &[0]);
    assert_eq!((bench.messages(), bench.u32(at + 0x14)), (1, 0));
}

#[test]
fn memory_is_out_of_reach_without_bus_mastering() {
    let bench = bench(AfterD3::Kept, false);
    bench.dma.write(0x1000, &[1, 2]).unwrap();
    let mut data = [0; 2];
    bench.dma.read(0x1000, &mut data).unwrap();
    assert_eq!(data, [1, 2]);
    assert!(matches!(
        bench.dma.write(0x3fff, &[0; 2]),
        Err(DmaError::OutsideRam { address: 0x3fff, len: 2 })
    ));
    assert!(matches!(bench.dma.read(0x4000, &mut data), Err(DmaError::OutsideRam { .. })));
    bench.write(reg::COMMAND, &[3, 0]);
    assert!(matches!(bench.dma.write(0x1000, &[9]), Err(DmaError::Disabled)));
    assert!(matches!(bench.dma.read(0x1000, &mut data), Err(DmaError::Disabled)));
    assert!(bench.dma.permit().is_none());
    bench.write(reg::COMMAND, &[7, 0]);
    bench.dma.read(0x1000, &mut data).unwrap();
    assert_eq!(data, [1, 2], "nothing was written meanwhile");
    bench.function.reset();
    assert!(!bench.dma.enabled());
}

#[test]
fn messages_wait_for_bus_mastering() {
    let bench = bench(AfterD3::Kept, false);
    bench.use_msi();
    bench.write(reg::COMMAND, &[3, 0]);
    bench.raise(1);
    assert_eq!(bench.messages(), 0);
    bench.write(reg::COMMAND, &[7, 0]);
    assert_eq!(bench.vectors.delivered(), [MESSAGE]);
}

#[test]
fn bus_mastering_ends_when_transfers_have() {
    let bench = bench(AfterD3::Kept, false);
    let permit = bench.dma.permit().unwrap();
    let (done, ended) = mpsc::channel();
    let function = Arc::clone(&bench.function);
    let guest = thread::spawn(move || {
        let _ = function.config_write(reg::COMMAND, &[3, 0]);
        done.send(()).unwrap();
    });
    // Workers see at once that they are to stop.
    while bench.dma.enabled() {
        thread::yield_now();
    }
    assert!(ended.try_recv().is_err(), "the guest still waits");
    assert_eq!(bench.u32(0) as u16, 0x1234, "others are not held up");
    drop(permit);
    guest.join().unwrap();
    ended.recv().unwrap();
    assert!(bench.dma.permit().is_none());
}

#[test]
fn those_who_wait_for_bus_mastering_are_woken_by_each_change() {
    let bench = bench(AfterD3::Kept, false);
    let event = Arc::new(vmm_sys_util::eventfd::EventFd::new(libc::EFD_NONBLOCK).unwrap());
    bench.dma.signal_when_changed(Arc::clone(&event));
    bench.write(reg::COMMAND, &[7, 0]);
    assert!(event.read().is_err(), "it has been on before");
    bench.write(reg::COMMAND, &[3, 0]);
    assert_eq!(event.read().unwrap(), 1, "who has transfers under way is to end them");
    bench.write(reg::COMMAND, &[7, 0]);
    assert_eq!(event.read().unwrap(), 1);
}

#[test]
fn asleep_only_configuration_space_answers() {
    let bench = bench(AfterD3::Kept, false);
    bench.use_msi();
    bench.raise(1);
    assert_eq!(bench.messages(), 1);
    let registers = bench.bar();
    assert!(bench.power(3));
    assert_eq!((bench.power_bits(), bench.decoded()), (3, vec![]));
    assert!(bench.dma.permit().is_none());
    // A write that was on its way.
    let _ = registers.write(0, &[2]);
    assert_eq!(bench.messages(), 0);
    bench.write(reg::BAR0, &0xd000_0000u32.to_le_bytes());
    assert!(bench.power(0));
    assert_eq!(bench.decoded()[0], (Space::Memory, 0xd000_0000));
    assert!(bench.dma.enabled());
    assert_eq!(read_u32(bench.bar().as_ref(), 0), 3, "it has kept its state");
    assert_eq!(bench.messages(), 1, "and what had to wait is sent");
    assert_eq!(bench.function.device().resets.load(Ordering::SeqCst), 0);
}

#[test]
fn the_line_is_quiet_in_sleep() {
    let bench = bench(AfterD3::Kept, false);
    bench.raise(1);
    bench.power(3);
    assert_eq!((bench.line.is_high(), bench.status()), (false, status::INTERRUPT));
    bench.power(0);
    assert!(bench.line.is_high());
}

#[test]
fn a_function_that_keeps_nothing_wakes_up_reset() {
    let bench = bench(AfterD3::Reset, false);
    bench.raise(1);
    bench.power(3);
    assert_eq!(bench.function.device().resets.load(Ordering::SeqCst), 0);
    bench.power(3);
    bench.power(0);
    assert_eq!(bench.function.device().resets.load(Ordering::SeqCst), 1);
    assert_eq!((bench.u32(reg::COMMAND) as u16, bench.u32(reg::BAR0), bench.power_bits()), (0, 0, 0));
    assert_eq!(bench.decoded(), []);
    assert!(!bench.line.is_high() && !bench.dma.enabled());
    bench.power(0);
    assert_eq!(bench.function.device().resets.load(Ordering::SeqCst), 1, "it was awake");
}

#[test]
fn states_that_it_does_not_have_change_nothing() {
    for after in [AfterD3::Kept, AfterD3::Reset] {
        let bench = bench(after, false);
        for state in [1, 2] {
            assert!(!bench.power(state));
            assert_eq!(bench.power_bits(), 0);
        }
        bench.power(3);
        for state in [1, 2] {
            bench.power(state);
            assert_eq!(bench.power_bits(), 3);
        }
        assert_eq!(bench.function.device().resets.load(Ordering::SeqCst), 0);
    }
}

proptest! {
    /// Whatever a guest writes: nothing is decoded, sent or transferred that the registers do not allow, and a reset brings
    /// the power-on state.
    #[test]
    fn random_configuration_writes(
        keeps in any::<bool>(),
        writes in prop::collection::vec((0u16..0x40, any::<u32>(), 0usize..3, any::<bool>()), 0..60),
    ) {
        let bench = bench(if keeps { AfterD3::Kept } else { AfterD3::Reset }, true);
        for (dword, value, size, raise) in writes {
            let before = bench.decoded();
            let written = bench.write(dword * 4, &value.to_le_bytes()[..1 << size]);
            prop_assert_eq!(written, bench.decoded() != before);
            let command = bench.u32(reg::COMMAND) as u16;
            let awake = bench.power_bits() == 0;
            prop_assert!(awake || bench.decoded().is_empty());
            prop_assert_eq!(bench.dma.enabled(), awake && command & command::BUS_MASTER != 0);
            if raise && let Some(region) = bench.function.regions().first() {
                let _ = region.device.write(0, &[1]);
            }
            let msi = bench.u32(bench.capability(capability::MSI)) >> 16 & 1 != 0;
            let line = bench.function.device().causes.load(Ordering::SeqCst) != 0
                && awake && !msi && command & command::INTX_DISABLE == 0;
            prop_assert_eq!(bench.line.is_high(), line);
            prop_assert!(msi && bench.dma.enabled() || bench.vectors.routed().is_empty());
        }
        bench.function.reset();
        prop_assert_eq!(bench.decoded(), []);
        prop_assert!(!bench.line.is_high());
        prop_assert_eq!(bench.vectors.routed(), []);
    }
}
