//! Firmware images, NVRAM and fw_cfg contents: bytes and files, no KVM and no devices.
