//! Virtual functions: made, bound, removed and adopted, and what keeps them from being made.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use vocabulary::{HostPciAddress, LentDevice, VfioBackend};

use super::fake::{Copies, Fake, Fault, address, observe, revive};
use crate::host::binding::recover::Recovery;
use crate::host::files::{names, text};
use crate::host::{
    BindError, Bound, GiveBackError, HostFacts, I915_VIRTUAL, Manager, NotLent, Obstacle, Wanted,
    WantedVirtual, WriteError, look,
};

const IGPU: &str = "0000:00:02.0";
const FIRST: &str = "0000:00:02.1";
const SECOND: &str = "0000:00:02.2";

/// What the kernel does with `sriov_numvfs`: no number but 0 follows another than 0.
pub(super) fn react(root: &Path, path: &Path, value: &str) -> Result<(), WriteError> {
    let said = |why: &str| Err(WriteError::Said(why.into()));
    let home = fs::canonicalize(path.parent().unwrap()).unwrap();
    let now: u16 = text(path).unwrap().parse().unwrap();
    let count: u16 = value.parse().unwrap();
    let parent: HostPciAddress = home.file_name().unwrap().to_str().unwrap().parse().unwrap();
    // Devices may have another offset once there are some (PCIe 6.0 §9.3.3.9).
    let offset: u16 = text(&home.join("real_offset")).unwrap().parse().unwrap();
    let devices = root.join("sys/bus/pci/devices");
    if count == now {
        return Ok(());
    }
    if home.join("incapable").exists() {
        return said("No such file or directory");
    }
    if count > 0 && now > 0 {
        return said("Device or resource busy");
    }
    for index in 0..count.max(now) {
        let function = parent.after(offset + index).unwrap().to_string();
        let place = home.parent().unwrap().join(&function);
        if count == 0 {
            assert!(!place.join("driver").exists(), "its driver was not asked");
            fs::remove_dir_all(&place).unwrap();
            fs::remove_file(devices.join(&function)).unwrap();
            fs::remove_file(home.join(format!("virtfn{index}"))).unwrap();
            fs::remove_dir_all(root.join(format!("sys/kernel/iommu_groups/{}", 30 + index))).unwrap();
            continue;
        }
        fs::create_dir_all(place.join("power")).unwrap();
        for (name, text) in [
            ("vendor", "0x8086"),
            ("device", "0xa7a0"),
            ("class", "0x030000"),
            ("driver_override", "(null)"),
            ("d3cold_allowed", "1"),
            ("power/control", "auto"),
        ] {
            fs::write(place.join(name), format!("{text}\n")).unwrap();
        }
        fs::write(place.join("config"), [0_u8; 256]).unwrap();
        if text(&home.join("sriov_drivers_autoprobe")).unwrap() == "1" {
            symlink("drivers/i915", place.join("driver")).unwrap();
        }
        let group = format!("iommu_groups/{}", 30 + index);
        let members = root.join("sys/kernel").join(&group).join("devices");
        fs::create_dir_all(&members).unwrap();
        symlink(root.join("sys/kernel").join(&group), place.join("iommu_group")).unwrap();
        symlink(&place, members.join(&function)).unwrap();
        symlink(&place, devices.join(&function)).unwrap();
        symlink(&home, place.join("physfn")).unwrap();
        symlink(&place, home.join(format!("virtfn{index}"))).unwrap();
    }
    fs::write(path, format!("{count}\n")).unwrap();
    Ok(())
}

/// A GPU with this driver that can have seven.
fn host_of(driver: Option<&str>) -> Fake {
    let fake = Fake::new();
    fake.file("sys/bus/pci/drivers/i915/bind", "");
    fake.file(I915_VIRTUAL, "7\n");
    fake.function(IGPU, "", "0x8086 0xa7a0 0x030000", driver, Some(5));
    for (name, text) in [
        ("sriov_totalvfs", "7"),
        ("sriov_numvfs", "0"),
        ("sriov_offset", "1"),
        ("real_offset", "1"),
        ("sriov_drivers_autoprobe", "1"),
    ] {
        fake.attribute(IGPU, name, &format!("{text}\n"));
    }
    fake
}

fn host() -> Fake {
    host_of(Some("i915"))
}

fn wanted() -> Wanted {
    WantedVirtual { parent: address(IGPU), function: address(FIRST) }.into()
}

fn lend(manager: &Manager) -> Result<Bound, BindError> {
    manager.lend("vm", &[], &[wanted()], &|| false)
}

/// The attributes of the GPU that are changed.
fn state(root: &Path) -> [String; 2] {
    let gpu = root.join("sys/bus/pci/devices").join(IGPU);
    ["sriov_numvfs", "sriov_drivers_autoprobe"].map(|name| text(&gpu.join(name)).unwrap())
}

fn driver(fake: &Fake, function: &str) -> Option<String> {
    fake.files().driver(address(function))
}

fn make_by_hand(fake: &Fake, count: &str) {
    let path = fake.root().join("sys/bus/pci/devices").join(IGPU).join("sriov_numvfs");
    react(&fake.root(), &path, count).unwrap();
}

#[test]
fn one_is_made_bound_and_removed() {
    let fake = host();
    let before = fake.observe();
    let lent = lend(&fake.manager()).unwrap();
    assert_eq!(state(&fake.root()), ["1", "0"]);
    assert_eq!(driver(&fake, FIRST).as_deref(), Some("vfio-pci"));
    let now = fake.observe();
    // The physical function stays awake as well, with its driver.
    assert_eq!(now[IGPU], ["i915", "(null)", "on", "0"]);
    assert_eq!(now[FIRST][2], "on");
    let second = fake.manager().lend("second", &[], &[wanted()], &|| false).unwrap_err().to_string();
    assert!(second.contains("0000:00:02.1 belongs to the machine vm, which is running"), "{second}");
    lent.give_back().unwrap();
    assert_eq!((fake.observe(), state(&fake.root())), (before, ["0", "1"].map(String::from)));
    assert!(fake.journal_names().is_empty());
    drop(lend(&fake.manager()).unwrap());
    assert_eq!(state(&fake.root()), ["0", "1"], "dropped");
}

#[test]
fn those_that_exist_are_used_and_left_as_they_are() {
    let fake = host();
    make_by_hand(&fake, "2");
    let before = fake.observe();
    assert_eq!(before[FIRST][0], "i915");
    let lent = lend(&fake.manager()).unwrap();
    assert_eq!(driver(&fake, FIRST).as_deref(), Some("vfio-pci"));
    assert_eq!(driver(&fake, SECOND).as_deref(), Some("i915"));
    lent.give_back().unwrap();
    assert_eq!((fake.observe(), state(&fake.root())), (before, ["2", "1"].map(String::from)));
    assert!(!fake.log().iter().any(|write| write.contains("sriov")), "{:?}", fake.log());
}

#[test]
fn recovery_from_any_point_removes_it() {
    let fake = host();
    let before = fake.observe();
    *fake.kernel.copies.lock().unwrap() = Some(Copies::new(None));
    lend(&fake.manager()).unwrap().give_back().unwrap();
    let copies = fake.kernel.copies.lock().unwrap().take().unwrap();
    let mut made = 0;
    for copy in copies.taken {
        let root = copy.join("host");
        // Links of the copy lead to the host that it was made of, whose function is gone.
        for function in names(&root.join("sys/bus/pci/devices")).iter().filter(|name| *name == FIRST) {
            relink(&root, function);
            made += 1;
        }
        let recovered = revive(&copy).recover(&|| false);
        let [Recovery::GivenBack { devices, .. }] = &recovered[..] else { panic!("{recovered:?}") };
        assert_eq!(devices[..], [LentDevice::Function(address(FIRST))]);
        assert_eq!(state(&root), ["0", "1"], "{}", copy.display());
        assert_eq!(observe(&root), before, "{}", copy.display());
        assert!(names(&copy.join("state")).is_empty());
    }
    assert!(made >= 8, "{made}");
}

/// Has the links that [`react`] has made lead into this root.
fn relink(root: &Path, function: &str) {
    let devices = root.join("sys/devices/pci0000:00");
    let group = root.join("sys/kernel/iommu_groups/30");
    for (link, target) in [
        (root.join("sys/bus/pci/devices").join(function), devices.join(function)),
        (group.join("devices").join(function), devices.join(function)),
        (devices.join(function).join("iommu_group"), group.clone()),
        (devices.join(function).join("physfn"), devices.join(IGPU)),
        (devices.join(IGPU).join("virtfn0"), devices.join(function)),
    ] {
        fs::remove_file(&link).unwrap();
        symlink(target, link).unwrap();
    }
}

#[test]
fn what_others_have_made_since_a_crash_is_not_removed() {
    let fake = host();
    lend(&fake.manager()).unwrap().abandon();
    let unbind = fake.root().join("sys/bus/pci/devices").join(FIRST).join("driver");
    fs::remove_file(unbind).unwrap();
    make_by_hand(&fake, "0");
    make_by_hand(&fake, "2");
    assert!(matches!(&fake.manager().recover(&|| false)[..], [Recovery::GivenBack { .. }]));
    assert_eq!(state(&fake.root()), ["2", "1"]);
}

#[test]
fn one_that_another_process_has_taken_is_left_to_it() {
    let fake = host();
    let lent = lend(&fake.manager()).unwrap();
    fake.process(77, "qemu-system-x86", "/dev/vfio/30");
    // The kernel waits for that process.
    fake.fault("driver/unbind", Fault::Hang);
    let error = lent.give_back().unwrap_err();
    let told = error.to_string();
    assert!(matches!(&error, GiveBackError::Left { left, .. } if left.len() == 2), "{told}");
    assert!(told.contains("qemu-system-x86 (process 77) has /dev/vfio/30"), "{told}");
    assert!(!fake.log().iter().any(|write| write.contains("sriov_numvfs=0")), "that would hang as well");
    assert_eq!(state(&fake.root()), ["1", "0"]);
    fs::remove_dir_all(fake.root().join("proc/77")).unwrap();
    fake.kernel.faults.lock().unwrap().clear();
    // The next machine that wants it takes over what is left, if it comes before the next recovery.
    let again = lend(&fake.manager()).unwrap();
    assert_eq!(fake.journal_names().len(), 1);
    again.give_back().unwrap();
    assert_eq!(state(&fake.root()), ["0", "1"]);
    assert!(fake.journal_names().is_empty());
}

#[test]
fn every_refused_write_leaves_the_host_as_it_was() {
    for (write, fault, words) in [
        ("sriov_numvfs=1", Fault::Refuse, "making the virtual function 0000:00:02.1 of 0000:00:02.0 failed"),
        ("sriov_numvfs=1", Fault::Ignore, "it appeared nowhere"),
        ("sriov_numvfs=1", Fault::Hang, "did not end within 30 s"),
        ("sriov_drivers_autoprobe=0", Fault::Refuse, "setting sriov_drivers_autoprobe of 0000:00:02.0"),
        ("drivers_probe", Fault::Refuse, "binding 0000:00:02.1 to vfio-pci failed"),
    ] {
        let fake = host();
        let before = fake.observe();
        fake.fault(write, fault);
        let told = lend(&fake.manager()).unwrap_err().to_string();
        assert!(told.contains(words), "{words} is not in {told}");
        fake.kernel.faults.lock().unwrap().clear();
        fake.manager().recover(&|| false);
        assert_eq!((fake.observe(), state(&fake.root())), (before, ["0", "1"].map(String::from)), "{write}");
        assert!(fake.journal_names().is_empty());
    }
}

#[test]
fn one_that_appears_elsewhere_is_removed_again() {
    let fake = host();
    fake.attribute(IGPU, "real_offset", "2\n");
    let told = lend(&fake.manager()).unwrap_err().to_string();
    assert!(told.contains("it appeared at 0000:00:02.2") && told.contains("sriov_numvfs`"), "{told}");
    assert_eq!(state(&fake.root()), ["0", "1"]);
    assert!(fake.journal_names().is_empty());
}

#[test]
fn a_driver_that_makes_none_after_all_is_told() {
    let fake = host();
    fake.attribute(IGPU, "incapable", "");
    let told = lend(&fake.manager()).unwrap_err().to_string();
    assert!(told.contains("No such file or directory; the driver i915 makes no virtual functions"), "{told}");
    assert_eq!(state(&fake.root()), ["0", "1"]);
    assert!(fake.journal_names().is_empty());
}

#[test]
fn one_that_another_process_makes_in_the_meantime_is_left_to_it() {
    let fake = host();
    let [parent, function] = [IGPU, FIRST].map(address);
    make_by_hand(&fake, "1");
    let told = fake.manager().host.make_virtual(parent, function, true).unwrap_err().to_string();
    assert!(told.contains("another process has made some in the meantime"), "{told}");
    assert_eq!(state(&fake.root()), ["1", "1"]);
}

/// The write outlived its process: what it makes appears after the crash.
#[test]
fn one_that_is_still_being_made_is_waited_for() {
    let fake = host();
    let [parent, function] = [IGPU, FIRST].map(address);
    let unmake = || fake.manager().host.unmake_virtual(parent, function, true).unwrap();
    let asked = || fake.log().iter().filter(|write| write.contains("sriov_numvfs=0")).count();
    unmake();
    assert_eq!(asked(), 0, "it was not begun");
    fake.attribute(IGPU, "sriov_drivers_autoprobe", "0\n");
    unmake();
    assert_eq!(asked(), 1);
    assert!(fake.log().last().unwrap().contains("sriov_drivers_autoprobe=1"), "{:?}", fake.log());
    assert_eq!(state(&fake.root()), ["0", "1"]);
}

fn refusal(fake: &Fake) -> String {
    let error = lend(&fake.manager()).unwrap_err();
    let BindError::Refused(obstacles) = &error else { panic!("{error}") };
    let [Obstacle { device, why: NotLent::Virtual(why) }] = &obstacles[..] else { panic!("{error}") };
    assert_eq!(*device, LentDevice::Function(address(FIRST)));
    assert!(fake.log().is_empty() && fake.journal_names().is_empty());
    // Without a trace the same is found.
    let looked = look(&fake.files(), &[], &[], &[wanted()], VfioBackend::Auto);
    assert_eq!(looked.iter().map(ToString::to_string).collect::<Vec<_>>(), [why.to_string()]);
    why.to_string()
}

#[test]
fn what_keeps_one_from_being_made_is_told() {
    let gone = |name: &'static str| {
        move |fake: &Fake| {
            fs::remove_file(fake.root().join("sys/bus/pci/devices").join(IGPU).join(name)).unwrap()
        }
    };
    let says = |name: &'static str, value: &'static str| move |fake: &Fake| fake.attribute(IGPU, name, value);
    type Change = Box<dyn Fn(&Fake)>;
    let without = |fake: &Fake| fs::remove_file(fake.root().join(I915_VIRTUAL)).unwrap();
    let cases: [(Option<&str>, Change, &str); 8] = [
        (Some("i915"), Box::new(gone("sriov_totalvfs")), "0000:00:02.0 has no virtual functions (SR-IOV)"),
        (Some("i915"), Box::new(says("sriov_totalvfs", "0\n")), "i915.enable_guc=3 i915.max_vfs=7"),
        (Some("i915"), Box::new(without), "only the i915 of the module i915-sriov-dkms does"),
        (Some("xe"), Box::new(says("sriov_totalvfs", "0\n")), "xe.max_vfs=7"),
        (Some("i915"), Box::new(says("sriov_offset", "0\n")), "does not say at which address"),
        (None, Box::new(|_| ()), "0000:00:02.0 has no driver"),
        (Some("vfio-pci"), Box::new(|_| ()), "optimus-vmm host release 0000:00:02.0"),
        (Some("i915"), Box::new(gone("iommu_group")), "0000:00:02.0 is behind no IOMMU"),
    ];
    for (driver, change, words) in cases {
        let fake = host_of(driver);
        change(&fake);
        let told = refusal(&fake);
        assert!(told.contains(words), "{words} is not in {told}");
    }
    let fake = host();
    fake.attribute(IGPU, "real_offset", "3\n");
    make_by_hand(&fake, "1");
    let told = refusal(&fake);
    assert!(told.contains("begin at another address than 0000:00:02.1"), "{told}");
}

#[test]
fn facts_have_where_it_is_or_will_be() {
    let fake = host();
    let gather = || HostFacts::gather_from(&fake.files(), std::iter::once(address(IGPU).into()));
    let facts = gather();
    assert_eq!(facts.virtual_functions, [(address(IGPU), address(FIRST))].into());
    assert!(!facts.functions.contains_key(&address(FIRST)));
    fake.attribute(IGPU, "real_offset", "128\n");
    make_by_hand(&fake, "1");
    let facts = gather();
    let elsewhere = address("0000:00:12.0");
    assert_eq!(facts.virtual_functions[&address(IGPU)], elsewhere);
    assert_eq!(facts.functions[&elsewhere].device, 0xa7a0);
}
