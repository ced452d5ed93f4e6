use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use devices::vfio::host::ResetDone;
use proptest::prelude::*;
use vocabulary::LentDevice;

use super::super::reset::{Affected, Hardware, Ours, Owner, Resets, Verdict, affected, decide};
use super::super::reset_methods::ResetMethods;
use super::gpu;

fn member(function: u8, owner: Owner) -> Affected {
    Affected { address: gpu(function), owner }
}

fn ours(functions: &[(u8, u32, bool)]) -> BTreeMap<LentDevice, Ours> {
    functions
        .iter()
        .map(|(function, group, due)| (gpu(*function), Ours { group: *group, due: *due }))
        .collect()
}

#[test]
fn a_bus_is_reset_only_when_it_reaches_nobody_else() {
    use Owner::{Group, Other, Us};
    let table = [
        // All ours, all due.
        (
            vec![member(0, Group(9)), member(1, Group(9))],
            ours(&[(0, 9, true), (1, 9, true)]),
            Verdict::Allowed { groups: vec![9], reached: vec![gpu(0), gpu(1)] },
        ),
        // One is still in use.
        (
            vec![member(0, Group(9)), member(1, Group(9))],
            ours(&[(0, 9, true), (1, 9, false)]),
            Verdict::InUse(vec![gpu(1)]),
        ),
        // One is not open, but in a group of ours.
        (
            vec![member(0, Group(9)), member(1, Group(9))],
            ours(&[(0, 9, true)]),
            Verdict::Allowed { groups: vec![9], reached: vec![gpu(0)] },
        ),
        // One is in a group of someone else's.
        (
            vec![member(0, Group(9)), member(1, Group(10))],
            ours(&[(0, 9, true)]),
            Verdict::NotOurs(vec![gpu(1)]),
        ),
        // What is not ours is named before what is in use.
        (
            vec![member(0, Group(9)), member(1, Group(9)), member(2, Group(3))],
            ours(&[(0, 9, true), (1, 9, false)]),
            Verdict::NotOurs(vec![gpu(2)]),
        ),
        // Several groups.
        (
            vec![member(0, Group(9)), member(1, Group(10))],
            ours(&[(0, 9, true), (1, 10, true)]),
            Verdict::Allowed { groups: vec![9, 10], reached: vec![gpu(0), gpu(1)] },
        ),
        // iommufd.
        (
            vec![member(0, Us), member(1, Us)],
            ours(&[(0, 9, true)]),
            Verdict::Allowed { groups: vec![], reached: vec![gpu(0)] },
        ),
        (vec![member(0, Us), member(1, Other)], ours(&[(0, 9, true)]), Verdict::NotOurs(vec![gpu(1)])),
    ];
    for (affected, ours, verdict) in table {
        assert_eq!(decide(&affected, &ours), verdict, "{affected:?} {ours:?}");
    }
}

fn info(flags: u32, functions: &[(u32, u8)]) -> Vec<u8> {
    let mut info = Vec::new();
    let count = u32::try_from(functions.len()).unwrap();
    [0, flags, count].iter().for_each(|field: &u32| info.extend(field.to_ne_bytes()));
    for (id, devfn) in functions {
        info.extend(id.to_ne_bytes());
        info.extend([0, 0, 1, *devfn]);
    }
    info
}

#[test]
fn the_kernel_names_groups_or_owners() {
    assert_eq!(
        affected(&info(0, &[(9, 0), (10, 1)])).unwrap(),
        [member(0, Owner::Group(9)), member(1, Owner::Group(10))]
    );
    assert_eq!(
        affected(&info(1, &[(4, 0), (0, 1), (u32::MAX, 2)])).unwrap(),
        [member(0, Owner::Us), member(1, Owner::Us), member(2, Owner::Other)]
    );
    // Fewer functions than announced: unknown ones could be reached.
    let mut short = info(0, &[(9, 0), (10, 1)]);
    short.truncate(24);
    assert_eq!(affected(&short), None);
}

proptest! {
    #[test]
    fn hostile_answers_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(functions) = affected(&bytes) {
            prop_assert!(functions.len() <= 8);
        }
    }

    #[test]
    fn an_allowed_reset_reaches_only_what_is_due(
        functions in prop::collection::btree_map(0_u8..8, (0_u32..3, any::<bool>(), any::<bool>()), 0..8),
    ) {
        let all: Vec<_> = functions.iter().map(|(f, (group, ..))| member(*f, Owner::Group(*group))).collect();
        let open = functions.iter().filter(|(_, (_, open, _))| *open);
        let ours = ours(&open.map(|(f, (group, _, due))| (*f, *group, *due)).collect::<Vec<_>>());
        if let Verdict::Allowed { groups, reached } = decide(&all, &ours) {
            prop_assert!(ours.values().all(|ours| ours.due));
            prop_assert_eq!(reached.len(), ours.len());
            prop_assert!(functions.values().all(|(group, ..)| groups.contains(group)));
        }
    }
}

/// A function on a bus with others.
struct Fake {
    function: u8,
    methods: Option<ResetMethods>,
    /// What a reset of its function says; `None` for success.
    refusal: Option<i32>,
    bus: Result<Vec<Affected>, i32>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn say(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{what} {}", self.function));
    }
}

impl Hardware for Fake {
    fn reset_methods(&self) -> Option<ResetMethods> {
        self.methods
    }

    fn quiet(&self) {
        self.say("quiet");
    }

    fn reset_function(&self) -> io::Result<()> {
        self.say("function");
        self.refusal.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn affected(&self) -> io::Result<Vec<Affected>> {
        self.bus.clone().map_err(io::Error::from_raw_os_error)
    }

    fn reset_bus(&self, groups: &[u32]) -> io::Result<()> {
        self.say(&format!("bus {groups:?}"));
        Ok(())
    }
}

const FLR: ResetMethods = ResetMethods { function_level: true, power: true, pmcsr: None };
const POWER: ResetMethods = ResetMethods { function_level: false, power: true, pmcsr: None };

struct Slot {
    resets: Resets,
    devices: Vec<Arc<Fake>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Slot {
    /// Two functions of group 9, the second always without methods of its own, and `bus` as what the bus reset reaches.
    fn new(methods: Option<ResetMethods>, refusal: Option<i32>, bus: Result<Vec<Affected>, i32>) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let resets = Resets::default();
        let devices: Vec<_> = [(0, methods), (1, None)]
            .into_iter()
            .map(|(function, methods)| {
                let fake = Fake { function, methods, refusal, bus: bus.clone(), log: Arc::clone(&log) };
                Arc::new(fake)
            })
            .collect();
        for device in &devices {
            let weak = Arc::downgrade(device);
            resets.join(gpu(device.function), 9, weak);
        }
        Self { resets, devices, log }
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

fn both() -> Result<Vec<Affected>, i32> {
    Ok(vec![member(0, Owner::Group(9)), member(1, Owner::Group(9))])
}

#[test]
fn one_reset_of_the_bus_serves_all_functions() {
    let slot = Slot::new(None, None, both());
    for _ in 0..2 {
        slot.resets.announce(gpu(0));
        slot.resets.announce(gpu(1));
        assert_eq!(slot.resets.reset(gpu(0)).unwrap(), ResetDone::Bus);
        assert_eq!(slot.resets.reset(gpu(1)).unwrap(), ResetDone::Bus);
        assert_eq!(slot.log(), ["quiet 0", "quiet 1", "bus [9] 0"]);
    }
}

#[test]
fn a_function_in_use_is_not_reset_with_another() {
    let slot = Slot::new(None, None, both());
    slot.resets.announce(gpu(0));
    assert_eq!(slot.resets.reset(gpu(0)).unwrap(), ResetDone::Nothing);
    assert_eq!(slot.log(), ["quiet 0"]);
    // That reset is over: a later one of the neighbour must not reach function 0.
    slot.resets.announce(gpu(1));
    assert_eq!(slot.resets.reset(gpu(1)).unwrap(), ResetDone::Nothing);
    assert_eq!(slot.log(), ["quiet 1"]);
}

#[test]
fn a_reset_due_again_is_performed_again() {
    let slot = Slot::new(None, None, both());
    slot.resets.announce(gpu(0));
    slot.resets.announce(gpu(1));
    slot.resets.reset(gpu(0)).unwrap();
    slot.log();
    // Function 1 never asked whether the first was done; both are due once more.
    slot.resets.announce(gpu(1));
    slot.resets.announce(gpu(0));
    assert_eq!(slot.resets.reset(gpu(1)).unwrap(), ResetDone::Bus);
    assert_eq!(slot.log(), ["quiet 1", "quiet 0", "bus [9] 1"]);
}

#[test]
fn the_mildest_methods_come_first() {
    for (methods, refusal, bus, expected, log) in [
        (Some(FLR), None, both(), Some(ResetDone::Function), vec!["quiet 0", "function 0"]),
        (Some(POWER), None, Err(libc::ENODEV), Some(ResetDone::Function), vec!["quiet 0", "function 0"]),
        (Some(POWER), None, both(), Some(ResetDone::Bus), vec!["quiet 0", "quiet 1", "bus [9] 0"]),
        (None, None, Err(libc::ENODEV), Some(ResetDone::Nothing), vec!["quiet 0"]),
        (Some(FLR), Some(libc::EIO), Err(libc::ENODEV), None, vec!["quiet 0", "function 0"]),
        (
            Some(FLR),
            Some(libc::EIO),
            both(),
            Some(ResetDone::Bus),
            vec!["quiet 0", "function 0", "quiet 1", "bus [9] 0"],
        ),
    ] {
        let slot = Slot::new(methods, refusal, bus);
        slot.resets.announce(gpu(0));
        slot.resets.announce(gpu(1));
        assert_eq!(slot.resets.reset(gpu(0)).ok(), expected, "{methods:?} {refusal:?}");
        assert_eq!(slot.log(), log, "{methods:?} {refusal:?}");
    }
}

#[test]
fn a_closed_function_holds_up_nobody() {
    let mut slot = Slot::new(None, None, both());
    slot.devices.truncate(1);
    assert_eq!(slot.resets.reset(gpu(1)).unwrap(), ResetDone::Nothing);
    assert_eq!(slot.resets.reset(gpu(0)).unwrap(), ResetDone::Bus);
    assert_eq!(slot.log(), ["quiet 0", "bus [9] 0"]);
}

/// A mediated device, which is on no bus.
struct Virtual(Option<i32>);

impl Hardware for Virtual {
    fn reset_methods(&self) -> Option<ResetMethods> {
        None
    }

    fn is_mediated(&self) -> bool {
        true
    }

    fn quiet(&self) {}

    fn reset_function(&self) -> io::Result<()> {
        self.0.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn affected(&self) -> io::Result<Vec<Affected>> {
        panic!("it is on no bus")
    }

    fn reset_bus(&self, _: &[u32]) -> io::Result<()> {
        panic!("it is on no bus")
    }
}

#[test]
fn mediated_devices_are_reset_alone_and_need_not_announce_that_they_can() {
    let device = LentDevice::Mediated(uuid::Uuid::from_u128(7));
    for (refusal, expected) in [
        (None, Some(ResetDone::Function)),
        (Some(libc::ENOTTY), Some(ResetDone::Nothing)),
        (Some(libc::EINVAL), Some(ResetDone::Nothing)),
        (Some(libc::EIO), None),
    ] {
        let resets = Resets::default();
        let hardware = Arc::new(Virtual(refusal));
        let weak = Arc::downgrade(&hardware);
        resets.join(device, 20, weak);
        resets.announce(device);
        assert_eq!(resets.reset(device).ok(), expected, "{refusal:?}");
    }
}
