//! Questions for names, and a resolver of the internet.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::namespace::Namespace;
use super::{SERVER, SERVER6};

/// How a question is asked.
#[derive(Clone, Copy, Debug)]
pub enum By {
    Udp,
    /// With EDNS: the largest answer that is taken.
    Edns(u16),
    Tcp,
}

/// Asks `server` from `namespace`.
pub fn query(
    namespace: &Namespace,
    server: &str,
    name: &str,
    kind: RecordType,
    by: By,
) -> Option<Message> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(
        Name::from_str(&format!("{name}.")).unwrap(),
        kind,
    ));
    if let By::Edns(most) = by {
        let mut edns = Edns::new();
        edns.set_max_payload(most);
        message.set_edns(edns);
    }
    let answer = exchange(namespace, server, &message.to_vec().unwrap(), by)?;
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    assert_eq!(answer.queries, message.queries);
    Some(answer)
}

/// The code of the answer to a question that is sent from `source`, an address of `eth0`.
pub fn code_from(
    namespace: &Namespace,
    source: &str,
    server: &str,
    name: &str,
) -> Option<ResponseCode> {
    let mut message = Message::query();
    let name = Name::from_str(&format!("{name}.")).unwrap();
    message.add_query(Query::query(name, RecordType::A));
    let bytes = message.to_vec().unwrap();
    let server = SocketAddr::new(server.parse().unwrap(), 53);
    namespace.run(|| {
        let index = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
        let line = index.lines().find(|line| line.ends_with("eth0")).unwrap();
        let index = line.split_whitespace().nth(1).unwrap();
        let scope = u32::from_str_radix(index, 16).unwrap();
        let source = SocketAddrV6::new(source.parse().unwrap(), 0, 0, scope);
        let socket = UdpSocket::bind(source).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(8)))
            .unwrap();
        socket.send_to(&bytes, server).unwrap();
        let mut answer = vec![0; 4096];
        let length = socket.recv(&mut answer).ok()?;
        let answer = Message::from_vec(&answer[..length]).unwrap();
        Some(answer.metadata.response_code)
    })
}

/// Sends `bytes` as a question; gives what comes back.
pub fn exchange(namespace: &Namespace, server: &str, bytes: &[u8], by: By) -> Option<Vec<u8>> {
    let server = SocketAddr::new(server.parse::<IpAddr>().unwrap(), 53);
    namespace.run(|| {
        if matches!(by, By::Tcp) {
            let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(2)).ok()?;
            stream
                .set_read_timeout(Some(Duration::from_secs(8)))
                .unwrap();
            let length = u16::try_from(bytes.len()).unwrap();
            stream.write_all(&length.to_be_bytes()).ok()?;
            stream.write_all(bytes).ok()?;
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            let mut answer = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut answer).ok()?;
            return Some(answer);
        }
        let any = if server.is_ipv6() {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let socket = UdpSocket::bind(any).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(8)))
            .unwrap();
        socket.connect(server).unwrap();
        socket.send(bytes).ok()?;
        let mut answer = vec![0; 65536];
        let length = socket.recv(&mut answer).ok()?;
        answer.truncate(length);
        Some(answer)
    })
}

/// The addresses of a name; an error code where there are none.
pub fn addresses(
    namespace: &Namespace,
    server: &str,
    name: &str,
    kind: RecordType,
) -> Result<Vec<String>, ResponseCode> {
    let answer = query(namespace, server, name, kind, By::Udp).expect("an answer");
    if answer.metadata.response_code != ResponseCode::NoError {
        return Err(answer.metadata.response_code);
    }
    Ok(answer
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect())
}

/// What the internet's resolver was asked.
pub type Asked = Arc<Mutex<Vec<String>>>;

/// Serves `*.example.org` at `address`. Names of hostile answers: `loop` points at itself, `wrong` is an answer to another
/// question, `big` is of 64 KiB, `long` holds for two hours and the others for a second, `inside` is an address of the network, `private` one of a private network, `host` the host's.
pub fn serve(namespace: &Namespace, address: &str) -> Asked {
    let asked = Asked::default();
    let at = SocketAddr::new(address.parse().unwrap(), 53);
    let (socket, listener) =
        namespace.run(|| (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        let mut question = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut question) {
            if let Some(answer) = answer(&question[..length], &seen, false) {
                let _ = socket.send_to(&answer, client);
            }
        }
    });
    let seen = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                continue;
            }
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            if stream.read_exact(&mut question).is_err() {
                continue;
            }
            if let Some(answer) = answer(&question, &seen, true) {
                let length = u16::try_from(answer.len()).unwrap();
                let _ = stream.write_all(&[&length.to_be_bytes()[..], &answer].concat());
            }
        }
    });
    asked
}

fn answer(question: &[u8], asked: &Asked, by_tcp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(question).ok()?;
    let asked_for = query.queries[0].clone();
    let name = asked_for.name().to_ascii();
    asked
        .lock()
        .unwrap()
        .push(format!("{name}{}", if by_tcp { " by tcp" } else { "" }));
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_available = true;
    reply.add_query(asked_for.clone());
    let ttl = if name == "long.example.org." { 7200 } else { 1 };
    let record = |data| Record::from_rdata(asked_for.name().clone(), ttl, data);
    match (name.as_str(), asked_for.query_type()) {
        ("silent.example.org.", _) => return None,
        ("loop.example.org.", _) => {
            let mut bytes = reply.to_vec().unwrap();
            // One answer, whose name points at itself.
            bytes[7] = 1;
            let at = u16::try_from(bytes.len()).unwrap();
            bytes.extend_from_slice(&(0xc000 | at).to_be_bytes());
            bytes.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4]);
            return Some(bytes);
        }
        ("wrong.example.org.", _) => {
            reply.queries[0].name = Name::from_str("other.example.org.").unwrap();
        }
        ("big.example.org.", _) if by_tcp => {
            for number in 0..250 {
                reply.add_answer(record(RData::TXT(TXT::new(vec![format!(
                    "{number:0>240}"
                )]))));
            }
        }
        ("big.example.org.", _) => reply.metadata.truncation = true,
        ("inside.example.org.", RecordType::A) => {
            reply.add_answer(record(RData::A(A("192.168.64.1".parse().unwrap()))));
        }
        ("private.example.org.", RecordType::A) => {
            reply.add_answer(record(RData::A(A("10.9.9.9".parse().unwrap()))));
        }
        ("host.example.org.", RecordType::A) => {
            reply.add_answer(record(RData::A(A(super::HOST.parse().unwrap()))));
        }
        (name, RecordType::A) if name.ends_with("example.org.") => {
            reply.add_answer(record(RData::A(A(SERVER.parse().unwrap()))));
        }
        (name, RecordType::AAAA) if name.ends_with("example.org.") => {
            reply.add_answer(record(RData::AAAA(AAAA(SERVER6.parse().unwrap()))));
        }
        _ => reply.metadata.response_code = ResponseCode::NXDomain,
    }
    reply.to_vec().ok()
}
