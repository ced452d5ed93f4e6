//! The `optimus-vmm` command: reads the command line, sets up logging, and is the one place that prints errors.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use vmm::cli::{AcpiCommand, AcpiDumpArgs, Cli, Command, CtlArgs, PlanArgs, RunArgs, RunOptions};
use vmm::events::ProcessStart;
use vmm::host::HostFacts;
use vmm::outcome::{Failure, status};
use vmm::{config, ctl, machine, output, plan, signals, vbios};

fn main() -> ExitCode {
    let start = ProcessStart::now();
    let cli = Cli::parse();
    let ready = set_up_log(&cli).inspect(|()| signals::survive_file_size_limit());
    let done = ready.and_then(|()| match cli.command {
        Command::Run(args) => run(*args, start),
        Command::Plan(args) => show_plan(&args),
        Command::Acpi { command: AcpiCommand::Dump(args) } => dump_tables(&args),
        Command::Ctl(args) => control(&args),
        Command::Schema => print(&config::schema()),
        Command::Vbios(args) => {
            vbios::run(&args, cli.verbose > 0).and_then(|answer| print(&answer.text).map(|_| answer.status))
        }
    });
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            complain(&failure.to_string());
            ExitCode::from(failure.status())
        }
    }
}

fn run(args: RunArgs, start: ProcessStart) -> Result<u8, Failure> {
    let outcome = machine::run(&RunOptions::from(args), start)?;
    if let Some(message) = outcome.message() {
        complain(&message);
    }
    Ok(outcome.status())
}

fn control(args: &CtlArgs) -> Result<u8, Failure> {
    match ctl::run(args) {
        Ok(text) => print(&text),
        Err(error) => {
            complain(&error.to_string());
            Ok(error.status())
        }
    }
}

fn show_plan(args: &PlanArgs) -> Result<u8, Failure> {
    let config = config::load(&args.config)?;
    let plan =
        plan::plan(&config, &HostFacts::gather(&config.passthrough)).map_err(config::ConfigError::from)?;
    let report = plan::report::report(&config, &plan);
    if args.json {
        let mut json = report
            .json()
            .map_err(|error| Failure::Refused(format!("cannot write the plan as JSON: {error}")))?;
        json.push('\n');
        print(&json)
    } else {
        print(&report.text())
    }
}

fn dump_tables(args: &AcpiDumpArgs) -> Result<u8, Failure> {
    let config = config::load(&args.config)?;
    let facts = HostFacts::gather(&config.passthrough);
    let plan = plan::plan(&config, &facts).map_err(config::ConfigError::from)?;
    let files = machine::dump(&config, &plan, &args.output, args.dsl)?;
    let names: String = files.iter().map(|file| format!("{}\n", file.display())).collect();
    print(&names)
}

/// Writes to standard output. A reader that has seen enough, as `head` does, is no error.
fn print(text: &str) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Write { path: "standard output".into(), source: error })
        }
        _ => Ok(status::SUCCESS),
    }
}

fn complain(message: &str) {
    // Nothing is left to tell it to if standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "optimus-vmm: {message}");
}

fn set_up_log(cli: &Cli) -> Result<(), Failure> {
    let level = match cli.verbose {
        // A pseudoterminal's path is worth knowing without asking. The crate warns of interrupts that devices of older
        // kinds simply do not have.
        0 => "warn,vmm::console=info,vfio_ioctls=error",
        1 => "info,vfio_ioctls=error",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("OPTIMUS_VMM_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    match &cli.log {
        Some(path) => {
            let file =
                output::append(path).map_err(|source| Failure::Write { path: path.clone(), source })?;
            builder.with_ansi(false).with_writer(std::sync::Mutex::new(file)).init();
        }
        None => {
            let ansi = std::io::stderr().is_terminal();
            builder.with_ansi(ansi).without_time().with_writer(std::io::stderr).init();
        }
    }
    Ok(())
}
