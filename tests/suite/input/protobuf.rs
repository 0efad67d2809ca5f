//! The agents' socket, spoken to by somebody who knows the protocol and keeps
//! to none of it.

mod absurd;
mod hello;
mod hostile;
mod noise;
mod records;

use std::future::Future;

use tonic::{Code, Status};
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::records_request::Message as Batches;
use weir_proto::agent::v1::records_response::Message as Acks;
use weir_proto::types::v1 as types;
use weir_tests::Cluster;

use weir_tests::pretender::{Pretender, Stream};

/// Counts above this are in no column.
const COUNT_MOST: u64 = i64::MAX as u64;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// It still answers, and nothing in it has panicked.
pub(super) fn is_well(cluster: &Cluster) {
    let agents = cluster.weir(&["agents", "--json"]);
    assert_eq!(agents.code, 0, "{agents:?}");
    let log = cluster.controller().output();
    assert!(!log.contains("panicked"), "{log}");
}

fn names(status: &Status, field: &str) {
    assert!(status.message().contains(field), "{field}: {status:?}");
    assert!(
        !matches!(status.code(), Code::Internal | Code::Unknown | Code::Ok),
        "{field}: {status:?}"
    );
}

fn open(open: pb::RecordsOpen) -> pb::RecordsRequest {
    pb::RecordsRequest {
        message: Some(Batches::Open(open)),
    }
}

fn batch(first_seq: u64, entries: Vec<types::Entry>) -> pb::RecordsRequest {
    pb::RecordsRequest {
        message: Some(Batches::Batch(pb::Batch { first_seq, entries })),
    }
}

fn row(damage: impl Fn(&mut types::Record)) -> types::Entry {
    let mut record = types::Record {
        run: 1,
        flow: 1,
        end: 1,
        source: 1,
        length_ns: 1,
        counters: Some(types::Counters::default()),
        ..types::Record::default()
    };
    damage(&mut record);
    types::Entry {
        item: Some(types::entry::Item::Record(record)),
    }
}

/// A records stream that has been opened.
async fn opened(me: &Pretender, session_epoch: u64) -> Stream {
    let mut stream = me.records().await;
    stream.send(&open(me.records_open(session_epoch)));
    let answer: pb::RecordsResponse = stream.answer().await.expect("the begin");
    assert!(matches!(answer.message, Some(Acks::Ack(_))), "{answer:?}");
    stream
}
