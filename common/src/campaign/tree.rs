//! What both faces are read into before they are understood: keys and values with their places.

use super::Place;

/// A table of a file, or the options of a command line that belong together.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) place: Place,
    pub(super) entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A string of a file.
    Text(String),
    /// The value of a command-line option: it has no type of its own.
    Word(String),
    /// An integer or float of a file, as decimal text.
    Number(String),
    Bool(bool),
    List(Vec<Node>),
    Table(Table),
}

impl Table {
    pub(super) fn new(place: Place) -> Table {
        Table {
            place,
            entries: Vec::new(),
        }
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Adds a value; the caller has made sure that the key is new.
    pub(super) fn push(&mut self, key: &str, place: &Place, value: Value) {
        let node = Node {
            place: place.clone(),
            value,
        };
        self.entries.push(Entry {
            key: key.to_owned(),
            place: place.clone(),
            node,
        });
    }
}

impl Value {
    /// The sort of value, with its article, for errors.
    pub(super) fn sort(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Word(_) => "a word",
            Value::Number(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}
