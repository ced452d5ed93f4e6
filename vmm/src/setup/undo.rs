//! Taking back what the record says. It can be cut short at any moment, and goes on at the next try.

use std::time::Duration;

use super::hands::{self, Hands};
use super::record::{Phase, Records};
use super::root::Root;
use super::{Changed, SetupError, failed};

/// What an undo has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Undone {
    /// There was a record.
    pub(super) recorded: bool,
    /// Files that were removed: there were none before.
    pub(super) removed: Vec<String>,
    /// Files that are as before.
    pub(super) restored: Vec<String>,
    /// Changed files that are left as they are.
    pub(super) kept: Vec<String>,
    /// Commands that were run.
    pub(super) commands: Vec<String>,
    /// Commands whose program is no longer there.
    pub(super) lost: Vec<String>,
    /// Words that the kernel's command line has no longer from the next boot on.
    pub(super) parameters: Vec<String>,
}

/// Takes everything back.
///
/// # Errors
/// A file was changed by somebody else and `keep_changed` is not given, nothing is changed then; or a change or a command fails:
/// what is left is on record.
pub(super) fn undo(
    root: &Root,
    hands: &dyn Hands,
    keep_changed: bool,
    patience: Duration,
    say: &mut dyn FnMut(&str),
) -> Result<Undone, SetupError> {
    let records = Records::of(root, hands);
    let mut undone = Undone::default();
    let Some(lock) = records.lock()? else { return Ok(undone) };
    let Some(mut record) = records.load()? else {
        records.remove(&lock)?;
        return Ok(undone);
    };
    undone.recorded = true;
    let mut now = Vec::new();
    for step in record.files.iter().filter(|step| step.begun) {
        let content = root.read(&step.path).map_err(failed("read", &root.path(&step.path)))?;
        if step.explains(content.as_ref()) {
            now.push((step.clone(), content));
        } else {
            undone.kept.push(step.path.clone());
        }
    }
    if !undone.kept.is_empty() && !keep_changed {
        return Err(SetupError::Changed(Changed { paths: undone.kept, undo: true }));
    }
    record.phase = Phase::Undo;
    record.files.retain(|step| !undone.kept.contains(&step.path));
    records.save(&record)?;
    for step in &record.files {
        hands::remove_leftover(hands, &root.path(&step.path))?;
    }
    for (step, _) in now.iter().rev().filter(|(step, now)| *now != step.former) {
        let path = root.path(&step.path);
        match &step.former {
            Some(former) => {
                hands::replace(hands, &path, former).map_err(failed("write", &path))?;
                undone.restored.push(step.path.clone());
            }
            None => {
                hands::remove(hands, &path).map_err(failed("remove", &path))?;
                undone.removed.push(step.path.clone());
            }
        }
    }
    for folder in record.folders.iter().rev() {
        let path = root.path(folder);
        // Others may have put something there since.
        if hands.remove_folder(&path).map_err(failed("remove", &path))?
            && let Some(above) = path.parent()
        {
            hands.sync_folder(above).map_err(failed("sync", above))?;
        }
    }
    undone.parameters = record.parameters.clone();
    for index in 0..record.commands.len() {
        let Some(step) = record.commands.get(index).filter(|step| step.begun) else { continue };
        let (words, command) = (step.undo.clone(), step.undo.join(" "));
        let vain = step.needs.as_ref().is_some_and(|path| !root.has(path));
        if words.first().is_some_and(|program| !root.runs(program)) {
            undone.lost.push(command);
        } else if !vain {
            say(&format!("running `{command}`"));
            hands.run(root, &words, patience, &lock.0).map_err(|source| SetupError::Command {
                command: command.clone(),
                source,
                then: "the files are as before; mend that and run `optimus-vmm host undo` again",
            })?;
            undone.commands.push(command);
        }
        if let Some(step) = record.commands.get_mut(index) {
            step.begun = false;
        }
        records.save(&record)?;
    }
    records.remove(&lock)?;
    Ok(undone)
}
