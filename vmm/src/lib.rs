//! The virtual machine monitor: configuration, machine plan, assembly and run loop. All of it serves one command, [`main`], and what is installed beside it, [`write_manual`]; what
//! is `pub` in a module is there for other modules (`scripts/modules` says for which), and the compiler finds what none of them uses.
#![allow(unreachable_pub, reason = "the modules are private; what they offer to each other is pub in them")]

mod affinity;
mod bench;
mod cli;
mod code43;
mod command;
mod config;
mod console;
mod control;
mod cpu;
mod ctl;
mod descriptors;
mod detach;
mod device;
mod doctor;
mod evdev;
mod events;
mod explain;
mod finding;
mod guest_input;
mod host;
mod init;
mod kvm;
mod log;
mod machine;
mod manual;
mod memory;
mod outcome;
mod output;
mod plan;
mod power_supply;
mod privileges;
mod programs;
mod screenshot;
mod service;
mod session;
mod setup;
mod signals;
mod sleep;
mod socket;
mod terminal;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod timer;
mod topology;
mod usb;
mod vbios;
mod vfio;
mod vnc;
mod watch;
mod wrapping;

/// Makes man pages and completions below a folder.
pub use manual::write as write_manual;

pub use command::main;
