//! Tests of `optimus-vmm vbios`, on files.

mod find;
mod info;
