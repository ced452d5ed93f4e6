//! Making the changes of a plan: each on record before it is made.
//!
//! A setup that meets the record of an earlier one goes on from it: what was there before the first one stays on record, and what is no
//! longer wanted is taken back.

use std::time::Duration;

use super::hands::{self, Hands};
use super::plan::Plan;
use super::record::{CommandStep, FileStep, Phase, Record, Records};
use super::root::{Content, Root};
use super::{Changed, SetupError, failed};

/// What a setup has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Done {
    /// Everything was as planned already.
    Nothing,
    /// So many files were written, and so many commands run.
    Changed { files: usize, commands: usize },
}

/// Makes the changes. `say` is told of each command before it is run.
///
/// # Errors
/// A file was changed by somebody else, nothing is changed then; or a change or a command fails: what was done is on record.
pub(super) fn apply(
    root: &Root,
    hands: &dyn Hands,
    plan: &Plan,
    patience: Duration,
    say: &mut dyn FnMut(&str),
) -> Result<Done, SetupError> {
    let records = Records::of(root, hands);
    let lock = records.lock_made()?;
    let former = records.load()?;
    let done = merge(root, former.as_ref(), plan).and_then(|record| match record {
        None => Ok(Done::Nothing),
        Some(record) => make(root, hands, &records, record, &lock.0, patience, say),
    });
    if former.is_none()
        && matches!(done, Ok(Done::Nothing) | Err(SetupError::Changed(_) | SetupError::File { .. }))
    {
        // Nothing was recorded: the folder was made for the lock alone.
        if records.load()?.is_none() {
            records.remove(&lock)?;
        }
    }
    done
}

/// The record with which the setup begins; `None` if everything is as planned.
fn merge(root: &Root, former: Option<&Record>, plan: &Plan) -> Result<Option<Record>, SetupError> {
    if former.is_some_and(|former| former.phase == Phase::Undo) {
        return Err(SetupError::HalfUndone);
    }
    let mut record = Record::new();
    let mut changed = Vec::new();
    let mut differs = Vec::new();
    let mut step = |path: &str, wanted: Option<&Content>| -> Result<(), SetupError> {
        let now = root.read(path).map_err(failed("read", &root.path(path)))?;
        let known = former.and_then(|former| former.file(path)).filter(|known| known.begun);
        if known.is_some_and(|known| !known.explains(now.as_ref())) {
            changed.push(path.to_owned());
            return Ok(());
        }
        let before = known.map_or(now.as_ref(), |known| known.former.as_ref());
        let wanted = wanted.or(before);
        if now.as_ref() != wanted {
            differs.push(path.to_owned());
        } else if known.is_none() {
            // There is nothing to do, and nothing to undo.
            return Ok(());
        }
        let mut earlier = Vec::new();
        for content in known.into_iter().flat_map(|known| known.earlier.iter().chain(&known.wanted)) {
            if Some(content) != wanted && !earlier.contains(content) {
                earlier.push(content.clone());
            }
        }
        record.files.push(FileStep {
            path: path.into(),
            former: before.cloned(),
            wanted: wanted.cloned(),
            earlier,
            begun: known.is_some(),
        });
        Ok(())
    };
    for file in &plan.files {
        step(&file.path, Some(&file.content))?;
    }
    for old in former.into_iter().flat_map(|former| &former.files) {
        if old.begun && plan.files.iter().all(|file| file.path != old.path) {
            step(&old.path, None)?;
        }
    }
    if !changed.is_empty() {
        return Err(SetupError::Changed(Changed { paths: changed, undo: false }));
    }
    for command in &plan.commands {
        let known = former.and_then(|former| former.command(&command.run));
        let stale = command.reads.iter().any(|path| differs.contains(path));
        // One that takes back what this one sets may not have come to its end.
        let same_undo = |other: &CommandStep| other.begun && other.undo == command.undo;
        record.commands.push(CommandStep {
            run: command.run.clone(),
            undo: command.undo.clone(),
            needs: command.needs.clone(),
            begun: former.is_some_and(|former| former.commands.iter().any(same_undo)),
            done: known.is_some_and(|known| known.done) && !stale,
        });
    }
    // What an earlier setup has run: images and menus are made anew without what is taken back, and what has an undoing of its own is
    // undone now. Both are run once more by an undo.
    for old in former.into_iter().flat_map(|former| &former.commands) {
        if !old.begun || record.commands.iter().any(|command| command.undo == old.undo) {
            continue;
        }
        let program = old.undo.first().is_some_and(|program| root.runs(program));
        let runs = program && old.needs.as_ref().is_none_or(|path| root.has(path));
        let (run, done) = match old.run == old.undo {
            true => (&old.run, old.done && differs.is_empty()),
            false => (&old.undo, false),
        };
        record.commands.push(match runs {
            true => CommandStep { run: run.clone(), done, ..old.clone() },
            // There is nothing to run; an undo tells that.
            false => CommandStep { done: true, ..old.clone() },
        });
    }
    record.parameters = plan.parameters.clone();
    record.folders = former.map(|former| former.folders.clone()).unwrap_or_default();
    for folder in record.files.iter().flat_map(|file| root.missing_folders(&file.path)) {
        if !record.folders.contains(&folder) {
            record.folders.push(folder);
        }
    }
    let complete = former.is_none_or(|former| former.phase == Phase::Complete);
    let idle = differs.is_empty() && record.commands.iter().all(|command| command.done);
    Ok((!(complete && idle)).then_some(record))
}

/// What a setup takes back of an earlier one, and the commands that it runs for that; nothing if it would not be made.
pub(super) fn taken_back(root: &Root, former: Option<&Record>, plan: &Plan) -> (Vec<String>, Vec<String>) {
    let Ok(Some(record)) = merge(root, former, plan) else { return Default::default() };
    let files = record.files.into_iter().filter(|step| {
        let planned = plan.files.iter().any(|file| file.path == step.path);
        !planned && root.read(&step.path).is_ok_and(|now| now != step.wanted)
    });
    let commands = record
        .commands
        .into_iter()
        .filter(|step| !step.done && plan.commands.iter().all(|command| command.run != step.run));
    (files.map(|step| step.path).collect(), commands.map(|step| step.run.join(" ")).collect())
}

fn make(
    root: &Root,
    hands: &dyn Hands,
    records: &Records<'_>,
    mut record: Record,
    lock: &std::fs::File,
    patience: Duration,
    say: &mut dyn FnMut(&str),
) -> Result<Done, SetupError> {
    let (mut files, mut commands) = (0, 0);
    records.save(&record)?;
    for step in &record.files {
        hands::remove_leftover(hands, &root.path(&step.path))?;
    }
    for folder in &record.folders {
        let path = root.path(folder);
        hands.make_folder(&path, 0o755).map_err(failed("make", &path))?;
        if let Some(above) = path.parent() {
            hands.sync_folder(above).map_err(failed("sync", above))?;
        }
    }
    for index in 0..record.files.len() {
        let Some(step) = record.files.get_mut(index) else { break };
        let path = root.path(&step.path);
        let now = root.read(&step.path).map_err(failed("read", &path))?;
        if now == step.wanted {
            continue;
        }
        step.begun = true;
        let wanted = step.wanted.clone();
        records.save(&record)?;
        match &wanted {
            Some(wanted) => hands::replace(hands, &path, wanted).map_err(failed("write", &path))?,
            None => hands::remove(hands, &path).map_err(failed("remove", &path))?,
        }
        files += 1;
    }
    for index in 0..record.commands.len() {
        let Some(step) = record.commands.get_mut(index).filter(|step| !step.done) else { continue };
        step.begun = true;
        let words = step.run.clone();
        records.save(&record)?;
        say(&format!("running `{}`", words.join(" ")));
        hands.run(root, &words, patience, lock).map_err(|source| SetupError::Command {
            command: words.join(" "),
            source,
            then: "what was changed before it stays, and is on record: mend that and run `optimus-vmm host setup` again, or take all of it back \
                   with `optimus-vmm host undo`",
        })?;
        if let Some(step) = record.commands.get_mut(index) {
            step.done = true;
        }
        commands += 1;
    }
    record.phase = Phase::Complete;
    // What is as it was before, nobody has to undo.
    record.files.retain(|step| step.begun && step.wanted != step.former);
    for step in &mut record.files {
        step.earlier.clear();
    }
    records.save(&record)?;
    Ok(Done::Changed { files, commands })
}
