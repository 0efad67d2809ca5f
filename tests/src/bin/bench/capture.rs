//! What the receiving interface saw and when, by the kernel's stamps: the same
//! method for every sender.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use weir_tests::Process;

use crate::network::{INTERFACE, Network};
use crate::program::pause;

/// Bytes kept of each packet: all headers.
const KEPT: &str = "96";

/// The kernel hands packets over in blocks, the last one after a second; what was
/// not handed over when tcpdump ends is lost without a word.
const HANDED_OVER: Duration = Duration::from_millis(1500);

/// tcpdump on the receiving veth.
pub(crate) struct Capture {
    tcpdump: Process,
    file: PathBuf,
}

/// One packet to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// When, Unix time, ns.
    pub(crate) at_ns: u64,
    /// Destination port.
    pub(crate) port: u16,
    /// Payload above UDP or TCP, bytes.
    pub(crate) payload: u32,
}

impl Capture {
    /// Starts on packets towards the receiving end that match a filter (pcap-filter(7)).
    pub(crate) fn start(network: &Network, filter: &str) -> anyhow::Result<Self> {
        let file = network.file("capture.pcap");
        fs::remove_file(&file).ok();
        let to_file = file.display().to_string();
        let arguments = [
            "-i",
            INTERFACE,
            "-n",
            "-s",
            KEPT,
            "-B",
            "65536",
            "-Z",
            "root",
            "-Q",
            "in",
            "--time-stamp-precision=nano",
            "-w",
            &to_file,
            filter,
        ];
        let tcpdump = network.serve("tcpdump", &arguments, Some("listening on"))?;
        Ok(Self { tcpdump, file })
    }

    /// Ends it: all packets in their order.
    pub(crate) fn end(mut self) -> anyhow::Result<Vec<Seen>> {
        pause(HANDED_OVER)?;
        self.tcpdump.signal("INT");
        self.tcpdump.wait(Duration::from_secs(20));
        let said = self.tcpdump.output();
        if !said.contains("\n0 packets dropped by kernel") {
            bail!("tcpdump lost packets: {}", said.trim().replace('\n', "; "));
        }
        read(&self.file)
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<Seen>> {
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    parse(&bytes).with_context(|| format!("{} is not a capture that tcpdump makes", file.display()))
}

/// A pcap file (draft-ietf-opsawg-pcap) with stamps in ns and Ethernet frames, in
/// this machine's byte order. What is not UDP or TCP over IPv4 is passed over.
fn parse(bytes: &[u8]) -> Option<Vec<Seen>> {
    const NANOSECONDS: u32 = 0xa1b2_3c4d;
    const ETHERNET: u32 = 1;
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if word(0)? != NANOSECONDS || word(20)? != ETHERNET {
        return None;
    }
    let mut seen = Vec::new();
    let mut at = 24;
    while at + 16 <= bytes.len() {
        let kept = word(at + 8)? as usize;
        let at_ns = u64::from(word(at)?) * 1_000_000_000 + u64::from(word(at + 4)?);
        // Ended in the middle of a packet: the rest is not there.
        let Some(frame) = bytes.get(at + 16..at + 16 + kept) else {
            break;
        };
        if let Some((port, payload)) = segment(frame) {
            seen.push(Seen {
                at_ns,
                port,
                payload,
            });
        }
        at += 16 + kept;
    }
    Some(seen)
}

/// Destination port and payload of an Ethernet frame (RFC 791, 768, 9293).
fn segment(frame: &[u8]) -> Option<(u16, u32)> {
    const IPV4: u16 = 0x0800;
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let half =
        |bytes: &[u8], at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    if half(frame, 12)? != IPV4 {
        return None;
    }
    let packet = frame.get(14..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let total = u32::from(half(packet, 2)?);
    let inner = packet.get(header..)?;
    let inner_header = match *packet.get(9)? {
        UDP => 8,
        TCP => u32::from(inner.get(12)? >> 4) * 4,
        _ => return None,
    };
    let payload = total.checked_sub(header as u32 + inner_header)?;
    Some((half(inner, 2)?, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one UDP packet of 100 bytes to port 7, kept up to its headers.
    fn file() -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 96, 1] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [3_u32, 5, 42, 142] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([0; 12]);
        bytes.extend([0x08, 0x00]);
        bytes.extend([0x45, 0, 0, 128, 0, 0, 0, 0, 64, 17]);
        bytes.extend([0; 10]);
        bytes.extend([0, 9, 0, 7, 0, 108, 0, 0]);
        bytes
    }

    #[test]
    fn a_packet_with_its_stamp() {
        let seen = parse(&file()).unwrap();
        let one = Seen {
            at_ns: 3_000_000_005,
            port: 7,
            payload: 100,
        };
        assert_eq!(seen, [one]);
    }

    #[test]
    fn what_is_cut_off_is_left_out_and_what_is_no_capture_refused() {
        let file = file();
        for length in 24..file.len() {
            assert_eq!(parse(&file[..length]), Some(Vec::new()), "{length}");
        }
        assert_eq!(parse(&[0; 64]), None);
        assert_eq!(parse(&[]), None);
    }
}
