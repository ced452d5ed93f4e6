//! What is told of plans and of what was done.

use super::apply::Done;
use super::plan::Plan;
use super::root::Root;
use super::undo::Undone;
use crate::wrapping::{wrap, wrap_below};

const INDENT: usize = 4;

/// Everything that a setup would change.
pub(super) fn plan(root: &Root, plan: &Plan) -> String {
    let mut out = String::new();
    if let Some(lines) = &plan.nixos {
        wrap(
            &mut out,
            0,
            "NixOS makes its files from its configuration, so nothing is written. Add these lines to /etc/nixos/configuration.nix, \
             `sudo nixos-rebuild boot`, and reboot:",
        );
        out.push('\n');
        lines.lines().for_each(|line| out.push_str(&format!("{:INDENT$}{line}\n", "")));
        notes(&mut out, plan);
        return out;
    }
    for file in &plan.files {
        let now = root.read(&file.path);
        let verb = match &now {
            Ok(Some(now)) if *now == file.content => "is as wanted",
            Ok(Some(_)) => "is replaced; its former contents are kept for `host undo`",
            Ok(None) => "is made",
            // It is told in full when it is to be written.
            Err(_) => "cannot be read",
        };
        out.push_str(&format!("/{} (mode {:04o}) {verb}: {}\n", file.path, file.content.mode, file.why));
        let text = String::from_utf8_lossy(file.content.bytes()).into_owned();
        text.lines().for_each(|line| out.push_str(&format!("{:INDENT$}{line}\n", "")));
        out.push('\n');
    }
    for path in &plan.taken_back {
        out.push_str(&format!(
            "/{path} is taken back: an earlier setup made it, and it is no longer wanted\n"
        ));
    }
    for command in &plan.commands {
        out.push_str(&format!("run: {}\n", command.run.join(" ")));
        if command.undo != command.run {
            out.push_str(&format!("{:INDENT$}taken back by: {}\n", "", command.undo.join(" ")));
        }
    }
    plan.renewed.iter().for_each(|command| out.push_str(&format!("run, to take back: {command}\n")));
    by_hand(&mut out, plan);
    notes(&mut out, plan);
    out
}

fn by_hand(out: &mut String, plan: &Plan) {
    if plan.by_hand.is_empty() {
        return;
    }
    out.push_str("\nleft to you:\n");
    plan.by_hand.iter().for_each(|text| wrap_below(out, INDENT, text));
}

fn notes(out: &mut String, plan: &Plan) {
    if plan.notes.is_empty() {
        return;
    }
    out.push_str("\nto know:\n");
    plan.notes.iter().for_each(|text| wrap_below(out, INDENT, text));
}

/// What a setup has done, and what comes next.
pub(super) fn done(plan: &Plan, done: &Done) -> String {
    let mut out = match done {
        Done::Nothing => "everything is set up already: nothing was changed\n".to_owned(),
        Done::Changed { files, commands } => format!(
            "{files} {} written and {commands} {} run; `sudo optimus-vmm host status` shows them, `sudo optimus-vmm host undo` takes them back\n",
            if *files == 1 { "file" } else { "files" },
            if *commands == 1 { "command" } else { "commands" },
        ),
    };
    by_hand(&mut out, plan);
    notes(&mut out, plan);
    if *done != Done::Nothing {
        out.push('\n');
        wrap(
            &mut out,
            0,
            &format!(
                "next: `sudo usermod -aG {} USER` for who runs machines without root; reboot, which loads what was set up and gives rights to those \
                 who log in; then `optimus-vmm doctor`",
                plan.group
            ),
        );
    }
    out
}

/// What an undo has done.
pub(super) fn undone(undone: &Undone) -> String {
    if !undone.recorded {
        return "nothing was set up here: there is nothing to take back\n".into();
    }
    let mut out = String::new();
    for (what, paths) in
        [("removed", &undone.removed), ("as before", &undone.restored), ("left as changed", &undone.kept)]
    {
        paths.iter().for_each(|path| out.push_str(&format!("{what}: /{path}\n")));
    }
    undone.commands.iter().for_each(|command| out.push_str(&format!("run: {command}\n")));
    for command in &undone.lost {
        wrap(&mut out, 0, &format!("not run, because the program is no longer there: `{command}`"));
    }
    let whole = undone.kept.is_empty() && undone.lost.is_empty();
    let after = match undone.parameters.is_empty() {
        true => "modules and rights are as before after a reboot",
        false => "modules, rights and the kernel's command line are as before after a reboot",
    };
    let text = match whole {
        true => format!("everything that `host setup` made is taken back; {after}"),
        false => format!(
            "the rest of what `host setup` made is taken back; {after}, but for what is named above as left or not run: that stays in effect, is on \
             record no more, and is yours to mend"
        ),
    };
    wrap(&mut out, 0, &text);
    out
}
