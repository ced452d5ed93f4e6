//! Harness of the end-to-end tests: describes a machine once, runs it under `optimus-vmm` or under the peer
//! (QEMU with KVM), watches its serial port, and judges how it ended.
//!
//! Guests need real KVM, so the trials of `tests/e2e` run in the emulated host of `scripts/lab`, where this
//! code finds the lab's directory in `OPTIMUS_LAB_DIR` and root rights. See `docs/testing.md`.

pub mod bad_input;
pub mod binary;
pub mod efi_app;
pub mod image;
pub mod lab;
pub mod logind;
pub mod machine;
pub mod network;
pub mod passthrough;
pub mod peer;
pub mod picture;
pub mod program;
pub mod qmp;
pub mod report;
pub mod run;
pub mod shard;
pub mod shell;
pub mod toml;
pub mod transcript;
pub mod udev;
pub mod uinput;
pub mod usb;
pub mod vbios;
pub mod vfio;
pub mod vmlinux;

/// What a step of a test gives: a value, or why the test failed.
pub type Outcome<T = ()> = Result<T, libtest_mimic::Failed>;

/// Fails a test unless a condition holds.
pub fn ensure(condition: bool, otherwise: impl std::fmt::Display) -> Outcome {
    if condition { Ok(()) } else { Err(otherwise.into()) }
}
