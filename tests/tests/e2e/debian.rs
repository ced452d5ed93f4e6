//! Debian as people install it: GPT, an EFI system partition with GRUB, systemd; used over the serial port.

use tests::Outcome;
use tests::image;
use tests::lab::Firmware;
use tests::machine::{Format, Machine};
use tests::network::Outside;
use tests::run::{Options, Running, ctl};

use crate::net;
use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("debian_on_raw_logs_in_and_powers_off", 220, raw),
    scenario("debian_on_sata_knows_disk_and_drive", 240, sata),
    scenario("debian_on_qcow2_reboots_and_keeps_its_data", 300, qcow2),
];

const PROMPT: &str = "root@debian:~# ";

pub(crate) fn login(running: &mut Running) -> Outcome {
    running.expect("debian login: ")?;
    running.send("root\n")?;
    running.expect("Password: ")?;
    running.send("optimus\n")?;
    running.expect(PROMPT)?;
    // Fewer escape sequences.
    running.send("export TERM=dumb; bind 'set enable-bracketed-paste off'\n")?;
    running.expect(PROMPT)?;
    Ok(())
}

/// Runs a command in the guest and requires its success; gives its output.
pub(crate) fn shell(running: &mut Running, command: &str) -> Outcome<String> {
    running.send(&format!("{command}; echo \"STATUS\"=$?\n"))?;
    let found = running.expect("(?s)\\n(.*?)STATUS=(\\d+)\\r")?;
    let [_, output, status] = found.as_slice() else { return Err("no output".into()) };
    tests::ensure(status == "0", format!("in the guest, '{command}' ended with status {status}: {output}"))?;
    running.expect(PROMPT)?;
    Ok(output.replace('\r', ""))
}

pub(crate) fn interactive() -> Options {
    Options { interactive: true, ..Options::default().within(900) }
}

/// What the guest's tools make of the hypervisor: `systemd-detect-virt`'s word, whether the processor has its bit, and whether
/// Linux has KVM's clock.
fn hypervisor(running: &mut Running) -> Outcome<(String, bool, bool)> {
    let word = shell(running, "systemd-detect-virt; true")?;
    let bit = shell(running, "grep -c '^flags.* hypervisor' /proc/cpuinfo; true")?;
    let clocks = shell(running, "cat /sys/devices/system/clocksource/clocksource0/available_clocksource")?;
    let word = word.lines().last().unwrap_or_default().trim().to_owned();
    Ok((word, bit.lines().last().unwrap_or_default().trim() != "0", clocks.contains("kvm-clock")))
}

/// The network as people's systems set it up: NetworkManager, which follows the cable, and netplan with systemd's networkd.
fn networks(running: &mut Running) -> Outcome {
    const CARD: &str = "$(basename /sys/bus/virtio/drivers/virtio_net/*/net/*)";
    let managed = shell(
        running,
        &format!(
            "systemctl start NetworkManager && nm-online -q -t 300 && nmcli -g IP4.ADDRESS,IP4.GATEWAY device show {CARD}"
        ),
    )?;
    let is_ours = |text: &str| text.contains("10.0.2.15/24") && text.contains("10.0.2.2");
    tests::ensure(is_ours(&managed), format!("NetworkManager has {managed}"))?;
    for (link, state) in [("down", "^20 "), ("up", "^100 ")] {
        net::ctl(&[link])?;
        let seen = format!("nmcli -g GENERAL.STATE device show {CARD} | grep -q '{state}'");
        shell(running, &format!("timeout 300 sh -c \"until {seen}; do sleep 0.3; done\""))?;
    }
    shell(running, &format!("systemctl stop NetworkManager && ip address flush dev {CARD}"))?;
    shell(
        running,
        "(umask 077; printf '%s\\n' 'network:' '  version: 2' '  ethernets:' '    card:' '      match: {driver: virtio_net}' '      dhcp4: true' \
         >/etc/netplan/card.yaml) && systemctl daemon-reload && systemctl start systemd-networkd",
    )?;
    let planned = shell(
        running,
        &format!(
            "/usr/lib/systemd/systemd-networkd-wait-online -4 --timeout=300 && ip -4 -color=never address show dev {CARD}; ip -color=never route"
        ),
    )?;
    tests::ensure(is_ours(&planned), format!("networkd has {planned}"))
}

/// What `cpuid`, which is on the disk of tools, says of a hypervisor.
fn cpuid(running: &mut Running) -> Outcome<String> {
    shell(running, "mount -o ro /dev/disk/by-id/virtio-tools /mnt")?;
    shell(running, "export LD_LIBRARY_PATH=/mnt/lib")?;
    shell(running, "/mnt/lib/ld-linux-x86-64.so.2 /mnt/bin/cpuid -1 >/tmp/cpuid")?;
    let said = shell(running, "unset LD_LIBRARY_PATH; grep -e hypervisor -e 0x4000000 /tmp/cpuid")?;
    Ok(said.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn raw() -> Outcome {
    let outside = Outside::start()?;
    outside.join()?;
    let machine = Machine::new()?;
    let disk = image::debian(&machine.file("disk.img"), Format::Raw)?.bootable();
    let mut machine = machine.with_disk(disk).with_tools()?;
    machine.cpu_keys = vec!["hypervisor = false".into()];
    machine.sections =
        "[[net]]\n[[fw_cfg]]\nname = \"opt/org.example/word\"\nstring = \"handed over\"\n".into();
    let mut running = machine.start(&interactive())?;
    login(&mut running)?;
    let booted =
        shell(&mut running, "findmnt -no SOURCE,FSTYPE / && uname -r && cat /sys/class/dmi/id/product_name")?;
    tests::ensure(booted.contains("/dev/vda2 ext4"), format!("the root is not the disk's: {booted}"))?;
    let found = hypervisor(&mut running)?;
    tests::ensure(
        found == ("none".into(), false, false),
        format!("without a hypervisor, the guest finds {found:?}"),
    )?;
    let guess = shell(&mut running, "virt-what")?;
    tests::ensure(guess.trim().is_empty(), format!("without a hypervisor, virt-what says {guess}"))?;
    let cpuid = cpuid(&mut running)?;
    tests::ensure(
        cpuid.contains("hypervisor guest status = false") && !cpuid.contains("0x4000000"),
        format!("without a hypervisor, cpuid says {cpuid}"),
    )?;
    let word = shell(
        &mut running,
        "modprobe qemu_fw_cfg && cat /sys/firmware/qemu_fw_cfg/by_name/opt/org.example/word/raw",
    )?;
    tests::ensure(word.contains("handed over"), format!("the fw_cfg item reads {word}"))?;
    networks(&mut running)?;
    let errors = shell(&mut running, "dmesg --level=emerg,alert,crit,err")?;
    // Where Linux finds no hypervisor it expects performance counters, which KVM in the lab has none of.
    let expected = |line: &&str| line.trim().is_empty() || line.contains("perfctr msr");
    let errors: Vec<&str> = errors.lines().filter(|line| !expected(line)).collect();
    tests::ensure(errors.is_empty(), format!("the kernel complains: {errors:?}"))?;
    running.send("systemctl poweroff\n")?;
    let finished = running.wait()?;
    finished.status(0)?;
    finished.printed("reboot: Power down")
}

/// What GRUB and the tools of Linux make of a SATA disk and of a drive.
fn sata() -> Outcome {
    let mut machine = Machine::new()?.with_tools()?;
    let disk = image::debian(&machine.file("disk.qcow2"), Format::Qcow2)?;
    let data = image::empty(&machine.file("data.raw"), Format::Raw, 64, "data")?;
    let disc = image::disc(&machine.file("a.iso"), &[("word", vec![b'x'; 3_000_000])], None)?;
    machine.sections = format!(
        "[[disk]]\npath = \"{}\"\nbus = \"sata\"\nserial = \"S7\"\nmodel = \"ACME DISK\"\nboot_index = 0\n\
         [[disk]]\npath = \"{}\"\nbus = \"sata\"\n[[cdrom]]\npath = \"{}\"\n[[cdrom]]\nempty = true\n",
        disk.path.display(),
        data.path.display(),
        disc.display()
    );
    let mut running = machine.start(&interactive())?;
    login(&mut running)?;
    let mut must = |command: &str, words: &[&str]| {
        let said = shell(&mut running, command)?;
        let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
        tests::ensure(missing.is_empty(), format!("`{command}` does not say {missing:?}: {said}"))
    };
    // Linux looks at disks side by side: which of them is sda is chance.
    must("root=$(findmnt -no SOURCE /) && disk=${root%2} && findmnt -no SOURCE,FSTYPE /", &["2 ext4"])?;
    must("case $disk in /dev/sda) other=sdb ;; /dev/sdb) other=sda ;; esac; echo $disk", &["/dev/sd"])?;
    must(
        "hdparm -I $disk",
        &["ACME DISK", "S7", "48-bit", "FLUSH_CACHE_EXT", "TRIM supported", "Write cache"],
    )?;
    must("smartctl -i $disk; true", &["ACME DISK", "S7", "512 bytes logical, 4096 bytes physical"])?;
    must("hdparm -W0 $disk && hdparm -W1 $disk", &["write-caching =  0 (off)", "write-caching =  1 (on)"])?;
    must("head -c 20000000 /dev/urandom >/root/a && sha256sum /root/a >/root/sum && sync", &[])?;
    must("echo 3 >/proc/sys/vm/drop_caches && sha256sum -c /root/sum", &["OK"])?;
    must("rm /root/a && fstrim -v /", &["trimmed"])?;
    queued(&mut must)?;
    // Those who know SCSI, of the disk, whose commands the kernel translates,
    must("sg_inq $disk; sg_vpd -p ai $disk; sg_readcap -16 $disk", &["ACME DISK", "S7", "lbpme=1"])?;
    must("sg_modes -a $disk && sg_raw $disk 00 00 00 00 00 00", &["Caching", "SCSI Status: Good"])?;
    // (sdparm's status tells that the kernel has no saved values.)
    must("sdparm --clear=WCE $disk && sdparm --get=WCE $disk; true", &["WCE           0"])?;
    must("sdparm --set=WCE $disk && hdparm -W $disk", &["write-caching =  1 (on)"])?;
    // and of the drive with the disc. A command of ten bytes that there is not:
    let drive = "/dev/disk/by-label/CDROM";
    must(&format!("sg_inq {drive}"), &["OPTIMUS", "DVD-ROM", "Peripheral device type: cd/dvd"])?;
    must(
        &format!("sg_raw {drive} ff 0 0 0 0 0 0 0 0 0; true"),
        &["Illegal Request", "Invalid command operation code"],
    )?;
    must(&format!("sg_modes -a {drive} && sdparm {drive}; true"), &["MM capabilities", "D_RAM_R"])?;
    must(&format!("sg_get_config {drive} && sg_readcap {drive}"), &["profile: CD-ROM , currentP=1", "2048"])?;
    must(
        &format!("/usr/lib/udev/cdrom_id {drive}"),
        &["ID_CDROM_MEDIA=1", "ID_CDROM_MEDIA_TRACK_COUNT_DATA=1"],
    )?;
    let tray = |is: &str| -> Outcome {
        let (_, list) = ctl(&["cdrom", "list"])?;
        tests::ensure(list.lines().next().is_some_and(|line| line.contains(is)), list)
    };
    // Its name by the label is gone with the disc.
    must(&format!("drive=$(readlink -f {drive}) && eject $drive"), &[])?;
    tray("tray open")?;
    must("eject -t $drive && until blkid $drive; do sleep 0.2; done", &["iso9660"])?;
    tray("tray closed")?;
    running.send("systemctl poweroff\n")?;
    let finished = running.wait()?;
    finished.status(0)?;
    image::check(&disk)
}

/// 32 commands side by side on the second SATA disk, compared when they are read back; bus mastering is taken away and given back meanwhile.
fn queued(must: &mut impl FnMut(&str, &[&str]) -> Outcome) -> Outcome {
    must("cat /sys/block/sd[ab]/device/queue_depth", &["32\n32"])?;
    must("dmesg | grep -i ncq", &["NCQ (depth 32)"])?;
    must("mkdir -p /tools && mount -o ro /dev/disk/by-id/virtio-tools /tools", &[])?;
    let fio = "/tools/lib/ld-linux-x86-64.so.2 --library-path /tools/lib /tools/bin/fio --filename=/dev/$other --direct=1 \
               --ioengine=libaio --iodepth=32 --bs=4k --size=32M --verify=crc32c-intel --verify_fatal=1 --name=job";
    must(&format!("{fio} --rw=randwrite | grep 'IO depths'"), &["32="])?;
    must(
        &format!(
            "( {fio} --rw=randrw --time_based --runtime=20 >/root/fio 2>&1; echo FIO=$? >>/root/fio ) & true"
        ),
        &[],
    )?;
    let set = |bits: &str| {
        format!(
            "printf '{bits}' | dd of=/sys/bus/pci/devices/0000:00:1f.2/config bs=1 seek=4 conv=notrunc status=none"
        )
    };
    let (off, on) = (set("\\002"), set("\\006"));
    must(&format!("for i in 1 2 3 4 5; do sleep 2; {off}; {on}; done; wait; cat /root/fio"), &["FIO=0"])?;
    must("if dmesg | grep -i -e 'I/O error' -e 'ncq disabled'; then false; fi", &[])
}

fn qcow2() -> Outcome {
    let machine = Machine::new()?.with_firmware(Firmware::ALL[3]);
    let disk = image::debian(&machine.file("disk.qcow2"), Format::Qcow2)?.bootable();
    let mut machine = machine.with_disk(disk.clone());
    machine.cpu_keys = vec!["hide_hypervisor = true".into()];
    let mut running = machine.start(&interactive())?;
    login(&mut running)?;
    shell(&mut running, "head -c 20000000 /dev/urandom >/root/data && md5sum /root/data >/root/sum && sync")?;
    running.send("systemctl reboot\n")?;
    login(&mut running)?;
    shell(&mut running, "md5sum -c /root/sum")?;
    let found = hypervisor(&mut running)?;
    tests::ensure(
        found == ("vm-other".into(), true, false),
        format!("with KVM hidden, the guest finds {found:?}"),
    )?;
    running.send("systemctl poweroff\n")?;
    running.expect("reboot: Power down")?;
    let finished = running.wait()?;
    finished.status(0)?;
    image::check(&disk)
}
