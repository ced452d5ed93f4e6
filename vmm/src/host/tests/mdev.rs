//! Mediated devices: made, removed and adopted, and what keeps them from being made.

mod refused;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;
use vocabulary::{LentDevice, NewMdev};

use super::fake::{Copies, Fake, Fault, gpu_and_audio, observe, revive};
use crate::host::binding::recover::Recovery;
use crate::host::binding::step::StepError;
use crate::host::files::{names, text};
use crate::host::{BindError, GiveBackError, HostFacts, NotLent, Obstacle, WantedMdev, WriteError};

const IGPU: &str = "0000:00:02.0";
const UUID: &str = "af5972fb-5530-41a7-0000-fd836204445b";
const OTHER: &str = "6f1d7a52-3c1e-4d7b-9a55-0c8e2f4b7d19";
const KIND: &str = "i915-GVTg_V5_4";

/// What the kernel does with `create` of a type and `remove` of a device: the latter is a directory below its parent.
pub(super) fn react(path: &Path, value: &str) -> Result<(), WriteError> {
    let said = |why: &str| Err(WriteError::Said(why.into()));
    let path = fs::canonicalize(path).unwrap();
    let home = path.parent().unwrap();
    let count = |types: &Path, change: i32| {
        let file = types.join("available_instances");
        let left = text(&file).unwrap().parse::<i32>().unwrap() + change;
        (left >= 0).then(|| fs::write(file, format!("{left}\n")).unwrap())
    };
    if path.ends_with("remove") {
        let root = home.ancestors().find(|path| path.ends_with("host")).unwrap();
        count(&fs::canonicalize(home.join("mdev_type")).unwrap(), 1).unwrap();
        fs::remove_file(root.join("sys/bus/mdev/devices").join(home.file_name().unwrap())).unwrap();
        fs::remove_dir_all(home).unwrap();
        return Ok(());
    }
    let parent = home.parent().unwrap().parent().unwrap();
    let device = parent.join(value);
    if device.exists() {
        return said("File exists");
    }
    if count(home, -1).is_none() {
        return said("No space left on device");
    }
    // A kernel without the driver for what it makes.
    let group = (!home.join("driverless").exists()).then_some("20");
    add(parent, home.file_name().unwrap().to_str().unwrap(), value, group);
    Ok(())
}

/// Adds a device below `parent`, with a driver if it has a group.
fn add(parent: &Path, kind: &str, uuid: &str, group: Option<&str>) {
    let root = parent.ancestors().find(|path| path.ends_with("host")).unwrap();
    let device = parent.join(uuid);
    fs::create_dir(&device).unwrap();
    fs::write(device.join("remove"), "").unwrap();
    symlink(format!("../mdev_supported_types/{kind}"), device.join("mdev_type")).unwrap();
    if let Some(group) = group {
        symlink("../../drivers/intel_vgpu_mdev", device.join("driver")).unwrap();
        symlink(format!("../../iommu_groups/{group}"), device.join("iommu_group")).unwrap();
    }
    let devices = root.join("sys/bus/mdev/devices");
    fs::create_dir_all(&devices).unwrap();
    let below = parent.strip_prefix(root.join("sys")).unwrap();
    symlink(Path::new("../../..").join(below).join(uuid), devices.join(uuid)).unwrap();
}

/// An Intel GPU with this device ID that makes virtual ones, if asked.
fn host(device: &str, gvt: bool) -> Fake {
    let fake = Fake::new();
    fake.file("sys/bus/pci/drivers/i915/bind", "");
    fake.function(IGPU, "", &format!("0x8086 {device} 0x030000"), Some("i915"), Some(5));
    if gvt {
        let home = format!("sys/devices/pci0000:00/{IGPU}");
        for (kind, room) in [("i915-GVTg_V5_4", "1"), ("i915-GVTg_V5_8", "2")] {
            let types = format!("{home}/mdev_supported_types/{kind}");
            fake.file(&format!("{types}/available_instances"), &format!("{room}\n"));
            fake.file(&format!("{types}/description"), "low_gm_size: 128MB\nfence: 4\n");
            fake.file(&format!("{types}/create"), "");
        }
        fake.link(&format!("sys/class/mdev_bus/{IGPU}"), &format!("../../../{home}"));
    }
    fake
}

fn uuid(text: &str) -> Uuid {
    text.parse().unwrap()
}

fn wanted_of(parent: &str, kind: &str) -> WantedMdev {
    let create = NewMdev { parent: parent.parse().unwrap(), kind: kind.parse().unwrap() };
    WantedMdev { uuid: uuid(UUID), create: Some(create) }
}

fn wanted() -> WantedMdev {
    wanted_of(IGPU, KIND)
}

/// The mediated devices, with the room that is left for KIND.
fn mdevs(root: &Path) -> (Vec<String>, String) {
    let room = root.join("sys/class/mdev_bus").join(IGPU).join("mdev_supported_types").join(KIND);
    (names(&root.join("sys/bus/mdev/devices")), text(&room.join("available_instances")).unwrap())
}

fn none() -> (Vec<String>, String) {
    (Vec::new(), "1".into())
}

fn one() -> (Vec<String>, String) {
    (vec![UUID.into()], "0".into())
}

fn refusal(fake: &Fake, wanted: WantedMdev) -> String {
    let error = fake.manager().lend("vm", &[], &[wanted.into()], &|| false).unwrap_err();
    let BindError::Refused(obstacles) = &error else { panic!("{error}") };
    assert!(matches!(&obstacles[..], [Obstacle { why: NotLent::Mdev(_), .. }]), "{error}");
    assert!(fake.journal_names().is_empty());
    error.to_string()
}

fn told(message: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(message.contains(word), "{word} is not in: {message}"));
}

#[test]
fn one_is_made_and_removed() {
    let fake = host("0x591b", true);
    let lent = fake.manager().lend("vm", &[], &[wanted().into()], &|| false).unwrap();
    assert_eq!(mdevs(&fake.root()), one());
    let made = fake.files().mdev(uuid(UUID)).unwrap();
    assert_eq!((made.parent.as_str(), made.kind.as_str(), made.iommu_group), (IGPU, KIND, Some(20)));
    let second = fake.manager().lend("second", &[], &[wanted().into()], &|| false).unwrap_err();
    told(&second.to_string(), &["belongs to the machine vm, which is running", UUID]);
    lent.give_back().unwrap();
    assert_eq!(mdevs(&fake.root()), none());
    assert!(fake.journal_names().is_empty());
    assert!(!fake.log().iter().any(|write| write.contains("modprobe")), "{:?}", fake.log());
    drop(fake.manager().lend("vm", &[], &[wanted().into()], &|| false).unwrap());
    assert_eq!(mdevs(&fake.root()), none(), "dropped");
}

#[test]
fn one_that_exists_is_left_alone() {
    for wanted in [wanted(), WantedMdev { create: None, ..wanted() }] {
        let fake = host("0x591b", true);
        add(&fake.root().join("sys/devices/pci0000:00").join(IGPU), KIND, UUID, Some("20"));
        fake.manager().lend("vm", &[], &[wanted.into()], &|| false).unwrap().give_back().unwrap();
        assert_eq!(names(&fake.root().join("sys/bus/mdev/devices")), [UUID]);
        assert!(fake.log().is_empty(), "{:?}", fake.log());
    }
}

#[test]
fn one_that_mdevctl_defines_is_made_from_its_definition() {
    let fake = host("0x591b", true);
    let asked = || WantedMdev { create: None, ..wanted() };
    told(&refusal(&fake, asked()), &["no mediated device", UUID, "mdevctl list --defined"]);
    let path = format!("etc/mdevctl.d/{IGPU}/{UUID}");
    let definition = format!("{{\"mdev_type\": \"{KIND}\", \"start\": \"auto\", \"attrs\": []}}");
    fake.file(&path, &definition);
    let lent = fake.manager().lend("vm", &[], &[asked().into()], &|| false).unwrap();
    assert_eq!(mdevs(&fake.root()), one());
    lent.give_back().unwrap();
    assert_eq!(mdevs(&fake.root()), none());
    for bad in [
        "{",
        "{\"start\": \"auto\"}",
        "{\"mdev_type\": \"../x\"}",
        "{\"mdev_type\": \"i915-GVTg_V5_4\", \"attrs\": [{\"a\": \"1\"}]}",
    ] {
        fake.file(&path, bad);
        told(&refusal(&fake, asked()), &[&path, "sudo mdevctl start -u"]);
    }
}

#[test]
fn recovery_from_any_point_removes_it() {
    let fake = host("0x591b", true);
    let before = fake.observe();
    *fake.kernel.copies.lock().unwrap() = Some(Copies::new(None));
    fake.manager().lend("vm", &gpu_and_audio(), &[wanted().into()], &|| false).unwrap().give_back().unwrap();
    assert_eq!((fake.observe(), mdevs(&fake.root())), (before.clone(), none()));
    let copies = fake.kernel.copies.lock().unwrap().take().unwrap();
    let mut made = 0;
    for copy in copies.taken {
        let root = copy.join("host");
        made += usize::from(mdevs(&root) == one());
        let recovered = revive(&copy).recover(&|| false);
        let [Recovery::GivenBack { devices, .. }] = &recovered[..] else { panic!("{recovered:?}") };
        assert!(devices.contains(&LentDevice::Mediated(uuid(UUID))));
        assert_eq!((observe(&root), mdevs(&root)), (before.clone(), none()), "{}", copy.display());
        assert!(names(&copy.join("state")).is_empty());
    }
    assert!(made >= 2, "{made}");
}

#[test]
fn what_a_crash_left_is_used_or_removed_but_not_what_others_made() {
    let fake = host("0x591b", true);
    *fake.kernel.copies.lock().unwrap() = Some(Copies::new(Some(1)));
    fake.manager().lend("vm", &[], &[wanted().into()], &|| false).unwrap().give_back().unwrap();
    let copies = fake.kernel.copies.lock().unwrap().take().unwrap();
    let copy = &copies.taken[0];
    let root = copy.join("host");
    assert_eq!(mdevs(&root), one());
    // Somebody has made another one of the same UUID since.
    react(&root.join("sys/bus/mdev/devices").join(UUID).join("remove"), "1").unwrap();
    add(&root.join("sys/devices/pci0000:00").join(IGPU), "i915-GVTg_V5_8", UUID, Some("20"));
    assert!(matches!(&revive(copy).recover(&|| false)[..], [Recovery::GivenBack { .. }]));
    assert_eq!(names(&root.join("sys/bus/mdev/devices")), [UUID]);
}

#[test]
fn every_refused_write_leaves_the_host_as_it_was() {
    for (write, fault) in
        [("create", Fault::Refuse), ("create", Fault::Deny), ("driver_override", Fault::Refuse)]
    {
        let fake = host("0x591b", true);
        let before = fake.observe();
        fake.fault(write, fault);
        let error = fake.manager().lend("vm", &gpu_and_audio(), &[wanted().into()], &|| false).unwrap_err();
        assert!(matches!(error, BindError::Step(_) | BindError::AndLeft { .. }), "{error}");
        fake.kernel.faults.lock().unwrap().clear();
        fake.manager().recover(&|| false);
        assert_eq!((fake.observe(), mdevs(&fake.root())), (before, none()), "{write}");
        assert!(fake.journal_names().is_empty());
    }
}

#[test]
fn a_creation_that_hangs_is_left_to_the_next_start() {
    let fake = host("0x591b", true);
    fake.fault("create", Fault::Hang);
    let error = fake.manager().lend("vm", &[], &[wanted().into()], &|| false).unwrap_err();
    assert!(matches!(&error, BindError::AndLeft { error, .. } if hung(error)), "{error}");
    told(&error.to_string(), &["making the mediated device", "did not end within 10 s"]);
    fake.kernel.faults.lock().unwrap().clear();
    // The kernel has come to an end with it.
    add(&fake.root().join("sys/devices/pci0000:00").join(IGPU), KIND, UUID, Some("20"));
    fake.manager().recover(&|| false);
    assert!(names(&fake.root().join("sys/bus/mdev/devices")).is_empty());
}

#[test]
fn a_removal_that_fails_is_told_and_tried_again() {
    let fake = host("0x591b", true);
    let lent = fake.manager().lend("vm", &[], &[wanted().into()], &|| false).unwrap();
    fake.fault("remove", Fault::Hang);
    let error = lent.give_back().unwrap_err();
    assert!(matches!(&error, GiveBackError::Left { left, .. } if left.len() == 1));
    told(&error.to_string(), &["removing the mediated device", "fuser -v /dev/vfio/*"]);
    fake.kernel.faults.lock().unwrap().clear();
    fake.manager().recover(&|| false);
    assert_eq!(mdevs(&fake.root()), none());
    assert!(fake.journal_names().is_empty());
}

#[test]
fn one_that_another_process_made_meanwhile_is_not_removed() {
    let fake = host("0x591b", true);
    fake.fault("create", Fault::Refuse);
    // Seen by nobody before the write: the kernel's view is made by the fault.
    let parent = fake.root().join("sys/devices/pci0000:00").join(IGPU);
    let racing = Arc::clone(&fake.kernel);
    let thread = std::thread::spawn(move || {
        while !racing.log.lock().unwrap().iter().any(|write| write.contains("create")) {
            std::thread::yield_now();
        }
        add(&parent, KIND, UUID, Some("20"));
    });
    let error = fake.manager().lend("vm", &[], &[wanted().into()], &|| false).unwrap_err();
    thread.join().unwrap();
    told(&error.to_string(), &["another process has made it in the meantime"]);
    assert_eq!(names(&fake.root().join("sys/bus/mdev/devices")), [UUID]);
    assert!(fake.journal_names().is_empty());
}

#[test]
fn one_that_no_driver_takes_is_removed_again() {
    let fake = host("0x591b", true);
    fake.file(&format!("sys/devices/pci0000:00/{IGPU}/mdev_supported_types/{KIND}/driverless"), "");
    let error = fake.manager().lend("vm", &[], &[wanted().into()], &|| false).unwrap_err();
    told(&error.to_string(), &["making the mediated device", "no driver took it"]);
    assert_eq!(mdevs(&fake.root()), none());
    assert!(fake.journal_names().is_empty());
}

#[test]
fn one_that_another_process_has_taken_is_left_to_it() {
    let fake = host("0x591b", true);
    let lent = fake.manager().lend("vm", &[], &[wanted().into()], &|| false).unwrap();
    fake.process(77, "qemu-system-x86", "/dev/vfio/20");
    let error = lent.give_back().unwrap_err();
    told(
        &error.to_string(),
        &["removing the mediated device", "qemu-system-x86 (process 77) has /dev/vfio/20"],
    );
    assert_eq!(mdevs(&fake.root()), one());
    fs::remove_dir_all(fake.root().join("proc/77")).unwrap();
    fake.manager().recover(&|| false);
    assert_eq!(mdevs(&fake.root()), none());
    assert!(fake.journal_names().is_empty());
}

#[test]
fn kvmgt_is_loaded_for_a_gpu_that_lacks_it() {
    let fake = host("0x591b", false);
    refusal(&fake, wanted());
    assert_eq!(fake.log(), ["modprobe kvmgt"]);
}

#[test]
fn facts_have_the_device_that_exists() {
    let fake = host("0x591b", true);
    let device = || std::iter::once(LentDevice::Mediated(uuid(UUID)));
    assert_eq!(HostFacts::gather_from(&fake.files(), device()), HostFacts::default());
    add(&fake.root().join("sys/devices/pci0000:00").join(IGPU), KIND, UUID, Some("20"));
    let facts = HostFacts::gather_from(&fake.files(), device());
    assert_eq!(facts.mdevs[&uuid(UUID)].kind, KIND);
    assert!(facts.functions.is_empty());
}

fn hung(error: &BindError) -> bool {
    matches!(error, BindError::Step(StepError::Hung { .. }))
}
