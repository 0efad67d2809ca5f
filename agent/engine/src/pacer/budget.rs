//! What a flow may still send by its limits on packets and bytes.

/// Packets and bytes left, and what of a packet they leave.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    floor: u32,
    packets_left: u64,
    bytes_left: u64,
}

impl Budget {
    /// `None` is no limit: 2^64 - 1 of either outlasts any run. No packet is made
    /// smaller than `floor`.
    pub(super) fn new(floor: u32, packets: Option<u64>, bytes: Option<u64>) -> Self {
        Self {
            floor,
            packets_left: packets.unwrap_or(u64::MAX),
            bytes_left: bytes.unwrap_or(u64::MAX),
        }
    }

    /// Payload bytes of the next packet, which is to have `size`; `None` when the
    /// budget is spent.
    ///
    /// 1. A full packet, if the rest after it is nothing or can be a packet.
    /// 2. The whole rest, if it fits one packet. (A rest below the floor, possible
    ///    only when the limit itself is, goes out as a packet of the floor.)
    /// 3. Otherwise the rest is split so that the last packet has the floor.
    pub(super) fn next_bytes(&self, size: u32) -> Option<u32> {
        if self.packets_left == 0 || self.bytes_left == 0 {
            return None;
        }
        let (size, floor) = (u64::from(size), u64::from(self.floor.min(size)));
        let bytes = match self.bytes_left.checked_sub(size) {
            Some(rest) if rest == 0 || rest >= floor => size,
            None => self.bytes_left.max(floor),
            Some(_) => (self.bytes_left - floor).max(floor),
        };
        // All three are at most the packet size: the third because there
        // bytes_left < size + floor, and floor <= size.
        Some(u32::try_from(bytes).expect("no packet is larger than its u32 size"))
    }

    /// How many packets of `size` may leave in one bundle, up to `at_most`;
    /// 1 when the next packet is not a full one, 0 when the budget is spent.
    pub(super) fn equal_packets(&self, size: u32, at_most: u32) -> u32 {
        match self.next_bytes(size) {
            None => 0,
            Some(bytes) if bytes < size => 1,
            Some(_) => {
                // One full packet and the floor stay behind, so that the last
                // packets are sized one by one.
                let reserve = u64::from(size) + u64::from(self.floor.min(size));
                let whole = self.bytes_left.saturating_sub(reserve) / u64::from(size);
                let allowed = whole.max(1).min(self.packets_left).min(u64::from(at_most));
                u32::try_from(allowed).expect("limited by a u32")
            }
        }
    }

    /// Spends `packets` of `bytes` each.
    pub(super) fn take(&mut self, packets: u32, bytes: u32) {
        self.packets_left = self.packets_left.saturating_sub(u64::from(packets));
        let spent = u64::from(packets) * u64::from(bytes);
        self.bytes_left = self.bytes_left.saturating_sub(spent);
    }
}
