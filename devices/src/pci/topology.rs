//! The root complex: which function answers a configuration cycle, and what the machine decodes as a result of all
//! functions' registers together.
//!
//! Bus 0 holds the chipset, integrated endpoints and root ports; behind each root port lies one link with the
//! functions of device 0. Bus numbers are the guest's: a cycle finds its port by the secondary bus number that the
//! guest wrote there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use vocabulary::AddressRange;
use vocabulary::Devfn;
use vocabulary::PciAddress;

use crate::bus::{Action, Bus, Priority, RegionId};
use crate::memory::WindowMapper;

use super::{Forwarding, IoEvents, MappedPart, PciFunction, Region, Space};

/// A function at its place.
#[derive(Clone)]
pub struct Placed {
    /// The root port that it sits behind; `None` on bus 0.
    pub behind: Option<Devfn>,
    /// Device and function on its bus.
    pub at: Devfn,
    /// The function.
    pub function: Arc<dyn PciFunction>,
}

/// A function and, for a root port, what sits behind it.
struct Node {
    function: Arc<dyn PciFunction>,
    children: BTreeMap<u8, Arc<dyn PciFunction>>,
    /// The secondary bus number of a root port that has children, as its registers say. Zero routes nothing: that bus is
    /// the root complex's own.
    secondary: AtomicU8,
    /// Held for a configuration write to any of them until all has followed that follows from it: windows that one
    /// virtual CPU's write closes must be closed before the device learns of it, whatever another one writes meanwhile.
    turn: Mutex<()>,
}

impl Node {
    fn new(function: Arc<dyn PciFunction>) -> Self {
        Self { function, children: BTreeMap::new(), secondary: AtomicU8::default(), turn: Mutex::default() }
    }

    /// All that the node makes the machine decode: its own regions, and its children's that its windows forward. What
    /// routes cycles to the children follows too.
    fn decode(&self) -> Vec<Region> {
        let mut regions = self.function.regions();
        if !self.children.is_empty()
            && let Some(forwarding) = self.function.bridge()
        {
            self.secondary.store(forwarding.secondary, Ordering::Release);
            let behind = self.children.values().flat_map(|child| child.regions());
            regions.extend(behind.filter(|region| forwards(&forwarding, region)));
        }
        regions
    }
}

/// Why a function cannot be placed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TopologyError {
    /// Two functions at one place.
    #[error("two PCI functions are planned at {0}")]
    Taken(Devfn),
    /// Nothing forwards to the place.
    #[error("there is no root port at 00:{0} to put a function behind")]
    NoPort(Devfn),
}

/// A region that the buses hold now.
struct Applied {
    /// The node that decodes it.
    owner: Devfn,
    region: Region,
    id: RegionId,
    /// Which of the region's mapped parts the guest reaches without a trap now.
    shown: Vec<bool>,
}

impl Applied {
    fn parts(&self) -> impl Iterator<Item = (usize, &MappedPart)> {
        self.region.mapped.iter().enumerate()
    }

    fn is_shown(&self, index: usize) -> bool {
        self.shown.get(index).copied().unwrap_or_default()
    }

    fn address(&self, part: &MappedPart) -> u64 {
        self.region.range.base().wrapping_add(part.offset)
    }
}

/// All PCI functions of the machine.
pub struct RootComplex {
    nodes: OnceLock<BTreeMap<Devfn, Node>>,
    building: Mutex<BTreeMap<Devfn, Node>>,
    io: Arc<Bus>,
    memory: Arc<Bus>,
    io_events: Arc<dyn IoEvents>,
    windows: Arc<dyn WindowMapper>,
    applied: Mutex<Vec<Applied>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RootComplex {
    /// A root complex without functions, decoding into these buses.
    pub fn new(
        io: Arc<Bus>,
        memory: Arc<Bus>,
        io_events: Arc<dyn IoEvents>,
        windows: Arc<dyn WindowMapper>,
    ) -> Arc<Self> {
        Arc::new(Self {
            nodes: OnceLock::new(),
            building: Mutex::default(),
            io,
            memory,
            io_events,
            windows,
            applied: Mutex::default(),
        })
    }

    /// Puts a function on bus 0. Only before [`RootComplex::seal`].
    pub fn add(&self, at: Devfn, function: Arc<dyn PciFunction>) -> Result<(), TopologyError> {
        let mut nodes = lock(&self.building);
        if nodes.contains_key(&at) {
            return Err(TopologyError::Taken(at));
        }
        nodes.insert(at, Node::new(function));
        Ok(())
    }

    /// Puts function `number` of device 0 behind the root port at `port`. Only before [`RootComplex::seal`].
    pub fn add_behind(
        &self,
        port: Devfn,
        number: u8,
        function: Arc<dyn PciFunction>,
    ) -> Result<(), TopologyError> {
        let mut nodes = lock(&self.building);
        let node = nodes
            .get_mut(&port)
            .filter(|node| node.function.bridge().is_some())
            .ok_or(TopologyError::NoPort(port))?;
        if node.children.contains_key(&number) {
            return Err(TopologyError::Taken(Devfn::from_byte(number)));
        }
        node.children.insert(number, function);
        Ok(())
    }

    /// Ends construction: from here the set of functions is fixed, and what they decode is applied to the buses.
    pub fn seal(&self) {
        let nodes = std::mem::take(&mut *lock(&self.building));
        // Sealing twice keeps the first set, which is the complete one.
        let _ = self.nodes.set(nodes);
        self.update_all();
    }

    fn nodes(&self) -> impl Iterator<Item = (&Devfn, &Node)> {
        self.nodes.get().into_iter().flatten()
    }

    /// All functions in the order of their places, root ports before what is behind them.
    pub fn placed(&self) -> Vec<Placed> {
        let mut all = Vec::new();
        for (port, node) in self.nodes() {
            all.push(Placed { behind: None, at: *port, function: Arc::clone(&node.function) });
            // Behind a port there is device 0 alone.
            all.extend(node.children.iter().map(|(number, child)| Placed {
                behind: Some(*port),
                at: Devfn::from_byte(*number),
                function: Arc::clone(child),
            }));
        }
        all
    }

    /// The function that answers at `bdf`, and the node it belongs to.
    fn find(&self, bdf: PciAddress) -> Option<(Devfn, &Node, &Arc<dyn PciFunction>)> {
        let nodes = self.nodes.get()?;
        if bdf.bus() == 0 {
            return nodes.get(&bdf.devfn()).map(|node| (bdf.devfn(), node, &node.function));
        }
        // A link has one device: cycles to others end as unsupported requests.
        if bdf.devfn().device() != 0 {
            return None;
        }
        nodes
            .iter()
            .filter(|(_, node)| node.secondary.load(Ordering::Acquire) == bdf.bus())
            .find_map(|(at, node)| Some((*at, node, node.children.get(&bdf.devfn().function())?)))
    }

    /// A configuration read; ones where no function answers.
    pub fn config_read(&self, bdf: PciAddress, register: u16, data: &mut [u8]) {
        match self.find(bdf) {
            Some((_, _, function)) => function.config_read(register, data),
            None => data.fill(0xff),
        }
    }

    /// A configuration write, with all that follows from it for the buses. Writes to a function, to the root port above it
    /// and to its neighbours there take their turns.
    pub fn config_write(&self, bdf: PciAddress, register: u16, data: &[u8]) -> Action {
        let Some((at, node, function)) = self.find(bdf) else { return Action::None };
        let _turn = lock(&node.turn);
        let written = function.config_write(register, data);
        if written.reset_secondary {
            node.children.values().for_each(|child| child.reset());
        }
        if written.decode_changed || written.reset_secondary {
            self.update_decode(at, node);
            function.settle();
        }
        if written.reset_secondary {
            node.children.values().for_each(|child| child.settle());
        }
        written.action
    }

    /// Resets every function and applies what they decode then.
    pub fn reset(&self) {
        let _turns: Vec<_> = self.nodes().map(|(_, node)| lock(&node.turn)).collect();
        for (_, node) in self.nodes() {
            node.children.values().for_each(|child| child.reset());
            node.function.reset();
        }
        self.update_all();
        for (_, node) in self.nodes() {
            node.children.values().for_each(|child| child.settle());
            node.function.settle();
        }
    }

    /// All ranges that are decoded now, in no particular order.
    pub fn decoded(&self) -> Vec<(Space, AddressRange)> {
        lock(&self.applied).iter().map(|applied| (applied.region.space, applied.region.range)).collect()
    }

    /// Each root port with what it forwards now.
    pub fn bridges(&self) -> Vec<(Devfn, Forwarding)> {
        self.nodes().filter_map(|(at, node)| Some((*at, node.function.bridge()?))).collect()
    }

    /// Brings the buses in line with the registers of all functions, before the guest runs or while all turns are held.
    fn update_all(&self) {
        for (at, node) in self.nodes() {
            self.update_decode(*at, node);
        }
    }

    /// Brings the buses in line with the registers of the functions of `node`, whose turn it is, touching only what
    /// changed. Ranges that vanished go first, so that a moved BAR never answers at two places.
    ///
    /// No other node's function is asked: one that is being reset holds up nobody but itself.
    fn update_decode(&self, at: Devfn, node: &Node) {
        let mut wanted = node.decode();
        let mut applied = lock(&self.applied);
        applied.retain(|old| {
            if old.owner != at {
                return true;
            }
            match wanted.iter().position(|region| same(region, &old.region)) {
                Some(index) => {
                    wanted.swap_remove(index);
                    true
                }
                None => {
                    self.withdraw(old);
                    false
                }
            }
        });
        for region in wanted {
            let id = self.offer(&region);
            let shown = vec![false; region.mapped.len()];
            applied.push(Applied { owner: at, region, id, shown });
        }
        self.update_windows(&mut applied);
    }

    /// Shows the mapped parts that nothing else overlaps, and hides those that something does now. A memory slot would
    /// answer before any device, so what is contested goes the way of the bus and its priorities.
    fn update_windows(&self, applied: &mut [Applied]) {
        let wanted = |applied: &Applied, part: &MappedPart| {
            AddressRange::new(applied.address(part), part.memory.len()).is_some_and(|range| {
                applied.region.range.covers(range) && !self.memory.is_contested(applied.id, range)
            })
        };
        for show in [false, true] {
            for applied in applied.iter_mut() {
                for index in 0..applied.region.mapped.len() {
                    let Some(part) = applied.region.mapped.get(index) else { continue };
                    if applied.is_shown(index) == show || wanted(applied, part) != show {
                        continue;
                    }
                    let now = if show { self.show(applied, part) } else { self.hide(applied, part) };
                    if let Some(shown) = applied.shown.get_mut(index) {
                        *shown = now;
                    }
                }
            }
        }
    }

    fn show(&self, applied: &Applied, part: &MappedPart) -> bool {
        let base = applied.address(part);
        match self.windows.map(base, &part.memory) {
            Ok(()) => true,
            Err(error) => {
                // RAM or a window of the platform is there: the accesses trap, and the next change tries again.
                crate::limited_debug!(%error, base = %format_args!("{base:#x}"), "a BAR stays with the trapped path");
                false
            }
        }
    }

    fn hide(&self, applied: &Applied, part: &MappedPart) -> bool {
        self.windows.unmap(applied.address(part), &part.memory);
        false
    }

    fn bus(&self, space: Space) -> &Bus {
        match space {
            Space::Io => &self.io,
            Space::Memory => &self.memory,
        }
    }

    fn offer(&self, region: &Region) -> RegionId {
        let priority = if region.platform { Priority::Platform } else { Priority::Bar };
        let id = self.bus(region.space).insert(region.range, priority, Arc::clone(&region.device));
        for doorbell in region.doorbells.iter() {
            // Without the kernel's help the write traps and the device still sees it.
            if let Err(error) = self.io_events.arm(region.space, region.range.base(), doorbell) {
                crate::limited_debug!(%error, range = %region.range, "doorbell stays with the trapped path");
            }
        }
        id
    }

    fn withdraw(&self, old: &Applied) {
        for (_, part) in old.parts().filter(|(index, _)| old.is_shown(*index)) {
            self.hide(old, part);
        }
        let Applied { owner: _, region, id, shown: _ } = old;
        for doorbell in region.doorbells.iter() {
            if let Err(error) = self.io_events.disarm(region.space, region.range.base(), doorbell) {
                crate::limited_debug!(%error, range = %region.range, "doorbell was not armed");
            }
        }
        self.bus(region.space).remove(*id);
    }
}

fn forwards(forwarding: &Forwarding, region: &Region) -> bool {
    match region.space {
        Space::Io => forwarding.io.is_some_and(|window| window.covers(region.range)),
        Space::Memory => forwarding.memory.iter().any(|window| window.covers(region.range)),
    }
}

fn same(one: &Region, other: &Region) -> bool {
    one.space == other.space && one.range == other.range && Arc::ptr_eq(&one.device, &other.device)
}
