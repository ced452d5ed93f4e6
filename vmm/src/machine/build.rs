//! From the plan to a live machine: memory, KVM, devices, vCPUs, in one direction.

use std::io::Write;
use std::sync::Arc;

use devices::GuestRam;
use devices::bus::{Bus, BusDevice, Priority};
use devices::chipset::{
    CmosMemory, Lpc, Mch, MirroredBattery, Port92, PowerManagement, PowerState, ResetControl, Rtc, TimeBase,
};
use devices::debugcon::Debugcon;
use devices::disk::BlockBackend;
use devices::display::{Display, Screen};
use devices::input::Input;
use devices::interrupt::IrqLine;
use devices::pci::root_port::{Link, RootPort, RootPortOptions};
use devices::pci::{ConfigPorts, Ecam, PciFunction, Placement, RootComplex};
use devices::ps2::i8042::I8042;
use devices::pvpanic::Pvpanic;
use devices::serial::SerialPort;
use devices::time::{Alarm, HostClock};
use devices::virtio::blk::VirtioBlk;
use devices::virtio::pci::VirtioPci;
use devices::virtio::rng::VirtioRng;
use firmware::fw_cfg::smbios::Smbios;
use kvm_ioctls::{Kvm, VmFd};
use vmm_sys_util::eventfd::EventFd;
use vocabulary::AddressRange;
use vocabulary::interrupts::{COM1_IRQ, KEYBOARD_IRQ, MOUSE_IRQ, RTC_IRQ, SCI_IRQ};
use vocabulary::ports::{self, Ports};

use super::boot_disk::BootDisk;
use super::display::MachineDisplay;
use super::flash::Flash;
use super::inputs::Inputs;
use super::items;
use super::passthrough::{Passthrough, Surroundings};
use super::refused;
use crate::config;
use crate::cpu::cpuid::Supported;
use crate::events::{Event, EventLog};
use crate::kvm;
use crate::kvm::irq::{Interrupts, Messages};
use crate::kvm::slots::Slots;
use crate::memory::layout::Layout;
use crate::outcome::Failure;
use crate::plan::{MachinePlan, PlannedFunction, Role};

/// What the host side of the machine brings along.
pub(super) struct Connections {
    /// Where COM1's output goes.
    pub serial_output: Box<dyn Write + Send>,
    /// Signalled when COM1 can take more input.
    pub serial_room: EventFd,
    /// Where the firmware's debug output goes; `None` leaves the port out.
    pub debug_output: Option<Box<dyn Write + Send>>,
    /// The real-time clock's alarm.
    pub rtc_alarm: Arc<dyn Alarm>,
    /// The ACPI timer's alarm.
    pub pm_alarm: Arc<dyn Alarm>,
    /// Rings when changes of the variables should go to the disk.
    pub flash_alarm: Arc<dyn Alarm>,
    /// The host's battery and adapter, when the guest's follow them.
    pub power: Option<PowerState>,
    /// What the machine says of itself.
    pub smbios: Smbios,
    /// What happened when.
    pub events: EventLog,
}

/// Everything of a machine but its vCPUs.
pub(super) struct Board {
    /// The VM.
    pub vm: Arc<VmFd>,
    /// Guest memory.
    pub ram: GuestRam,
    /// Ports.
    pub io: Arc<Bus>,
    /// Memory that is not RAM.
    pub memory: Arc<Bus>,
    /// The devices that the run loop talks to.
    pub devices: Devices,
    /// The devices of the host, after those that the guest sees: they are closed when both are gone.
    pub passthrough: Option<Passthrough>,
}

impl Board {
    /// Keyboard and mouse.
    pub(super) fn input(&self) -> Arc<dyn Input> {
        Arc::clone(&self.devices.i8042) as _
    }

    /// What the guest shows, if the machine has a screen.
    pub(super) fn screen(&self) -> Option<Arc<dyn Screen>> {
        self.devices.display.clone().map(|display| display as _)
    }
}

impl Drop for Board {
    /// Devices and buses know each other. Apart, they close what they hold of the host, which has to be closed before a
    /// device is given back.
    fn drop(&mut self) {
        self.io.clear();
        self.memory.clear();
    }
}

/// The devices that a reset, a signal or an alarm concerns.
pub(super) struct Devices {
    /// All PCI functions.
    pub root: Arc<RootComplex>,
    /// CF8/CFC.
    pub config_ports: Arc<ConfigPorts>,
    /// CF9.
    pub reset_control: Arc<ResetControl>,
    /// Port 0x92.
    pub port92: Arc<Port92>,
    /// Clock and CMOS.
    pub rtc: Arc<Rtc>,
    /// ACPI registers.
    pub pm: Arc<PowerManagement>,
    /// The battery that follows the host's.
    pub battery: Option<Arc<MirroredBattery>>,
    /// COM1.
    pub serial: Arc<SerialPort>,
    /// Keyboard controller.
    pub i8042: Arc<I8042>,
    /// Firmware configuration.
    pub fw_cfg: Arc<devices::fw_cfg::FwCfg>,
    /// What the guest shows, if the machine has a screen.
    pub display: Option<Arc<Display>>,
    /// Firmware and variables.
    pub flash: Flash,
}

impl Devices {
    /// Puts every device in its power-on state. All vCPUs are parked.
    pub(super) fn reset(&self) {
        let Self {
            root,
            config_ports,
            reset_control,
            port92,
            rtc,
            pm,
            battery,
            serial,
            i8042,
            fw_cfg,
            display,
            flash,
        } = self;
        root.reset();
        config_ports.reset();
        reset_control.reset();
        port92.reset();
        rtc.reset();
        pm.reset();
        if let Some(battery) = battery {
            battery.reset();
        }
        serial.reset();
        i8042.reset();
        fw_cfg.reset();
        if let Some(display) = display {
            display.reset();
        }
        flash.reset();
    }
}

/// Builds everything but the vCPUs.
pub(super) fn board(
    kvm: &Kvm,
    supported: &Supported,
    plan: &Arc<MachinePlan>,
    ram: GuestRam,
    inputs: Inputs,
    connections: Connections,
) -> Result<Board, Failure> {
    let Inputs { additions, roms, kernel, items, flash, disks, vnc: _ } = inputs;
    let vm = kvm::create_vm(kvm)?;
    let slots = Slots::new(Arc::clone(&vm));
    slots.map_ram(&ram)?;
    connections.events.emit(Event::MemoryReady { bytes: plan.memory.size });

    let (io, memory) = (Bus::new(), Bus::new());
    let flash = flash.attach(&memory, &slots, connections.flash_alarm)?;
    let interrupts = Interrupts::new(Arc::clone(&vm)).map_err(refused("set up interrupt routes"))?;
    let doorbells = Arc::new(kvm::Doorbells::new(Arc::clone(&vm)));
    let layout = Layout::new(slots);
    let root = RootComplex::new(Arc::clone(&io), Arc::clone(&memory), doorbells, Arc::clone(&layout) as _);

    let pm = PowerManagement::new(interrupts.line(SCI_IRQ), connections.pm_alarm);
    let ecam = Ecam::new();
    ecam.connect(&root);
    let mch = Mch::new(ecam);
    let lpc = Lpc::new(Arc::clone(&pm), Arc::clone(&interrupts) as _);
    let surroundings = Surroundings { vm: &vm, ram: &ram, interrupts: &interrupts, layout: &layout };
    let passthrough = Passthrough::open(plan, &roms, &surroundings)?;
    let mut pci = PciAssembly {
        disks,
        ram: &ram,
        interrupts: &interrupts,
        events: &connections.events,
        passthrough: passthrough.as_ref(),
        plan,
        mch: &mch,
        lpc,
    };
    pci.populate(&root, &plan.pci.functions)?;

    let reset_control = Arc::new(ResetControl::default());
    let config_ports = Arc::new(ConfigPorts::new(Arc::clone(&root), Arc::clone(&reset_control) as _));
    let port92 = Arc::new(Port92::default());
    let rtc = Rtc::new(
        match plan.machine.rtc {
            config::Rtc::Utc => TimeBase::Utc,
            config::Rtc::Localtime => TimeBase::LocalTime,
        },
        CmosMemory {
            below_4g: plan.memory.low.len(),
            above_4g: plan.memory.high.map_or(0, AddressRange::len),
        },
        interrupts.line(RTC_IRQ),
        connections.rtc_alarm,
        Arc::new(HostClock),
    );
    let serial_irq = interrupts.edge_event(COM1_IRQ).map_err(refused("connect the serial port"))?;
    let serial = SerialPort::new(serial_irq, connections.serial_output, connections.serial_room);
    let i8042 = I8042::new(interrupts.line(KEYBOARD_IRQ), interrupts.line(MOUSE_IRQ));

    let planes = passthrough.as_ref().and_then(Passthrough::planes);
    let ramfb = plan.igpu.map_or(plan.display.is_some(), |igpu| igpu.ramfb);
    let (display, ramfb) = MachineDisplay::of(ramfb, planes, &ram)
        .map_or((None, None), |MachineDisplay { display, ramfb }| (Some(display), ramfb));
    let opregion = passthrough.as_ref().and_then(Passthrough::opregion);
    let extras = items::Extras { additions, kernel, items, smbios: connections.smbios, opregion };
    let live = items::Live { ramfb, mch: Arc::clone(&mch), root: Arc::clone(&root) };
    let fw_cfg = items::build(plan, supported, live, extras, &ram, &connections.events)?;

    let at_ports: [(Ports, Arc<dyn BusDevice>); 8] = [
        (ports::PCI_CONFIG, Arc::clone(&config_ports) as _),
        (ports::PORT_92, Arc::clone(&port92) as _),
        (ports::RTC, Arc::clone(&rtc) as _),
        (ports::COM1, Arc::clone(&serial) as _),
        (ports::I8042_DATA, i8042.data_port()),
        (ports::I8042_COMMAND, i8042.command_port()),
        (ports::FW_CFG, Arc::clone(&fw_cfg) as _),
        (ports::PVPANIC, Arc::new(Pvpanic)),
    ];
    for (ports, device) in at_ports {
        if ports == ports::PVPANIC && !plan.machine.pvpanic {
            continue;
        }
        io.insert(ports.range(), Priority::Platform, device);
    }
    if let Some(output) = connections.debug_output {
        io.insert(ports::DEBUGCON.range(), Priority::Platform, Arc::new(Debugcon::new(output)));
    }
    let battery = connections.power.map(|state| MirroredBattery::new(&state, Arc::clone(&pm)));
    if let Some(battery) = &battery {
        io.insert(ports::BATTERY.range(), Priority::Platform, Arc::clone(battery) as _);
    }
    root.seal();
    if passthrough.as_ref().is_some_and(|passthrough| !passthrough.is_fresh()) {
        root.reset();
    }
    Ok(Board {
        vm,
        ram,
        io,
        memory,
        devices: Devices {
            root,
            config_ports,
            reset_control,
            port92,
            rtc,
            pm,
            battery,
            serial,
            i8042,
            fw_cfg,
            display,
            flash,
        },
        passthrough,
    })
}

/// Makes the functions of the plan.
struct PciAssembly<'a> {
    /// Those that are not in use yet.
    disks: Vec<Option<Box<dyn BlockBackend>>>,
    ram: &'a GuestRam,
    interrupts: &'a Arc<Interrupts>,
    events: &'a EventLog,
    passthrough: Option<&'a Passthrough>,
    plan: &'a MachinePlan,
    mch: &'a Arc<Mch>,
    lpc: Arc<Lpc>,
}

impl PciAssembly<'_> {
    fn populate(&mut self, root: &RootComplex, functions: &[PlannedFunction]) -> Result<(), Failure> {
        let placed = |error: devices::pci::TopologyError| Failure::Input(error.to_string());
        for planned in functions {
            root.add(planned.at, self.function(planned, Placement::RootComplexIntegrated)?)
                .map_err(placed)?;
            for child in &planned.children {
                let function = self.function(child, Placement::Endpoint)?;
                root.add_behind(planned.at, child.at.function(), function).map_err(placed)?;
            }
        }
        Ok(())
    }

    fn function(
        &mut self,
        planned: &PlannedFunction,
        placement: Placement,
    ) -> Result<Arc<dyn PciFunction>, Failure> {
        Ok(match planned.role {
            Role::HostBridge => Arc::clone(self.mch) as _,
            Role::Lpc => Arc::clone(&self.lpc) as _,
            Role::RootPort { number } => Arc::new(RootPort::new(RootPortOptions {
                multifunction: planned.multifunction,
                slot: number,
                occupied: !planned.children.is_empty(),
                link: Link { width: 16, speed: 3 },
                interrupt_pin: planned.interrupt.map_or(0, |interrupt| interrupt.pin),
            })),
            Role::Disk(index) => self.disk(index, planned, placement)?,
            Role::Rng => self.virtio(Box::new(VirtioRng::new()), planned, placement)?,
            Role::Passthrough(index) => self.passthrough(index, planned)?,
        })
    }

    fn passthrough(&self, index: usize, planned: &PlannedFunction) -> Result<Arc<dyn PciFunction>, Failure> {
        self.passthrough.and_then(|passthrough| passthrough.function(index)).ok_or_else(|| {
            let what = match self.plan.passthrough.get(index) {
                Some(function) => format!("{} ({})", function.host, function.section),
                None => format!("function {index} of the plan"),
            };
            Failure::Input(format!("{what} cannot be passed through at {planned}: it has not been opened"))
        })
    }

    fn virtio(
        &self,
        device: Box<dyn devices::virtio::VirtioDevice>,
        planned: &PlannedFunction,
        placement: Placement,
    ) -> Result<Arc<dyn PciFunction>, Failure> {
        let line: Arc<dyn IrqLine> =
            self.interrupts.line(planned.interrupt.map_or(0, |interrupt| interrupt.gsi));
        let messages = Messages(Arc::clone(self.interrupts));
        let function = VirtioPci::endpoint(device, self.ram.clone(), placement, &messages, line)
            .map_err(|error| Failure::Refused(format!("{planned}: {error}")))?;
        if planned.multifunction {
            function.set_multifunction();
        }
        Ok(function)
    }

    fn disk(
        &mut self,
        index: usize,
        planned: &PlannedFunction,
        placement: Placement,
    ) -> Result<Arc<dyn PciFunction>, Failure> {
        let disk = self
            .plan
            .disks
            .get(index)
            .ok_or_else(|| Failure::Input(format!("{planned}: there is no disk[{index}]")))?;
        let backend = self.disks.get_mut(index).and_then(Option::take);
        let backend =
            backend.ok_or_else(|| Failure::Input(format!("{planned}: disk[{index}] is not open")))?;
        let key = format!("disk[{index}]");
        let backend = BootDisk::watch(backend, key.clone(), self.events.clone());
        let name = format!("{key} ({})", disk.path.display());
        let device = VirtioBlk::new(backend, disk.serial.as_deref().unwrap_or_default(), &name);
        self.virtio(Box::new(device), planned, placement)
    }
}
