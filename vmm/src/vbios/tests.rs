//! Tests of `optimus-vmm vbios`, on files and on made-up GPUs.

mod dump;
mod find;
mod info;
mod prom;
