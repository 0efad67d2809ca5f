//! Rules of a firewall in hosts and routers of a lab: what they drop, change and count
//! is known to the packet.

use serde_json::Value;
use weir_tests::Cluster;

/// Packets of UDP flows and not those of the exchange before them, whose payload is
/// 20 bytes.
pub(super) const OF_FLOWS: &str = "meta l4proto udp udp length > 28";

/// A table of rules of its own at one host or router.
pub(super) struct Rules<'cluster> {
    cluster: &'cluster Cluster,
    host: &'cluster str,
}

impl<'cluster> Rules<'cluster> {
    /// A chain through which everything passes that arrives; its counters start at 0,
    /// as do the pattern generators of its rules.
    pub(super) fn arriving(
        cluster: &'cluster Cluster,
        host: &'cluster str,
        counters: &[&str],
        rules: &[&str],
    ) -> Self {
        Self::at("prerouting", cluster, host, counters, rules)
    }

    /// As [`arriving`](Self::arriving), for what a router forwards: only that can be
    /// rejected.
    pub(super) fn forwarded(
        cluster: &'cluster Cluster,
        host: &'cluster str,
        counters: &[&str],
        rules: &[&str],
    ) -> Self {
        Self::at("forward", cluster, host, counters, rules)
    }

    fn at(
        hook: &str,
        cluster: &'cluster Cluster,
        host: &'cluster str,
        counters: &[&str],
        rules: &[&str],
    ) -> Self {
        let counters: Vec<String> = counters
            .iter()
            .map(|name| format!("counter {name} {{ }}"))
            .collect();
        let table = Self { cluster, host };
        table.nft(&format!(
            "table inet injected {{ }}\ndelete table inet injected\n\
             table inet injected {{\n{}\n\
             chain passing {{\ntype filter hook {hook} priority -300\n{}\n}}\n}}",
            counters.join("\n"),
            rules.join("\n")
        ));
        table
    }

    /// Puts other rules in the place of those in the chain, in one step; counters stay.
    pub(super) fn replace(&self, rules: &[&str]) {
        let rules = rules
            .iter()
            .map(|rule| format!("add rule inet injected passing {rule}"));
        let lines: Vec<String> = ["flush chain inet injected passing".to_owned()]
            .into_iter()
            .chain(rules)
            .collect();
        self.nft(&lines.join("\n"));
    }

    /// Packets that a counter has counted.
    pub(super) fn packets(&self, counter: &str) -> u64 {
        let listed = self.nft(&format!("list counter inet injected {counter}"));
        let listed: Value = serde_json::from_str(&listed).expect("nft -j writes JSON");
        let objects = listed["nftables"].as_array().expect("a list of objects");
        let packets = objects
            .iter()
            .find_map(|object| object["counter"]["packets"].as_u64());
        packets.unwrap_or_else(|| panic!("no counter {counter}: {listed:#}"))
    }

    fn nft(&self, line: &str) -> String {
        let mut command = self.cluster.lab().command(self.host, "nft");
        let command = command.as_mut().expect("a host or router");
        let output = command.args(["-j", line]).output().expect("nft is there");
        assert!(output.status.success(), "nft {line}: {output:?}");
        String::from_utf8(output.stdout).expect("nft writes text")
    }
}
