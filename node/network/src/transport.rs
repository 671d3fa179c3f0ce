//! TCP and QUIC, authenticated by node keys, with every stream's bytes counted by protocol.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::p2p::{
    PeerId, Transport,
    core::{
        StreamMuxer,
        muxing::{StreamMuxerBox, StreamMuxerEvent, SubstreamBox},
        transport::{Boxed, OrTransport},
        upgrade,
    },
    identity::Keypair,
    noise, quic, tcp, yamux,
};
use futures::{AsyncRead, AsyncWrite, future::Either};

use crate::{
    error::StartError,
    traffic::{Counters, Protocol},
};

/// How long a connection may take until it is encrypted and authenticated. One of others has less time, see
/// [`crate::limits::DOORSTEP_TIME`].
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams of one connection at once: two for each topic and some for requests, which have bounds of their own, so
/// that only who breaks the rules comes near. Each holds at most 256 KiB that were not read.
const STREAMS_MAX: usize = 96;

/// Bytes at the beginning of a stream among which its protocol is named. The longest name has 40.
const HEAD_BYTES_MAX: usize = 128;

/// Makes the transport of a node.
pub(crate) fn build(
    keys: &Keypair,
    counters: Arc<Counters>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, StartError> {
    let noise = noise::Config::new(keys).map_err(|error| StartError::Setup(error.to_string()))?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(STREAMS_MAX);
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(upgrade::Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux)
        .timeout(HANDSHAKE_TIMEOUT)
        .boxed();
    let mut quic = quic::Config::new(keys);
    quic.handshake_timeout = HANDSHAKE_TIMEOUT;
    quic.max_concurrent_stream_limit = u32::try_from(STREAMS_MAX).unwrap_or(u32::MAX);
    let quic = quic::tokio::Transport::new(quic)
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
    let both = OrTransport::new(quic, tcp).map(move |output, _| {
        let (peer, connection) = match output {
            Either::Left(output) | Either::Right(output) => output,
        };
        let counters = counters.clone();
        let inner = connection;
        (
            peer,
            StreamMuxerBox::new(CountedConnection { inner, counters }),
        )
    });
    Ok(both.boxed())
}

/// A connection whose streams are counted.
struct CountedConnection {
    inner: StreamMuxerBox,
    counters: Arc<Counters>,
}

impl CountedConnection {
    fn count(&self, inner: SubstreamBox, is_ours: bool) -> CountedStream<SubstreamBox> {
        CountedStream {
            inner,
            counters: self.counters.clone(),
            naming: if is_ours { Way::Sent } else { Way::Received },
            protocol: None,
            head: Vec::new(),
            sent: 0,
            received: 0,
        }
    }
}

impl StreamMuxer for CountedConnection {
    type Substream = CountedStream<SubstreamBox>;
    type Error = io::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
        Poll::Ready(Ok(self.count(stream, false)))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(self.count(stream, true)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Sent,
    Received,
}

/// A stream whose bytes are counted. Whoever opens a stream names its protocol first, so the name stands among the
/// first bytes that way.
struct CountedStream<S> {
    inner: S,
    counters: Arc<Counters>,
    naming: Way,
    protocol: Option<Protocol>,
    head: Vec<u8>,
    /// Bytes counted before the protocol was known.
    sent: usize,
    received: usize,
}

impl<S> CountedStream<S> {
    fn note(&mut self, way: Way, bytes: &[u8]) {
        match (self.protocol, way) {
            (Some(protocol), Way::Sent) => return self.counters.add_sent(protocol, bytes.len()),
            (Some(protocol), Way::Received) => {
                return self.counters.add_received(protocol, bytes.len());
            }
            (None, Way::Sent) => self.sent += bytes.len(),
            (None, Way::Received) => self.received += bytes.len(),
        }
        if way == self.naming {
            let room = HEAD_BYTES_MAX - self.head.len();
            self.head.extend(bytes.iter().take(room));
            if let Some(protocol) = find_protocol(&self.head) {
                self.settle(protocol);
            } else if self.head.len() == HEAD_BYTES_MAX {
                self.settle(Protocol::Other);
            }
        }
    }

    fn settle(&mut self, protocol: Protocol) {
        self.counters.add_sent(protocol, self.sent);
        self.counters.add_received(protocol, self.received);
        self.protocol = Some(protocol);
        self.head = Vec::new();
    }
}

impl<S> Drop for CountedStream<S> {
    fn drop(&mut self) {
        if self.protocol.is_none() {
            self.settle(Protocol::Other);
        }
    }
}

/// Returns the protocol that is named in the first bytes of a stream.
fn find_protocol(head: &[u8]) -> Option<Protocol> {
    Protocol::ALL.into_iter().find(|protocol| {
        protocol.wire_name().is_some_and(|name| {
            head.windows(name.len())
                .any(|window| window == name.as_bytes())
        })
    })
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.note(Way::Received, &buffer[..read]);
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buffer))?;
        self.note(Way::Sent, &buffer[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt, AsyncWriteExt, io::Cursor};

    use super::*;
    use crate::topic::Topic;

    fn stream(
        inner: Cursor<Vec<u8>>,
        naming: Way,
        counters: &Arc<Counters>,
    ) -> CountedStream<Cursor<Vec<u8>>> {
        CountedStream {
            inner,
            counters: counters.clone(),
            naming,
            protocol: None,
            head: Vec::new(),
            sent: 0,
            received: 0,
        }
    }

    #[tokio::test]
    async fn bytes_before_the_name_belong_to_the_protocol_too() {
        let counters = Arc::new(Counters::default());
        let mut ours = stream(Cursor::new(Vec::new()), Way::Sent, &counters);
        let head = b"\x13/multistream/1.0.0\n\x22/commonwatt/gossip/votes/1.2.0\n";
        for byte in head {
            ours.write_all(&[*byte]).await.unwrap();
        }
        ours.write_all(&[0; 1000]).await.unwrap();
        let votes = counters.traffic().of(Protocol::Gossip(Topic::Votes));
        assert_eq!(votes.sent, head.len() as u64 + 1000);
        assert_eq!(counters.traffic().total(), votes);
    }

    #[tokio::test]
    async fn what_names_no_protocol_of_ours_is_counted_as_other() {
        let counters = Arc::new(Counters::default());
        let mut short = stream(Cursor::new(b"short".to_vec()), Way::Received, &counters);
        short.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(counters.traffic().total().received, 0, "not yet known");
        drop(short);
        assert_eq!(counters.traffic().of(Protocol::Other).received, 5);
        let mut long = stream(Cursor::new(vec![0; 5000]), Way::Received, &counters);
        long.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(counters.traffic().of(Protocol::Other).received, 5005);
        assert!(long.head.is_empty(), "nothing is kept");
    }
}
