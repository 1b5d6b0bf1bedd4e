//! Names: those of the network's containers are answered here, others by the host's resolvers.

mod answer;
pub mod learn;
pub mod listen;
pub mod resolv_conf;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use container_resource::dns_domain::DnsDomain;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record};

use self::answer::Local;
use self::learn::Learned;
use self::upstream::Upstream;
use crate::directory::{Client, Directory, Entry};
use crate::names::Asker;
use crate::refused_names::RefusedNames;

/// The port of the domain name system.
pub const PORT: u16 = 53;
/// The largest answer by UDP, in bytes, whatever a client says it takes: larger ones would come in fragments on many ways.
const MAX_DATAGRAM: u16 = 4096;
/// How long the host's resolvers may take together for one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long refused names are gathered before they are told of.
const GATHERING: Duration = Duration::from_millis(200);
/// Bytes of a message's header.
const HEADER: usize = 12;

/// How a question came, and its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram, of bounded size.
    Udp,
    /// On a stream.
    Tcp,
}

/// Answers questions for names.
#[derive(Debug)]
pub struct Resolver {
    directory: Directory,
    others: Asker,
    upstream: Upstream,
    learned: Learned,
    refused: Arc<RefusedNames>,
}

impl Resolver {
    /// For the containers in `directory`; `servers` leads to the host's resolvers, `rules` changes what containers reach, `others`
    /// knows names of other networks.
    pub fn new(directory: Directory, servers: Asker, rules: Asker, others: Asker) -> Self {
        let refused = Arc::new(RefusedNames::default());
        tokio::spawn(tell_refused(refused.clone(), rules.clone()));
        Self {
            directory,
            others,
            upstream: Upstream::new(servers),
            learned: Learned::new(rules),
            refused,
        }
    }

    /// Takes over who is on the network now, and under which domains.
    pub fn update(&self, entries: Vec<Entry>, domains: Vec<DnsDomain>) {
        // The rules of a tap that is another's, or has other rules, are new ones.
        let before = self.directory.entries();
        let is_same = |tap: &str| {
            let of = |entries: &[Entry]| entries.iter().find(|entry| entry.tap == tap).cloned();
            of(&before) == of(&entries)
        };
        self.learned.keep(is_same);
        self.refused.keep(is_same);
        self.directory.set(entries);
        self.directory.set_domains(domains);
    }

    /// The answer to `question`, which `client` has sent; none to what is no question.
    pub async fn answer(
        &self,
        question: &[u8],
        client: &Client,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let query = match Message::from_vec(question) {
            Ok(query) if query.metadata.message_type == MessageType::Query => query,
            // Whoever answers answers will be answered for ever.
            Ok(_) => return None,
            Err(_) => return malformed(question),
        };
        let mut reply = match self.resolve(&query, client, transport).await {
            Ok(reply) => reply,
            Err(code) => failure(&query, code),
        };
        reply.metadata.id = query.metadata.id;
        encode(&reply, &query, transport)
    }

    async fn resolve(
        &self,
        query: &Message,
        client: &Client,
        transport: Transport,
    ) -> Result<Message, ResponseCode> {
        let client = match client {
            Client::Host => None,
            Client::Container(entry) => Some(entry),
            // No rules are known for it: it would have the rules of nobody.
            Client::Stranger => return Err(ResponseCode::Refused),
        };
        if query.metadata.op_code != OpCode::Query {
            return Err(ResponseCode::NotImp);
        }
        let [question] = query.queries.as_slice() else {
            return Err(ResponseCode::FormErr);
        };
        if question.query_class() != DNSClass::IN {
            return Err(ResponseCode::Refused);
        }
        let mut known = match client {
            None => answer::loopback(&self.directory, question),
            Some(_) => None,
        }
        .unwrap_or_else(|| answer::local(&self.directory, question));
        if let Some(client) = client.filter(|client| !client.also.is_empty()) {
            // Another network may lead to the host where this one does not. Where none does it is this one, whose rules say so.
            let is_withheld = self
                .directory
                .withholds(&answer::plain(question.name()), client);
            if is_withheld || !matches!(known, Local::Records(_)) {
                let found = self.elsewhere(client, question).await;
                known = found.map_or(known, Local::Records);
            }
        }
        match known {
            Local::Records(records) => {
                let mut reply = failure(query, ResponseCode::NoError);
                reply.metadata.authoritative = true;
                reply.add_answers(records);
                Ok(reply)
            }
            Local::Nothing => Err(ResponseCode::NXDomain),
            Local::Elsewhere if self.directory.is_internal() => Err(ResponseCode::NXDomain),
            Local::Elsewhere => {
                let name = answer::plain(question.name());
                // A name that may not be reached is not asked for either: a question carries words out.
                if let Some(client) = client.filter(|client| !client.may_ask(&name)) {
                    self.refused.note(&client.tap, &name);
                    return Err(ResponseCode::Refused);
                }
                let asked = self.upstream.ask(query, transport);
                let reply = tokio::time::timeout(PATIENCE, asked).await.ok().flatten();
                let reply = reply.ok_or(ResponseCode::ServFail)?;
                if let Some(client) = client.filter(|client| client.egress.is_some()) {
                    let learned = self
                        .learned
                        .take(&self.directory, client, &name, &reply)
                        .await;
                    let opens = learned.map_err(|error| {
                        tracing::warn!("egress to {name}: {error:#}");
                        ResponseCode::ServFail
                    })?;
                    // The answer is of no use, and nothing else would say why.
                    if !opens {
                        self.refused.note(&client.tap, &name);
                    }
                }
                Ok(reply)
            }
        }
    }
}

impl Resolver {
    /// What other networks that the container is on know of `question`.
    async fn elsewhere(&self, client: &Entry, question: &Query) -> Option<Vec<Record>> {
        let (name, kind) = (question.name(), question.query_type());
        let failed = |error| tracing::debug!("names of other networks: {error:#}");
        if let Some(address) = answer::reversed(name) {
            let known = self.others.name(&client.tap, address).await;
            return answer::pointer(name, kind, &known.map_err(failed).ok()??);
        }
        let addresses = self
            .others
            .addresses(&client.tap, &answer::plain(name))
            .await;
        let addresses = addresses.map_err(failed).ok()?;
        (!addresses.is_empty()).then(|| answer::records(name, kind, addresses))
    }
}

/// Hands over which names were refused, for as long as somebody takes it.
async fn tell_refused(refused: Arc<RefusedNames>, rules: Asker) {
    loop {
        refused.noted().await;
        tokio::time::sleep(GATHERING).await;
        for (tap, tally) in refused.take() {
            if let Err(error) = rules.refused(&tap, tally).await {
                tracing::debug!("tell of refused names: {error:#}");
            }
        }
    }
}

/// An answer without records.
fn failure(query: &Message, code: ResponseCode) -> Message {
    let asked = &query.metadata;
    let mut reply = Message::error_msg(asked.id, asked.op_code, code);
    reply.metadata.recursion_desired = asked.recursion_desired;
    reply.metadata.recursion_available = true;
    // Nothing of more than one question is repeated.
    reply.add_queries(query.queries.iter().take(1).cloned());
    if let Some(edns) = &query.edns {
        let mut own = hickory_proto::op::Edns::new();
        own.set_max_payload(MAX_DATAGRAM);
        own.set_dnssec_ok(edns.flags().dnssec_ok);
        reply.set_edns(own);
    }
    reply
}

/// Tells whoever sent a broken question that it is broken.
fn malformed(question: &[u8]) -> Option<Vec<u8>> {
    let [first, second, flags, ..] = question else {
        return None;
    };
    // The highest bit marks an answer.
    if question.len() < HEADER || flags & 0x80 != 0 {
        return None;
    }
    let id = u16::from_be_bytes([*first, *second]);
    Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)
        .to_vec()
        .ok()
}

/// As bytes that the client takes: too many for a datagram are left out, so that it asks again by TCP.
fn encode(reply: &Message, query: &Message, transport: Transport) -> Option<Vec<u8>> {
    let bytes = reply.to_vec().ok()?;
    let most = match transport {
        Transport::Udp => usize::from(query.max_payload().min(MAX_DATAGRAM)),
        Transport::Tcp => usize::from(u16::MAX),
    };
    if bytes.len() <= most {
        return Some(bytes);
    }
    reply.truncate().to_vec().ok()
}

#[cfg(test)]
mod tests;
