//! Flow sets: sugar of phases, defaults of `[pairs]`, `[[flow]]`.

use super::read::{Reader, Result, bad, cut, unknown_value};
use super::{party, traffic, unique, with_defaults};
use crate::campaign::keys::FLOW;
use crate::campaign::tree::Value;
use crate::campaign::{CampaignError, Dial, ErrorKind, FlowSet, How, ITEMS_MOST, Party, Phase};
use crate::label;
use crate::nearest::nearest;
use crate::selector::Selector;
use crate::unit::Span;
use std::collections::BTreeMap;

type Groups = BTreeMap<String, Selector>;

/// All flow sets: those of the phases first, in their order, then those of `[[flow]]`.
pub(super) fn flow_sets(
    top: &Reader<'_>,
    pairs: Option<&Reader<'_>>,
    phase_tables: &[Reader<'_>],
    phases: &[Phase],
    groups: &Groups,
) -> Result<Vec<FlowSet>> {
    let mut sets = Vec::new();
    let mut given = Vec::new();
    for (index, table) in phase_tables.iter().enumerate() {
        let Some(traffic_table) = table.sub_table("traffic")? else {
            continue;
        };
        let sides = Sides {
            own: None,
            pairs,
            place_of: table,
        };
        let traffic = traffic::traffic(traffic_table)?;
        sets.push(sides.flow_set(groups, vec![index], None, traffic)?);
        given.push((Some(phases[index].name.clone()), table.place("traffic")));
    }
    let flows = top.tables("flow")?;
    let readers = flows
        .into_iter()
        .map(|table| Reader::new(table, &FLOW))
        .collect::<Result<Vec<_>>>()?;
    for table in &readers {
        let traffic_table = table.sub_table("traffic")?;
        let example = "what is sent, such as `traffic = { udp = \"10 Mbit/s\" }`";
        let traffic_table = traffic_table.ok_or_else(|| table.missing("traffic", example))?;
        let active = active_phases(table, phases)?;
        let duration = duration(table, &active, phases)?;
        let sides = Sides {
            own: Some(table),
            pairs,
            place_of: table,
        };
        sets.push(sides.flow_set(groups, active, duration, traffic::traffic(traffic_table)?)?);
        given.push((table.name("name")?, table.place("name")));
    }
    if sets.len() > ITEMS_MOST {
        return Err(bad(
            &top.table.place,
            format!("{} flow sets: at most {ITEMS_MOST}", sets.len()),
        ));
    }
    unique("flow set", &given)?;
    let sugar = sets.len() - readers.len();
    let names = with_defaults(given, |index| format!("set-{}", index - sugar + 1));
    for (set, name) in sets.iter_mut().zip(names) {
        set.name = name;
    }
    Ok(sets)
}

/// The transport that a phase's own traffic names, for the default of the phase's name.
pub(super) fn transport_word(phase: &Reader<'_>) -> Option<&'static str> {
    let Value::Table(traffic) = &phase.node("traffic")?.value else {
        return None;
    };
    ["udp", "tcp"]
        .into_iter()
        .find(|transport| traffic.entry(transport).is_some())
}

fn active_phases(table: &Reader<'_>, phases: &[Phase]) -> Result<Vec<usize>> {
    let Some(names) = table.texts("in")? else {
        return Ok((0..phases.len()).collect());
    };
    let mut active = Vec::new();
    for (name, place) in names {
        let Some(index) = phases.iter().position(|phase| phase.name == name) else {
            let known: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
            return Err(bad(
                place,
                format!("`in`: no such phase: {}", unknown_value(name, &known)),
            ));
        };
        if active.contains(&index) {
            return Err(bad(place, format!("`in` names phase `{name}` twice")));
        }
        active.push(index);
    }
    active.sort_unstable();
    Ok(active)
}

fn duration(table: &Reader<'_>, active: &[usize], phases: &[Phase]) -> Result<Option<Span>> {
    let Some(duration) = table.quantity::<Span>("for")? else {
        return Ok(None);
    };
    for phase in active.iter().map(|index| &phases[*index]) {
        if duration > phase.duration || duration <= phase.warmup {
            let bounds = format!(
                "more than its warm-up ({}), at most its length ({})",
                phase.warmup, phase.duration
            );
            let message = format!(
                "`for = {duration}` does not fit into phase `{}`: {bounds}",
                phase.name
            );
            return Err(bad(table.place("for"), message));
        }
    }
    Ok(Some(duration))
}

/// Where a flow set's from, to, how, ... come from: its own table, then `[pairs]`.
struct Sides<'r, 'a> {
    own: Option<&'r Reader<'a>>,
    pairs: Option<&'r Reader<'a>>,
    /// Named when something is missing.
    place_of: &'r Reader<'a>,
}

impl<'a> Sides<'_, 'a> {
    fn reader(&self, key: &str) -> Option<&Reader<'a>> {
        [self.own, self.pairs]
            .into_iter()
            .flatten()
            .find(|reader| reader.entry(key).is_some())
    }

    fn flow_set(
        &self,
        groups: &Groups,
        phases: Vec<usize>,
        duration: Option<Span>,
        traffic: crate::traffic::Traffic,
    ) -> Result<FlowSet> {
        let how = self.reader("how").map(how).transpose()?.unwrap_or_default();
        let from = self
            .party("from", groups)?
            .ok_or_else(|| self.missing("from", "where the data leaves"))?;
        let to = match self.party("to", groups)? {
            Some(to) => to,
            None if how.is_within_one_side() => from.clone(),
            None => return Err(self.missing("to", "where the data goes")),
        };
        let dials = [("from", Dial::From), ("to", Dial::To)];
        let apart = self.reader("apart").map(apart).transpose()?;
        let both = self
            .reader("both")
            .map(|reader| reader.bool("both"))
            .transpose()?
            .flatten();
        let dial = self
            .reader("dial")
            .map(|reader| reader.choice("dial", &dials, &[]))
            .transpose()?
            .flatten();
        let (both, dial) = (both.unwrap_or_default(), dial.unwrap_or_default());
        Ok(FlowSet {
            name: String::new(),
            from,
            to,
            how,
            both,
            apart,
            dial,
            phases,
            duration,
            traffic,
        })
    }

    fn party(&self, key: &str, groups: &Groups) -> Result<Option<Party>> {
        let node = self.reader(key).and_then(|reader| reader.node(key));
        node.map(|node| party::party(key, node, groups)).transpose()
    }

    fn missing(&self, key: &str, meaning: &str) -> CampaignError {
        let message = format!(
            "`{key}` is missing: say {meaning}, by a selector (`asn=150 role=host`; in a file `{{ asn = 150 }}`), a group or an agent's name"
        );
        CampaignError::new(ErrorKind::Missing, &self.place_of.table.place, message)
    }
}

const HOW: [(&str, How); 4] = [
    ("all", How::All),
    ("mesh", How::Mesh),
    ("one-to-one", How::OneToOne),
    ("ring", How::Ring),
];

fn how(reader: &Reader<'_>) -> Result<How> {
    let Some(node) = reader.node("how") else {
        return Ok(How::All);
    };
    let text = node.scalar("how", "a word in quotes")?;
    if let Some((_, how)) = HOW.iter().find(|(name, _)| *name == text) {
        return Ok(*how);
    }
    let inner = text
        .strip_prefix("random")
        .map(str::trim)
        .and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')'));
    let count = inner
        .and_then(|count| count.trim().parse().ok())
        .filter(|count| *count > 0);
    if let Some(count) = count {
        return Ok(How::Random(count));
    }
    let words = ["all", "mesh", "one-to-one", "ring", "random(10)"];
    let near =
        nearest(text, words).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    let message = format!(
        "`how`: unknown value `{}`: {near}there are: all, mesh, one-to-one, ring, random(N)",
        cut(text)
    );
    Err(bad(&node.place, message))
}

fn apart(reader: &Reader<'_>) -> Result<String> {
    let text = reader.text("apart")?.unwrap_or_default();
    label::key(text).map_err(|error| bad(reader.place("apart"), format!("`apart`: {error}")))
}
