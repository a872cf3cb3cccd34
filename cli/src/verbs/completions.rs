//! `qads completions` and `qads man`: made from the same description of verbs and options as `--help`.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::failure::{Failure, Outcome};

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  qads completions bash > ~/.local/share/bash-completion/completions/qads
  qads completions zsh > ~/.zfunc/_qads
  qads completions fish > ~/.config/fish/completions/qads.fish

Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C.";

const MAN_EXAMPLES: &str = "\
Examples:
  qads man | man -l -                                 read it
  qads man --output ~/.local/share/man/man1           a page for each verb too

Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C.";

/// Print completions for a shell
#[derive(clap::Args, Debug)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Print the manual page
#[derive(clap::Args, Debug)]
#[command(after_help = MAN_EXAMPLES)]
pub struct ManArguments {
    /// Write the pages of all verbs to this folder instead
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// The command without the verbs that are for itself: completions would offer those too.
fn shown() -> Command {
    let whole = crate::Arguments::command();
    let verbs = whole.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    Command::new("qads")
        .version(env!("CARGO_PKG_VERSION"))
        .about(whole.get_about().cloned().unwrap_or_default())
        .subcommands(verbs.collect::<Vec<_>>())
}

pub fn run(arguments: &CompletionsArguments) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut shown(), "qads", &mut text);
    Ok(io::stdout().lock().write_all(&text)?)
}

pub fn man(arguments: &ManArguments) -> Outcome {
    let command = crate::Arguments::command();
    match &arguments.output {
        Some(folder) => {
            let made =
                fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
            made.map_err(|error| Failure::from(error).about(folder.display()))
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(command).render(&mut text)?;
            Ok(io::stdout().lock().write_all(&text)?)
        }
    }
}
