//! `path`: the host's TPM, which here is swtpm(8) behind the proxy of the host's kernel (Linux' tpm_vtpm_proxy), and so behind its resource
//! manager, as a TPM of hardware is.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::lab::call;
use tests::machine::Machine;
use tests::run::Options;
use tests::{Outcome, ensure};

use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[scenario("the_hosts_tpm_is_lent_and_kept", 25, lent)];

/// What the guest measures into PCR 23.
const MEASURED: &str = "00000000000000000000000000000000000000000000000000000000007e57ed";
/// Where the host keeps an object; the guest's tests know it.
const KEPT: &str = "0x81000001";

/// A TPM of the host's. It is gone when this is dropped.
struct HostTpm {
    swtpm: Child,
    folder: tempfile::TempDir,
}

impl HostTpm {
    fn new() -> Outcome<Self> {
        call("modprobe", &["tpm_vtpm_proxy"])?;
        let folder = tempfile::tempdir()?;
        let state = format!("dir={}", folder.path().display());
        let swtpm = Command::new("swtpm")
            .args(["chardev", "--vtpm-proxy", "--tpm2", "--flags", "not-need-init", "--tpmstate", &state])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut tpm = Self { swtpm, folder };
        let begun = Instant::now();
        while !Path::new("/dev/tpmrm0").exists() {
            let over = tpm.swtpm.try_wait()?;
            ensure(over.is_none(), format!("swtpm has ended: {over:?}"))?;
            ensure(begun.elapsed() < Duration::from_secs(120), "the host has no /dev/tpmrm0")?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(tpm)
    }

    /// Runs tpm2 with this TPM, its files in the folder.
    fn tool(&self, words: &str) -> Outcome<String> {
        let mut command = Command::new("tpm2");
        command
            .args(words.split_whitespace())
            .current_dir(&self.folder)
            .env("TPM2TOOLS_TCTI", "device:/dev/tpmrm0");
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure(output.status.success(), format!("'tpm2 {words}' fails: {said}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// PCR 23 in hexadecimal.
    fn measured(&self) -> Outcome<String> {
        digest(&self.tool("pcrread sha256:23")?)
    }
}

impl Drop for HostTpm {
    fn drop(&mut self) {
        let _ = self.swtpm.kill();
        let _ = self.swtpm.wait();
    }
}

/// The digest that pcrread prints of one PCR.
fn digest(text: &str) -> Outcome<String> {
    let digest = super::digests(text).into_values().next();
    Ok(digest.ok_or_else(|| format!("pcrread prints {text}"))?)
}

fn lent() -> Outcome {
    let host = HostTpm::new()?;
    std::fs::write(host.folder.path().join("secret"), "kept by the host")?;
    host.tool(&format!("pcrextend 23:sha256={MEASURED}"))?;
    host.tool("createprimary -Q -C o -G ecc -c primary")?;
    host.tool("create -Q -C primary -i secret -u public -r private")?;
    host.tool("load -Q -C primary -u public -r private -c sealed")?;
    host.tool(&format!("evictcontrol -Q -C o -c sealed {KEPT}"))?;
    host.tool("nvdefine -Q -C o -s 8 0x1500016")?;
    let before = host.measured()?;

    let mut machine = Machine::small(&format!("test=tpmlent extend={MEASURED}"))?.with_tools()?.directly();
    machine.sections = "[tpm]\npath = \"/dev/tpmrm0\"\n".into();
    let finished = machine.run(&Options::default())?;
    finished.passed("tpmlent")?;
    finished
        .ensure(finished.section("kept")?.contains("kept by the host"), "the host's secret is another")?;
    finished
        .ensure(finished.section("sealed")?.contains("kept by the guest"), "the guest's secret is another")?;
    let seen = digest(finished.section("measured")?)?;
    finished.ensure(seen == before, format!("PCR 23 is {before}, and the guest sees {seen}"))?;
    for command in [
        "clear",
        "evictcontrol",
        "nvundefine",
        "clearcontrol",
        "changeeps",
        "dictionarylockout",
        "changeauth",
    ] {
        let said = finished.section(&format!("refused {command}"))?;
        // TPM_RC_COMMAND_CODE.
        finished.ensure(said.contains("0x143)"), format!("{command} is answered with {said}"))?;
    }
    let fourth = finished.section("refused fourth")?;
    // TPM_RC_OBJECT_MEMORY.
    finished.ensure(fourth.contains("0x902)"), format!("a fourth object is answered with {fourth}"))?;
    finished.said("it would change the host's TPM for good")?;

    // The host still has all, and one measurement more.
    finished.ensure(
        host.tool(&format!("unseal -c {KEPT}"))? == "kept by the host",
        "the host's secret is gone",
    )?;
    host.tool("nvreadpublic 0x1500016")?;
    finished.ensure(host.measured()? != before, "what the guest has measured is not in the host's TPM")?;
    finished.ensure(host.tool("getcap handles-transient")?.is_empty(), "objects of the guest's are left")
}
