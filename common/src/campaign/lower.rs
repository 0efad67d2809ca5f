//! From the tree of either face to the campaign: types, defaults, references between the parts.

mod expectations;
mod flows;
mod party;
mod policy;
mod read;
mod traffic;

use super::keys::{PAIRS, PHASE, TOP};
use super::tree::Table;
use super::{
    Campaign, CampaignError, ErrorKind, INTERVAL, INTERVAL_LEAST, INTERVAL_MOST, LENGTH_MOST,
    LINGER, LINGER_MOST, LostAgent, PAUSE, Phase, Place, SEED, SEED_MOST, SETTLE, SETTLE_MOST,
};
use crate::unit::Span;
use read::{Reader, Result, bad};
use std::collections::BTreeSet;

/// Longest name of a campaign and longest question, in characters.
const NAME_MOST: usize = 200;
const QUESTION_MOST: usize = 2_000;

/// Understands a whole tree. `default_name` is the campaign's name if it has none.
pub(super) fn campaign(root: &Table, default_name: &str) -> Result<Campaign> {
    let top = Reader::new(root, &TOP)?;
    let name = match top.text("campaign")? {
        Some(name) => line_of_text("campaign", name, NAME_MOST, top.place("campaign"))?,
        None => default_name.to_owned(),
    };
    let question = top.text("question")?;
    let question =
        question.map(|text| line_of_text("question", text, QUESTION_MOST, top.place("question")));
    let groups = party::groups(&top)?;
    let phase_tables = phase_tables(&top)?;
    let phases = phases(&phase_tables)?;
    let pairs_table = top.sub_table("pairs")?;
    let pairs = pairs_table
        .map(|table| Reader::new(table, &PAIRS))
        .transpose()?;
    let flow_sets = flows::flow_sets(&top, pairs.as_ref(), &phase_tables, &phases, &groups)?;
    for (index, table) in phase_tables.iter().enumerate() {
        if !flow_sets.iter().any(|set| set.phases.contains(&index)) {
            let name = &phases[index].name;
            let message = format!(
                "phase `{name}` has no traffic: add `traffic = {{ udp = \"10 Mbit/s\" }}`, or a [[flow]] that is active in it"
            );
            return Err(CampaignError::new(
                ErrorKind::Missing,
                &table.table.place,
                message,
            ));
        }
    }
    let expectations = expectations::expectations(&top, &phases, &flow_sets)?;
    let lost_agent = [("mark", LostAgent::Mark), ("fail", LostAgent::Fail)];
    let campaign = Campaign {
        name,
        question: question.transpose()?,
        seed: top.count("seed", 0..=SEED_MOST)?.unwrap_or(SEED),
        interval: top
            .within("interval", INTERVAL_LEAST..=INTERVAL_MOST)?
            .unwrap_or(INTERVAL),
        settle: top
            .within("settle", Span::ZERO..=SETTLE_MOST)?
            .unwrap_or(SETTLE),
        linger: top
            .within("linger", Span::ZERO..=LINGER_MOST)?
            .unwrap_or(LINGER),
        lost_agent: top
            .choice("lost_agent", &lost_agent, &[])?
            .unwrap_or_default(),
        groups,
        phases,
        flow_sets,
        expectations,
        valid: policy::valid(&top)?,
        limits: policy::limits(&top)?,
        traces: Vec::new(),
    };
    Ok(campaign)
}

fn line_of_text(key: &str, text: &str, most: usize, place: &Place) -> Result<String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > most || text.chars().any(char::is_control) {
        return Err(bad(
            place,
            format!("`{key}` is one line of 1 to {most} characters"),
        ));
    }
    Ok(text.to_owned())
}

fn phase_tables<'a>(top: &Reader<'a>) -> Result<Vec<Reader<'a>>> {
    let tables = top.tables("phase")?;
    if tables.is_empty() {
        let message =
            "a campaign needs a phase: write [[phase]] with `for = \"60 s\"` and `traffic`";
        return Err(CampaignError::new(
            ErrorKind::Missing,
            &top.table.place,
            message,
        ));
    }
    tables
        .into_iter()
        .map(|table| Reader::new(table, &PHASE))
        .collect()
}

fn phases(tables: &[Reader<'_>]) -> Result<Vec<Phase>> {
    let given = tables
        .iter()
        .map(|table| Ok((table.name("name")?, table.place("name"))));
    let given = given.collect::<Result<Vec<_>>>()?;
    unique("phase", &given)?;
    let transport = |table: &Reader<'_>| flows::transport_word(table).unwrap_or("phase");
    let names = with_defaults(given, |index| transport(&tables[index]).to_owned());
    let mut phases = Vec::new();
    for (name, table) in names.into_iter().zip(tables) {
        phases.push(phase(name, table)?);
    }
    let mut length: u64 = 0;
    for (phase, table) in phases.iter().zip(tables) {
        // Each is at most LENGTH_MOST, and there are at most ITEMS_MOST: no overflow.
        length += phase.duration.as_nanos() + phase.pause.as_nanos();
        if length > LENGTH_MOST.as_nanos() {
            return Err(bad(
                table.place("for"),
                format!("the campaign is longer than {LENGTH_MOST}"),
            ));
        }
    }
    Ok(phases)
}

fn phase(name: String, table: &Reader<'_>) -> Result<Phase> {
    let duration = table.within("for", Span::ZERO..=LENGTH_MOST)?;
    let duration =
        duration.ok_or_else(|| table.missing("for", "how long it is, such as `for = \"60 s\"`"))?;
    if duration.is_zero() {
        return Err(bad(table.place("for"), "`for` must be more than 0"));
    }
    let warmup = table.quantity::<Span>("warmup")?.unwrap_or_default();
    if warmup >= duration {
        let message = format!(
            "`warmup = {warmup}` leaves nothing of phase `{name}`, which is {duration} long"
        );
        return Err(bad(table.place("warmup"), message));
    }
    let pause = table
        .within("pause", Span::ZERO..=LENGTH_MOST)?
        .unwrap_or(PAUSE);
    Ok(Phase {
        name,
        duration,
        warmup,
        pause,
    })
}

/// Refuses a name that was given twice.
fn unique(what: &str, given: &[(Option<String>, &Place)]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (name, place) in given {
        let Some(name) = name else { continue };
        if !seen.insert(name) {
            let message =
                format!("two times the {what} name `{name}`: every {what} needs a name of its own");
            return Err(CampaignError::new(ErrorKind::Conflict, place, message));
        }
    }
    Ok(())
}

/// Gives the nameless ones their default, with `-2`, `-3`, ... where that is taken.
fn with_defaults(
    given: Vec<(Option<String>, &Place)>,
    default: impl Fn(usize) -> String,
) -> Vec<String> {
    let mut taken: BTreeSet<String> = given.iter().filter_map(|(name, _)| name.clone()).collect();
    let name = |(index, (name, _)): (usize, (Option<String>, &Place))| {
        name.unwrap_or_else(|| {
            let name = free_name(&default(index), &taken);
            taken.insert(name.clone());
            name
        })
    };
    given.into_iter().enumerate().map(name).collect()
}

/// `base`, or `base-2`, `base-3`, ..., whichever is free first.
pub(super) fn free_name(base: &str, taken: &BTreeSet<String>) -> String {
    let numbered = (2..).map(|n| format!("{base}-{n}"));
    let mut candidates = std::iter::once(base.to_owned()).chain(numbered);
    candidates
        .find(|name| !taken.contains(name))
        .expect("the numbers never end")
}
