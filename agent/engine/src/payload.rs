//! What stands in a packet behind its probe header.

use weir_wire::probe_header::{LENGTH, SHORT_LENGTH};

/// Payload that no link compresses: a fixed pseudo-random pattern (xorshift, George
/// Marsaglia 2003), the same in every run and every packet.
pub(crate) fn pattern(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(&mut next).take(bytes).collect()
}

/// Whether a packet holds behind its header what the pattern holds there.
pub(crate) fn is_intact(packet: &[u8], pattern: &[u8]) -> bool {
    let header = if packet.len() >= LENGTH {
        LENGTH
    } else {
        SHORT_LENGTH
    };
    match (packet.get(header..), pattern.get(header..packet.len())) {
        (Some(found), Some(expected)) => found == expected,
        _ => packet.len() <= header,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_behind_the_header_counts() {
        for length in [SHORT_LENGTH, SHORT_LENGTH + 1, LENGTH, LENGTH + 1, 1_400] {
            let pattern = pattern(1_400);
            let mut packet = pattern[..length].to_vec();
            packet[..SHORT_LENGTH].fill(0xff); // a header is no part of it
            assert!(is_intact(&packet, &pattern), "{length}");
            let behind = if length >= LENGTH {
                LENGTH
            } else {
                SHORT_LENGTH
            };
            for at in behind..length {
                packet[at] ^= 0x10;
                assert!(!is_intact(&packet, &pattern), "{length} {at}");
                packet[at] ^= 0x10;
            }
        }
        assert!(!is_intact(&[0; 30], &pattern(20)), "longer than was sent");
    }
}
