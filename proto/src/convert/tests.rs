//! What goes out comes back; what is foreign is refused by its field.

mod refusals;
mod strategies;

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use weir_common::assignment::Snapshot;
use weir_common::record::{Entry, Record};

use self::strategies::{closed, desired, observation, record};
use crate::types::v1 as pb;

/// Through the bytes of the wire and back.
fn through<P: Message + Default>(message: &P) -> P {
    P::decode(message.encode_to_vec().as_slice()).expect("what was encoded decodes")
}

proptest! {
    #[test]
    fn records_come_back(record in record()) {
        let message = through(&pb::Record::from(&record));
        prop_assert_eq!(Record::try_from(message), Ok(record));
    }

    #[test]
    fn manifests_come_back(closed in closed()) {
        let entry = Entry::Closed(Box::new(closed));
        let message = through(&pb::Entry::from(&entry));
        prop_assert_eq!(Entry::try_from(message), Ok(entry));
    }

    #[test]
    fn observations_come_back(entry in observation()) {
        let message = through(&pb::Entry::from(&entry));
        prop_assert_eq!(Entry::try_from(message), Ok(entry));
    }

    #[test]
    fn snapshots_come_back(epoch: u64, version: u64, items in vec(desired(), 0..3)) {
        let snapshot = Snapshot { epoch, version, items };
        let message = through(&pb::Snapshot::from(&snapshot));
        prop_assert_eq!(Snapshot::try_from(message), Ok(snapshot));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(message) = pb::Entry::decode(bytes.as_slice()) {
            let _ = Entry::try_from(message);
        }
        if let Ok(message) = pb::Snapshot::decode(bytes.as_slice()) {
            let _ = Snapshot::try_from(message);
        }
    }

    /// A valid message with one byte changed still decodes to something or is refused.
    #[test]
    fn damaged_bytes_never_panic(snapshot in vec(desired(), 1..2), at: prop::sample::Index, byte: u8) {
        let snapshot = Snapshot { epoch: 1, version: 1, items: snapshot };
        let mut bytes = pb::Snapshot::from(&snapshot).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = pb::Snapshot::decode(bytes.as_slice()) {
            let _ = Snapshot::try_from(message);
        }
    }
}
