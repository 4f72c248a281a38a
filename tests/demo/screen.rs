//! Where the demo speaks: a terminal, on which the table is drawn again in place, or anything else, which gets lines.

use std::{
    env,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::table::{Row, line, table};

/// How often the table is drawn.
const REDRAW: Duration = Duration::from_millis(500);
/// How often a line is written where nothing can be drawn again.
const LINE: Duration = Duration::from_secs(1);

/// Standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    is_terminal: bool,
    began: Instant,
    /// When it should be shown again.
    due: Instant,
    /// Lines of the table that stand at the bottom now.
    drawn: usize,
    /// The time between two plain lines.
    line: Duration,
}

impl Screen {
    /// Looks what standard output is.
    pub(crate) fn new() -> Self {
        let is_dumb = env::var_os("TERM").is_none_or(|name| name == "dumb");
        let now = Instant::now();
        Self { is_terminal: io::stdout().is_terminal() && !is_dumb, began: now, due: now, drawn: 0, line: LINE }
    }

    /// Since the demo began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Writes a line that stays.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.erase(&mut out)?;
        self.due = Instant::now();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Whether the figures should be shown again.
    pub(crate) fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    /// Shows the figures.
    ///
    /// # Errors
    /// As [`Self::say`].
    pub(crate) fn show(&mut self, rows: &[Row], failed: u64) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_terminal {
            self.erase(&mut out)?;
            let lines = table(rows, failed);
            self.drawn = lines.len();
            writeln!(out, "{}", lines.join("\n"))?;
        } else {
            writeln!(out, "{}", line(self.elapsed().as_secs(), rows))?;
        }
        self.due = Instant::now() + if self.is_terminal { REDRAW } else { self.line };
        out.flush()
    }

    /// Lets the table stand where it is; plain lines come less often from now on.
    pub(crate) fn settle(&mut self) {
        self.drawn = 0;
        self.line = 10 * LINE;
    }

    /// Takes the table away: cursor up, clear to the end of the screen (ECMA-48, CUU and ED).
    fn erase(&mut self, out: &mut impl Write) -> io::Result<()> {
        match std::mem::take(&mut self.drawn) {
            0 => Ok(()),
            lines => write!(out, "\x1b[{lines}A\x1b[J"),
        }
    }
}
