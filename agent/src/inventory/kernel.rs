//! What figures depend on beyond the host itself: the kernel's settings, the
//! machine below it, the program that measures.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;

use ring::digest::{Context, SHA256};

use super::text;

/// Settings that are told, by their path below /proc/sys.
const SYSCTLS: [&str; 8] = [
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/core/default_qdisc",
    "net/core/netdev_max_backlog",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
    "net/ipv4/tcp_congestion_control",
    "net/bridge/bridge-nf-call-iptables",
];

/// A program larger than this is not hashed: it is a build for debugging.
const PROGRAM_BYTES_MOST: u64 = 32 << 20;

/// Facts of the kernel and the machine; empty where nothing tells.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    pub(super) distribution: String,
    pub(super) cpu_model: String,
    pub(super) hypervisor: String,
    pub(super) clocksource: String,
    pub(super) sysctls: HashMap<String, String>,
}

pub(super) fn read() -> Kernel {
    let cpuinfo = text("/proc/cpuinfo");
    let virtual_machine = cpu_value(&cpuinfo, "flags")
        .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let product = ["sys_vendor", "product_name"]
        .map(|name| text(format!("/sys/class/dmi/id/{name}")).trim().to_owned());
    let sysctls = SYSCTLS.iter().filter_map(|path| {
        let value = fs::read_to_string(format!("/proc/sys/{path}")).ok()?;
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        Some((path.replace('/', "."), value))
    });
    Kernel {
        distribution: os_name(&text("/etc/os-release")).unwrap_or_default(),
        cpu_model: cpu_value(&cpuinfo, "model name")
            .or_else(|| cpu_value(&cpuinfo, "CPU implementer"))
            .unwrap_or_default()
            .to_owned(),
        hypervisor: hypervisor(virtual_machine, &product),
        clocksource: text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .trim()
            .to_owned(),
        sysctls: sysctls.collect(),
    }
}

/// SHA-256 of this program's file, as hexadecimal digits.
pub(super) fn program_sha256() -> Option<String> {
    let mut file = File::open("/proc/self/exe").ok()?;
    if file.metadata().ok()?.len() > PROGRAM_BYTES_MOST {
        return None;
    }
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 32 << 10];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => break,
            len => hash.update(&buffer[..len]),
        }
    }
    let digits = |mut text: String, byte: &u8| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    };
    Some(hash.finish().as_ref().iter().fold(String::new(), digits))
}

/// The first value of a `key : value` line of /proc/cpuinfo.
fn cpu_value<'a>(cpuinfo: &'a str, key: &str) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// `PRETTY_NAME` of os-release(5).
fn os_name(os_release: &str) -> Option<String> {
    let value = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

/// The machine's maker and product where the CPU says that it is virtual.
fn hypervisor(virtual_machine: bool, product: &[String; 2]) -> String {
    if !virtual_machine {
        return String::new();
    }
    let name = product.join(" ");
    match name.trim() {
        "" => "not named".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_as_the_kernel_and_the_distribution_write_them() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n\
                       flags\t\t: fpu hypervisor lm\n\nprocessor\t: 1\n";
        assert_eq!(cpu_value(cpuinfo, "model name"), Some("Some CPU @ 2.00GHz"));
        assert_eq!(cpu_value(cpuinfo, "model"), None);
        let release = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(
            os_name(release).as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        let product = ["QEMU".to_owned(), "Standard PC".to_owned()];
        assert_eq!(hypervisor(true, &product), "QEMU Standard PC");
        assert_eq!(hypervisor(true, &Default::default()), "not named");
        assert_eq!(hypervisor(false, &product), "");
    }

    #[test]
    fn this_machine_can_be_read() {
        let kernel = read();
        assert!(
            kernel
                .sysctls
                .contains_key("net.ipv4.tcp_congestion_control"),
            "{kernel:?}"
        );
        assert!(program_sha256().is_none_or(|digits| digits.len() == 64));
    }
}
