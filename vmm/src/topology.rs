//! The PCI functions of a planned machine: which there are, where they sit, what they are called and which interrupts they have.

use devices::pci::Placement;
use devices::pci::root_port::Link;
use vocabulary::Devfn;

/// Device and function on bus 0.
pub(crate) type Slot = (u8, u8);

/// The place of the root port above a laptop's GPU.
pub(crate) const GPU_PORT: Slot = (0x01, 0);

/// The link of a root port: that of a laptop's port for a GPU.
pub(crate) const PORT_LINK: Link = Link { width: 16, speed: 3 };

/// What a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The memory controller hub, 00:00.0.
    HostBridge,
    /// The LPC bridge, 00:1f.0.
    Lpc,
    /// A root port; its number among the ports is also the secondary bus that OVMF gives it.
    RootPort {
        /// 1 for the first in address order.
        number: u8,
    },
    /// The optional device of this index in the plan.
    Device(usize),
    /// The passed-through function of this index in the plan.
    Passthrough(usize),
}

/// One function of the machine.
#[derive(Debug, Clone)]
pub struct PlannedFunction {
    /// What it is.
    pub role: Role,
    /// Bus number after OVMF's enumeration.
    pub bus: u8,
    /// Device and function.
    pub at: Devfn,
    /// Name of its ACPI device, four characters.
    pub acpi_name: String,
    /// INTx pin (1 = INTA) and the global interrupt that it arrives at, for functions that have one. Unknown for
    /// passed-through functions, whose own pin decides.
    pub interrupt: Option<Intx>,
    /// Other functions share its device number, or it is to say so.
    pub multifunction: bool,
    /// For a root port, what sits behind it.
    pub children: Vec<PlannedFunction>,
}

/// A wired PCI interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intx {
    /// 1 = INTA … 4 = INTD.
    pub pin: u8,
    /// IOAPIC input, 16–23.
    pub gsi: u8,
}

/// All functions.
#[derive(Debug, Clone, Default)]
pub struct PciPlan {
    /// Bus 0 in address order.
    pub functions: Vec<PlannedFunction>,
}

impl std::fmt::Display for PlannedFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x}:{}", self.bus, self.at)
    }
}

/// Where one function sits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'a> {
    /// The function.
    pub function: &'a PlannedFunction,
    /// The root port that it is behind; `None` on bus 0.
    pub port: Option<Devfn>,
}

impl Placed<'_> {
    /// What its PCI Express capability says of its place.
    pub(crate) fn placement(&self) -> Placement {
        match self.port {
            None => Placement::RootComplexIntegrated,
            Some(_) => Placement::Endpoint,
        }
    }

    /// The function of bus 0 that it is, or is behind, by which its interrupt pin is wired.
    pub(crate) fn root_slot(&self) -> Devfn {
        self.port.unwrap_or(self.function.at)
    }
}

impl PciPlan {
    /// All functions, parents before their children.
    pub fn iter(&self) -> impl Iterator<Item = &PlannedFunction> {
        self.placed().map(|placed| placed.function)
    }

    /// All functions with the ports that they are behind, parents before their children.
    pub(crate) fn placed(&self) -> impl Iterator<Item = Placed<'_>> {
        self.functions.iter().flat_map(|function| {
            let children =
                function.children.iter().map(|child| Placed { function: child, port: Some(function.at) });
            std::iter::once(Placed { function, port: None }).chain(children)
        })
    }

    /// The function that has this role.
    pub(crate) fn of_role(&self, role: Role) -> Option<Placed<'_>> {
        self.placed().find(|placed| placed.function.role == role)
    }
}
