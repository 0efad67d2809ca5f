use super::*;
use crate::unit::Span;

fn traffic(transport: Transport, rate: &str) -> Traffic {
    Traffic::new(transport, rate.parse().unwrap())
}

#[test]
fn rates_by_unit() {
    assert!(matches!("10M".parse(), Ok(Rate::Bits(_))));
    assert!(matches!("3000pkt/s".parse(), Ok(Rate::Packets(_))));
    assert_eq!("max".parse(), Ok(Rate::Max));
    let text = |text: &str| text.parse::<Rate>().unwrap_err().to_string();
    assert!(text("Max").contains("did you mean `max`?"));
    assert!(text("10 Mbits").contains("did you mean `10 Mbit/s`?"));
    assert!(text("3000 pps").contains("pkt/s"));
    assert!(text("fast").contains("is not a rate; write bit/s"));
    for absurd in ["NaN", "0", "-5 Mbit/s", "18446744073709551615 bit/s", "10"] {
        assert!(absurd.parse::<Rate>().is_err(), "{absurd}");
    }
}

#[test]
fn laws() {
    assert_eq!("constant".parse(), Ok(Law::Constant));
    assert_eq!("exponential".parse(), Ok(Law::Exponential { mean: None }));
    let law: Law = "exponential(mean = 1 ms)".parse().unwrap();
    assert_eq!(law.mean(), Some(Span::from_millis(1)));
    assert_eq!(law.to_string().parse(), Ok(law));
    let text = |text: &str| text.parse::<Law>().unwrap_err().to_string();
    assert!(text("pareto(shape = 2)").contains("`pareto` is not available yet"));
    assert!(text("exponentail").contains("did you mean `exponential`?"));
    assert!(text("exponential(1 ms)").contains("write `exponential(mean = 1 ms)`"));
    assert!(text("exponential(mean = 0 s)").contains("more than 0"));
    assert!(text("exponential(mean = 5)").contains("has no unit"));
}

#[test]
fn impossible_combinations_name_the_key() {
    let key = |change: &dyn Fn(&mut Traffic), transport, rate| {
        let mut traffic = traffic(transport, rate);
        change(&mut traffic);
        traffic.check().unwrap_err().key
    };
    assert_eq!(key(&|t| t.size = Some(11), Transport::Udp, "1M"), "size");
    assert_eq!(
        key(&|t| t.size = Some(65_508), Transport::Udp, "1M"),
        "size"
    );
    assert_eq!(key(&|t| t.streams = 0, Transport::Udp, "1M"), "streams");
    assert_eq!(
        key(&|t| t.packets = Some(5), Transport::Tcp, "1M"),
        "packets"
    );
    assert_eq!(
        key(&|t| t.bytes = Some(ByteCount::new(0)), Transport::Tcp, "1M"),
        "bytes"
    );
    assert_eq!(
        key(&|t| t.cc = Some("bbr".into()), Transport::Udp, "1M"),
        "cc"
    );
    assert_eq!(key(&|_| (), Transport::Tcp, "100 pkt/s"), "tcp");
    assert_eq!(key(&|t| t.port = Some(0), Transport::Udp, "1M"), "port");
    assert_eq!(
        key(
            &|t| t.arrival = Law::Exponential { mean: None },
            Transport::Udp,
            "max"
        ),
        "arrival"
    );
    assert_eq!(key(&|_| (), Transport::Udp, "arrival"), "arrival");
    let mean = Law::Exponential {
        mean: Some(Span::from_millis(1)),
    };
    assert_eq!(
        key(&|t| t.arrival = mean.clone(), Transport::Udp, "1M"),
        "arrival"
    );
}

#[test]
fn mean_rate_of_a_flow() {
    let mut flow = traffic(Transport::Udp, "100 pkt/s");
    flow.size = Some(1_250);
    assert_eq!(flow.mean_bits_per_second(), Some(1_000_000.0));
    flow.streams = 4;
    assert_eq!(flow.mean_bits_per_second(), Some(1_000_000.0));
    flow.per = Per::Stream;
    assert_eq!(flow.mean_bits_per_second(), Some(4_000_000.0));
    flow.rate = Rate::Arrival;
    flow.arrival = Law::Exponential {
        mean: Some(Span::from_millis(10)),
    };
    flow.per = Per::Flow;
    assert_eq!(flow.mean_bits_per_second(), Some(1_000_000.0));
    assert_eq!(traffic(Transport::Tcp, "max").mean_bits_per_second(), None);
}
