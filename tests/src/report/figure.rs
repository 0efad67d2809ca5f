//! Figures beside their targets, as aligned text and as Markdown.

use std::fmt::Write as _;

use super::spread::{Digits, Spread};

/// What a figure is to reach.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Ours over the other's.
    RatioAtLeast(f64),
    /// As above.
    RatioAtMost(f64),
    /// Ours.
    AtMost(f64),
    /// Ours.
    AtLeast(f64),
    /// Ours, no further than `slack` from `asked`.
    Near {
        /// The value.
        asked: f64,
        /// How far off it may be.
        slack: f64,
    },
}

/// One figure of ours, perhaps beside that of another program.
#[derive(Debug, Clone, Default)]
pub struct Figure {
    what: String,
    ours: Option<Spread>,
    others: Vec<(String, Option<Spread>)>,
    ratio: Option<Spread>,
    target: Option<Target>,
    notes: Vec<String>,
    has_failed: bool,
}

impl Figure {
    /// A figure by what it measures, with its unit.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ..Self::default()
        }
    }

    /// What could not be measured, and why.
    pub fn failed(what: impl Into<String>, error: &anyhow::Error) -> Self {
        let mut figure = Self::new(what).note(one_line(error));
        figure.has_failed = true;
        figure
    }

    /// Whether something of it could not be measured.
    pub fn has_failed(&self) -> bool {
        self.has_failed || self.others.iter().any(|(_, spread)| spread.is_none())
    }

    /// Our values.
    #[must_use]
    pub fn ours(mut self, spread: Option<Spread>) -> Self {
        self.ours = spread;
        self
    }

    /// Another's name and values.
    #[must_use]
    pub fn other(mut self, name: impl Into<String>, spread: Option<Spread>) -> Self {
        self.others.push((name.into(), spread));
        self
    }

    /// Ours over the other's, pair by pair.
    #[must_use]
    pub fn ratio(mut self, spread: Option<Spread>) -> Self {
        self.ratio = spread;
        self
    }

    /// What it is to reach.
    #[must_use]
    pub fn target(mut self, target: impl Into<Option<Target>>) -> Self {
        self.target = target.into();
        self
    }

    /// A remark that stands behind it.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Whether the target is met; `None` without one or without a figure.
    pub fn is_met(&self) -> Option<bool> {
        let ratio = self.ratio.as_ref().map(Spread::median);
        let ours = self.ours.as_ref().map(Spread::median);
        Some(match self.target? {
            Target::RatioAtLeast(least) => ratio? >= least,
            Target::RatioAtMost(most) => ratio? <= most,
            Target::AtMost(most) => ours? <= most,
            Target::AtLeast(least) => ours? >= least,
            Target::Near { asked, slack } => (ours? - asked).abs() <= slack,
        })
    }

    fn cells(&self) -> [String; 6] {
        let show =
            |spread: &Option<Spread>| spread.as_ref().map_or("-".into(), ToString::to_string);
        let or_blank = |spread: &Option<Spread>| {
            spread
                .as_ref()
                .map_or_else(String::new, ToString::to_string)
        };
        let target = self.target.map_or_else(String::new, |target| match target {
            Target::RatioAtLeast(least) => format!(">= {} x", Digits(least)),
            Target::RatioAtMost(most) => format!("<= {} x", Digits(most)),
            Target::AtMost(most) => format!("<= {}", Digits(most)),
            Target::AtLeast(least) => format!(">= {}", Digits(least)),
            Target::Near { asked, slack } => format!("{} +- {}", Digits(asked), Digits(slack)),
        });
        let verdict = match (self.target, self.is_met()) {
            (_, Some(true)) => "met",
            (_, Some(false)) => "MISSED",
            (Some(_), None) => "not measured",
            (None, None) => "",
        };
        let mut verdict = verdict.to_owned();
        for note in &self.notes {
            let joint = if verdict.is_empty() { "" } else { "; " };
            write!(verdict, "{joint}{note}").expect("writing to a text");
        }
        let others = self.others.iter();
        let others = others.map(|(name, spread)| format!("{name} {}", show(spread)));
        [
            self.what.clone(),
            or_blank(&self.ours),
            others.collect::<Vec<_>>().join(", "),
            or_blank(&self.ratio),
            target,
            verdict,
        ]
    }
}

/// The heads of the columns.
const HEADS: [&str; 6] = ["figure", "ours", "beside it", "ratio", "target", ""];

/// Columns of equal width for a terminal.
pub fn as_text(figures: &[Figure]) -> String {
    let rows: Vec<[String; 6]> = std::iter::once(HEADS.map(str::to_owned))
        .chain(figures.iter().map(Figure::cells))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            write!(line, "{cell:<width$}  ").expect("writing to a text");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A table of a document.
pub fn as_markdown(figures: &[Figure]) -> String {
    let mut text = format!(
        "| {} |\n|{}\n",
        HEADS.join(" | "),
        "---|".repeat(HEADS.len())
    );
    for figure in figures {
        let cells = figure.cells().map(|cell| cell.replace('|', "\\|"));
        writeln!(text, "| {} |", cells.join(" | ")).expect("writing to a text");
    }
    text
}

/// An error and its causes in one line.
pub fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}")
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_held_against_the_median() {
        let figure = Figure::new("TCP, Gbit/s")
            .ours(Spread::of([40.0, 50.0, 10.0]))
            .other("iperf3", Spread::of([30.0]))
            .ratio(Spread::of([1.3, 1.2, 0.4]));
        let judge = |target: Target| figure.clone().target(target).is_met();
        assert_eq!(judge(Target::RatioAtLeast(1.2)), Some(true));
        assert_eq!(judge(Target::RatioAtLeast(1.25)), Some(false));
        assert_eq!(judge(Target::RatioAtMost(1.2)), Some(true));
        assert_eq!(judge(Target::AtMost(39.0)), Some(false));
        let near = |slack| Target::Near { asked: 42.0, slack };
        assert_eq!(judge(near(2.0)), Some(true));
        assert_eq!(judge(near(1.9)), Some(false));
        assert_eq!(figure.is_met(), None);
        let missing = Figure::new("x").target(Target::AtMost(1.0));
        assert_eq!(missing.is_met(), None);
        assert!(as_text(&[missing]).contains("not measured"));
    }

    #[test]
    fn columns_are_aligned_and_pipes_do_not_break_a_table() {
        let figures = [
            Figure::new("a|b").ours(Some(Spread::one(1.0))),
            Figure::new("longer name")
                .other("peer", None)
                .note("it ended"),
        ];
        let text = as_text(&figures);
        let columns: Vec<Option<usize>> = text
            .lines()
            .take(2)
            .map(|line| line.find("ours").or(line.find("1.00")))
            .collect();
        assert_eq!(columns[0], columns[1], "{text}");
        let table = as_markdown(&figures);
        assert!(table.contains("| a\\|b | 1.00 |"), "{table}");
        assert!(
            table.contains("| longer name |  | peer - |  |  | it ended |"),
            "{table}"
        );
    }
}
