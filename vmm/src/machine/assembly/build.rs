//! From the plan to a live machine: memory, KVM, devices, vCPUs, in one direction.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use devices::GuestRam;
use devices::bus::{Bus, BusDevice, Priority};
use devices::chipset::{
    CmosMemory, Lpc, Mch, MirroredBattery, Port92, PowerManagement, ResetControl, Rtc, TickPolicy, TimeBase,
};
use devices::debugcon::Debugcon;
use devices::disk::Failures;
use devices::display::Screen;
use devices::input::Input;
use devices::pci::root_port::{RootPort, RootPortOptions};
use devices::pci::{ConfigPorts, Ecam, PciFunction, RootComplex};
use devices::ps2::i8042::I8042;
use devices::pvpanic::Pvpanic;
use devices::serial::SerialPort;
use devices::time::{Alarm, HostClock};
use devices::virtio::blk::Handle;
use firmware::fw_cfg::smbios::Smbios;
use kvm_ioctls::{Kvm, VmFd};
use vmm_sys_util::eventfd::EventFd;
use vocabulary::AddressRange;
use vocabulary::interrupts::{COM1_IRQ, KEYBOARD_IRQ, MOUSE_IRQ, RTC_IRQ, SCI_IRQ};
use vocabulary::ports::{self, Ports};

use super::direct::Direct;
use super::items;
use crate::config;
use crate::cpu::cpuid::Supported;
use crate::device::Trouble;
use crate::device::audio::AudioFacts;
use crate::device::cdrom::CdromFacts;
use crate::device::disk::DiskFacts;
use crate::device::net::NetFacts;
use crate::device::{Assembly, DeviceError, Made, add_function};
use crate::evdev;
use crate::events::{Event, EventLog};
use crate::kvm;
use crate::kvm::chips::Chips;
use crate::kvm::irq::Interrupts;
use crate::kvm::slots::Slots;
use crate::machine::files::flash::Flash;
use crate::machine::files::inputs::{Inputs, OpenedKernel};
use crate::machine::passthrough::{MachineContext, Passthrough};
use crate::machine::refused;
use crate::memory::layout::Layout;
use crate::outcome::Failure;
use crate::plan::MachinePlan;
use crate::power_supply::PowerSupplies;
use crate::topology::{PORT_LINK, Role};
use crate::usb;
use crate::vnc::Server;

/// What the host side of the machine brings along.
pub(in crate::machine) struct Connections {
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
    /// What the machine says of itself.
    pub smbios: Smbios,
    /// What happened when.
    pub events: EventLog,
}

/// Everything of a machine but its vCPUs.
pub(in crate::machine) struct Board {
    /// The VM.
    pub vm: Arc<VmFd>,
    /// Its interrupt controllers and its PIT.
    pub chips: Chips,
    /// Guest memory.
    pub ram: GuestRam,
    /// Ports.
    pub io: Arc<Bus>,
    /// Memory that is not RAM.
    pub memory: Arc<Bus>,
    /// The devices that the run loop talks to.
    pub devices: Devices,
    /// Keyboard and pointer.
    input: Arc<dyn Input>,
    /// The VNC server, and the power supplies that the battery follows.
    pub vnc: Option<Server>,
    /// What reads input devices of the host.
    pub evdev: Option<evdev::Server>,
    /// The USB devices of the host that the guest has.
    pub usb: Option<usb::Server>,
    pub power: Option<(PowerSupplies, Arc<MirroredBattery>)>,
    /// What others are told of the disks.
    pub disks: Vec<DiskFacts>,
    /// The disks that can be changed while the machine runs, by their numbers.
    pub disk_handles: HashMap<usize, Handle>,
    /// What is to be told when the machine goes on that they have stopped.
    pub disk_failures: Vec<Arc<Failures>>,
    /// What disks tell that cannot go on.
    pub trouble: Arc<Trouble>,
    /// What they are told of the CD drives.
    pub cdroms: Vec<CdromFacts>,
    /// What they are told of the sound card.
    pub audio: Option<AudioFacts>,
    /// The image that `_ROM` returns.
    pub vbios: Option<Arc<[u8]>>,
    /// What they are told of the network cards.
    pub nets: Vec<NetFacts>,
    /// Those who look after programs that devices need. They end with the machine.
    pub programs: Vec<Box<dyn Send>>,
    /// The kernel that starts without firmware.
    pub direct: Option<Direct>,
    /// The devices of the host, after those that the guest sees: they are closed when both are gone.
    pub passthrough: Option<Passthrough>,
}

impl Board {
    /// Keyboard and pointer.
    pub(in crate::machine) fn input(&self) -> Arc<dyn Input> {
        Arc::clone(&self.input)
    }

    /// What the guest shows, if the machine has a screen.
    pub(in crate::machine) fn screen(&self) -> Option<Arc<dyn Screen>> {
        self.devices.screen.clone()
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
pub(in crate::machine) struct Devices {
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
    /// COM1.
    pub serial: Arc<SerialPort>,
    /// Keyboard controller.
    pub i8042: Arc<I8042>,
    /// Firmware configuration.
    pub fw_cfg: Arc<devices::fw_cfg::FwCfg>,
    /// What the guest shows, if the machine has a screen.
    pub screen: Option<Arc<dyn Screen>>,
    /// Firmware and variables.
    pub flash: Flash,
    /// Resets of optional devices.
    pub optional: Vec<Box<dyn Fn() + Send + Sync>>,
}

impl Devices {
    /// Puts every device in its power-on state. All vCPUs are parked.
    pub(in crate::machine) fn reset(&self) {
        let Self {
            root,
            config_ports,
            reset_control,
            port92,
            rtc,
            pm,
            serial,
            i8042,
            fw_cfg,
            screen: _,
            flash,
            optional,
        } = self;
        root.reset();
        config_ports.reset();
        reset_control.reset();
        port92.reset();
        rtc.reset();
        pm.reset();
        serial.reset();
        i8042.reset();
        fw_cfg.reset();
        optional.iter().for_each(|reset| reset());
        flash.reset();
    }
}

/// Builds everything but the vCPUs.
pub(in crate::machine) fn board(
    kvm: &Kvm,
    supported: &Supported,
    plan: &Arc<MachinePlan>,
    ram: GuestRam,
    inputs: Inputs,
    connections: Connections,
) -> Result<Board, Failure> {
    let Inputs { additions, roms, kernel, items, flash, devices } = inputs;
    let vm = kvm::create_vm(kvm)?;
    if let Some(nanoseconds) = plan.halt_poll_ns {
        kvm::limit_halt_polling(&vm, nanoseconds).map_err(refused("limit halt polling"))?;
    }
    let slots = Slots::new(Arc::clone(&vm));
    slots.map_ram(&ram)?;
    connections.events.emit(Event::MemoryReady { bytes: plan.memory.size });

    let (io, memory) = (Bus::new(), Bus::new());
    let flash = match flash {
        Some(files) => files.attach(&memory, &slots, connections.flash_alarm)?,
        None => Flash::default(),
    };
    let chips = Chips::create(&vm)?;
    let (kernel, direct) = match kernel {
        Some(OpenedKernel::ByFirmware(kernel)) => (Some(kernel), None),
        Some(OpenedKernel::Direct(kernel)) => (None, Some(Direct::new(*kernel, plan, supported))),
        None => (None, None),
    };
    let interrupts = Interrupts::new(Arc::clone(&vm)).map_err(refused("set up interrupt routes"))?;
    let doorbells = Arc::new(kvm::Doorbells::new(Arc::clone(&vm)));
    let layout = Layout::new(slots);
    let root = RootComplex::new(Arc::clone(&io), Arc::clone(&memory), doorbells, Arc::clone(&layout) as _);

    let pm = PowerManagement::new(interrupts.line(SCI_IRQ), connections.pm_alarm);
    let ecam = Ecam::new();
    ecam.connect(&root);
    let mch = Mch::new(ecam);
    let lpc = Lpc::new(Arc::clone(&pm), Arc::clone(&interrupts) as _, plan.lpc_board());
    let context = MachineContext { vm: &vm, ram: &ram, interrupts: &interrupts, layout: &layout };
    let passthrough = Passthrough::open(plan, &roms, &context)?;
    populate(&root, plan, passthrough.as_ref(), &mch, &lpc)?;

    let reset_control = Arc::new(ResetControl::default());
    let config_ports = Arc::new(ConfigPorts::new(Arc::clone(&root), Arc::clone(&reset_control) as _));
    let port92 = Arc::new(Port92::default());
    let rtc = Rtc::new(
        match plan.machine.rtc {
            config::Rtc::Utc => TimeBase::Utc,
            config::Rtc::Localtime => TimeBase::LocalTime,
        },
        match plan.machine.rtc_tickpolicy {
            config::RtcTickPolicy::Merge => TickPolicy::Merge,
            config::RtcTickPolicy::Catchup => TickPolicy::Catchup,
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

    let trouble = Arc::new(Trouble::new().map_err(refused("create an event"))?);
    let mut assembly = Assembly {
        root: &root,
        io: &io,
        memory: &memory,
        cpus: plan.topology.count() as usize,
        ram: &ram,
        interrupts: &interrupts,
        pm: &pm,
        input: Arc::clone(&i8042) as _,
        planes: passthrough.as_ref().and_then(Passthrough::planes),
        trouble: &trouble,
        events: &connections.events,
        made: Made::default(),
    };
    for (index, device) in devices {
        device.build(plan.pci.of_role(Role::Device(index)), &mut assembly)?;
    }
    let input = Arc::clone(&assembly.input);
    let Made {
        resets,
        power,
        screen,
        ramfb,
        vnc,
        evdev,
        usb_ports: _,
        usb,
        disks,
        disk_handles,
        disk_failures,
        cdroms,
        audio,
        sata: _,
        nets,
        programs,
        firmware_files,
    } = assembly.made;
    let vbios = additions.devices.vbios.clone();
    let opregion = passthrough.as_ref().and_then(Passthrough::opregion);
    let smbios = connections.smbios;
    let extras = items::Extras { additions, kernel, items, firmware_files, smbios, opregion };
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
    root.seal();
    if passthrough.as_ref().is_some_and(|passthrough| !passthrough.is_fresh()) {
        root.reset();
    }
    Ok(Board {
        vm,
        chips,
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
            serial,
            i8042,
            fw_cfg,
            screen,
            flash,
            optional: resets,
        },
        input,
        vnc,
        evdev,
        usb,
        power,
        disks,
        disk_handles,
        disk_failures,
        trouble,
        cdroms,
        audio,
        vbios,
        nets,
        programs,
        direct,
        passthrough,
    })
}

/// Puts the chipset, the root ports and passed-through functions into their places.
fn populate(
    root: &RootComplex,
    plan: &MachinePlan,
    passthrough: Option<&Passthrough>,
    mch: &Arc<Mch>,
    lpc: &Arc<Lpc>,
) -> Result<(), Failure> {
    for placed in plan.pci.placed() {
        let planned = placed.function;
        let function: Arc<dyn PciFunction> = match planned.role {
            Role::HostBridge => Arc::clone(mch) as _,
            Role::Lpc => Arc::clone(lpc) as _,
            Role::RootPort { number } => Arc::new(RootPort::new(RootPortOptions {
                multifunction: planned.multifunction,
                slot: number,
                occupied: !planned.children.is_empty(),
                link: PORT_LINK,
                interrupt_pin: planned.interrupt.map_or(0, |interrupt| interrupt.pin),
            })),
            Role::Passthrough(index) => match passthrough.and_then(|all| all.function(index)) {
                Some(function) => function,
                None => continue,
            },
            // They put themselves there.
            Role::Device(_) => continue,
        };
        add_function(root, placed, function).map_err(DeviceError::from)?;
    }
    Ok(())
}
