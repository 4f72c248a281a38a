//! DNS.

use std::{net::SocketAddr, sync::Arc};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata},
};
use tokio::net::UdpSocket;

use super::{Outcome, ProbeKind, TIMED_OUT, failure, hasty, loopback, success, udp};
use crate::config::model::Dns;

fn options() -> Dns {
    Dns { query: "www.example".into(), query_type: RecordType::A, rcode: 0, answer: None }
}

fn kind(dns: Dns) -> ProbeKind {
    ProbeKind::Dns(Arc::new(dns))
}

/// A server that answers each query with what this makes of it.
async fn server(answers: impl Fn(Message) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind(loopback(0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            for answer in answers(Message::from_vec(&buffer[..length]).unwrap()) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    address
}

fn reply(mut query: Message, code: ResponseCode, records: Vec<RData>) -> Message {
    query.metadata.message_type = MessageType::Response;
    query.metadata.response_code = code;
    let name = query.queries[0].name.clone();
    query.answers = records.into_iter().map(|data| Record::from_rdata(name.clone(), 60, data)).collect();
    query
}

/// 192.0.2.1 and 192.0.2.2 for `www.example`, NXDOMAIN for all else.
async fn example() -> SocketAddr {
    server(|query| {
        let addresses = ["192.0.2.1", "192.0.2.2"].map(|text| RData::A(rdata::A(text.parse().unwrap())));
        let known = query.queries[0].name == Name::from_ascii("www.example.").unwrap();
        let answer = match known {
            true => reply(query, ResponseCode::NoError, addresses.to_vec()),
            false => reply(query, ResponseCode::NXDomain, Vec::new()),
        };
        vec![answer.to_vec().unwrap()]
    })
    .await
}

#[tokio::test]
async fn codes_and_records() {
    let address = example().await;
    success(address, kind(options())).await;
    success(address, kind(Dns { query: "www.example.".into(), ..options() })).await;
    success(address, kind(Dns { answer: Some("192.0.2.2".into()), ..options() })).await;
    let reason = failure(address, kind(Dns { answer: Some("192.0.2.3".into()), ..options() })).await;
    assert_eq!(reason, "answered 192.0.2.1, 192.0.2.2, expected 192.0.2.3");
    let other = || Dns { query: "other.example".into(), ..options() };
    assert_eq!(failure(address, kind(other())).await, "answered NXDOMAIN, expected NOERROR");
    success(address, kind(Dns { rcode: 3, ..other() })).await;
    let reason = failure(address, kind(Dns { rcode: 3, answer: Some("192.0.2.1".into()), ..other() })).await;
    assert_eq!(reason, "answered nothing, expected 192.0.2.1");
    assert_eq!(failure(address, kind(Dns { rcode: 5, ..options() })).await, "answered NOERROR, expected REFUSED");
    let names = server(|query| {
        let name = RData::CNAME(rdata::CNAME(Name::from_ascii("Real.example.").unwrap()));
        vec![reply(query, ResponseCode::NoError, vec![name]).to_vec().unwrap()]
    })
    .await;
    success(names, kind(Dns { answer: Some("real.example".into()), ..options() })).await;
}

#[tokio::test]
async fn only_an_answer_to_the_question_counts() {
    // Forged ones, with another id or no answer at all, come first.
    let forged = server(|query| {
        let mut other = reply(query.clone(), ResponseCode::ServFail, Vec::new());
        other.metadata.id = other.metadata.id.wrapping_add(1);
        let echo = query.to_vec().unwrap();
        vec![
            other.to_vec().unwrap(),
            echo,
            b"x".to_vec(),
            reply(query, ResponseCode::NoError, Vec::new()).to_vec().unwrap(),
        ]
    })
    .await;
    success(forged, kind(options())).await;
    let garbage = server(|query| {
        let id = query.metadata.id.to_be_bytes();
        vec![[&id[..], b"\x81\x80 garbage"].concat()]
    })
    .await;
    assert!(failure(garbage, kind(options())).await.starts_with("the answer is no message of the DNS: "));
    let elsewhere = server(|mut query| {
        query.queries[0].name = Name::from_ascii("other.example.").unwrap();
        vec![reply(query, ResponseCode::NoError, Vec::new()).to_vec().unwrap()]
    })
    .await;
    assert_eq!(failure(elsewhere, kind(options())).await, "the answer is to another question");
}

#[tokio::test]
async fn silent_and_missing_servers() {
    let (quiet, _got) = udp::server(&[]).await;
    assert_eq!(hasty(quiet, kind(options())).await, Outcome::Failure(TIMED_OUT.into()));
    let (gone, _held) = udp::unreachable().await;
    assert_eq!(failure(gone, kind(options())).await, "port unreachable");
}
