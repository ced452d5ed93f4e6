//! Tests over a made-up host.

mod binding;
mod crash;
mod fake;
mod journals;
mod lasting;
mod mdev;
mod reading;
mod sriov;
mod tuning;
mod usb;
mod using;
