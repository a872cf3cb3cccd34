//! qadataswap measured beside what else there is, process to process.
//!
//! `make bench` runs all of it, `make bench-quick` a few minutes' worth, `make bench-once` just sees that it runs.
//! Prints tables, and writes `results.json` and plots. How it is measured: `docs/performance.md`.

mod batches;
mod board;
mod channel;
mod check;
mod clock;
mod counting;
mod impls;
mod machine;
mod measure;
mod modes;
mod payload;
mod plan;
mod plots;
mod ports;
mod process;
mod report;
mod results;
mod run;
mod say;
mod spec;
mod stop;
mod table;
mod targets;
mod worker;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Parser, Subcommand};

use plan::{Group, Scale};
use results::{Results, Round, Series};
use run::Bench;
use spec::Impl;
use table::Table;

/// What can fail here is told to the user, and no more is made of it.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Measures qadataswap beside what else there is, process to process.
#[derive(Parser)]
#[command(name = "peers", args_conflicts_with_subcommands = true)]
struct Args {
    /// Take less than three minutes.
    #[arg(long)]
    quick: bool,
    /// Only see that everything runs; figures mean nothing.
    #[arg(long, conflicts_with = "quick")]
    once: bool,
    /// Only benches whose name contains this (may be given several times).
    #[arg(long)]
    bench: Vec<String>,
    /// Only these implementations (may be given several times).
    #[arg(long = "impl", value_enum)]
    implementations: Vec<Impl>,
    /// Folder for results and plots.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Names of benches.
    List,
    /// Checks that a results file is as documented.
    Check {
        /// The results.json of a run
        file: PathBuf,
    },
    #[command(hide = true)]
    Worker { spec: String },
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Some(Command::Worker { spec }) => worker::run(spec),
        Some(Command::Check { file }) => check::check(file),
        Some(Command::List) => {
            say::line(plan::benches().join("\n"));
            Ok(())
        }
        None => measure_all(&args),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            // A worker that the same Ctrl-C has ended is not the reason.
            let reason = stop::reason().unwrap_or_else(|| format!("error: {error}"));
            say::problem(reason);
            stop::end();
            std::process::ExitCode::FAILURE
        }
    }
}

fn measure_all(args: &Args) -> Result<()> {
    let scale = match (args.quick, args.once) {
        (true, _) => Scale::Quick,
        (_, true) => Scale::Once,
        _ => Scale::Full,
    };
    let began = Instant::now();
    stop::on_signals()?;
    clock::check()?;
    std::fs::create_dir_all(&args.out)
        .map_err(|error| format!("cannot make the folder {}: {error}", args.out.display()))?;
    let mut bench = Bench::new(&args.out, clock::ns_per_tick())?;
    let groups = plan::choose(scale, bench.cores, &args.bench, &args.implementations)?;
    let rounds = groups.iter().map(|group| group.rounds).max().unwrap_or(0);
    let mut machine = machine::describe(scale.name(), rounds, bench.ns_per_tick);
    say::line(machine.join("\n") + "\n");
    let mut all = Vec::new();
    let mut tables = Vec::new();
    for group in groups {
        if let Some(why) = bench.lacks_room(&group)? {
            machine.push(format!("not measured: {why}"));
            say::problem(format_args!("not measured: {why}"));
            continue;
        }
        let results = measure(&mut bench, group)?;
        let table = report::table(&results);
        say::line(table.text());
        tables.push(table);
        all.push(results);
    }
    if all.is_empty() {
        return Err("nothing could be measured here".into());
    }
    let targets = targets::table(&all);
    say::line(targets.text());
    let plots = write(&args.out, &all, &machine, &targets, &tables)?;
    say::line(format_args!(
        "results.json, figures.md and {plots} plots are in {}; measured for {}",
        args.out.display(),
        table::duration(began.elapsed())
    ));
    Ok(())
}

/// The runs of a group take turns, round by round.
fn measure(bench: &mut Bench, group: Group) -> Result<Results> {
    let series = group.runs.iter().map(|run| {
        let crowded = bench.busy(run) > bench.cores;
        Series { run: *run, rounds: Vec::new(), crowded }
    });
    let mut series: Vec<_> = series.collect();
    for _ in 0..group.rounds {
        for one in &mut series {
            let of =
                |error| format!("{} of {}: {error}", one.run.implementation.name(), group.bench());
            let outcomes = bench.run(&one.run).map_err(of)?;
            one.rounds.push(Round::new(&one.run, &outcomes)?);
        }
    }
    Ok(Results { group, series })
}

/// Results, plots, and the tables for documents. How many plots there are.
fn write(
    out: &Path,
    all: &[Results],
    machine: &[String],
    targets: &Table,
    tables: &[Table],
) -> Result<usize> {
    let records: Vec<_> = all.iter().flat_map(Results::records).collect();
    let results = out.join("results.json");
    std::fs::write(&results, serde_json::to_string_pretty(&records)? + "\n")?;
    let plots = plots::draw(all, out)?;
    let mut text = String::from("<!-- written by `make bench-docs` -->\n\n");
    for line in machine {
        let _ = writeln!(text, "* {line}");
    }
    let _ = writeln!(text, "\n{}", targets.markdown());
    for plot in &plots {
        let _ = writeln!(text, "![{}]({plot})\n", plot.trim_end_matches(".svg"));
    }
    for table in tables {
        let _ = writeln!(text, "{}", table.markdown());
    }
    std::fs::write(out.join("figures.md"), text)?;
    // After all of it is written: what is wrong with some of it costs nobody the rest.
    check::check(&results)?;
    Ok(plots.len())
}
