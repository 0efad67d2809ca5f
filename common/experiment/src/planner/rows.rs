//! How many rows a flow gives.

/// Rows of one end of a flow: the engine cuts at every multiple of `interval_ns` from the start of the flow,
/// at the end of its warm-up and at its end; a flow of several streams has a row for each and one for the sum.
pub fn rows_per_end(length_ns: u64, warmup_ns: u64, interval_ns: u64, streams: u32) -> u32 {
    let interval = interval_ns.max(1);
    let cut_by_warmup =
        warmup_ns > 0 && warmup_ns < length_ns && !warmup_ns.is_multiple_of(interval);
    let times = length_ns.div_ceil(interval) + u64::from(cut_by_warmup);
    let each = if streams > 1 {
        u64::from(streams) + 1
    } else {
        1
    };
    // A week of 100 ms intervals of 128 streams is 780 million.
    u32::try_from(times.saturating_mul(each)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::rows_per_end;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn counts_the_cuts() {
        let cases = [
            (60 * SECOND, 0, SECOND, 1, 60),
            (60 * SECOND, 5 * SECOND, SECOND, 1, 60),
            (60 * SECOND, 5 * SECOND + 1, SECOND, 1, 61),
            (SECOND / 2, 0, SECOND, 1, 1),
            (SECOND + 1, 0, SECOND, 1, 2),
            (SECOND / 2, SECOND / 4, SECOND, 1, 2),
            (10 * SECOND, 0, SECOND, 4, 50),
        ];
        for (length, warmup, interval, streams, rows) in cases {
            assert_eq!(
                rows_per_end(length, warmup, interval, streams),
                rows,
                "{length} {warmup} {streams}"
            );
        }
    }
}
