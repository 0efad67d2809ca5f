//! Valid messages of a flow link, for property tests of this crate inside and outside.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{
    Attach, ClockAnswer, CohortSpan, LinkMessage, MAX_COHORTS, SegmentFinal, SegmentTotals,
};

pub(super) fn message() -> impl Strategy<Value = LinkMessage> {
    let question = any::<u64>().prop_map(|asked_ns| LinkMessage::ClockQuestion { asked_ns });
    let answer = any::<[u64; 3]>().prop_map(|[asked_ns, heard_ns, answered_ns]| {
        LinkMessage::ClockAnswer(ClockAnswer {
            asked_ns,
            heard_ns,
            answered_ns,
        })
    });
    let bye = Just(LinkMessage::Bye);
    prop_oneof![last(), totals(), attach(), question, answer, bye]
}

fn last() -> impl Strategy<Value = LinkMessage> {
    let span =
        any::<(u8, u64, u64, u64)>().prop_map(|(cohort, first_seq, packets, bytes)| CohortSpan {
            cohort,
            first_seq,
            packets,
            bytes,
        });
    // Few mostly, so that damage meets each field; sometimes as many as there may be.
    let spans = prop_oneof![
        4 => vec(span.clone(), 0..4),
        1 => vec(span, 0..=MAX_COHORTS),
        1 => Just(vec![CohortSpan::default(); MAX_COHORTS]),
    ];
    (any::<(u32, u8, u16, u64, u64)>(), spans).prop_map(|(fields, cohorts)| {
        let (session, segment, stream, ended_ns, egress_packets) = fields;
        LinkMessage::Final(SegmentFinal {
            session,
            segment,
            stream,
            ended_ns,
            egress_packets,
            cohorts,
        })
    })
}

fn totals() -> impl Strategy<Value = LinkMessage> {
    any::<(u32, u8, [u64; 9])>().prop_map(|(session, segment, n)| {
        LinkMessage::Totals(SegmentTotals {
            session,
            segment,
            rx_packets: n[0],
            rx_bytes: n[1],
            lost_packets: n[2],
            late: n[3],
            duplicate: n[4],
            reordered: n[5],
            socket_drops: n[6],
            drained_bytes: n[7],
            unread_bytes: n[8],
        })
    })
}

fn attach() -> impl Strategy<Value = LinkMessage> {
    let domain = prop_oneof!["[a-z0-9-]{0,64}", "[a-f0-9é-]{0,32}"];
    (any::<(u32, u64)>(), domain).prop_map(|((session, clock_ns), domain)| {
        LinkMessage::Attach(Attach {
            session,
            clock_ns,
            domain,
        })
    })
}
