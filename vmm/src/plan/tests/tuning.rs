//! `[host]`, on hosts of four CPUs.

use vocabulary::CpuList;

use super::config;
use crate::config::OnSleep;
use crate::finding::Findings;
use crate::host::{HostCpu, HostCpus, HostFacts, Pool};
use crate::plan::report::report;
use crate::plan::{MachinePlan, plan};

fn cpus(text: &str) -> CpuList {
    CpuList::from_kernel(text).unwrap()
}

/// Four CPUs, the threads of two cores, in these nodes.
fn host(nodes: &[&str]) -> HostFacts {
    let cpu = |number: u32| HostCpu {
        number,
        core: if number < 2 { cpus("0-1") } else { cpus("2-3") },
        l3: cpus("0-3"),
        efficient: false,
        max_khz: None,
    };
    let host = HostCpus {
        online: (0..4).map(cpu).collect(),
        present: cpus("0-3"),
        given: cpus("0-3"),
        permitted: cpus("0-3"),
        nodes: (0..).zip(nodes.iter().map(|list| cpus(list))).collect(),
    };
    HostFacts { cpus: Some(host).into(), ..HostFacts::default() }
}

fn planned(text: &str, facts: &HostFacts) -> Result<MachinePlan, Findings> {
    plan(config(text), facts)
}

#[test]
fn nothing_is_changed_unasked() {
    let plan = planned("[cpu]\npin = [[2]]", &host(&["0-3"])).unwrap();
    assert!(plan.tuning.is_empty() && plan.on_sleep == OnSleep::Ignore);
    assert!(!report(&plan, &[]).text().contains("The host, while"));
}

#[test]
fn settings_follow_the_cpus_of_vcpus() {
    let text = "[cpu]\ncount = 1\npin = [[2]]\n[machine]\nmemory = \"1G\"\nhugepages = \"2M\"\n\
                [host]\ngovernor = \"performance\"\nisolate = true\nhugepages = \"allocate\"\non_sleep = \"pause\"\n";
    for (nodes, node) in [
        (&["0-3"][..], None),
        (&["0-1", "2-3"], Some(1)),
        (&["0", "1-3"], Some(1)),
        (&["0,2", "1,3"], Some(0)),
    ] {
        let plan = planned(text, &host(nodes)).unwrap();
        // The other thread of its core is nobody's.
        assert_eq!(plan.tuning.for_others, Some(cpus("0-1")));
        assert_eq!(plan.tuning.fast, Some(cpus("2")));
        let pages = plan.tuning.pages.unwrap();
        assert_eq!((pages.count, pages.pool), (512, Pool { kib: 2048, node }));
        assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
        let told = report(&plan, &[]).text();
        for line in [
            "  the governor is `performance` on the CPUs 2\n",
            "  other programs have the CPUs 0-1 only\n",
            " has 512 for the guest\n",
            "  before it sleeps, the guest is paused\n",
        ] {
            assert!(told.contains(line), "{told}");
        }
    }
    let untold = HostFacts { cpus: None.into(), ..HostFacts::default() };
    let problem = planned("[host]\ngovernor = \"performance\"", &untold).unwrap_err().to_string();
    assert!(problem.contains("test.toml:6:12") && problem.contains("leave `governor` out"), "{problem}");
    let isolated = "[cpu]\ncount = 1\npin = [[2]]\n[host]\nisolate = true\n";
    let problem = planned(isolated, &untold).unwrap_err().to_string();
    assert!(problem.contains("leave `isolate` out"), "{problem}");
    // Nobody has looked at its CPUs.
    let plan = planned(text, &HostFacts::unasked()).unwrap();
    assert!(report(&plan, &[]).text().contains("other programs have the CPUs that the host has only"));
}

#[test]
fn without_pin_all_cpus_are_fast_and_spread_vcpus_have_no_node() {
    let plan = planned("[host]\ngovernor = \"performance\"", &host(&["0-1", "2-3"])).unwrap();
    assert_eq!(plan.tuning.fast, Some(cpus("0-3")));
    let text = "[cpu]\ncount = 2\npin = [[0], [2]]\n[machine]\nhugepages = \"2M\"\n[host]\nhugepages = \"allocate\"\n";
    let plan = planned(text, &host(&["0-1", "2-3"])).unwrap();
    assert_eq!(plan.tuning.pages.unwrap().pool.node, None);
}

#[test]
fn isolation_leaves_the_host_something() {
    let text = "[cpu]\ncount = 4\npin = [[0], [1], [2], [3]]\n[host]\nisolate = true\n";
    let problems = planned(text, &host(&["0-3"])).unwrap_err();
    assert!(problems.are_about_host());
    let problems = problems.to_string();
    for words in ["test.toml:9:11", "would leave none", "leave one core at least out of `pin`"] {
        assert!(problems.contains(words), "{problems}");
    }
}

#[test]
fn a_lent_device_keeps_the_host_awake() {
    let device = "[dgpu]\nhost = \"0000:01:00.0\"\n";
    for (key, expected, warned) in [
        ("", OnSleep::Refuse, false),
        ("[host]\non_sleep = \"shutdown\"\n", OnSleep::Shutdown, false),
        ("[host]\non_sleep = \"pause\"\n", OnSleep::Pause, true),
        ("[host]\non_sleep = \"ignore\"\n", OnSleep::Ignore, true),
    ] {
        let plan = planned(&format!("{device}{key}"), &HostFacts::default()).unwrap();
        assert_eq!(plan.on_sleep, expected, "{key}");
        let told = plan.warnings.iter().any(|it| it.to_string().contains("the host may sleep while"));
        assert_eq!(told, warned, "{key}: {:?}", plan.warnings);
    }
}
