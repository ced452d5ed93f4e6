//! Placements on hosts that are made of files, as Linux shows the processors of laptops.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use vocabulary::{CpuList, Topology};

use super::*;
use crate::host::HostFiles;

/// Cores of a kind that share an L3 cache: each core's threads, `;` between cores; who shares the cache; MHz.
type Group = (&'static str, &'static str, u32);

/// Core i7-12700H: six P cores of two threads, two of which reach a little more, and eight E cores.
const ALDER_LAKE: &[Group] = &[
    ("0-1;2-3;6-7;10-11", "0-19", 4600),
    ("4-5;8-9", "0-19", 4700),
    ("12;13;14;15;16;17;18;19", "0-19", 3500),
];
/// Core Ultra 5 225U: two P cores of two threads and eight E cores; two more without an L3 cache, in a die of their own.
const ARROW_LAKE: &[Group] =
    &[("0-1;2-3", "0-11", 4800), ("4;5;6;7;8;9;10;11", "0-11", 3800), ("12;13", "", 2400)];
/// Ryzen 7 4800H: two complexes of four cores; the second threads come last.
const ZEN_2: &[Group] =
    &[("0,8;1,9;2,10;3,11", "0-3,8-11", 4200), ("4,12;5,13;6,14;7,15", "4-7,12-15", 4200)];
/// Ryzen AI 9 HX 370: four cores, and eight compact ones under a cache of their own, without a word of their kind but the
/// frequency.
const STRIX_POINT: &[Group] = &[
    ("0,12;1,13;2,14;3,15", "0-3,12-15", 5157),
    ("4,16;5,17;6,18;7,19;8,20;9,21;10,22;11,23", "4-11,16-23", 3300),
];
/// Core i5-10300H.
const FOUR_CORES: &[Group] = &[("0,4;1,5;2,6;3,7", "0-7", 4500)];
/// Core i5-9300HF with its second threads switched off.
const NO_SMT: &[Group] = &[("0;1;2;3", "0-3", 4100)];

/// Writes such a host. `e_cores` has the list of them, where the kernel tells.
fn sysfs(root: &Path, groups: &[Group], present: &str, e_cores: Option<&str>) {
    let write = |file: String, text: &str| {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    };
    let list = |text: &str| text.parse::<CpuList>().unwrap();
    let all: CpuList =
        groups.iter().flat_map(|(cores, ..)| cores.split(';')).map(list).collect::<Vec<_>>().iter().collect();
    write("sys/devices/system/cpu/online".into(), &all.to_string());
    write("sys/devices/system/cpu/present".into(), present);
    if let Some(e_cores) = e_cores {
        write("sys/devices/cpu_atom/cpus".into(), e_cores);
    }
    for (cores, l3, mhz) in groups {
        for core in cores.split(';') {
            for cpu in list(core).iter() {
                let folder = format!("sys/devices/system/cpu/cpu{cpu}");
                write(format!("{folder}/topology/core_cpus_list"), core);
                write(format!("{folder}/topology/package_cpus_list"), &all.to_string());
                write(format!("{folder}/cache/index0/level"), "1");
                write(format!("{folder}/cache/index0/shared_cpu_list"), core);
                if !l3.is_empty() {
                    write(format!("{folder}/cache/index3/level"), "3");
                    write(format!("{folder}/cache/index3/shared_cpu_list"), l3);
                }
                write(format!("{folder}/cpufreq/cpuinfo_max_freq"), &format!("{mhz}000"));
            }
        }
    }
}

fn host(groups: &[Group], given: &str) -> HostCpus {
    let root = TempDir::new().unwrap();
    let last = groups.iter().map(|(cores, ..)| cores.replace(';', ",").parse::<CpuList>().unwrap());
    let present: CpuList = last.collect::<Vec<_>>().iter().collect();
    let e_cores = if groups == ALDER_LAKE { Some("12-19") } else { None };
    sysfs(root.path(), groups, &present.to_string(), e_cores);
    let given = if given.is_empty() { present } else { given.parse().unwrap() };
    HostFiles::at(root.path()).cpus(given.clone(), given).unwrap()
}

fn shape(sockets: u32, cores: u32, threads: u32) -> Topology {
    Topology { sockets, cores, threads }
}

fn shown(placement: &CpuPlacement) -> (String, String) {
    let vcpus: Vec<String> = placement.vcpus.iter().map(ToString::to_string).collect();
    (vcpus.join(" "), placement.others.as_ref().map(ToString::to_string).unwrap_or_default())
}

#[test]
fn cores_have_cores() {
    for (name, groups, given, topology, vcpus, others) in [
        ("P cores, not that of CPU 0", ALDER_LAKE, "", shape(1, 4, 1), "2-3 4-5 6-7 8-9", "0-1,10-19"),
        ("threads are pairs", ALDER_LAKE, "", shape(1, 4, 2), "2 3 4 5 6 7 8 9", "0-1,10-19"),
        ("all P cores", ALDER_LAKE, "", shape(1, 6, 2), "2 3 4 5 6 7 8 9 10 11 0 1", "12-19"),
        ("sockets are cores, too", ALDER_LAKE, "", shape(2, 1, 1), "2-3 4-5", "0-1,6-19"),
        ("some P cores are given", ALDER_LAKE, "8-15", shape(1, 1, 1), "8-9", "10-15"),
        ("half of a core is given", ALDER_LAKE, "3-6,12", shape(1, 2, 1), "3 4-5", "6,12"),
        ("only E cores are given", ALDER_LAKE, "12-19", shape(1, 4, 1), "12 13 14 15", "16-19"),
        ("all that is given", ALDER_LAKE, "2-3", shape(1, 1, 1), "2", "3"),
        ("P cores by frequency", ARROW_LAKE, "", shape(1, 1, 1), "2-3", "0-1,4-13"),
        ("both P cores", ARROW_LAKE, "", shape(1, 2, 1), "2-3 0-1", "4-13"),
        ("below the cache without CPU 0", ZEN_2, "", shape(1, 3, 2), "4 12 5 13 6 14", "0-3,7-11,15"),
        ("a whole cache", ZEN_2, "", shape(1, 4, 1), "4,12 5,13 6,14 7,15", "0-3,8-11"),
        (
            "the other cache, as CPU 0 is not given",
            ZEN_2,
            "1-5,9-13",
            shape(1, 3, 2),
            "1 9 2 10 3 11",
            "4-5,12-13",
        ),
        ("two caches", ZEN_2, "", shape(1, 6, 1), "4,12 5,13 6,14 7,15 1,9 2,10", "0,3,8,11"),
        ("all cores: others have the second threads", ZEN_2, "", shape(1, 8, 1), "4 5 6 7 1 2 3 0", "8-15"),
        (
            "the fast cores, although CPU 0 is among them",
            STRIX_POINT,
            "",
            shape(1, 4, 2),
            "1 13 2 14 3 15 0 12",
            "4-11,16-23",
        ),
        ("one is left", FOUR_CORES, "", shape(1, 3, 1), "1,5 2,6 3,7", "0,4"),
        ("none is left", FOUR_CORES, "", shape(1, 4, 1), "1 2 3 0", "4-7"),
        ("no thread is left", FOUR_CORES, "", shape(1, 4, 2), "1 5 2 6 3 7 0 4", ""),
        ("one of one thread", NO_SMT, "", shape(1, 1, 1), "1", "0,2-3"),
        ("all of one thread", NO_SMT, "", shape(1, 4, 1), "1 2 3 0", ""),
    ] {
        let (placement, shortage) = auto::place(topology, &host(groups, given));
        assert_eq!(shown(&placement), (vcpus.into(), others.into()), "{name}");
        assert_eq!((placement.choice, shortage), (Choice::Cores, None), "{name}");
    }
}

#[test]
fn who_finds_too_few_cores_shares_them_and_is_told() {
    for (name, groups, given, topology, all, others, words) in [
        (
            "more than P cores",
            ALDER_LAKE,
            "",
            shape(1, 8, 1),
            "0-11",
            "12-19",
            ["guest's 8:", "finds 6 core(s)", "no more cores"],
        ),
        (
            "as many as threads of P cores",
            ALDER_LAKE,
            "",
            shape(1, 12, 1),
            "0-11",
            "12-19",
            ["guest's 12:", "finds 6 core(s)", "share the CPUs 0-11 and may"],
        ),
        (
            "more than threads of P cores",
            ALDER_LAKE,
            "",
            shape(1, 13, 1),
            "0-19",
            "",
            ["guest's 13:", "finds 6 core(s)", "share the CPUs 0-19, slow ones among them"],
        ),
        (
            "two threads each",
            ARROW_LAKE,
            "",
            shape(1, 4, 2),
            "0-13",
            "",
            ["guest's 4 of 2 threads:", "finds 2 core(s)", "slow ones among them"],
        ),
        (
            "all that is given",
            ALDER_LAKE,
            "2-3,14-17",
            shape(1, 4, 1),
            "2-3,14-17",
            "",
            ["guest's 4:", "finds 1 core(s)", "slow ones among them"],
        ),
        (
            "fewer are given",
            ALDER_LAKE,
            "0-5",
            shape(1, 4, 1),
            "0-5",
            "",
            ["guest\'s 4:", "finds 3 core(s)", "no more cores"],
        ),
        (
            "more than cores",
            FOUR_CORES,
            "",
            shape(1, 6, 1),
            "0-7",
            "",
            ["guest\'s 6:", "finds 4 core(s)", "no more cores"],
        ),
        (
            "more than there is",
            NO_SMT,
            "",
            shape(1, 8, 1),
            "0-3",
            "",
            ["guest\'s 8:", "finds 4 core(s)", "share the CPUs 0-3 and may"],
        ),
        (
            "threads of none",
            NO_SMT,
            "",
            shape(1, 2, 2),
            "0-3",
            "",
            ["guest's 2 of 2 threads:", "finds 0 core(s)", "`threads = 1`"],
        ),
        (
            "halves of cores",
            ALDER_LAKE,
            "0,2,12-13",
            shape(1, 1, 2),
            "0,2",
            "12-13",
            ["guest's 1 of 2 threads:", "finds 0 core(s)", "`threads = 1`"],
        ),
    ] {
        let (placement, shortage) = auto::place(topology, &host(groups, given));
        assert_eq!(placement.choice, Choice::Shared, "{name}");
        assert_eq!(
            placement.vcpus,
            vec![all.parse::<CpuList>().unwrap(); topology.count() as usize],
            "{name}"
        );
        assert_eq!(shown(&placement).1, others, "{name}");
        let shortage = shortage.unwrap();
        let said = format!("{}\n{}", shortage.message(), shortage.help());
        for word in words.into_iter().chain([all]) {
            assert!(said.contains(word), "{name}: {word}: {said}");
        }
    }
}

/// An offline CPU is in no list of the kernel's but those of all CPUs; a thread whose sibling is offline is a core.
#[test]
fn offline_cpus_are_not_there() {
    let root = TempDir::new().unwrap();
    sysfs(root.path(), &[("0,4;1;2,6", "0-2,4,6", 4500)], "0-7", None);
    let given: CpuList = "0-2,4,6".parse().unwrap();
    let host = HostFiles::at(root.path()).cpus(given.clone(), given).unwrap();
    assert_eq!(host.present, "0-7".parse().unwrap());
    assert_eq!(shown(&auto::place(shape(1, 2, 1), &host).0), ("1 2,6".into(), "0,4".into()));
    assert_eq!(
        auto::place(shape(1, 3, 2), &host).1.map(|shortage| shortage.help()).unwrap(),
        "ask for no more cores than that, and for one less to leave one to the host"
    );
}

#[test]
fn a_host_that_tells_little_is_read_all_the_same() {
    let root = TempDir::new().unwrap();
    assert_eq!(HostFiles::at(root.path()).cpus(CpuList::of(0), CpuList::of(0)), None);
    let folder = root.path().join("sys/devices/system/cpu");
    fs::create_dir_all(folder.join("cpu0/topology")).unwrap();
    fs::write(folder.join("online"), "0-1\n").unwrap();
    // As of Linux before 5.4.
    fs::write(folder.join("cpu0/topology/thread_siblings_list"), "0-1\n").unwrap();
    let host = HostFiles::at(root.path()).cpus("0-1".parse().unwrap(), "0-1".parse().unwrap()).unwrap();
    assert_eq!(host.online[0].core, "0-1".parse().unwrap());
    assert_eq!((&host.online[1].core, &host.online[1].l3), (&CpuList::of(1), &"0-1".parse().unwrap()));
    assert_eq!((host.online[0].max_khz, host.online[0].efficient), (None, false));
}

mod whole {
    //! From the configuration.

    use super::*;
    use crate::config;
    use crate::finding::Findings;
    use crate::host::KnownCpus;
    use crate::plan::{MachinePlan, report};

    fn planned(cpu: &str, cpus: impl Into<KnownCpus>) -> Result<MachinePlan, Findings> {
        let text =
            format!("[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n[cpu]\n{cpu}\n");
        let config = config::parse(&text, Path::new("/vm/test.toml")).unwrap();
        crate::plan::plan(config, &HostFacts { cpus: cpus.into(), ..HostFacts::default() })
    }

    #[test]
    fn what_is_written_is_obeyed() {
        let cpu = "count = 3\npin = [9, [2, 10], \"3,11\"]";
        let plan = planned(cpu, Some(host(ZEN_2, ""))).unwrap();
        let placement = plan.placement.as_ref().unwrap();
        assert_eq!(placement.choice, Choice::Written);
        assert_eq!(
            shown(placement),
            ("9 2,10 3,11".into(), "0,4-8,12-15".into()),
            "CPU 1 is of the core of CPU 9"
        );
        assert_eq!((placement.first(), plan.warnings), (Some(9), Vec::new()));
        let report = report::report(&planned(cpu, Some(host(ZEN_2, ""))).unwrap(), &[]);
        let text = report.text();
        assert!(text.contains("  vCPU 1 runs on the host's CPU 2,10\n"), "{text}");
        assert!(text.contains("  all other threads run on 0,4-8,12-15\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        let expected = serde_json::json!({ "choice": "written", "vcpus": ["9", "2,10", "3,11"], "others": "0,4-8,12-15" });
        assert_eq!(json["cpus"]["placement"], expected);
    }

    /// On another host than the machine's, none of this one's CPUs matters.
    #[test]
    fn a_host_that_was_not_asked_is_not_judged() {
        let json = |plan: &MachinePlan| -> serde_json::Value {
            serde_json::from_str(&report::report(plan, &[]).json().unwrap()).unwrap()
        };
        // No host has this one.
        let plan = planned("count = 2\npin = [[2, 1023], 3]", KnownCpus::NotAsked).unwrap();
        assert_eq!(plan.warnings, Vec::new());
        let text = report::report(&plan, &[]).text();
        assert!(text.contains("  vCPU 0 runs on the host's CPU 2,1023\n"), "{text}");
        assert!(text.contains("  which CPUs all other threads run on depends on the host\n"), "{text}");
        let expected = serde_json::json!({ "choice": "written", "vcpus": ["2,1023", "3"] });
        assert_eq!(json(&plan)["cpus"]["placement"], expected);

        let plan = planned("count = 200\npin = \"auto\"", KnownCpus::NotAsked).unwrap();
        assert_eq!(plan.warnings, Vec::new());
        let text = report::report(&plan, &[]).text();
        assert!(
            text.contains("  which CPUs vCPUs and all other threads run on depends on the host\n"),
            "{text}"
        );
        assert!(!text.contains("vCPU 0"), "{text}");
        assert_eq!(json(&plan)["cpus"]["placement"], serde_json::json!({ "choice": "open", "vcpus": [] }));

        // Asked in vain: what is written is tried.
        let plan = planned("count = 1\npin = [3]", KnownCpus::NotTold).unwrap();
        assert_eq!((plan.warnings, plan.placement.unwrap().first()), (Vec::new(), Some(3)));
    }

    #[test]
    fn nothing_is_decided_unless_asked() {
        let plan = planned("count = 2", Some(host(ZEN_2, ""))).unwrap();
        assert_eq!((plan.placement, plan.halt_poll_ns), (None, None));
        assert_eq!(planned("halt_poll_ns = 0", None).unwrap().halt_poll_ns, Some(0));
    }

    #[test]
    fn shortages_are_warnings_at_the_line() {
        for (cpu, words) in [
            (
                "count = 9\npin = \"auto\"",
                ["finds 8 core(s) of the host for the guest's 9", "share the CPUs 0-15"],
            ),
            (
                "topology = { cores = 8, threads = 2 }\npin = \"auto\"",
                ["all CPUs that this process may use", "leave one core"],
            ),
            ("pin = [\"0-15\"]", ["all CPUs that this process may use", "leave one core"]),
        ] {
            let plan = planned(cpu, Some(host(ZEN_2, ""))).unwrap();
            assert_eq!(plan.warnings.len(), 1, "{cpu}: {:?}", plan.warnings);
            let warning = plan.warnings[0].to_string();
            assert!(warning.contains("test.toml") && warning.contains("^"), "{warning}");
            for word in words {
                assert!(warning.contains(word), "{cpu}: {word}: {warning}");
            }
        }
    }

    #[test]
    fn cpus_that_cannot_be_had_are_problems_at_the_line() {
        let root = TempDir::new().unwrap();
        sysfs(root.path(), &[("0;1;2;4", "0-2,4", 4000)], "0-5", None);
        let given: CpuList = "0-1".parse().unwrap();
        let cpus =
            |permitted: &str| HostFiles::at(root.path()).cpus(given.clone(), permitted.parse().unwrap());
        for (cpu, words) in [
            (
                "pin = [[0, 3, 5, 9]]",
                vec!["no CPU 9: its CPUs are 0-5", "CPU 3,5 of the host is offline", "cpu3/online"],
            ),
            ("pin = [4]", vec!["cpuset does not permit CPU 4 of the host, but 0-2", "AllowedCPUs"]),
        ] {
            let problems = planned(cpu, cpus("0-2")).unwrap_err();
            let said = problems.to_string();
            assert!(problems.are_about_host() && said.contains("test.toml:6:7"), "{said}");
            for word in words {
                assert!(said.contains(word), "{word}: {said}");
            }
        }
        // Outside of the mask, but permitted: who writes it means it.
        assert!(planned("pin = [2]", cpus("0-2")).is_ok());
        let said = planned("pin = \"auto\"", None).unwrap_err().to_string();
        assert!(said.contains("test.toml:6:7") && said.contains("sysfs"), "{said}");
    }
}
