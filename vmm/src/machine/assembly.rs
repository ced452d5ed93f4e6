//! From the plan to a live machine: devices, tables, what the firmware or the kernel is given, vCPUs.

pub(super) mod acpi;
pub(super) mod boot_order;
pub(super) mod build;
pub(super) mod cpuid;
pub(super) mod direct;
pub(super) mod hyperv;
pub(super) mod items;
pub(super) mod lacking;
pub(super) mod msrs;
pub(super) mod smbios;
pub(super) mod vcpus;
