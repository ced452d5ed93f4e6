//! Whole table sets, judged by three independent readers: a simulator of OVMF's loader, the compiler `iasl` and
//! the interpreter `acpiexec` (both in the package `acpica-tools`).

mod execution;
mod iasl;
mod install;
mod properties;
mod samples;
mod simulator;
mod tools;
