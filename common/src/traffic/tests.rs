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
fn laws_and_rates_that_do_not_go_together() {
    let check = |change: &dyn Fn(&mut Traffic), transport, rate| {
        let mut traffic = traffic(transport, rate);
        change(&mut traffic);
        traffic.check().map_err(|error| (error.key, error.problem))
    };
    let arrival = |law: &'static str| move |t: &mut Traffic| t.arrival = law.parse().unwrap();
    let sizes = |law: &'static str| move |t: &mut Traffic| t.size_law = Some(law.parse().unwrap());
    let udp = |law, rate| check(&arrival(law), Transport::Udp, rate);
    for (law, rate) in [
        ("uniform", "1M"),
        ("poisson", "1000 pkt/s"),
        ("normal(sd = 0.1 ms)", "1000 pkt/s"),
        ("pareto(shape = 1.5)", "1M"),
        ("gamma(shape = 2)", "1M"),
        ("weibull(shape = 0.7)", "1M"),
        ("student(scale = 0.1 ms, nu = 3)", "1000 pkt/s"),
        (
            "onoff(on = exponential(mean = 1 s), off = exponential(mean = 2 s))",
            "1M",
        ),
        ("cauchy(location = 10 ms, scale = 1 ms)", "arrival"),
        ("pareto(shape = 0.95, scale = 1 ms)", "arrival"),
        ("trace(\"gaps.txt\")", "arrival"),
        ("constant(value = 10 ms)", "arrival"),
    ] {
        assert_eq!(udp(law, rate), Ok(()), "{law} at {rate}");
    }
    let refused = |law, rate, part: &str| {
        let (key, problem) = udp(law, rate).unwrap_err();
        assert_eq!(key, "arrival", "{law} at {rate}: {problem}");
        assert!(problem.contains(part), "{law} at {rate}: {problem}");
    };
    refused("normal(mean = 1 ms, sd = 1 ms)", "1M", "without `mean`");
    refused(
        "cauchy(location = 10 ms, scale = 1 ms)",
        "1M",
        "`udp = \"arrival\"`",
    );
    refused("trace(\"gaps.txt\")", "1M", "`udp = \"arrival\"`");
    refused("pareto(shape = 1.5)", "arrival", "all its parameters");
    refused("poisson", "max", "leaves no spacing");
    // The conditioned mean: at 1 pkt/s an exponential within 60 s can, at one in 31 s it cannot.
    assert_eq!(udp("exponential", "1 pkt/s"), Ok(()));
    refused("exponential", "0.032 pkt/s", "cannot have a mean of");
    refused(
        "normal(sd = 1 s)",
        "1000 pkt/s",
        "cannot have a mean of 1 ms",
    );
    refused(
        "constant(value = 2 min)",
        "arrival",
        "almost never within 0 s to 60 s",
    );
    assert_eq!(
        udp("constant(value = 2 min, cap = 5 min)", "arrival"),
        Ok(())
    );

    let size = |law, rate| check(&sizes(law), Transport::Udp, rate);
    assert_eq!(size("normal(mean = 200, sd = 30)", "1M"), Ok(()));
    let key = |result: Result<(), (&'static str, String)>| result.unwrap_err().0;
    assert_eq!(key(size("normal(mean = 200, sd = 30)", "max")), "size");
    assert_eq!(key(size("normal(mean = 0, sd = 3)", "1M")), "size");
    let both = |t: &mut Traffic| {
        t.size = Some(100);
        sizes("normal(mean = 200, sd = 30)")(t);
    };
    assert_eq!(key(check(&both, Transport::Udp, "1M")), "size");
    let streams = |t: &mut Traffic| {
        t.streams = 2;
        arrival("poisson(mean = 1 ms)")(t);
    };
    assert_eq!(key(check(&streams, Transport::Udp, "arrival")), "per");
    let writes = |t: &mut Traffic| arrival("poisson(mean = 1 ms)")(t);
    assert_eq!(key(check(&writes, Transport::Tcp, "arrival")), "size");
}

#[test]
fn means_of_a_flow() {
    let means = |traffic: &Traffic| {
        let means = traffic.means(&[]).unwrap();
        (means.bytes, means.spacing_ns)
    };
    let mut flow = traffic(Transport::Udp, "100 pkt/s");
    flow.size = Some(1_250);
    assert_eq!(means(&flow), (Some(1_250.0), Some(1e7)));
    flow.streams = 4;
    assert_eq!(means(&flow), (Some(1_250.0), Some(4e7)));
    flow.per = Per::Stream;
    assert_eq!(means(&flow), (Some(1_250.0), Some(1e7)));
    flow.rate = Rate::Arrival;
    flow.arrival = "exponential(mean = 10 ms)".parse().unwrap();
    assert_eq!(means(&flow), (Some(1_250.0), Some(1e7)));
    flow.arrival = "onoff(on = constant(value = 1 s), off = constant(value = 3 s), arrival = constant(value = 1 ms))"
        .parse()
        .unwrap();
    assert_eq!(means(&flow), (Some(1_250.0), Some(4e6)));
    flow.arrival = "trace(\"gaps\")".parse().unwrap();
    assert_eq!(means(&flow), (Some(1_250.0), None));
    let trace = Trace::parse("gaps", TraceOf::Arrival, "1 ms\n3 ms").unwrap();
    assert_eq!(flow.means(&[trace]).unwrap().spacing_ns, Some(2e6));
    assert_eq!(means(&traffic(Transport::Tcp, "max")), (None, None));
}
