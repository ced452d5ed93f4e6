//! OVMF fetches GRUB from the network: by PXE with TFTP, and by HTTP.

use std::path::Path;

use tests::machine::Machine;
use tests::network::Outside;
use tests::run::Options;
use tests::{Outcome, lab};

/// GRUB says where it is from, and switches the machine off.
const GRUB_CFG: &str = "serial --unit=0\nterminal_output serial\necho \"NETWORK-GRUB $prefix\"\nhalt\n";

/// dnsmasq(8): addresses, and what to fetch from where. Architectures are those of RFC 5970 and its registry: 7 is x86-64 by
/// TFTP, 16 by HTTP.
fn server(folder: &Path) -> Vec<String> {
    let mut words: Vec<String> = [
        "--keep-in-foreground --conf-file=/dev/null --user=root --port=0 --interface=outer --bind-interfaces",
        "--dhcp-range=10.0.2.50,10.0.2.60,1h --dhcp-leasefile=/dev/null --enable-tftp",
        "--dhcp-match=set:tftp,option:client-arch,7 --dhcp-boot=tag:tftp,grubnet.efi",
        "--dhcp-match=set:http,option:client-arch,16 --dhcp-boot=tag:http,http://10.0.2.2/grubnet.efi",
        "--dhcp-option-force=tag:http,60,HTTPClient",
    ]
    .iter()
    .flat_map(|words| words.split(' '))
    .map(str::to_owned)
    .collect();
    words.push(format!("--tftp-root={}", folder.display()));
    words
}

/// A card that is first in the boot order, and nothing else to boot from.
pub(super) fn boots() -> Outcome {
    let mut outside = Outside::start()?;
    outside.add_tap()?;
    let folder = tempfile::tempdir()?;
    std::fs::copy(lab::guest("grubnet.efi")?, folder.path().join("grubnet.efi"))?;
    // Where Debian's GRUB looks, whatever it is fetched by.
    std::fs::create_dir(folder.path().join("grub"))?;
    std::fs::write(folder.path().join("grub/grub.cfg"), GRUB_CFG)?;
    let words = server(folder.path());
    outside.serve("dnsmasq", &words.iter().map(String::as_str).collect::<Vec<_>>())?;
    let path = folder.path().display().to_string();
    outside.serve("python3", &["-m", "http.server", "--directory", &path, "80"])?;

    let net = format!("[[net]]\n{}\nboot_index = 0\n", super::TAP);
    // Without PXE, OVMF goes on with HTTP.
    let without_pxe = ["IPv4", "IPv6"].map(|version| {
        format!("[[fw_cfg]]\nname = \"opt/org.tianocore/{version}PXESupport\"\nstring = \"n\"\n")
    });
    for (way, sections) in [("tftp", net.clone()), ("http", format!("{net}{}", without_pxe.concat()))] {
        let mut machine = Machine::new()?;
        machine.sections = sections;
        let finished = machine.run(&Options::default().within(400))?;
        finished.printed(&format!("NETWORK-GRUB ({way},10.0.2.2)/grub"))?;
        finished.status(0)?;
    }
    Ok(())
}
