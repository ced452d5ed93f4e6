//! Passed-through functions on the guest's buses, over devices that keep the kernel's rules.

mod access;
mod bars;
mod cycles;
mod images;
mod interrupts;
mod mediated;
mod mirror;
mod order;
mod programs;
mod resets;
mod threads;

use std::io;
use std::sync::Arc;

use vocabulary::Devfn;
use vocabulary::PciAddress;

use crate::bus::{Action, Bus};
use crate::memory::{HostMemory, WindowMapper};
use crate::pci::config::{command, reg};
use crate::pci::msix::testing::FakeAllocator;
use crate::pci::root_port::{Link, RootPort, RootPortOptions};
use crate::pci::{Doorbell, IoEvents, Placement, RootComplex, Space};
use crate::test_support::Windows;

use super::testing::{FakeDevice, FakeLine, Op};
use super::{FunctionError, Identity, InterruptSources, Options, Rom, VfioPci};
use images::{MSIX_BAR, POWER_STATE, gpu, gpu_with};

const PORT: Devfn = at(1);
/// Behind the port.
const BEHIND: PciAddress = PciAddress::on(1, at(0));
/// On the root bus.
const HERE: PciAddress = PciAddress::on(0, at(5));
const PORT_BDF: PciAddress = PciAddress::on(0, PORT);

/// Where [`Bench::place`] puts the BARs.
const BAR0: u64 = 0xc000_0000;
const BAR1: u64 = 0x8_0000_0000;
const BAR5: u64 = 0x6000;

const fn at(device: u8) -> Devfn {
    match Devfn::new(device, 0) {
        Some(devfn) => devfn,
        None => panic!(),
    }
}

struct NoDoorbells;

impl IoEvents for NoDoorbells {
    fn arm(&self, _: Space, _: u64, _: &Doorbell) -> io::Result<()> {
        Ok(())
    }
    fn disarm(&self, _: Space, _: u64, _: &Doorbell) -> io::Result<()> {
        Ok(())
    }
}

/// Windows that tell the devices whose memory they show. Two at one place would be refused: nobody may ask for that.
struct Witness {
    windows: Arc<Windows>,
    devices: Vec<Arc<FakeDevice>>,
}

impl Witness {
    fn tell(&self, base: u64, memory: &HostMemory, shown: bool) {
        yield_often();
        let owners = self.devices.iter().filter(|device| device.lends(base, memory, shown)).count();
        assert!(owners <= 1);
    }
}

/// KVM takes its time too: another virtual CPU's write may come in between.
fn yield_often() {
    for _ in 0..20 {
        std::thread::yield_now();
    }
}

impl WindowMapper for Witness {
    fn map(&self, base: u64, memory: &HostMemory) -> io::Result<()> {
        self.windows.map(base, memory).expect("no windows overlap");
        self.tell(base, memory, true);
        Ok(())
    }
    fn unmap(&self, base: u64, memory: &HostMemory) {
        yield_often();
        self.windows.unmap(base, memory);
        self.tell(base, memory, false);
    }
}

/// A machine with a function behind a root port and maybe one on the root bus.
struct Bench {
    root: Arc<RootComplex>,
    memory: Arc<Bus>,
    io: Arc<Bus>,
    windows: Arc<Windows>,
    devices: Vec<Arc<FakeDevice>>,
    line: Arc<FakeLine>,
    allocator: Arc<FakeAllocator>,
}

fn options() -> Options {
    Options {
        mediated: false,
        identity: Identity::default(),
        multifunction: false,
        placement: Placement::Endpoint,
        rom: Rom::Off,
    }
}

fn function(
    device: &Arc<FakeDevice>,
    options: &Options,
    line: &Arc<FakeLine>,
    allocator: &Arc<FakeAllocator>,
) -> Result<Arc<VfioPci>, FunctionError> {
    let sources = InterruptSources { line: &|_| Ok(line.clone()), messages: allocator.clone() };
    VfioPci::new(device.clone(), options, &sources)
}

impl Bench {
    /// The first device is behind the port, which forwards all that [`Bench::place`] uses; a second on the root bus.
    fn with(devices: Vec<FakeDevice>, options: &Options) -> Self {
        let devices: Vec<_> = devices.into_iter().map(Arc::new).collect();
        let (memory, io, windows) = (Bus::new(), Bus::new(), Arc::new(Windows::default()));
        let witness = Witness { windows: Arc::clone(&windows), devices: devices.clone() };
        let root = RootComplex::new(io.clone(), memory.clone(), Arc::new(NoDoorbells), Arc::new(witness));
        let link = Link { width: 16, speed: 3 };
        let port = RootPortOptions { multifunction: false, slot: 1, occupied: true, link, interrupt_pin: 1 };
        root.add(PORT, Arc::new(RootPort::new(port))).unwrap();
        let (line, allocator) = (FakeLine::new(), Arc::new(FakeAllocator::default()));
        for (index, device) in devices.iter().enumerate() {
            device.guard(&windows);
            if index == 0 {
                root.add_behind(PORT, 0, function(device, options, &line, &allocator).unwrap()).unwrap();
            } else {
                let options = Options { placement: Placement::RootComplexIntegrated, ..options.clone() };
                root.add(HERE.devfn(), function(device, &options, &FakeLine::new(), &allocator).unwrap())
                    .unwrap();
            }
        }
        root.seal();
        let bench = Self { root, memory, io, windows, devices, line, allocator };
        bench.open_port();
        bench.device().take_log();
        bench
    }

    /// One GPU.
    fn gpu() -> Self {
        Self::with(vec![gpu()], &options())
    }

    /// One GPU, in use: BARs placed, memory and ports decoded, nothing in its log.
    fn running() -> Self {
        let bench = Self::gpu();
        bench.place(BEHIND);
        bench.write(BEHIND, reg::COMMAND, &[3, 0]);
        bench.device().take_log();
        bench
    }

    fn device(&self) -> &FakeDevice {
        &self.devices[0]
    }

    fn open_port(&self) {
        let windows: [(u16, &[u8]); 5] = [
            (0x18, &[0, 1, 1]),
            (0x1c, &[0x60, 0x60]),
            (0x20, &[0x00, 0xc0, 0xf0, 0xc7]),
            (0x24, &[0x01, 0x00, 0xf1, 0xff]),
            (0x28, &[8, 0, 0, 0]),
        ];
        for (register, data) in windows {
            self.write(PORT_BDF, register, data);
        }
        self.write(PORT_BDF, 0x2c, &[8, 0, 0, 0]);
        self.write(PORT_BDF, reg::COMMAND, &[3, 0]);
    }

    /// Gives the BARs of a [`gpu`] addresses.
    fn place(&self, bdf: PciAddress) {
        self.write(bdf, 0x10, &(BAR0 as u32).to_le_bytes());
        self.write(bdf, 0x14, &(BAR1 as u32).to_le_bytes());
        self.write(bdf, 0x18, &((BAR1 >> 32) as u32).to_le_bytes());
        self.write(bdf, 0x24, &(BAR5 as u32).to_le_bytes());
    }

    fn write(&self, bdf: PciAddress, register: u16, data: &[u8]) {
        assert_eq!(self.root.config_write(bdf, register, data), Action::None);
    }

    fn read<const N: usize>(&self, bdf: PciAddress, register: u16) -> [u8; N] {
        let mut data = [0xa5; N];
        self.root.config_read(bdf, register, &mut data);
        data
    }

    fn u8(&self, bdf: PciAddress, register: u16) -> u8 {
        u8::from_le_bytes(self.read(bdf, register))
    }

    fn u16(&self, bdf: PciAddress, register: u16) -> u16 {
        u16::from_le_bytes(self.read(bdf, register))
    }

    fn u32(&self, bdf: PciAddress, register: u16) -> u32 {
        u32::from_le_bytes(self.read(bdf, register))
    }

    fn load<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut data = [0xa5; N];
        self.memory.view().read(address, &mut data);
        data
    }

    fn store(&self, address: u64, data: &[u8]) {
        assert_eq!(self.memory.view().write(address, data), Action::None);
    }

    /// What the first device was asked since the last call, but for reads.
    fn changes(&self) -> Vec<Op> {
        self.device().take_changes()
    }

    /// What only a broken promise can cause.
    fn violations(&self) -> Vec<String> {
        self.devices.iter().flat_map(|device| device.violations()).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.violations(), [""; 0]);
        }
    }
}

/// A write to the device's own configuration space.
fn forwarded(register: u16, data: &[u8]) -> Op {
    Op::Write { index: super::host::region::CONFIG, offset: register.into(), data: data.to_vec() }
}

/// The windows of a [`gpu`] whose BARs are where [`Bench::place`] puts them.
fn gpu_windows() -> Vec<(u64, u64)> {
    vec![(BAR0, 0x8_8000), (BAR0 + 0x8_9000, 0x7_7000), (BAR1, 0x2000), (BAR1 + 0x4000, 0xc000)]
}

/// The same in the log, in any order.
fn sorted(mut ops: Vec<Op>) -> Vec<Op> {
    ops.sort_by_key(|op| format!("{op:?}"));
    ops
}

fn all_hidden() -> Vec<Op> {
    sorted(gpu_windows().into_iter().map(|(base, _)| Op::Hidden(base)).collect())
}

fn all_shown() -> Vec<Op> {
    sorted(gpu_windows().into_iter().map(|(base, _)| Op::Shown(base)).collect())
}
