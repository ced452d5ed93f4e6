//! `[[shmem]]` from its section to the plan and its report.

use std::path::Path;

use vocabulary::ByteSize;

use crate::config;
use crate::device::{Shmem, Spec};
use crate::host::HostFacts;
use crate::plan::{MachinePlan, plan, report};

fn planned(text: &str) -> Result<MachinePlan, String> {
    let text = format!("[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n{text}");
    let config = config::parse(&text, Path::new("/vm/test.toml")).map_err(|error| error.to_string())?;
    plan(config, &HostFacts::default()).map_err(|error| error.to_string())
}

#[test]
fn a_screen_gives_the_size_and_looking_glass_the_file() {
    for (text, path, mib, client) in [
        ("for = \"1920x1080\"", "/dev/shm/looking-glass", 32, "looking-glass-client"),
        ("for = \"1920x1080\"\nhdr = true", "/dev/shm/looking-glass", 64, "looking-glass-client"),
        (
            "size = \"256M\"\npath = \"/dev/kvmfr0\"",
            "/dev/kvmfr0",
            256,
            "looking-glass-client -f /dev/kvmfr0",
        ),
        ("size = \"1M\"\npath = \"m\"", "/vm/m", 1, "looking-glass-client -f /vm/m"),
    ] {
        let plan = planned(&format!("[[shmem]]\n{text}\n")).unwrap();
        let shmem = plan.devices.one::<Shmem>().unwrap();
        assert_eq!((shmem.path.as_path(), shmem.size), (Path::new(path), ByteSize::from_mib(mib)), "{text}");
        assert_eq!(shmem.client(), client);
    }
}

#[test]
fn each_has_a_function_without_interrupt_and_its_line_in_the_plan() {
    let plan = planned(
        "[[shmem]]\nfor = \"2560x1600\"\naddress = \"00:0a.0\"\n[[shmem]]\nsize = \"2M\"\npath = \"/dev/shm/b\"\n",
    );
    let plan = plan.unwrap();
    let shmems: Vec<_> = plan.devices.of::<Shmem>().map(Spec::describe).collect();
    assert_eq!(
        shmems,
        ["shared memory shmem[0] /dev/shm/looking-glass, 64M", "shared memory shmem[1] /dev/shm/b, 2M"]
    );
    let text = report::report(&plan, &[]).text();
    let line = text.lines().find(|line| line.contains("00:0a.0")).unwrap();
    assert!(line.contains("shared memory shmem[0]") && !line.contains("INT"), "{line}");
    assert!(text.contains("/dev/shm/looking-glass  64 MiB"), "{text}");
    assert!(text.contains("looking-glass-client -f /dev/shm/b"), "{text}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (text, words) in [
        ("[[shmem]]\n", "has no size"),
        ("[[shmem]]\nfor = \"1920x1080\"\nsize = \"32M\"\n", "remove either"),
        ("[[shmem]]\nsize = \"32M\"\nhdr = true\n", "there is none"),
        ("[[shmem]]\nsize = \"48M\"\n", "`size = \"64M\"`"),
        ("[[shmem]]\nsize = \"512K\"\n", "`size = \"1M\"`"),
        ("[[shmem]]\nsize = \"8G\"\n", "`size = \"4G\"`"),
        ("[[shmem]]\nsize = \"1M\"\n[[shmem]]\nsize = \"1M\"\n", "has the same file"),
        ("[[shmem]]\nfor = \"big\"\n", "resolution"),
    ] {
        let error = planned(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}
