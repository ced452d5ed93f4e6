//! Tests of `optimus-vmm vbios`, on files.

mod info;
