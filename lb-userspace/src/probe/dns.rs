//! The DNS probe: a query over UDP.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::Name,
};

use super::{check::Dial, socket, trouble::Trouble, udp};
use crate::{
    config::model::{Dns, RCODES},
    health::Advice,
};

/// Asks one question and judges the answer to it; datagrams that are no answer to it are let pass, as anybody can send them.
pub(super) async fn check(target: &Dial<'_>, dns: &Dns) -> Result<Advice, Trouble> {
    let query = query(dns)?;
    let octets = query.to_vec().map_err(|error| Trouble::Node(error.to_string()))?;
    let socket = socket::udp(target).await?;
    socket.send(&octets).await?;
    loop {
        let answer = socket::receive(&socket).await.map_err(udp::unreachable)?;
        if answer.get(..2) != octets.get(..2) {
            continue;
        }
        let message = Message::from_vec(&answer)
            .map_err(|error| Trouble::target(format!("the answer is no message of the DNS: {error}")))?;
        if message.metadata.message_type == MessageType::Response {
            return judge(dns, &query, &message);
        }
    }
}

fn query(dns: &Dns) -> Result<Message, Trouble> {
    let mut name = Name::from_ascii(&dns.query).map_err(|error| Trouble::Node(error.to_string()))?;
    // There is no search list: with and without a dot at the end it is the same name.
    name.set_fqdn(true);
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, dns.query_type));
    Ok(message)
}

fn judge(dns: &Dns, query: &Message, answer: &Message) -> Result<Advice, Trouble> {
    let rcode = u16::from(answer.metadata.response_code);
    if rcode != dns.rcode {
        let name =
            |code: u16| RCODES.get(usize::from(code)).map_or_else(|| code.to_string(), |name| (*name).to_owned());
        return Err(Trouble::target(format!("answered {}, expected {}", name(rcode), name(dns.rcode))));
    }
    // Some servers leave the question out of an error.
    if !answer.queries.is_empty() && answer.queries != query.queries {
        return Err(Trouble::target("the answer is to another question"));
    }
    let Some(wanted) = &dns.answer else { return Ok(Advice::default()) };
    let data: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    if data.iter().any(|data| same(data, wanted)) {
        return Ok(Advice::default());
    }
    let found = if data.is_empty() { "nothing".to_owned() } else { data.join(", ") };
    Err(Trouble::target(format!("answered {found}, expected {wanted}")))
}

/// Whether two texts of a record are the same, whatever their case and the dot at the end of a name.
fn same(one: &str, other: &str) -> bool {
    let bare = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
    bare(one) == bare(other)
}
