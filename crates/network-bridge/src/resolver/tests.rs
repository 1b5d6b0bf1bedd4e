use proptest::prelude::*;

use super::*;

/// A name that points at itself (RFC 1035 section 4.1.4), in a question with `id`.
fn looping(id: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
    message
}

#[test]
fn what_is_no_question_is_told_or_dropped() {
    let reply = malformed(&looping(7)).unwrap();
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(
        (reply.metadata.id, reply.metadata.response_code),
        (7, ResponseCode::FormErr)
    );
    assert!(Message::from_vec(&looping(7)).is_err());
    let mut answer = looping(7);
    answer[2] |= 0x80;
    for silent in [&answer[..], &answer[..11], &[]] {
        assert_eq!(malformed(silent), None);
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(query) = Message::from_vec(&bytes) {
            let reply = failure(&query, ResponseCode::Refused);
            let encoded = encode(&reply, &query, Transport::Udp).unwrap();
            prop_assert!(encoded.len() <= usize::from(query.max_payload()));
        } else {
            let _ = malformed(&bytes);
        }
    }
}
