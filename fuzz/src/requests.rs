//! What must hold for whatever is sent to the guard.

use crate::head::Head;

/// A head that is passed on is one head, says the same of who sent it, and ends the connection unless it upgrades.
pub fn head(input: &[u8]) {
    let Ok(Some(head)) = Head::parse(input) else { return };
    assert!(head.length <= input.len(), "it is longer than what came");
    let passed = head.passed_on(input);
    let again = match Head::parse(&passed) {
        Ok(Some(again)) => again,
        other => panic!("what is passed on is no head: {other:?}\n{:?}", String::from_utf8_lossy(&passed)),
    };
    assert_eq!(again.length, passed.len(), "something follows the head that is passed on");
    assert_eq!(again.fetch, head.fetch);
    assert_eq!(again.upgrades, head.upgrades);
    let text = String::from_utf8_lossy(&passed).to_ascii_lowercase();
    assert!(head.upgrades || !text.contains("\nconnection: keep-alive"), "it keeps the connection");
}
