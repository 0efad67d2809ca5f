use weir_common::assignment::Transport;

use super::*;

fn policy(lab: bool) -> LocalPolicy {
    LocalPolicy {
        lab,
        connected: vec![Prefix::new("9.9.9.1".parse().unwrap(), 24)],
        max_sessions: 100,
        ..LocalPolicy::default()
    }
}

fn with_file(text: &str) -> LocalPolicy {
    LocalPolicy {
        rules: text.parse().unwrap(),
        ..policy(false)
    }
}

fn says(policy: &LocalPolicy, address: &str, service: Service) -> Result<(), String> {
    policy.destination(address.parse().unwrap(), service)
}

#[test]
fn the_table_of_destinations() {
    let allowed = [
        "10.150.0.71",
        "172.16.0.1",
        "172.31.255.254",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.254",
        "198.18.0.1",
        "198.19.255.1",
        "192.0.2.1",
        "198.51.100.7",
        "203.0.113.9",
        "fd00::1",
        "2001:db8::1",
        "3fff::1",
        "9.9.9.77",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
    ];
    for address in allowed {
        assert_eq!(says(&policy(false), address, None), Ok(()), "{address}");
    }
    let refused = [
        ("127.0.0.1", "--lab"),
        ("::1", "--lab"),
        ("0.0.0.0", "nothing allows"),
        ("::", "nothing allows"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("9.9.9.255", "broadcast"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("8.8.8.8", "public"),
        ("172.32.0.1", "public"),
        ("100.128.0.1", "public"),
        ("2606:4700::1", "public"),
        ("9.9.10.1", "public"),
        ("::ffff:8.8.8.8", "public"),
        ("64:ff9b::8.8.8.8", "public"),
        ("64:ff9b::127.0.0.1", "--lab"),
    ];
    for (address, word) in refused {
        let reason = says(&policy(false), address, None).unwrap_err();
        assert!(reason.contains(word), "{address}: {reason}");
    }
    assert_eq!(says(&policy(true), "127.0.0.1", None), Ok(()));
    assert!(says(&policy(true), "8.8.8.8", None).is_err());
}

#[test]
fn a_file_replaces_or_adds() {
    let only = with_file("allow_destinations = [\"8.8.8.0/24\"]");
    assert_eq!(says(&only, "8.8.8.8", None), Ok(()));
    assert_eq!(says(&only, "64:ff9b::8.8.8.8", None), Ok(()));
    let reason = says(&only, "10.0.0.1", None).unwrap_err();
    assert!(reason.contains("no entry") && reason.contains("allow_destinations"));
    let more = with_file("allow_destinations = [\"built-in\", \"8.8.8.0/24 udp 53\"]");
    assert_eq!(says(&more, "10.0.0.1", None), Ok(()));
    assert_eq!(says(&more, "8.8.8.8", None), Ok(()));
    assert_eq!(says(&more, "8.8.8.8", Some((Transport::Udp, 53))), Ok(()));
    assert!(says(&more, "8.8.8.8", Some((Transport::Tcp, 53))).is_err());
    assert!(says(&more, "8.8.8.8", Some((Transport::Udp, 54))).is_err());
}

#[test]
fn what_is_special_needs_an_entry_of_its_own() {
    let all = with_file("allow_destinations = [\"0.0.0.0/0\", \"::/0\"]");
    assert_eq!(says(&all, "8.8.8.8", None), Ok(()));
    for address in [
        "127.0.0.1",
        "::1",
        "169.254.1.1",
        "224.0.0.1",
        "ff02::1",
        "9.9.9.255",
        "255.255.255.255",
        "0.0.0.0",
    ] {
        assert!(says(&all, address, None).is_err(), "{address}");
    }
    let own = with_file("allow_destinations = [\"169.254.1.0/24\", \"9.9.9.255\", \"::1\"]");
    for address in ["169.254.1.1", "9.9.9.255", "::1"] {
        assert_eq!(says(&own, address, None), Ok(()), "{address}");
    }
    assert!(says(&own, "169.254.2.1", None).is_err());
}

#[test]
fn what_is_denied_is_denied_whatever_allows_it() {
    let file = "allow_destinations = [\"built-in\", \"10.1.0.0/16\"]\n\
                deny_destinations = [\"10.1.2.0/24\", \"10.2.0.0/16 tcp 22\", \"2001:db8:1::/48\"]";
    let policy = with_file(file);
    for address in [
        "10.1.2.3",
        "::ffff:10.1.2.3",
        "64:ff9b::10.1.2.3",
        "2001:db8:1::1",
    ] {
        let reason = says(&policy, address, None).unwrap_err();
        assert!(reason.contains("deny_destinations"), "{reason}");
    }
    assert_eq!(says(&policy, "10.2.0.1", None), Ok(()));
    assert!(says(&policy, "10.2.0.1", Some((Transport::Tcp, 22))).is_err());
    assert_eq!(
        says(&policy, "10.2.0.1", Some((Transport::Udp, 22))),
        Ok(())
    );
}

#[test]
fn the_controller_itself_is_no_target() {
    let policy = LocalPolicy {
        controller: vec!["10.0.0.9:7000".parse().unwrap()],
        rules: "allow_destinations = [\"10.0.0.9\"]".parse().unwrap(),
        ..policy(true)
    };
    for address in ["10.0.0.9", "::ffff:10.0.0.9", "64:ff9b::10.0.0.9"] {
        let reason = says(&policy, address, Some((Transport::Udp, 7000))).unwrap_err();
        assert!(reason.contains("controller"), "{reason}");
    }
    assert_eq!(
        says(&policy, "10.0.0.9", Some((Transport::Udp, 7001))),
        Ok(())
    );
}
