//! The file that a campaign means, as `--save` writes it: only what is not default, in a fixed order.

use super::policy::Cause;
use super::{
    Campaign, Dial, Each, FlowSet, How, INTERVAL, LINGER, Level, Limits, LostAgent, PAUSE, Party,
    Phase, SEED, SETTLE, Valid,
};
use crate::selector::{Condition, Glob, Selector};
use crate::traffic::{Bundles, Law, Layer, OnFull, Pacing, Per, StreamEnd, Traffic};
use crate::unit::Span;
use std::fmt::{Display, Write};

/// Writes the campaign as a TOML file, which reads back equal.
pub fn render(campaign: &Campaign) -> String {
    let mut out = Out::default();
    head(&mut out, campaign);
    let pairs = Sides::common(&campaign.flow_sets);
    if let Some(pairs) = &pairs {
        out.section("[pairs]");
        for (key, value) in pairs.keys() {
            out.raw(key, &value);
        }
    }
    let sugar = sugared(campaign, pairs.as_ref());
    for (index, phase) in campaign.phases.iter().enumerate() {
        let own = campaign.flow_sets[..sugar]
            .iter()
            .find(|set| set.phases == [index]);
        write_phase(&mut out, phase, own);
    }
    for set in &campaign.flow_sets[sugar..] {
        write_flow(&mut out, campaign, set, pairs.as_ref());
    }
    for expectation in &campaign.expectations {
        out.section("[[expect]]");
        out.text("that", expectation);
        out.text_unless("each", expectation.each.as_str(), Each::default().as_str());
        out.text_unless(
            "level",
            expectation.level.as_str(),
            Level::default().as_str(),
        );
    }
    write_valid(&mut out, &campaign.valid);
    write_limits(&mut out, &campaign.limits);
    out.text
}

fn head(out: &mut Out, campaign: &Campaign) {
    out.text("campaign", &campaign.name);
    if let Some(question) = &campaign.question {
        out.text("question", question);
    }
    if campaign.seed != SEED {
        out.raw("seed", &campaign.seed);
    }
    out.text_unless("interval", campaign.interval, INTERVAL);
    out.text_unless("settle", campaign.settle, SETTLE);
    out.text_unless("linger", campaign.linger, LINGER);
    out.text_unless(
        "lost_agent",
        campaign.lost_agent.as_str(),
        LostAgent::default().as_str(),
    );
    if !campaign.groups.is_empty() {
        out.section("[groups]");
        for (name, group) in &campaign.groups {
            out.raw(name, &selector(group));
        }
    }
}

/// How many flow sets, from the first, can be written as the traffic of their phase: those named like their only phase,
/// in the order of phases, with the sides of `[pairs]`. The order of flow sets is kept, since reading puts these first.
fn sugared(campaign: &Campaign, pairs: Option<&Sides>) -> usize {
    let mut next_phase = 0;
    for (index, set) in campaign.flow_sets.iter().enumerate() {
        let own_phase = match set.phases[..] {
            [phase] if phase >= next_phase && campaign.phases[phase].name == set.name => phase,
            _ => return index,
        };
        if set.duration.is_some() || pairs != Some(&Sides::of(set)) {
            return index;
        }
        next_phase = own_phase + 1;
    }
    campaign.flow_sets.len()
}

fn write_phase(out: &mut Out, phase: &Phase, own: Option<&FlowSet>) {
    out.section("[[phase]]");
    out.text("name", &phase.name);
    out.text("for", phase.duration);
    if !phase.warmup.is_zero() {
        out.text("warmup", phase.warmup);
    }
    out.text_unless("pause", phase.pause, PAUSE);
    if let Some(set) = own {
        out.raw("traffic", &traffic(&set.traffic));
    }
}

fn write_flow(out: &mut Out, campaign: &Campaign, set: &FlowSet, pairs: Option<&Sides>) {
    out.section("[[flow]]");
    out.text("name", &set.name);
    if set.phases.len() < campaign.phases.len() {
        let names = set
            .phases
            .iter()
            .map(|phase| quote(&campaign.phases[*phase].name));
        out.raw("in", &format!("[{}]", names.collect::<Vec<_>>().join(", ")));
    }
    if let Some(duration) = set.duration {
        out.text("for", duration);
    }
    let inherited = pairs.map(Sides::keys).unwrap_or_default();
    for key in Sides::of(set).keys_against(&inherited) {
        out.raw(key.0, &key.1);
    }
    out.raw("traffic", &traffic(&set.traffic));
}

/// Who sends to whom: what `[pairs]` can hold for all flow sets.
#[derive(Clone, PartialEq, Eq)]
struct Sides {
    from: Party,
    to: Party,
    how: How,
    both: bool,
    apart: Option<String>,
    dial: Dial,
}

impl Sides {
    fn of(set: &FlowSet) -> Sides {
        let FlowSet {
            from,
            to,
            how,
            both,
            apart,
            dial,
            ..
        } = set.clone();
        Sides {
            from,
            to,
            how,
            both,
            apart,
            dial,
        }
    }

    /// The sides of the first flow set. `apart` cannot be taken back by a flow set, so it is common only if all have it.
    fn common(sets: &[FlowSet]) -> Option<Sides> {
        let mut common = Sides::of(sets.first()?);
        if sets.iter().any(|set| set.apart != common.apart) {
            common.apart = None;
        }
        Some(common)
    }

    /// Keys and values that are not default.
    fn keys(&self) -> Vec<(&'static str, String)> {
        let mut keys = vec![("from", party(&self.from)), ("to", party(&self.to))];
        if self.how != How::default() {
            keys.push(("how", quote(&self.how.to_string())));
        }
        if self.both {
            keys.push(("both", "true".to_owned()));
        }
        if let Some(label) = &self.apart {
            keys.push(("apart", quote(label)));
        }
        if self.dial != Dial::default() {
            keys.push(("dial", quote(self.dial.as_str())));
        }
        keys
    }

    /// Keys that differ from those inherited, defaults that undo an inherited one included.
    fn keys_against(&self, inherited: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
        let mut own = self.keys();
        let undo = [
            ("how", quote("all")),
            ("both", "false".to_owned()),
            ("dial", quote("from")),
        ];
        for (key, default) in undo {
            let has = |keys: &[(&str, String)]| keys.iter().any(|(name, _)| *name == key);
            if has(inherited) && !has(&own) {
                own.push((key, default));
            }
        }
        own.retain(|entry| !inherited.contains(entry));
        own
    }
}

fn party(party: &Party) -> String {
    match party {
        Party::Selector(each) => selector(each),
        Party::Group(name) => quote(name),
        Party::Agents(names) if names.len() == 1 => quote(&names[0]),
        Party::Agents(names) => list(names.iter().map(|name| quote(name))),
    }
}

fn selector(selector: &Selector) -> String {
    let mut fields = Vec::new();
    let labels = selector
        .labels
        .iter()
        .map(|(key, condition)| (key.as_str(), condition));
    let name = selector.name.iter().map(|condition| ("name", condition));
    for (key, condition) in labels.chain(name) {
        fields.push(format!("{key} = {}", values(condition)));
    }
    if !selector.prefix.is_empty() {
        fields.push(format!(
            "prefix = {}",
            one_or_list(selector.prefix.iter().map(|net| quote(&net.to_string())))
        ));
    }
    if let Some(count) = selector.sample {
        fields.push(format!("sample = {count}"));
    }
    if !selector.except.is_empty() {
        fields.push(format!(
            "except = {}",
            one_or_list(selector.except.iter().map(|name| quote(name.as_str())))
        ));
    }
    if fields.is_empty() {
        "{}".to_owned()
    } else {
        format!("{{ {} }}", fields.join(", "))
    }
}

fn values(condition: &Condition) -> String {
    let none = condition.none.iter().map(|glob| quote(&format!("!{glob}")));
    one_or_list(condition.any.iter().map(value).chain(none))
}

/// A number as a number, if that reads back as the same text.
fn value(glob: &Glob) -> String {
    let text = glob.as_str();
    match text.parse::<u32>() {
        Ok(number) if number.to_string() == text => text.to_owned(),
        _ => quote(text),
    }
}

fn one_or_list(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    if values.len() == 1 {
        values.concat()
    } else {
        list(values.into_iter())
    }
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}

fn traffic(traffic: &Traffic) -> String {
    let mut fields = vec![format!(
        "{} = {}",
        traffic.transport.as_str(),
        quote(&traffic.rate.to_string())
    )];
    let mut push = |key: &str, value: Option<String>| {
        fields.extend(value.map(|value| format!("{key} = {value}")));
    };
    push("size", traffic.size.map(|size| size.to_string()));
    if let Some(profile) = traffic.profile {
        push("profile", Some(quote(&profile.to_string())));
    } else {
        let size = traffic.size_law.as_ref();
        push("size", size.map(|law| quote(&law.to_string())));
        let arrival = Some(&traffic.arrival).filter(|law| **law != Law::default());
        push("arrival", arrival.map(|law| quote(&law.to_string())));
    }
    push(
        "streams",
        (traffic.streams != 1).then(|| traffic.streams.to_string()),
    );
    let per = match traffic.per {
        Per::Flow => None,
        Per::Stream => Some("stream"),
        Per::Sender => Some("sender"),
        Per::Set => Some("set"),
    };
    push("per", per.map(quote));
    push(
        "bytes",
        traffic.bytes.map(|bytes| quote(&bytes.to_string())),
    );
    push(
        "packets",
        traffic.packets.map(|packets| packets.to_string()),
    );
    push("cc", traffic.cc.as_deref().map(quote));
    schedule(traffic, &mut push);
    sockets(traffic, &mut push);
    push(
        "bind",
        traffic.bind.as_ref().map(|bind| quote(&bind.to_string())),
    );
    push("port", traffic.port.map(|port| port.to_string()));
    let log_file = traffic.log_file.as_ref();
    push("log_file", log_file.map(|name| quote(name.as_str())));
    format!("{{ {} }}", fields.join(", "))
}

fn schedule(traffic: &Traffic, push: &mut impl FnMut(&str, Option<String>)) {
    push(
        "pacing",
        (traffic.pacing == Pacing::KeepGap).then(|| quote("keep-gap")),
    );
    push(
        "spin",
        (!traffic.spin.is_zero()).then(|| quote(&traffic.spin.to_string())),
    );
    let layer = match traffic.layer {
        Layer::Payload => None,
        Layer::Ip => Some("ip"),
        Layer::Frame => Some("frame"),
        Layer::Wire => Some("wire"),
    };
    push("layer", layer.map(quote));
    let points = traffic.ramp.points().iter();
    let points = points.map(|(at, rate)| quote(&format!("{at} {rate}")));
    push("ramp", (!traffic.ramp.is_empty()).then(|| list(points)));
}

fn sockets(traffic: &Traffic, push: &mut impl FnMut(&str, Option<String>)) {
    let yes = |holds: bool| holds.then(|| true.to_string());
    push("mss", traffic.mss.map(|bytes| bytes.to_string()));
    push("nodelay", yes(traffic.nodelay));
    push(
        "window",
        traffic.window.map(|bytes| quote(&bytes.to_string())),
    );
    let marking = &traffic.marking;
    push("dscp", marking.dscp.map(|code| code.to_string()));
    let ecn = |bits: u8| quote(["none", "ect1", "ect0", "ce"][usize::from(bits & 3)]);
    push("ecn", marking.ecn.map(ecn));
    push("ttl", marking.ttl.map(|hops| hops.to_string()));
    push(
        "flow_label",
        marking.flow_label.map(|label| label.to_string()),
    );
    push("echo", yes(traffic.echo));
    push("verify", yes(traffic.verify));
    let gso = match traffic.gso {
        None | Some(Bundles::Auto { .. }) => None,
        Some(Bundles::On) => Some("on"),
        Some(Bundles::Off) => Some("off"),
    };
    push("gso", gso.map(quote));
    push(
        "on_full",
        (traffic.on_full == OnFull::Wait).then(|| quote("wait")),
    );
    let end = match traffic.end {
        end if end == StreamEnd::default() => None,
        StreamEnd::Abort => Some("abort".to_owned()),
        StreamEnd::Drain(ns) => Some(format!("drain({})", Span::from_nanos(ns))),
    };
    push("end", end.as_deref().map(quote));
}

fn write_valid(out: &mut Out, valid: &Valid) {
    let normal = Valid::default();
    if *valid == normal {
        return;
    }
    out.section("[valid]");
    out.text_unless("behind", valid.behind, normal.behind);
    if let Some(lateness) = valid.lateness {
        out.text("lateness", lateness);
    }
    out.text_unless("clock_step", valid.clock_step, normal.clock_step);
    for (key, cause, usual) in [
        ("throttled", valid.throttled, normal.throttled),
        ("runq", valid.runq, normal.runq),
        ("steal", valid.steal, normal.steal),
        ("softnet_drops", valid.softnet_drops, normal.softnet_drops),
    ] {
        match cause {
            Cause { decides: false, .. } => {}
            Cause { above, .. } if above == usual.above => out.text(key, "invalid"),
            Cause { above, .. } => out.text(key, above),
        }
    }
    if valid.observers {
        out.text("observers", "invalid");
    }
    if !valid.ignore.is_empty() {
        out.raw("ignore", &list(valid.ignore.iter().map(|code| quote(code))));
    }
}

fn write_limits(out: &mut Out, limits: &Limits) {
    if *limits == Limits::default() {
        return;
    }
    out.section("[limits]");
    for (label, load) in &limits.per_label {
        out.text(&format!("per_{label}"), load);
    }
    if let Some(load) = limits.per_kernel {
        out.text("per_kernel", load);
    }
    if let Some(load) = limits.target {
        out.text("target", load);
    }
    if let Some(flows) = limits.flows {
        out.raw("flows", &flows);
    }
}

/// The text so far.
#[derive(Default)]
struct Out {
    text: String,
}

impl Out {
    fn section(&mut self, title: &str) {
        self.text.push('\n');
        self.text.push_str(title);
        self.text.push('\n');
    }

    fn raw(&mut self, key: &str, value: &dyn Display) {
        writeln!(self.text, "{key} = {value}").expect("writing to a String cannot fail");
    }

    fn text(&mut self, key: &str, value: impl Display) {
        let quoted = quote(&value.to_string());
        self.raw(key, &quoted);
    }

    fn text_unless<T: Display + PartialEq>(&mut self, key: &str, value: T, default: T) {
        if value != default {
            self.text(key, value);
        }
    }
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.extend(format!("\\U{:08X}", u32::from(c)).chars()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
