use super::*;

fn client(proxy: &Proxy) -> Socket {
    Socket::connect(&proxy.endpoint().parse().unwrap()).unwrap()
}

/// What comes back of what is sent, until the end.
fn echoed(proxy: &Proxy, bytes: &[u8]) -> Vec<u8> {
    let mut client = client(proxy);
    client.write_all(bytes).ok();
    let mut back = Vec::new();
    client.read_to_end(&mut back).ok();
    back
}

#[test]
fn bytes_pass_are_cut_after_the_kth_and_wait_while_they_are_held() {
    let directory = tempfile::tempdir().unwrap();
    let (path, target) = (directory.path().join("p"), directory.path().join("t"));
    let server = UnixListener::bind(&target).unwrap();
    thread::spawn(move || {
        for client in server.incoming() {
            let mut client = client.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(read @ 1..) = client.read(&mut buffer) {
                    if client.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let proxy = Proxy::start(&path, &target);
    let mut client = client(&proxy);
    let mut back = [0; 5];
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
    proxy.cut_after(3);
    client.write_all(b"hello").unwrap();
    client.read_to_end(&mut Vec::new()).ok();
    let passed = proxy.passed();
    assert_eq!((passed.up_bytes, passed.cuts), (8, 1));

    proxy.set(Fault::partition());
    let (say, heard) = mpsc::channel();
    thread::scope(|scope| {
        let proxy = &proxy;
        scope.spawn(move || {
            let mut client = self::client(proxy);
            client.write_all(b"held!").unwrap();
            let mut back = [0; 5];
            client.read_exact(&mut back).unwrap();
            say.send(back).unwrap();
        });
        heard.recv_timeout(Duration::from_millis(100)).unwrap_err();
        proxy.heal();
        let back = heard.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(&back, b"held!");
    });
    proxy.set(Fault {
        reset: true,
        ..Fault::default()
    });
    assert_eq!(echoed(&proxy, b"nobody"), b"");
    assert_eq!(proxy.passed().refused, 1);
}

#[test]
fn a_bit_is_flipped_after_so_many_bytes_of_its_direction() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tls://{}", server.local_addr().unwrap());
    thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        let mut buffer = [0; 5];
        while client.read_exact(&mut buffer).is_ok() {
            client.write_all(&buffer).unwrap();
        }
    });
    let proxy = Proxy::start_tls(&target.parse().unwrap());
    let mut client = client(&proxy);
    let mut echo = |bytes: &[u8; 5]| {
        let mut back = [0; 5];
        client.write_all(bytes).unwrap();
        client.read_exact(&mut back).unwrap();
        back
    };
    proxy.flip_after(6, true);
    assert_eq!(&echo(b"aaaaa"), b"aaaaa");
    assert_eq!(&echo(b"aaaaa"), b"a`aaa");
    proxy.flip_after(0, false);
    assert_eq!(&echo(b"aaaaa"), b"`aaaa");
    assert_eq!(&echo(b"aaaaa"), b"aaaaa");
    assert_eq!(proxy.passed().flips, 2);
}
