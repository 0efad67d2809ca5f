use super::*;
use proptest::prelude::*;

mod strategies;

use strategies::message;

fn encoded(message: &LinkMessage) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out).unwrap();
    out
}

#[test]
fn the_bytes_of_each_message_are_fixed() {
    assert_eq!(encoded(&LinkMessage::Bye), [0, 0, 0, 2, 1, 3]);
    let cohorts = vec![CohortSpan {
        cohort: 1,
        first_seq: 2,
        packets: 3,
        bytes: 4,
    }];
    let message = LinkMessage::Final(SegmentFinal {
        session: 7,
        segment: 8,
        stream: 10,
        ended_ns: 11,
        egress_packets: 9,
        cohorts,
    });
    let expected = [
        &[0, 0, 0, 52, 1, 1, 0, 0, 0, 7, 8, 0, 10][..],
        &11u64.to_be_bytes(),
        &9u64.to_be_bytes(),
        &[0, 1, 1],
        &2u64.to_be_bytes(),
        &3u64.to_be_bytes(),
        &4u64.to_be_bytes(),
    ];
    assert_eq!(encoded(&message), expected.concat());
    let question = LinkMessage::ClockQuestion { asked_ns: 6 };
    let expected = [&[0, 0, 0, 10, 1, 5][..], &6u64.to_be_bytes()];
    assert_eq!(encoded(&question), expected.concat());
    let answer = LinkMessage::ClockAnswer(ClockAnswer {
        asked_ns: 6,
        heard_ns: 7,
        answered_ns: 8,
    });
    let times = [6u64, 7, 8].map(u64::to_be_bytes).concat();
    let expected = [&[0, 0, 0, 26, 1, 6][..], &times];
    assert_eq!(encoded(&answer), expected.concat());
    let totals = LinkMessage::Totals(SegmentTotals {
        session: 1,
        unread_bytes: 5,
        ..SegmentTotals::default()
    });
    let bytes = encoded(&totals);
    assert_eq!(bytes[..11], [0, 0, 0, 79, 1, 2, 0, 0, 0, 1, 0]);
    assert_eq!(bytes[bytes.len() - 8..], 5u64.to_be_bytes());
}

#[test]
fn absurd_frames_are_named_without_waiting_for_them() {
    let decode = |bytes: &[u8]| LinkMessage::decode(bytes).unwrap_err();
    assert_eq!(decode(&[0xff; 4]), LinkError::TooLong(u32::MAX));
    assert_eq!(decode(&[0, 0, 0, 0]), LinkError::Truncated);
    assert_eq!(decode(&[0, 0, 0, 1, 1]), LinkError::Truncated);
    assert_eq!(decode(&[0, 0, 0, 2, 9, 3]), LinkError::Version(9));
    assert_eq!(decode(&[0, 0, 0, 2, 1, 9]), LinkError::UnknownType(9));
    assert_eq!(decode(&[0, 0, 0, 3, 1, 3, 0]), LinkError::Trailing(1));
    assert_eq!(decode(&[0, 0, 0, 3, 1, 2, 0]), LinkError::Truncated);
    let mut many = vec![0, 0, 0, 27, 1, 1];
    many.extend([0; 23]);
    many.extend([0xff, 0xff]);
    assert_eq!(decode(&many), LinkError::TooManyCohorts(0xffff));
}

#[test]
fn too_many_cohorts_are_not_sent() {
    let message = LinkMessage::Final(SegmentFinal {
        cohorts: vec![CohortSpan::default(); MAX_COHORTS + 1],
        ..SegmentFinal::default()
    });
    let mut out = Vec::new();
    let refused = message.encode(&mut out);
    assert_eq!(refused, Err(LinkError::TooManyCohorts(MAX_COHORTS + 1)));
    assert!(out.is_empty());
}

#[test]
fn a_domain_is_short_text() {
    let domain = "x".repeat(MAX_DOMAIN_BYTES + 1);
    let message = LinkMessage::Attach(Attach {
        domain,
        ..Attach::default()
    });
    let refused = message.encode(&mut Vec::new());
    assert_eq!(refused, Err(LinkError::Domain(MAX_DOMAIN_BYTES + 1)));
    let mut bytes = encoded(&LinkMessage::Attach(Attach {
        domain: "ab".to_owned(),
        ..Attach::default()
    }));
    *bytes.last_mut().unwrap() = 0xff;
    assert_eq!(
        LinkMessage::decode(&bytes).unwrap_err(),
        LinkError::Domain(2)
    );
}

#[test]
fn an_error_stays() {
    let mut decoder = LinkDecoder::new();
    decoder.push(&[0xff; 4]);
    assert_eq!(decoder.next_message(), Err(LinkError::TooLong(u32::MAX)));
    decoder.push(&encoded(&LinkMessage::Bye));
    assert_eq!(decoder.next_message(), Err(LinkError::TooLong(u32::MAX)));
    assert!(!decoder.is_mid_message());
}

proptest! {
    #[test]
    fn messages_come_back_however_the_stream_is_cut(
        messages in proptest::collection::vec(message(), 0..6), piece in 1usize..300,
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(encoded).collect();
        let mut decoder = LinkDecoder::new();
        let mut decoded = Vec::new();
        for bytes in stream.chunks(piece) {
            decoder.push(bytes);
            while let Some(message) = decoder.next_message().unwrap() {
                decoded.push(message);
            }
        }
        prop_assert_eq!(decoded, messages);
        prop_assert!(!decoder.is_mid_message());
    }

    #[test]
    fn random_bytes_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120), length in 0u8..120, kind in 0u8..8,
    ) {
        // Half of them look like a message, to get past the first checks.
        if bytes.len() > 6 && kind > 0 {
            bytes[..6].copy_from_slice(&[0, 0, 0, length, 1, kind]);
        }
        if let Ok(Some((message, length))) = LinkMessage::decode(&bytes) {
            prop_assert_eq!(&encoded(&message), &bytes[..length]);
        }
        let mut decoder = LinkDecoder::new();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_message() {}
    }

    #[test]
    fn damaged_messages_never_panic(message in message(), at: prop::sample::Index, byte: u8) {
        let mut bytes = encoded(&message);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = LinkMessage::decode(&bytes);
    }
}
