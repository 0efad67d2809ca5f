//! How messages are read off a connection: as prost does, but not before their
//! lists have been counted. An empty message in a list is two bytes on the wire
//! and a kilobyte in memory, so that 256 KiB would become 200 MiB.

use std::any::TypeId;
use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf as _;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use crate::agent::v1::{ControlRequest, RecordsRequest};

/// A list somewhere in a message, and how long it may be.
struct List {
    /// Numbers of the fields that lead to it.
    path: &'static [u64],
    name: &'static str,
    most: usize,
}

const fn list(path: &'static [u64], name: &'static str, most: usize) -> List {
    List { path, name, most }
}

const RECORDS: [List; 1] = [list(&[2, 2], "batch.entries", 256)];
const CONTROL: [List; 5] = [
    list(&[1, 4], "hello.labels", 1_024),
    list(&[1, 9, 4], "hello.inventory.interfaces", 4_096),
    list(&[1, 12], "hello.assignments", 1_024),
    list(&[2, 3], "heartbeat.interfaces", 4_096),
    list(&[4, 3], "snapshot_nack.reasons", 1_024),
];

/// Lists of messages that strangers send.
fn lists<U: 'static>() -> &'static [List] {
    let message = TypeId::of::<U>();
    if message == TypeId::of::<RecordsRequest>() {
        &RECORDS
    } else if message == TypeId::of::<ControlRequest>() {
        &CONTROL
    } else {
        &[]
    }
}

/// The codec of all services.
#[derive(Debug, Clone)]
pub struct Bounded<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Bounded<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Bounded<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstDecoder::new(buffers()))
    }
}

/// Each stream keeps one buffer for each direction as long as it lasts: tonic's own
/// 8 KiB are 32 KiB for an idle agent. They grow for a longer message.
fn buffers() -> BufferSettings {
    BufferSettings::new(1_024, 32 * 1_024)
}

/// Counts, then decodes.
#[derive(Debug, Clone)]
pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + 'static> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // tonic hands over a message in one piece.
        check(from.chunk(), lists::<U>())?;
        self.0.decode(from)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

fn check(message: &[u8], lists: &[List]) -> Result<(), Status> {
    for List { path, name, most } in lists {
        let n = count(message, path);
        if n > *most {
            let problem = format!("{name}: {n}, at most {most}");
            return Err(Status::invalid_argument(problem));
        }
    }
    Ok(())
}

/// Messages in the list at the end of a path. What is no protobuf ends the count:
/// it is refused by whoever decodes it.
fn count(mut bytes: &[u8], path: &[u64]) -> usize {
    let [wanted, rest @ ..] = path else {
        return 0;
    };
    let mut found = 0;
    while let Some((field, tail)) = Field::first(bytes) {
        bytes = tail;
        found += match field.inner {
            Some(_) if field.number == *wanted && rest.is_empty() => 1,
            Some(inner) if field.number == *wanted => count(inner, rest),
            _ => 0,
        };
    }
    found
}

/// A field as it is on the wire.
struct Field<'a> {
    number: u64,
    /// Its bytes, if it has a length.
    inner: Option<&'a [u8]>,
}

impl<'a> Field<'a> {
    /// The first one, and what follows it.
    fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (tag, bytes) = varint(bytes)?;
        let (inner, tail) = match tag & 7 {
            0 => (None, varint(bytes)?.1),
            1 => (None, bytes.get(8..)?),
            2 => {
                let (length, bytes) = varint(bytes)?;
                let (inner, tail) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
                (Some(inner), tail)
            }
            5 => (None, bytes.get(4..)?),
            // Beginnings and ends of groups.
            _ => (None, bytes),
        };
        let number = tag >> 3;
        Some((Self { number, inner }, tail))
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 127) << (7 * i);
        if byte & 128 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::v1 as pb;
    use crate::agent::v1::{control_request, records_request};
    use crate::types::v1 as types;

    fn control(message: control_request::Message) -> Vec<u8> {
        let message = Some(message);
        ControlRequest { message }.encode_to_vec()
    }

    /// The list, the message, and what is looked for in it.
    type Case = (&'static str, Vec<u8>, &'static [List]);

    /// A message with `n` items in each list.
    fn long(n: usize) -> Vec<Case> {
        let interfaces = vec![types::Interface::default(); n];
        let hello = |damage: &dyn Fn(&mut pb::Hello)| {
            let mut hello = pb::Hello {
                name: "before".into(),
                ..pb::Hello::default()
            };
            damage(&mut hello);
            control(control_request::Message::Hello(hello))
        };
        let batch = pb::Batch {
            first_seq: 1,
            entries: vec![types::Entry::default(); n],
        };
        let records = RecordsRequest {
            message: Some(records_request::Message::Batch(batch)),
        };
        let inventory = types::Inventory {
            interfaces: interfaces.clone(),
            ..types::Inventory::default()
        };
        vec![
            ("batch.entries", records.encode_to_vec(), &RECORDS),
            (
                "hello.labels",
                hello(&|hello| {
                    hello.labels = (0..n).map(|i| (i.to_string(), String::new())).collect();
                }),
                &CONTROL,
            ),
            (
                "hello.inventory.interfaces",
                hello(&|hello| hello.inventory = Some(inventory.clone())),
                &CONTROL,
            ),
            (
                "hello.assignments",
                hello(&|hello| hello.assignments = vec![pb::AssignmentStatus::default(); n]),
                &CONTROL,
            ),
            (
                "heartbeat.interfaces",
                control(control_request::Message::Heartbeat(pb::Heartbeat {
                    session_epoch: 7,
                    mono_ns: 7,
                    interfaces,
                })),
                &CONTROL,
            ),
            (
                "snapshot_nack.reasons",
                control(control_request::Message::SnapshotNack(pb::SnapshotNack {
                    version: 7,
                    reasons: vec![pb::NackReason::default(); n],
                    ..pb::SnapshotNack::default()
                })),
                &CONTROL,
            ),
        ]
    }

    #[test]
    fn lists_are_counted_before_they_are_made() {
        for (name, bytes, lists) in long(5_000) {
            let status = check(&bytes, lists).unwrap_err();
            assert!(status.message().contains(name), "{name}: {status}");
            assert!(status.message().contains("5000"), "{name}: {status}");
        }
        for (name, bytes, lists) in long(200) {
            check(&bytes, lists).unwrap_or_else(|status| panic!("{name}: {status}"));
        }
        assert_eq!(long(1).len(), RECORDS.len() + CONTROL.len());
    }

    proptest! {
        #[test]
        fn any_bytes_are_counted(bytes: Vec<u8>) {
            check(&bytes, &RECORDS).ok();
            check(&bytes, &CONTROL).ok();
        }
    }
}
