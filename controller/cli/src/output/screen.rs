//! Where progress goes: a block drawn in place on a terminal, lines in a pipe, or nowhere.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use terminal_size::{Height, Width, terminal_size};
use weir_proto::controller::v1::watch_response::Event;

use super::progress::Progress;
use super::text::{Put, cut, printable};

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Lines, and a block that is drawn again and again below them.
    Live,
    /// Lines only.
    Lines,
    /// Nowhere.
    Silent,
}

/// Rows and columns of a terminal that does not tell: DEC's VT100, which all others follow.
const ROWS_AND_COLUMNS: (usize, usize) = (24, 80);
/// A live block never has more flows than a progress event.
const ROWS_MOST: usize = 28;

/// The progress of one run, drawn.
pub(crate) struct Screen {
    mode: Mode,
    out: Box<dyn Write>,
    since: Instant,
    progress: Progress,
    /// Lines of the block on the terminal now.
    drawn: usize,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Screen {
    /// The screen that fits where standard output goes. A document has standard output for itself: then progress
    /// goes to standard error, and only if a person looks at it.
    pub(crate) fn fitting(json: bool, quiet: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if quiet || (json && !io::stderr().is_terminal()) {
            Self::new(Mode::Silent, Box::new(io::sink()))
        } else if json {
            Self::new(Mode::Lines, Box::new(io::stderr()))
        } else if io::stdout().is_terminal() && !is_dumb {
            Self::new(Mode::Live, Box::new(io::stdout()))
        } else {
            Self::new(Mode::Lines, Box::new(io::stdout()))
        }
    }

    /// A screen of this mode on this output.
    pub(crate) fn new(mode: Mode, out: Box<dyn Write>) -> Self {
        Self {
            mode,
            out,
            since: Instant::now(),
            progress: Progress::new("run", mode == Mode::Live),
            drawn: 0,
        }
    }

    /// Begins a run.
    pub(crate) fn begin(&mut self, run: &str) {
        self.progress = Progress::new(run, self.mode == Mode::Live);
    }

    /// Shows an event.
    pub(crate) fn event(&mut self, event: &Event) -> io::Result<()> {
        let now_ms = self.since.elapsed().as_millis() as u64;
        let lines = self.progress.event(event, now_ms);
        self.draw(&lines, true)
    }

    /// Tells something of this end: Ctrl-C, a lost controller.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        self.draw(&[printable(line)], true)
    }

    /// Takes the block away: what follows is the result.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.draw(&[], false)
    }

    fn draw(&mut self, lines: &[String], block: bool) -> io::Result<()> {
        if self.mode == Mode::Silent || (lines.is_empty() && self.mode == Mode::Lines) {
            return Ok(());
        }
        let mut text = String::new();
        if self.drawn > 0 {
            // ECMA-48: cursor up, to the first column, erase to the end of the page.
            text.put(format_args!("\u{1b}[{}A\r\u{1b}[J", self.drawn));
            self.drawn = 0;
        }
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        if block && self.mode == Mode::Live {
            let (rows, columns) = size();
            // A line that reaches the last column would wrap, and the block be higher than it is thought to be.
            for line in self.progress.block(rows.saturating_sub(1).min(ROWS_MOST)) {
                text.push_str(&cut(&line, columns.saturating_sub(1)));
                text.push('\n');
                self.drawn += 1;
            }
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

fn size() -> (usize, usize) {
    terminal_size().map_or(ROWS_AND_COLUMNS, |(Width(columns), Height(rows))| {
        (usize::from(rows), usize::from(columns))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// An output that a test can read while it is written.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Shared {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.borrow().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_block_is_replaced_and_leaves_nothing_behind() {
        let out = Shared::default();
        let mut screen = Screen::new(Mode::Live, Box::new(out.clone()));
        screen.begin("r-0001");
        screen.event(&Event::Note("hello".to_owned())).unwrap();
        assert_eq!(out.text(), "r-0001: hello\nr-0001 asking\n");
        screen.end().unwrap();
        assert_eq!(
            out.text(),
            "r-0001: hello\nr-0001 asking\n\u{1b}[1A\r\u{1b}[J"
        );
    }

    #[test]
    fn a_pipe_gets_no_control_bytes() {
        let out = Shared::default();
        let mut screen = Screen::new(Mode::Lines, Box::new(out.clone()));
        screen.begin("r-0001");
        screen.event(&Event::Note("a".to_owned())).unwrap();
        screen.say("b\u{1b}c").unwrap();
        screen.end().unwrap();
        assert_eq!(out.text(), "r-0001: a\nb\\u{1b}c\n");
    }
}
