//! The Engine's frames, in which it sends standard output and standard error over one connection: a byte of kind,
//! three zeros, four bytes of length (big endian), the payload. With a terminal there are no frames.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::{self, Stream as FutureStream};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Stream;

const HEAD: usize = 8;
const CHUNK: usize = 64 * 1024;

/// Takes frames apart. A payload is passed on as it comes: a frame needs no room of its own.
#[derive(Debug, Default)]
struct Demux {
    buffer: BytesMut,
    stream: Option<Stream>,
    left: usize,
}

impl Demux {
    /// The next piece that is there; None: more bytes are needed.
    fn next(&mut self) -> Option<(Stream, Bytes)> {
        while self.left == 0 {
            if self.buffer.len() < HEAD {
                return None;
            }
            let head = self.buffer.split_to(HEAD);
            self.stream = Some(if head[0] == 2 { Stream::Stderr } else { Stream::Stdout });
            self.left = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        }
        let length = self.left.min(self.buffer.len());
        if length == 0 {
            return None;
        }
        self.left -= length;
        Some((self.stream?, self.buffer.split_to(length).freeze()))
    }

    /// Bytes in the middle of a frame: the connection broke.
    fn is_torn(&self) -> bool {
        self.left > 0 || self.buffer.has_remaining()
    }
}

/// Both outputs of a process, as they come. `framed` is false for a terminal.
pub(super) fn outputs<R>(reader: R, framed: bool) -> impl FutureStream<Item = std::io::Result<(Stream, Bytes)>> + Send
where
    R: AsyncRead + Send + Unpin,
{
    stream::try_unfold((reader, Demux::default()), move |(mut reader, mut demux)| async move {
        loop {
            if !framed && !demux.buffer.is_empty() {
                let bytes = demux.buffer.split().freeze();
                return Ok(Some(((Stream::Stdout, bytes), (reader, demux))));
            }
            if let Some(piece) = framed.then(|| demux.next()).flatten() {
                return Ok(Some((piece, (reader, demux))));
            }
            demux.buffer.reserve(CHUNK);
            if reader.read_buf(&mut demux.buffer).await? == 0 {
                return if demux.is_torn() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(None) };
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, 0, 0];
        frame.extend((payload.len() as u32).to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Gives one byte a read: every border falls everywhere.
    struct Dribble(std::collections::VecDeque<u8>);

    impl AsyncRead for Dribble {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if let Some(byte) = self.0.pop_front() {
                buffer.put_slice(&[byte]);
            }
            std::task::Poll::Ready(Ok(()))
        }
    }

    async fn collect(bytes: Vec<u8>, framed: bool) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let pieces = outputs(Dribble(bytes.into()), framed);
        let mut pieces = std::pin::pin!(pieces);
        while let Some((stream, piece)) = pieces.try_next().await? {
            match stream {
                Stream::Stdout => out.extend_from_slice(&piece),
                Stream::Stderr => err.extend_from_slice(&piece),
            }
        }
        Ok((out, err))
    }

    #[tokio::test]
    async fn frames_come_apart_wherever_they_are_cut() {
        let bytes = [frame(1, b"one"), frame(2, b"two"), frame(1, b""), frame(1, b"\x01\x02\x00")].concat();
        let (out, err) = collect(bytes, true).await.expect("whole frames");
        assert_eq!((out.as_slice(), err.as_slice()), (b"one\x01\x02\x00".as_slice(), b"two".as_slice()));
    }

    #[tokio::test]
    async fn a_terminals_bytes_are_no_frames() {
        let bytes = vec![1, 0, 0, 0, 255, 255, 255, 255, 7];
        assert_eq!(collect(bytes.clone(), false).await.expect("plain bytes").0, bytes);
    }

    #[tokio::test]
    async fn a_torn_frame_is_an_error() {
        let mut bytes = frame(1, b"whole");
        bytes.pop();
        let error = collect(bytes, true).await.expect_err("the last byte is missing");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
