//! The messages between ssh and its agent: a length of four bytes, then as many, the first of which says what it is.
//! <https://datatracker.ietf.org/doc/html/draft-miller-ssh-agent>

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest message that either side may send: what OpenSSH allows.
const LONGEST: usize = 256 * 1024;
/// How long a message that has begun may take to come whole.
const PATIENCE: Duration = Duration::from_secs(10);

const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
const EXTENSION: u8 = 27;
/// By this ssh tells its agent which server a signature is for. An agent that knows refuses more, never less.
const SESSION_BIND: &[u8] = b"session-bind@openssh.com";

/// An agent's answer to what it doesn't do.
pub const FAILURE: [u8; 1] = [5];

/// Whether a request may pass: to list keys and to sign with one. What adds keys, removes or locks them is the business
/// of whoever's agent it is.
pub fn may_pass(request: &[u8]) -> bool {
    match request {
        [REQUEST_IDENTITIES] | [SIGN_REQUEST, ..] => true,
        [EXTENSION, a, b, c, d, rest @ ..] => {
            u32::from_be_bytes([*a, *b, *c, *d]) as usize == SESSION_BIND.len() && rest.starts_with(SESSION_BIND)
        }
        _ => false,
    }
}

/// Reads a message without its length. None: there are no more.
///
/// # Errors
/// When the connection breaks, the message is empty or too long, or it doesn't come whole in time.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    let rest = async {
        from.read_exact(&mut length[1..]).await?;
        let length = u32::from_be_bytes(length) as usize;
        if !(1..=LONGEST).contains(&length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
        }
        let mut message = vec![0; length];
        from.read_exact(&mut message).await?;
        Ok(Some(message))
    };
    tokio::time::timeout(PATIENCE, rest).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Sends a message.
///
/// # Errors
/// When the connection breaks.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(message).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extension(name: &[u8]) -> Vec<u8> {
        [&[EXTENSION], &(name.len() as u32).to_be_bytes()[..], name, b"more"].concat()
    }

    #[test]
    fn keys_are_listed_and_used_and_nothing_else() {
        assert!(
            may_pass(&[REQUEST_IDENTITIES]) && may_pass(&[SIGN_REQUEST, 0, 0]) && may_pass(&extension(SESSION_BIND))
        );
        // Add, remove, remove all, smart cards, lock, unlock, add with limits, and what nobody knows yet.
        for kind in (0..=255).filter(|kind| ![REQUEST_IDENTITIES, SIGN_REQUEST].contains(kind)) {
            assert!(!may_pass(&[kind]) && !may_pass(&[kind, 0, 0, 0, 0]), "{kind}");
        }
        let others: [&[u8]; 4] = [b"query", b"session-bind@openssh.co", b"session-bind@openssh.comx", b""];
        assert!(others.iter().all(|name| !may_pass(&extension(name))));
        assert!(!may_pass(&[]) && !may_pass(&[REQUEST_IDENTITIES, 0]));
    }

    #[tokio::test]
    async fn messages_come_back_as_they_were_sent_and_too_long_ones_are_refused() {
        let mut sent = Vec::new();
        for message in [&b"\x0b"[..], &[13; 5000]] {
            write(&mut sent, message).await.expect("memory");
        }
        let mut from = sent.as_slice();
        assert_eq!(read(&mut from).await.expect("whole"), Some(vec![11]));
        assert_eq!(read(&mut from).await.expect("whole"), Some(vec![13; 5000]));
        assert_eq!(read(&mut from).await.expect("the end"), None);
        for broken in [&[0, 0, 0, 0][..], &[0, 4, 0, 1, 13], &[255, 255, 255, 255], &[0, 0], &[0, 0, 0, 2, 13]] {
            assert!(read(&mut &broken[..]).await.is_err(), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_messages_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            runtime.block_on(async {
                let mut from = bytes.as_slice();
                while let Ok(Some(message)) = read(&mut from).await {
                    may_pass(&message);
                }
            });
        }
    }
}
