//! Virtual CPUs: what they say of themselves, their registers and power-on state, their exits and their threads.

pub mod conductor;
pub mod cpuid;
pub mod crash;
pub mod exit;
pub mod msr;
pub mod report;
pub mod schedule;
pub mod slice;
pub mod start;
pub mod state;
pub mod tally;
pub mod thread;

#[cfg(test)]
mod tests;
