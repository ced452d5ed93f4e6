//! Commands that look at the machine as a whole and at its processors.

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::{Command, Context, Nothing, quick};
use crate::control::machine::{Msrs, PassedDevice, Schedule};

#[derive(Serialize, JsonSchema)]
struct Name {
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct Identity {
    #[serde(rename = "UUID")]
    #[schemars(with = "String")]
    uuid: Uuid,
}

/// How the machine is. QMP knows the first two.
#[derive(Serialize, JsonSchema)]
pub(in crate::control) struct Status {
    running: bool,
    pub(super) status: &'static str,
    name: String,
    pid: u32,
    /// In seconds.
    uptime: u64,
    vcpus: usize,
    /// Of each vCPU.
    schedule: Vec<Schedule>,
    /// In bytes.
    memory: u64,
    exits: u64,
    msrs: Msrs,
    resets: u64,
    screen: Screen,
    devices: Vec<PassedDevice>,
    /// What disks failed to do, for which the machine was stopped: it is done again when the machine goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<Vec<String>>,
    /// What the guest told of its crash since the last reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    crash: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Screen {
    present: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    shown: Option<bool>,
    /// Why nothing is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Kvm {
    enabled: bool,
    present: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Cpu {
    pub(super) cpu_index: usize,
    /// Its thread's, which `taskset` and the scheduler know it by.
    pub(super) thread_id: i32,
    qom_path: String,
    qom_type: &'static str,
    target: &'static str,
    props: Place,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Place {
    socket_id: usize,
    core_id: usize,
    thread_id: usize,
}

pub(super) fn commands() -> Vec<Command> {
    vec![
        quick("query-name", |context, Nothing {}| Ok(Name { name: context.machine.facts.name.clone() })),
        quick("query-uuid", |context, Nothing {}| Ok(Identity { uuid: context.machine.facts.uuid })),
        quick("query-status", |context, Nothing {}| Ok(status(context))),
        quick("query-kvm", |_, Nothing {}| Ok(Kvm { enabled: true, present: true })),
        quick("query-cpus-fast", |context, Nothing {}| Ok(cpus(context))),
    ]
}

/// How the machine is.
pub(in crate::control) fn status(context: &Context<'_>) -> Status {
    let Context { machine, announcer } = context;
    let stopped = announcer.stopped();
    let screen = match &machine.screen {
        None => Screen { present: false, shown: None, reason: None },
        Some(screen) => {
            let reason = screen.blank_reason();
            Screen { present: true, shown: Some(reason.is_none()), reason }
        }
    };
    let facts = &machine.facts;
    Status {
        running: stopped.is_none(),
        status: stopped.unwrap_or("running"),
        name: facts.name.clone(),
        pid: std::process::id(),
        uptime: machine.began.elapsed().as_secs(),
        vcpus: facts.cpu.count(),
        schedule: (machine.schedules)(),
        memory: facts.memory,
        exits: (machine.exits)(),
        msrs: (machine.msrs)(),
        resets: announcer.resets(),
        screen,
        devices: facts.devices.clone(),
        failed: announcer.failed(),
        crash: announcer.crash(),
    }
}

/// The processors, in the order of the topology: threads of a core lie together, and cores of a socket.
pub(super) fn cpus(context: &Context<'_>) -> Vec<Cpu> {
    let shape = context.machine.facts.cpu;
    let (threads, cores) = (shape.threads.max(1), shape.cores.max(1));
    let described = |(index, thread_id): (usize, i32)| Cpu {
        cpu_index: index,
        thread_id,
        qom_path: format!("/machine/unattached/device[{index}]"),
        qom_type: "host-x86_64-cpu",
        target: "x86_64",
        props: Place {
            socket_id: index / threads / cores,
            core_id: index / threads % cores,
            thread_id: index % threads,
        },
    };
    (context.machine.threads)().into_iter().enumerate().map(described).collect()
}
