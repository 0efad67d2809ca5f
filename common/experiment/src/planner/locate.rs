//! The line of a campaign file that a [`PlanError`] is about.

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use weir_common::campaign::{Campaign, Party};

use super::PlanError;

impl PlanError {
    /// The line of the file to change, from 1; `text` is what `campaign` was read from. `None` if there is no
    /// such line, or `text` is another file.
    ///
    /// A side that is a group is changed at the group, a value that was left to `[pairs]` there.
    pub fn line(&self, text: &str, campaign: &Campaign) -> Option<u32> {
        let root = DeTable::parse(text).ok()?;
        let root = root.get_ref();
        let offset = match self.set() {
            Some(set) => in_set(root, campaign, set, &self.key()),
            None => match self.key().split_once('.') {
                Some((table, key)) => sub_table(root, table).and_then(|table| offset(table, key)),
                None => offset(root, &self.key()),
            },
        }?;
        let before = text.get(..offset)?;
        u32::try_from(before.matches('\n').count() + 1).ok()
    }
}

/// Offset of a key of a flow set, or of what stands for it.
fn in_set(root: &DeTable<'_>, campaign: &Campaign, name: &str, key: &str) -> Option<usize> {
    let index = campaign.flow_sets.iter().position(|set| set.name == name)?;
    let set = &campaign.flow_sets[index];
    let party = match key {
        "from" => Some(&set.from),
        "to" => Some(&set.to),
        _ => None,
    };
    if let Some(Party::Group(group)) = party
        && let Some(found) = sub_table(root, "groups").and_then(|groups| offset(groups, group))
    {
        return Some(found);
    }
    // The flow sets of phases come first, then those of `[[flow]]`, each in their order.
    let sugar: Vec<_> = tables(root, "phase")
        .filter(|phase| find(phase, "traffic").is_some())
        .collect();
    let own = match index.checked_sub(sugar.len()) {
        None => sugar[index],
        Some(index) => tables(root, "flow").nth(index)?,
    };
    let traffic = sub_table(own, "traffic");
    let pairs = sub_table(root, "pairs");
    let places = [Some(own), traffic, pairs];
    let of_key = places
        .into_iter()
        .flatten()
        .find_map(|table| offset(table, key));
    of_key.or_else(|| offset(own, "traffic"))
}

fn find<'a, 'i>(table: &'a DeTable<'i>, key: &str) -> Option<(usize, &'a DeValue<'i>)> {
    let entry = table
        .iter()
        .find(|(name, _)| name.get_ref().as_ref() == key);
    entry.map(|(name, value)| (name.span().start, value.get_ref()))
}

fn offset(table: &DeTable<'_>, key: &str) -> Option<usize> {
    find(table, key).map(|(offset, _)| offset)
}

fn sub_table<'a, 'i>(table: &'a DeTable<'i>, key: &str) -> Option<&'a DeTable<'i>> {
    find(table, key).and_then(|(_, value)| as_table(value))
}

fn as_table<'a, 'i>(value: &'a DeValue<'i>) -> Option<&'a DeTable<'i>> {
    match value {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

fn tables<'a, 'i>(root: &'a DeTable<'i>, key: &str) -> impl Iterator<Item = &'a DeTable<'i>> {
    let items: &[Spanned<DeValue<'i>>] = match find(root, key) {
        Some((_, DeValue::Array(items))) => items,
        _ => &[],
    };
    items.iter().filter_map(|item| as_table(item.get_ref()))
}
