//! What is answered here.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::Query;
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::directory::{Directory, Known};

/// How long an answer holds, in seconds: containers come and go.
const TTL: u32 = 5;

/// What is known here.
#[derive(Debug)]
pub enum Local {
    /// These; none where the name is there and has nothing of that type.
    Records(Vec<Record>),
    /// There is no such name.
    Nothing,
    /// It is not for us to say.
    Elsewhere,
}

/// What the network itself knows of `question`.
pub fn local(directory: &Directory, question: &Query) -> Local {
    let (name, kind) = (question.name(), question.query_type());
    if let Some(address) = reversed(name) {
        return match directory.name(address) {
            Known::Name(known) => {
                pointer(name, kind, &known).map_or(Local::Nothing, Local::Records)
            }
            Known::Nobody => Local::Nothing,
            Known::Elsewhere => Local::Elsewhere,
        };
    }
    let plain = plain(name);
    if let Some(addresses) = directory.addresses(&plain) {
        return Local::Records(records(name, kind, addresses));
    }
    // A name of one part is a container's or nobody's: its addresses are not asked for elsewhere. What zones say of themselves is: "org" is one.
    if (name.num_labels() <= 1 && leads_to_host(kind))
        || directory.domain(&plain).is_some()
        || plain.ends_with(".container.internal")
    {
        return Local::Nothing;
    }
    Local::Elsewhere
}

/// Whether who asks for `kind` wants to reach a host of that name.
const fn leads_to_host(kind: RecordType) -> bool {
    matches!(
        kind,
        RecordType::A
            | RecordType::AAAA
            | RecordType::ANY
            | RecordType::HTTPS
            | RecordType::SVCB
            | RecordType::MX
            | RecordType::SRV
    )
}

/// What the host itself is told of a domain that stands for its loopback; nothing where `question` is for none.
pub fn loopback(directory: &Directory, question: &Query) -> Option<Local> {
    let name = plain(question.name());
    let domain = directory.domain(&name)?;
    domain.is_loopback(&name).then(|| {
        let addresses = vec![Ipv4Addr::LOCALHOST.into()];
        Local::Records(records(question.name(), question.query_type(), addresses))
    })
}

/// The name in lower case, without the dot at its end. What is no plain text is escaped, and equals no name of ours.
pub fn plain(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// Those of `addresses` that a question of that kind asks for.
pub fn records(name: &Name, kind: RecordType, addresses: Vec<IpAddr>) -> Vec<Record> {
    let wanted = |address: &IpAddr| match kind {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    };
    let data = |address| match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    let addresses = addresses.into_iter().filter(wanted);
    addresses
        .map(|address| Record::from_rdata(name.clone(), TTL, data(address)))
        .collect()
}

/// That an address has the name `known`; nothing when that is no valid name.
pub fn pointer(name: &Name, kind: RecordType, known: &str) -> Option<Vec<Record>> {
    if !matches!(kind, RecordType::PTR | RecordType::ANY) {
        return Some(Vec::new());
    }
    let known = Name::from_ascii(format!("{known}.")).ok()?;
    let data = RData::PTR(PTR(known));
    Some(vec![Record::from_rdata(name.clone(), TTL, data)])
}

/// The address of a name such as `2.64.168.192.in-addr.arpa`, when it is a whole one.
pub fn reversed(name: &Name) -> Option<IpAddr> {
    let network = name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}
