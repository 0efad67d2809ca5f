//! Expectations: their phase and set exist, and the set has the metric.

use super::read::{Reader, Result, bad, unknown_value};
use crate::campaign::expect::{That, ThatError};
use crate::campaign::keys::EXPECT;
use crate::campaign::{CampaignError, Each, ErrorKind, Expectation, FlowSet, Level, Phase, Place};

pub(super) fn expectations(
    top: &Reader<'_>,
    phases: &[Phase],
    sets: &[FlowSet],
) -> Result<Vec<Expectation>> {
    let scope = Scope { phases, sets };
    let tables = top.tables("expect")?;
    tables
        .into_iter()
        .map(|table| scope.expectation(&Reader::new(table, &EXPECT)?))
        .collect()
}

struct Scope<'a> {
    phases: &'a [Phase],
    sets: &'a [FlowSet],
}

impl Scope<'_> {
    fn expectation(&self, table: &Reader<'_>) -> Result<Expectation> {
        let that = that(table)?;
        let each = [
            ("flow", Each::Flow),
            ("set", Each::Set),
            ("pair", Each::Pair),
        ];
        let level = [("fail", Level::Fail), ("warn", Level::Warn)];
        let mut expectation = Expectation {
            phase: self.phase(table, &that)?,
            set: that.set,
            metric: that.metric,
            operator: that.operator,
            bound: that.bound,
            each: table.choice("each", &each, &[])?.unwrap_or_default(),
            level: table.choice("level", &level, &[])?.unwrap_or_default(),
        };
        self.check_set(&expectation, table.place("that"))?;
        self.narrow(&mut expectation);
        Ok(expectation)
    }

    fn phase(&self, table: &Reader<'_>, that: &That) -> Result<Option<String>> {
        let (phase, place) = match (table.text("phase")?, &that.phase) {
            (Some(key), Some(inside)) if key != inside => {
                let message =
                    format!("`phase = \"{key}\"` and `{inside}/` in `that` differ: keep one");
                return Err(CampaignError::new(
                    ErrorKind::Conflict,
                    table.place("phase"),
                    message,
                ));
            }
            (Some(key), _) => (key, table.place("phase")),
            (None, Some(inside)) => (inside.as_str(), table.place("that")),
            (None, None) => return Ok(None),
        };
        let known: Vec<&str> = self
            .phases
            .iter()
            .map(|phase| phase.name.as_str())
            .collect();
        if !known.contains(&phase) {
            return Err(bad(
                place,
                format!("no such phase: {}", unknown_value(phase, &known)),
            ));
        }
        Ok(Some(phase.to_owned()))
    }

    fn check_set(&self, expectation: &Expectation, place: &Place) -> Result<()> {
        let metric = expectation.metric.as_str();
        if let Some(name) = &expectation.set {
            let Some(set) = self.sets.iter().find(|set| set.name == *name) else {
                let known: Vec<&str> = self.sets.iter().map(|set| set.name.as_str()).collect();
                return Err(bad(
                    place,
                    format!("no such flow set: {}", unknown_value(name, &known)),
                ));
            };
            if !expectation.metric.applies_to(&set.traffic) {
                let message = format!("flow set `{name}` has no `{metric}`: {}", why_not(set));
                return Err(bad(place, message));
            }
        }
        if self.sets_of(expectation).next().is_none() {
            let within = expectation
                .phase
                .as_ref()
                .map_or_else(String::new, |phase| format!(" of phase `{phase}`"));
            let of_set = expectation
                .set
                .as_ref()
                .map_or_else(String::new, |set| format!(" named `{set}`"));
            return Err(bad(
                place,
                format!("no flow set{of_set}{within} has `{metric}`"),
            ));
        }
        Ok(())
    }

    /// The sets that an expectation is about.
    fn sets_of<'e>(&'e self, expectation: &'e Expectation) -> impl Iterator<Item = &'e FlowSet> {
        self.sets.iter().filter(|set| {
            let named = expectation
                .set
                .as_ref()
                .is_none_or(|name| *name == set.name);
            let is_phase = |phase: &usize| {
                expectation
                    .phase
                    .as_ref()
                    .is_none_or(|name| *name == self.phases[*phase].name)
            };
            named && set.phases.iter().any(is_phase) && expectation.metric.applies_to(&set.traffic)
        })
    }

    /// Names the phase and the set where only one is possible, so that both faces mean the same expectation.
    fn narrow(&self, expectation: &mut Expectation) {
        self.narrow_set(expectation);
        if expectation.phase.is_none() {
            let mut possible: Vec<usize> = self
                .sets_of(expectation)
                .flat_map(|set| set.phases.iter().copied())
                .collect();
            possible.sort_unstable();
            possible.dedup();
            if let [phase] = possible[..] {
                expectation.phase = Some(self.phases[phase].name.clone());
            }
        }
        self.narrow_set(expectation);
    }

    fn narrow_set(&self, expectation: &mut Expectation) {
        let mut possible = self.sets_of(expectation).map(|set| set.name.clone());
        let only = possible.next().filter(|_| possible.next().is_none());
        drop(possible);
        if let Some(only) = only {
            expectation.set = Some(only);
        }
    }
}

fn why_not(set: &FlowSet) -> String {
    if set.traffic.rate == crate::traffic::Rate::Max {
        return format!("it is {} at `max`", set.traffic.transport.as_str());
    }
    format!("it is {}", set.traffic.transport.as_str())
}

fn that(table: &Reader<'_>) -> Result<That> {
    let missing = || table.missing("that", "what must hold, such as `that = \"loss <= 1%\"`");
    let text = table.text("that")?.ok_or_else(missing)?;
    text.parse().map_err(|error: ThatError| {
        let kind = match error {
            ThatError::NotYet { .. } => ErrorKind::NotAvailable,
            _ => ErrorKind::BadValue,
        };
        CampaignError::new(kind, table.place("that"), error.to_string())
    })
}
