//! Whole table sets, judged by three independent readers: a simulator of OVMF's loader, the compiler `iasl` and
//! the interpreter `acpiexec` (both in the package `acpica-tools`).

mod battery;
mod execution;
mod iasl;
mod install;
mod interpreter;
mod opregion;
pub(crate) mod properties;
pub(crate) mod samples;
pub(crate) mod simulator;
mod tools;
mod tpm;
mod vrom;
