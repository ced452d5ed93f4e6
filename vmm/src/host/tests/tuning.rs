//! Settings of the host: changed, shared by several machines, and put back to the letter, also after a crash at any point.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use vocabulary::CpuList;

use super::fake::{AUDIO, Copies, Fake, Fault, GPU, address, revive};
use crate::host::binding::recover::Recovery;
use crate::host::{BindError, Bound, Pool, WantedPages, WantedTuning, WriteError};

const POOL: Pool = Pool { kib: 2048, node: None };
const PAGES: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";
const OWN: &str = "user.slice/user-1000.slice/session-2.scope";
/// The other groups of a desktop with processes.
const GROUPS: [&str; 5] = [
    "init.scope",
    "system.slice",
    "system.slice/sshd.service",
    "user.slice/user-1000.slice/user@1000.service",
    "user.slice/user-1001.slice",
];

/// What Linux does with a setting that is written.
pub(super) fn react(path: &Path, value: &str) -> Result<(), WriteError> {
    let folder = path.parent().unwrap();
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let busy = || Err(WriteError::Said("Device or resource busy".into()));
    match path.file_name().unwrap().to_str().unwrap() {
        "cgroup.subtree_control" => {
            let mut words: Vec<String> = read(path).split_whitespace().map(str::to_owned).collect();
            let children: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
            let children = || children.iter().filter(|path| path.is_dir());
            if value == "+cpuset" {
                if !folder.join("cgroup.controllers").exists() && !folder.join("cpuset.cpus").exists() {
                    return Err(WriteError::Said("No such file or directory".into()));
                }
                words.push("cpuset".into());
                children().for_each(|child| fs::write(child.join("cpuset.cpus"), "\n").unwrap());
            } else {
                assert_eq!(value, "-cpuset");
                if children().any(|child| read(&child.join("cgroup.subtree_control")).contains("cpuset")) {
                    return busy();
                }
                words.retain(|word| word != "cpuset");
                children().for_each(|child| fs::remove_file(child.join("cpuset.cpus")).unwrap());
            }
            fs::write(path, words.join(" ") + "\n").unwrap();
        }
        "energy_performance_preference" if read(&folder.join("scaling_governor")) == "performance" => {
            return busy();
        }
        "cpuset.cpus" if !path.exists() => return Err(WriteError::Said("No such file or directory".into())),
        // validate_change() of Linux before 6.12: the groups here have processes.
        "cpuset.cpus" if value.trim().is_empty() && !read(path).is_empty() => {
            return Err(WriteError::Said("No space left on device".into()));
        }
        "nr_hugepages" => {
            let most: u64 = read(&folder.join("most")).parse().unwrap_or(u64::MAX);
            fs::write(path, format!("{}\n", value.parse::<u64>().unwrap().min(most))).unwrap();
        }
        _ => {
            assert!(path.exists(), "{}", path.display());
            fs::write(path, format!("{}\n", value.trim_end())).unwrap();
        }
    }
    Ok(())
}

/// A laptop with four CPUs in two frequency policies.
fn host() -> Fake {
    let fake = Fake::new();
    for cpu in 0..4 {
        let policy = cpu / 2 * 2;
        fake.link(&format!("sys/devices/system/cpu/cpu{cpu}/cpufreq"), &format!("../cpufreq/policy{policy}"));
    }
    for policy in [0, 2] {
        let folder = format!("sys/devices/system/cpu/cpufreq/policy{policy}");
        fake.file(&format!("{folder}/scaling_available_governors"), "performance powersave\n");
        fake.file(&format!("{folder}/scaling_governor"), "powersave\n");
        fake.file(
            &format!("{folder}/energy_performance_available_preferences"),
            "default performance balance_power power\n",
        );
        fake.file(&format!("{folder}/energy_performance_preference"), "balance_power\n");
    }
    fake.file("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory\n");
    fake.file("sys/fs/cgroup/cgroup.subtree_control", "cpu memory\n");
    fake.file("sys/fs/cgroup/cgroup.procs", "2\n");
    fake.file("sys/fs/cgroup/cpuset.cpus.effective", "0-3\n");
    for group in GROUPS.into_iter().chain(["user.slice", "user.slice/user-1000.slice", OWN]) {
        fake.file(&format!("sys/fs/cgroup/{group}/cgroup.subtree_control"), "cpu memory\n");
        fake.file(&format!("sys/fs/cgroup/{group}/cgroup.events"), "populated 1\nfrozen 0\n");
    }
    fake.file("sys/fs/cgroup/dev-hugepages.mount/cgroup.events", "populated 0\nfrozen 0\n");
    for pid in ["self".to_owned(), std::process::id().to_string()] {
        fake.file(&format!("proc/{pid}/cgroup"), &format!("0::/{OWN}\n"));
    }
    fake.file(&format!("{PAGES}/nr_hugepages"), "16\n");
    fake.file(&format!("{PAGES}/free_hugepages"), "10\n");
    fake.file(&format!("{PAGES}/resv_hugepages"), "4\n");
    fake.file("proc/sys/vm/compact_memory", "");
    fake
}

/// Every setting, by its file.
fn settings(root: &Path) -> BTreeMap<String, String> {
    fn collect(root: &Path, at: &Path, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                collect(root, &path, into);
            } else if path.is_file() {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                into.insert(name, fs::read_to_string(&path).unwrap().trim_end().to_owned());
            }
        }
    }
    let mut found = BTreeMap::new();
    for folder in ["sys/fs/cgroup", "sys/devices/system/cpu/cpufreq", "sys/kernel/mm"] {
        collect(root, &root.join(folder), &mut found);
    }
    found
}

fn cpus(text: &str) -> CpuList {
    text.parse().unwrap()
}

fn everything(pages: u64) -> WantedTuning {
    WantedTuning {
        fast: Some(cpus("2-3")),
        for_others: Some(cpus("0-1")),
        pages: Some(WantedPages { pool: POOL, count: pages }),
    }
}

fn tune(fake: &Fake, machine: &str, wanted: &WantedTuning) -> Result<Bound, BindError> {
    fake.manager().tune(machine, wanted, &|| false)
}

fn text(fake: &Fake, below: &str) -> String {
    fs::read_to_string(fake.root().join(below)).unwrap().trim_end().to_owned()
}

fn pages(fake: &Fake) -> u64 {
    text(fake, &format!("{PAGES}/nr_hugepages")).parse().unwrap()
}

#[test]
fn settings_are_changed_and_put_back() {
    let fake = host();
    let before = settings(&fake.root());
    let bound = tune(&fake, "vm", &everything(100)).unwrap();
    let policy = |policy, name| text(&fake, &format!("sys/devices/system/cpu/cpufreq/policy{policy}/{name}"));
    assert_eq!(policy(2, "scaling_governor"), "performance");
    assert_eq!(policy(2, "energy_performance_preference"), "performance");
    assert_eq!(policy(0, "scaling_governor"), "powersave");
    for (group, expected) in [
        ("init.scope", "0-1"),
        ("system.slice", "0-1"),
        ("user.slice/user-1001.slice", "0-1"),
        ("user.slice/user-1000.slice/user@1000.service", "0-1"),
        // The way to this process, and its own group.
        ("user.slice", ""),
        ("user.slice/user-1000.slice", ""),
        (OWN, ""),
    ] {
        assert_eq!(text(&fake, &format!("sys/fs/cgroup/{group}/cpuset.cpus")), expected, "{group}");
    }
    // Six of the sixteen are free and promised to nobody.
    assert_eq!(pages(&fake), 16 + 94);
    bound.give_back().unwrap();
    assert_eq!(settings(&fake.root()), before);
    assert!(fake.journal_names().is_empty());
}

#[test]
fn nothing_is_written_where_nothing_has_to_change() {
    let fake = host();
    let wanted = WantedTuning { fast: Some(cpus("2")), ..everything(6) };
    let wanted = WantedTuning { for_others: None, ..wanted };
    fake.file("sys/devices/system/cpu/cpufreq/policy2/scaling_governor", "performance\n");
    tune(&fake, "vm", &wanted).unwrap().give_back().unwrap();
    tune(&fake, "vm", &WantedTuning::default()).unwrap().give_back().unwrap();
    assert!(fake.log().is_empty(), "{:?}", fake.log());
    assert!(fake.journal_names().is_empty());
}

#[test]
fn a_crash_at_any_point_is_recovered_from() {
    let fake = host();
    let before = settings(&fake.root());
    *fake.kernel.copies.lock().unwrap() = Some(Copies::new(None));
    tune(&fake, "vm", &everything(100)).unwrap().give_back().unwrap();
    let copies = fake.kernel.copies.lock().unwrap().take().unwrap();
    assert!(copies.taken.len() > 30, "{}", copies.taken.len());
    let mut changed = 0;
    for copy in copies.taken {
        let root = copy.join("host");
        changed += usize::from(settings(&root) != before);
        let recovered = revive(&copy).recover(&|| false);
        assert!(matches!(&recovered[..], [Recovery::GivenBack { devices, .. }] if devices.is_empty()));
        assert!(recovered[0].to_string().contains("without putting settings of the host back"));
        assert_eq!(settings(&root), before, "{}", copy.display());
        assert!(revive(&copy).recover(&|| false).is_empty());
    }
    assert!(changed > 25, "{changed}");
}

#[test]
fn what_somebody_else_has_changed_since_stays() {
    let fake = host();
    let bound = tune(&fake, "vm", &everything(100)).unwrap();
    fake.file("sys/devices/system/cpu/cpufreq/policy2/scaling_governor", "schedutil\n");
    fake.file("sys/fs/cgroup/init.scope/cpuset.cpus", "3\n");
    fake.file(&format!("{PAGES}/nr_hugepages"), "140\n");
    // Its session has ended.
    fs::remove_dir_all(fake.root().join("sys/fs/cgroup/user.slice/user-1001.slice")).unwrap();
    bound.give_back().unwrap();
    assert_eq!(text(&fake, "sys/devices/system/cpu/cpufreq/policy2/scaling_governor"), "schedutil");
    assert_eq!(pages(&fake), 16 + 30);
    assert!(fake.journal_names().is_empty());
}

#[test]
fn a_group_that_has_few_cpus_gets_no_others() {
    let isolation = WantedTuning { fast: None, pages: None, ..everything(1) };
    for (now, expected) in [("1", "1"), ("1-2", "1"), ("0-3", "0-1"), ("", "0-1"), ("3", "0-1")] {
        let fake = host();
        fake.file("sys/fs/cgroup/cgroup.subtree_control", "cpu cpuset memory\n");
        for group in ["init.scope", "user.slice"] {
            fake.file(&format!("sys/fs/cgroup/{group}/cpuset.cpus"), "\n");
        }
        let file = "sys/fs/cgroup/system.slice/cpuset.cpus";
        fake.file(file, &format!("{now}\n"));
        let bound = tune(&fake, "vm", &isolation).unwrap();
        assert_eq!(text(&fake, file), expected, "{now}");
        bound.give_back().unwrap();
        // Linux before 6.12 takes no empty list.
        assert_eq!(text(&fake, file), if now.is_empty() { "0-3" } else { now });
    }
}

#[test]
fn a_controller_that_somebody_else_has_begun_to_use_stays() {
    let fake = host();
    let bound = tune(&fake, "vm", &WantedTuning { fast: None, pages: None, ..everything(1) }).unwrap();
    fake.file("sys/fs/cgroup/system.slice/cgroup.subtree_control", "cpu cpuset memory\n");
    bound.give_back().unwrap();
    assert_eq!(text(&fake, "sys/fs/cgroup/cgroup.subtree_control"), "cpu memory cpuset");
    assert_eq!(text(&fake, "sys/fs/cgroup/system.slice/cpuset.cpus"), "0-3");
    assert!(fake.journal_names().is_empty());
}

#[test]
fn a_step_that_fails_undoes_all_others() {
    for (at, what, said) in [
        ("nr_hugepages", Fault::Refuse, "resource busy"),
        // It is ended after a minute, and is no device that hangs for good.
        ("nr_hugepages=110", Fault::Hang, "finds memory for 0 of 94 pages"),
        ("nr_hugepages", Fault::Deny, "leave `hugepages` out of [host]"),
        ("subtree_control=+cpuset", Fault::Deny, "leave `isolate` out of [host]"),
        ("system.slice/cpuset.cpus", Fault::Hang, "did not end within"),
        ("scaling_governor", Fault::Deny, "run with `sudo`, or leave `governor` out of [host]"),
    ] {
        let fake = host();
        let before = settings(&fake.root());
        fake.fault(at, what);
        let error = tune(&fake, "vm", &everything(100)).unwrap_err();
        assert!(error.to_string().contains(said), "{at}: {error}");
        if what != Fault::Hang || at.starts_with("nr_hugepages") {
            assert_eq!(settings(&fake.root()), before, "{at}");
            assert!(fake.journal_names().is_empty(), "{at}");
        }
    }
}

#[test]
fn groups_that_end_meanwhile_are_no_trouble() {
    for at in ["init.scope/cpuset.cpus", "user.slice/user-1000.slice/cgroup.subtree_control=+cpuset"] {
        let fake = host();
        fake.fault(at, Fault::Vanish);
        let bound = tune(&fake, "vm", &WantedTuning { fast: None, pages: None, ..everything(1) }).unwrap();
        bound.give_back().unwrap();
        assert!(fake.journal_names().is_empty());
    }
}

#[test]
fn pages_that_were_promised_are_not_free_in_a_node_either() {
    let fake = host();
    let node = "sys/devices/system/node/node0/hugepages/hugepages-2048kB";
    fake.file(&format!("{node}/nr_hugepages"), "16\n");
    fake.file(&format!("{node}/free_hugepages"), "10\n");
    let pages = Some(WantedPages { pool: Pool { node: Some(0), ..POOL }, count: 100 });
    let bound = tune(&fake, "vm", &WantedTuning { pages, ..WantedTuning::default() }).unwrap();
    assert_eq!(text(&fake, &format!("{node}/nr_hugepages")), (16 + 94).to_string());
    bound.give_back().unwrap();
    assert_eq!(text(&fake, &format!("{node}/nr_hugepages")), "16");
}

#[test]
fn a_record_that_cannot_be_locked_is_told_and_left_to_the_next_start() {
    let fake = host();
    let before = settings(&fake.root());
    let bound = tune(&fake, "vm", &everything(100)).unwrap();
    let aside = fake.journals().with_extension("aside");
    fs::rename(fake.journals(), &aside).unwrap();
    fs::write(fake.journals(), "in the way").unwrap();
    let error = bound.give_back().unwrap_err().to_string();
    assert!(error.contains("settings of the host were not put back; the next start does"), "{error}");
    fs::remove_file(fake.journals()).unwrap();
    fs::rename(&aside, fake.journals()).unwrap();
    assert_eq!(fake.manager().recover(&|| false).len(), 1);
    assert_eq!(settings(&fake.root()), before);
}

#[test]
fn too_few_pages_are_given_back_with_advice() {
    let fake = host();
    fake.file(&format!("{PAGES}/most"), "50");
    let error = tune(&fake, "vm", &everything(100)).unwrap_err().to_string();
    for words in ["2M pages", "34 of 94 pages", "`hugepagesz=2M hugepages=94`"] {
        assert!(error.contains(words), "{error}");
    }
    assert!(fake.log().contains(&"proc/sys/vm/compact_memory=1".to_owned()));
    assert_eq!(pages(&fake), 16);
}

#[test]
fn an_interrupted_start_changes_nothing() {
    let fake = host();
    let before = settings(&fake.root());
    let asked = std::cell::Cell::new(0);
    let interrupted = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    let error = fake.manager().tune("vm", &everything(100), &interrupted).unwrap_err();
    assert!(matches!(error, BindError::Interrupted));
    assert!(!fake.log().is_empty());
    assert_eq!(settings(&fake.root()), before);
}

#[test]
fn what_the_host_lacks_is_told_before_a_change() {
    type Spoil = fn(&Fake);
    let cases: [(Spoil, &str); 6] = [
        (
            |fake| fs::remove_file(fake.root().join("sys/fs/cgroup/cgroup.controllers")).unwrap(),
            "of version 2",
        ),
        (|fake| fake.file("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"), "`cpuset` is not offered"),
        (|fake| fake.file("proc/self/cgroup", "3:cpuset:/\n"), "does not tell the control group"),
        (
            |fake| fs::remove_file(fake.root().join("sys/devices/system/cpu/cpu2/cpufreq")).unwrap(),
            "no cpufreq",
        ),
        (
            |fake| {
                fake.file("sys/devices/system/cpu/cpufreq/policy2/scaling_available_governors", "powersave\n")
            },
            "no governor `performance`",
        ),
        (|fake| fs::remove_dir_all(fake.root().join(PAGES)).unwrap(), "use another size for `hugepages`"),
    ];
    for (spoil, expected) in cases {
        let fake = host();
        spoil(&fake);
        let wanted = WantedTuning { fast: Some(cpus("2")), ..everything(100) };
        let error = tune(&fake, "vm", &wanted).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let found = fake.manager().untunable(&wanted);
        assert!(found.len() == 1 && error == found[0].to_string(), "{found:?}");
        assert!(fake.log().is_empty() && fake.journal_names().is_empty());
    }
}

/// What a machine may do, one after the other.
#[derive(Debug, Clone, Copy)]
enum Event {
    Start(usize, u64, &'static str),
    End(usize),
    Crash(usize),
    Recover,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0usize..3, 7u64..60, prop::sample::select(vec!["0", "0-1", "0,2", "0-3"]))
            .prop_map(|(machine, pages, left)| Event::Start(machine, pages, left)),
        2 => (0usize..3).prop_map(Event::End),
        1 => (0usize..3).prop_map(Event::Crash),
        1 => Just(Event::Recover),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Machines come, go and crash in any order: each that runs has its pages, its CPUs and the governor, and when all are gone, the
    /// host is as it was.
    #[test]
    fn the_last_machine_puts_everything_back(events in prop::collection::vec(event(), 1..14)) {
        let fake = host();
        fake.file(&format!("{PAGES}/free_hugepages"), "0\n");
        fake.file(&format!("{PAGES}/resv_hugepages"), "0\n");
        let before = settings(&fake.root());
        let mut running: [Option<(Bound, u64, CpuList)>; 3] = [None, None, None];
        for event in events {
            match event {
                Event::Start(machine, count, left) => if running[machine].is_none() {
                    fake.manager().recover(&|| false);
                    let wanted = WantedTuning {
                        for_others: Some(cpus(left)),
                        ..everything(count)
                    };
                    let bound = tune(&fake, &format!("vm{machine}"), &wanted).unwrap();
                    running[machine] = Some((bound, count, cpus(left)));
                }
                Event::End(machine) => if let Some((bound, ..)) = running[machine].take() {
                    bound.give_back().unwrap();
                }
                Event::Crash(machine) => if let Some((bound, ..)) = running[machine].take() {
                    bound.abandon();
                }
                Event::Recover => drop(fake.manager().recover(&|| false)),
            }
            let wanted: u64 = running.iter().flatten().map(|(_, count, _)| *count).sum();
            prop_assert!(pages(&fake) >= 16 + wanted, "{} of {wanted}", pages(&fake));
            if wanted > 0 {
                prop_assert_eq!(text(&fake, "sys/devices/system/cpu/cpufreq/policy2/scaling_governor"), "performance");
                let others = cpus(&text(&fake, "sys/fs/cgroup/system.slice/cpuset.cpus"));
                for (_, _, left) in running.iter().flatten() {
                    prop_assert!(others.without(left).is_empty(), "{others} beside {left}");
                }
            }
        }
        for (bound, ..) in running.into_iter().flatten() {
            bound.give_back().unwrap();
        }
        fake.manager().recover(&|| false);
        prop_assert_eq!(settings(&fake.root()), before);
        prop_assert!(fake.journal_names().is_empty());
    }
}

#[test]
fn a_device_that_stays_awake_is_told_with_what_keeps_it_so() {
    let fake = Fake::new();
    let gpu = address(GPU);
    let at_once = Duration::ZERO;
    fake.attribute(GPU, "power/runtime_status", "suspended\n");
    assert_eq!(fake.files().asleep(&[gpu, address(AUDIO)]), [gpu]);
    assert!(fake.files().sleepless(&[gpu], at_once).is_empty());
    fake.attribute(GPU, "power/runtime_status", "active\n");
    let told = |expected: &str| {
        let told = fake.files().sleepless(&[gpu], at_once);
        assert!(
            told.len() == 1 && told[0].contains("power state D0") && told[0].contains(expected),
            "{told:?}"
        );
    };
    told("0000:01:00.1, which shares its power, is awake as well");
    fake.attribute(AUDIO, "power/runtime_status", "suspended\n");
    told("its driver nouveau has not put it to sleep");
    fake.attribute(GPU, "power/control", "on\n");
    told("echo auto | sudo tee /sys/bus/pci/devices/0000:01:00.0/power/control");
    fs::remove_file(fake.root().join(format!("sys/bus/pci/devices/{GPU}/driver"))).unwrap();
    told("it has no driver");
}
