//! Certificates of a new TPM's endorsement keys, and of its platform, by swtpm_setup(8). The authority that signs them is made for this one
//! TPM, and kept beside its state: the usual one belongs to the system, and is out of a user's reach.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::error::TpmError;
use super::state::{STATE, State};
use super::workplace::Workplace;
use crate::programs;

/// The authority's folder, in that of the state.
const AUTHORITY: &str = "ca";
/// How long swtpm_setup may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there are no certificates.
enum Failure {
    /// They cannot be made on this host.
    Cannot(String),
    /// They were not made this time: a TPM is for life, and another attempt may succeed.
    Interrupted(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Cannot(error.to_string())
    }
}

/// How to make a TPM with certificates.
#[derive(Debug)]
pub(super) struct Maker {
    setup: PathBuf,
    authority: PathBuf,
    /// Without certificates there is to be no TPM.
    required: bool,
}

impl Maker {
    /// Finds the programs, if a new TPM is to have certificates.
    ///
    /// # Errors
    /// They are required, and a program is missing.
    pub(super) fn find(certificates: Option<bool>, state: &State) -> Result<Option<Self>, TpmError> {
        let required = match certificates {
            _ if *state == State::There => return Ok(None),
            Some(false) => return Ok(None),
            Some(true) => true,
            None => false,
        };
        let find = |name: &'static str| {
            programs::find(name, &programs::system_path()).ok_or(TpmError::NoSetup(name))
        };
        match find("swtpm_setup").and_then(|setup| Ok((setup, find("swtpm_localca")?))) {
            Ok((setup, authority)) => Ok(Some(Self { setup, authority, required })),
            Err(error) if required => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Makes the TPM; whether there is one now. It comes into its place as a whole.
    ///
    /// # Errors
    /// It cannot be made, and certificates are required; or swtpm_setup was interrupted.
    pub(super) fn make(&self, folder: &Path) -> Result<bool, TpmError> {
        match self.try_to(folder) {
            Ok(()) => Ok(true),
            Err(Failure::Interrupted(why)) => Err(TpmError::Setup { why }),
            Err(Failure::Cannot(why)) if self.required => Err(TpmError::Setup { why }),
            Err(Failure::Cannot(why)) => {
                tracing::warn!(
                    "tpm: the new TPM has no certificates, which few guests ask for: swtpm_setup has failed: {why}"
                );
                Ok(false)
            }
        }
    }

    fn try_to(&self, folder: &Path) -> Result<(), Failure> {
        let made = Workplace::new(folder)?;
        let authority = made.path().join(AUTHORITY);
        DirBuilder::new().mode(0o700).create(&authority)?;
        let settings = tempfile::tempdir()?;
        let [setup, signer, options] =
            ["setup.conf", "authority.conf", "authority.options"].map(|name| settings.path().join(name));
        for (path, content) in [
            (&setup, setup_settings(&self.authority, &signer, &options)),
            (&signer, authority_settings(&authority)),
            (
                &options,
                "--platform-manufacturer optimus-vmm\n--platform-version 1\n--platform-model Q35\n".into(),
            ),
        ] {
            std::fs::write(path, content)?;
        }
        let mut command = programs::command(&self.setup);
        command.args([
            "--tpm2",
            "--create-ek-cert",
            "--create-platform-cert",
            "--lock-nvram",
            "--not-overwrite",
        ]);
        command.arg("--tpmstate").arg(made.path()).arg("--config").arg(&setup);
        command.current_dir(settings.path());
        let said = settings.path().join("said");
        let status = run(&mut command, &said, PATIENCE)?;
        if !status.success() {
            let said = std::fs::read(said).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let last = said
                .lines()
                .rev()
                .map(str::trim)
                .find(|line| !line.is_empty() && !line.starts_with("Ending "));
            return Err(Failure::Cannot(format!("{status}: {}", last.unwrap_or("it says nothing"))));
        }
        // As it was found: a folder that another start has made meanwhile has a TPM, which may run.
        if made.is_within() {
            return take_in(made.path(), folder).map_err(Failure::from);
        }
        std::fs::rename(made.path(), folder)?;
        made.keep();
        Ok(())
    }
}

/// Runs a command until it ends; what it says goes to a file.
fn run(command: &mut Command, said: &Path, patience: Duration) -> Result<ExitStatus, Failure> {
    let output = std::fs::File::create(said)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    // What a terminal sends to our group is not for it: half of a TPM is none.
    command.process_group(0);
    programs::end_with_us(command);
    let mut child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let ended = programs::ends_within(pid, patience);
    if !matches!(ended, Ok(true)) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let status = child.wait()?;
    if !ended? {
        return Err(Failure::Interrupted(format!("it has not ended within {} s", patience.as_secs())));
    }
    match status.signal() {
        Some(_) => Err(Failure::Interrupted(status.to_string())),
        None => Ok(status),
    }
}

/// Moves what was made in a folder within `folder` there; the state, by which a TPM is recognised, comes last.
fn take_in(made: &Path, folder: &Path) -> io::Result<()> {
    let entries = std::fs::read_dir(made)?.collect::<io::Result<Vec<_>>>()?;
    let (states, others): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.file_name() == STATE);
    for entry in others.into_iter().chain(states) {
        std::fs::rename(entry.path(), folder.join(entry.file_name()))?;
    }
    Ok(())
}

/// swtpm_setup.conf(5).
fn setup_settings(program: &Path, signer: &Path, options: &Path) -> String {
    format!(
        "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\nactive_pcr_banks = sha256\n",
        program.display(),
        signer.display(),
        options.display()
    )
}

/// swtpm-localca.conf(5).
fn authority_settings(folder: &Path) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    format!(
        "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
        folder.display(),
        file("signkey.pem"),
        file("issuercert.pem"),
        file("certserial")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_is_no_inability() {
        let folder = tempfile::tempdir().unwrap();
        let run = |script: &str, patience| {
            let mut command = programs::system("sh").unwrap();
            run(command.args(["-c", script]), &folder.path().join("said"), Duration::from_secs(patience))
        };
        assert!(run("echo yes", 60).is_ok_and(|status| status.success()));
        assert_eq!(std::fs::read(folder.path().join("said")).unwrap(), b"yes\n");
        assert!(run("exit 3", 60).is_ok_and(|status| status.code() == Some(3)));
        for (script, patience, expected) in
            [("kill -TERM $$", 60, "signal: 15"), ("sleep 60; true", 1, "within 1 s")]
        {
            let Err(Failure::Interrupted(why)) = run(script, patience) else { panic!("{script}") };
            assert!(why.contains(expected), "{why}");
        }
    }
}
