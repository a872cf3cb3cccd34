//! The terminal while `top` has it.

use std::io;

use ratatui::DefaultTerminal;

/// Hands the terminal to `work` and puts it right afterwards: also if that panics, before the panic is told (by the hook
/// that `try_init` sets). Gives what `work` gave, and whether the terminal could be put right.
pub fn within<T>(work: impl FnOnce(&mut DefaultTerminal) -> T) -> io::Result<(T, io::Result<()>)> {
    let mut terminal = ratatui::try_init()?;
    let outcome = work(&mut terminal);
    Ok((outcome, ratatui::try_restore()))
}
