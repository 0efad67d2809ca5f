//! What came of a row.

use std::fmt;
use std::time::Duration;

use weir_tests::report::one_line;

/// The heads of the columns.
const HEAD: &str = "\
| row | fault | injected | records measured | lost | doubled | detected, s | recovered, s at most | memory grew, KiB | held | when |
|---|---|---|---|---|---|---|---|---|---|---|
";

/// The figures of a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// What was injected, counted where it took effect.
    pub(crate) injected: String,
    /// Records that agents measured.
    pub(crate) expected: usize,
    /// Of them, those that are not stored, or not as they were measured.
    pub(crate) lost: usize,
    /// Rows stored more than once, or that nobody measured.
    pub(crate) doubled: usize,
    /// Until the controller called an agent lost, or the agent its disk.
    pub(crate) detected: Option<Duration>,
    /// From the end of the fault until a record measured after it was stored; the longest.
    pub(crate) recovered: Option<Duration>,
    /// Growth of the resident anonymous memory of the process that grew most.
    pub(crate) grew_kib: u64,
    /// What to know beside the figures.
    pub(crate) notes: Vec<String>,
    /// What did not hold.
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    /// A row that could not be carried out.
    pub(crate) fn failed(error: &anyhow::Error) -> Self {
        Self {
            problems: vec![one_line(error)],
            ..Self::default()
        }
    }

    /// Whether all held.
    pub(crate) fn holds(&self) -> bool {
        self.problems.is_empty()
    }

    /// Notes a problem unless something holds.
    pub(crate) fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(otherwise());
        }
    }

    /// Keeps the longest time.
    pub(crate) fn recovered_in(&mut self, time: Duration) {
        self.recovered = self.recovered.max(Some(time));
    }

    fn held(&self) -> String {
        let mut said = self.notes.join("; ");
        if !self.holds() {
            let all = [&self.problems[..], &self.notes].concat();
            said = format!("**NO**: {}", all.join("; "));
        } else if said.is_empty() {
            said.push_str("yes");
        } else {
            said.insert_str(0, "yes; ");
        }
        said.replace('|', "\\|").replace('\n', " ")
    }

    /// Its line in the table of the document.
    pub(crate) fn line(&self, name: &str, about: &str, when: &str) -> String {
        format!(
            "| {name} | {about} | {} | {} | {} | {} | {} | {} | {} | {} | {when} |\n",
            self.injected,
            self.expected,
            self.lost,
            self.doubled,
            seconds(self.detected),
            seconds(self.recovered),
            self.grew_kib,
            self.held(),
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "  injected   {}", self.injected)?;
        writeln!(
            out,
            "  records    {} measured, {} lost, {} doubled",
            self.expected, self.lost, self.doubled
        )?;
        writeln!(
            out,
            "  seconds    {} until detected, {} until recovered",
            seconds(self.detected),
            seconds(self.recovered)
        )?;
        writeln!(out, "  memory     grew by {} KiB", self.grew_kib)?;
        writeln!(out, "  held       {}", self.held())
    }
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".into(), |time| format!("{:.1}", time.as_secs_f64()))
}

/// The table with the line of one row put in; the order is that of `names`.
pub(crate) fn as_table(before: &str, name: &str, line: &str, names: &[&str]) -> String {
    let mut table = HEAD.to_owned();
    for known in names {
        if *known == name {
            table.push_str(line);
            continue;
        }
        let begin = format!("| {known} |");
        if let Some(old) = before.lines().find(|old| old.starts_with(&begin)) {
            table.push_str(old);
            table.push('\n');
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_replaced_in_its_place_and_unknown_rows_go() {
        let before = format!("{HEAD}| b | old |\n| c | kept |\n| gone | x |\n");
        let table = as_table(&before, "b", "| b | new |\n", &["a", "b", "c"]);
        assert_eq!(table, format!("{HEAD}| b | new |\n| c | kept |\n"));
    }

    #[test]
    fn a_problem_is_told_in_the_table() {
        let mut outcome = Outcome::default();
        assert!(outcome.line("a", "b", "now").contains("| yes |"));
        outcome.check(false, || "it | broke".into());
        assert!(!outcome.holds());
        assert!(
            outcome
                .line("a", "b", "now")
                .contains("**NO**: it \\| broke")
        );
    }
}
