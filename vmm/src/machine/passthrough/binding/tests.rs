//! What is in the way of devices, with the lines that want them.

use std::path::Path;

use uuid::Uuid;

use super::findings;
use crate::config;
use crate::finding::Findings;
use crate::host::{HostFacts, MdevError, NotLent, Obstacle, SriovError, Unready};
use crate::outcome::{Failure, status};
use crate::plan::plan;

const TEXT: &str = "\
[firmware]
code = \"c.fd\"
[dgpu]
host = \"01:00.0\"
[igpu]
parent = \"00:02.0\"
type = \"i915-GVTg_V5_4\"
[[vfio]]
host = \"03:00.0\"
[[vfio]]
manage = true
host = \"04:00.0\"
";

#[test]
fn each_obstacle_has_the_line_that_wants_the_device() {
    let config = config::parse(TEXT, Path::new("/vm/test.toml")).unwrap();
    let plan = plan(config, &HostFacts::default()).unwrap();
    let device = |index: usize| plan.passthrough[index].host;
    let missing = |index: usize| Unready::Missing { address: device(index).function().unwrap() };
    let new = plan.passthrough[1].create.clone().unwrap();
    let no_type = MdevError::NoType { parent: new.parent.clone(), kind: new.kind, offers: Vec::new() };
    let no_parent =
        MdevError::NoParent { parent: new.parent, why: "it is old".into(), cure: "buy another".into() };
    let obstacle = |index: usize, why: NotLent| Obstacle { device: device(index), why };
    let taken = NotLent::Taken { device: device(2), machine: "other".into(), pid: 7 };
    let obstacles = [
        obstacle(3, missing(3).into()),
        obstacle(1, no_type.into()),
        obstacle(1, no_parent.into()),
        obstacle(2, taken),
        obstacle(0, missing(0).into()),
    ];
    let problems = Findings::check(findings(&plan, &obstacles)).unwrap_err();
    let lines: Vec<_> = problems.iter().map(|problem| problem.location().unwrap().line).collect();
    assert_eq!(lines, [4, 6, 7, 9, 12], "{problems}");
    let shown = problems.to_string();
    for part in [
        "/vm/test.toml:4:8: this host has no PCI device 0000:01:00.0: `lspci -D` lists those it has",
        "/vm/test.toml:6:10: 0000:00:02.0 makes no mediated devices: it is old; buy another",
        "/vm/test.toml:7:8: 0000:00:02.0 offers no type i915-GVTg_V5_4",
        "/vm/test.toml:9:8: 0000:03:00.0 belongs to the machine other, which is running (process 7)",
        "5 problems",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    assert_eq!(Failure::from(problems).status(), status::HOST);
}

#[test]
fn a_virtual_function_is_blamed_on_its_parent_or_its_type() {
    let text = "[firmware]\ncode = \"c.fd\"\n[igpu]\nparent = \"00:02.0\"\ntype = \"sriov\"\n";
    let plan = plan(config::parse(text, Path::new("/vm/test.toml")).unwrap(), &HostFacts::default()).unwrap();
    let (parent, device) = (plan.passthrough[0].parent.unwrap(), plan.passthrough[0].host);
    for (why, line) in [(SriovError::Incapable { parent }, 5), (SriovError::NoDriver { parent }, 4)] {
        let problems = findings(&plan, &[Obstacle { device, why: why.into() }]);
        assert_eq!(problems[0].location().unwrap().line, line);
    }
}

#[test]
fn a_device_that_exists_is_blamed_on_its_uuid() {
    let text = "[firmware]\ncode = \"c.fd\"\n[igpu]\nmdev = \"af5972fb-5530-41a7-0000-fd836204445b\"\n";
    let plan = plan(config::parse(text, Path::new("/vm/test.toml")).unwrap(), &HostFacts::default()).unwrap();
    let why = MdevError::Missing { uuid: Uuid::from_u128(1) }.into();
    let problems = findings(&plan, &[Obstacle { device: plan.passthrough[0].host, why }]);
    assert_eq!(problems[0].location().unwrap().line, 4);
}
