//! The doorstep: connections of others that have not yet shown who they are.
//!
//! Until its handshake is over nothing is known of a connection but where it comes from, so whoever has no key at all can open
//! many and say nothing. Refusing newcomers while it is crowded would keep honest ones out. So a newcomer always gets a place:
//! the connection of the same host that has waited longest goes, or, when all places are taken, that of the host with most of
//! them. An honest handshake takes three round trips; to be in its way somebody must fill a host's places in that time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::p2p::{
    Multiaddr, PeerId, Transport,
    core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol as AddressPart,
};
use futures::future::{AbortHandle, AbortRegistration, Abortable, BoxFuture};
use parking_lot::Mutex;

use crate::{
    limits::{DOORSTEP_MAX, DOORSTEP_PER_HOST_MAX, DOORSTEP_TIME},
    traffic::{Counters, count},
};

/// Where a connection comes from, as far as it matters: whoever has one address of an IPv6 network has all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Net {
    V4(u32),
    /// The first 64 bits.
    V6(u64),
    Unknown,
}

/// A host, over TCP or over QUIC: who can pretend to be somewhere else in UDP is in nobody's way over TCP.
type Host = (Net, IsQuic);
type IsQuic = bool;

fn net_of(address: &Multiaddr) -> Net {
    let host = address.iter().find_map(|part| match part {
        AddressPart::Ip4(host) => Some(IpAddr::from(host)),
        AddressPart::Ip6(host) => Some(IpAddr::from(host).to_canonical()),
        _ => None,
    });
    match host {
        Some(IpAddr::V4(host)) => Net::V4(host.to_bits()),
        Some(IpAddr::V6(host)) => {
            let [a, b, c, d, ..] = host.segments();
            let parts = [a, b, c, d];
            Net::V6(
                parts
                    .iter()
                    .fold(0, |net, part| net << 16 | u64::from(*part)),
            )
        }
        None => Net::Unknown,
    }
}

fn host_of(address: &Multiaddr) -> Host {
    let is_quic = address
        .iter()
        .any(|part| matches!(part, AddressPart::QuicV1));
    (net_of(address), is_quic)
}

/// Connections that were given up so that others found a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crowd {
    /// How many.
    pub(crate) given_up: u64,
    /// Where the last of them came from.
    pub(crate) last: Multiaddr,
}

/// Who waits on the doorstep. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    places: Arc<Mutex<Places>>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Places {
    /// By host, those that have waited longest first.
    hosts: BTreeMap<Host, VecDeque<Place>>,
    count: usize,
    next: u64,
    /// Where static peers are.
    expected: BTreeMap<PeerId, BTreeSet<Net>>,
    /// All of those.
    expected_nets: BTreeSet<Net>,
    crowd: Option<Crowd>,
}

#[derive(Debug)]
struct Place {
    number: u64,
    address: Multiaddr,
    connection: AbortHandle,
}

/// A place on the doorstep, until it is dropped.
struct Taken {
    waiting: Waiting,
    host: Host,
    number: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.waiting.places.lock().leave(self.host, self.number);
    }
}

impl Places {
    fn enter(&mut self, address: &Multiaddr, connection: AbortHandle) -> (Host, u64) {
        let host = host_of(address);
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.count += 1;
        let address = address.clone();
        self.hosts.entry(host).or_default().push_back(Place {
            number,
            address,
            connection,
        });
        (host, number)
    }

    fn leave(&mut self, host: Host, number: u64) {
        let Some(places) = self.hosts.get_mut(&host) else {
            return;
        };
        let before = places.len();
        places.retain(|place| place.number != number);
        self.count -= before - places.len();
        if places.is_empty() {
            self.hosts.remove(&host);
        }
    }

    /// Returns whose connection goes, if one has to, now that `host` has one more.
    fn crowded(&self, host: &Host) -> Option<Host> {
        let of_host = self.hosts.get(host).map_or(0, VecDeque::len);
        if of_host > DOORSTEP_PER_HOST_MAX {
            return Some(*host);
        }
        if self.count <= DOORSTEP_MAX {
            return None;
        }
        // The one with most, of those that nobody expects; among equals the one that has waited longest.
        let rank = |(host, places): &(&Host, &VecDeque<Place>)| {
            let since = places.front().map_or(0, |place| place.number);
            (
                !self.expected_nets.contains(&host.0),
                places.len(),
                std::cmp::Reverse(since),
            )
        };
        self.hosts.iter().max_by_key(rank).map(|(host, _)| *host)
    }

    /// Gives up the connection of a host that has waited longest.
    fn give_up(&mut self, host: Host) {
        let oldest = self.hosts.get_mut(&host).and_then(VecDeque::pop_front);
        let Some(oldest) = oldest else {
            return;
        };
        self.count -= 1;
        if self.hosts.get(&host).is_some_and(VecDeque::is_empty) {
            self.hosts.remove(&host);
        }
        oldest.connection.abort();
        let before = self.crowd.take().map_or(0, |crowd| crowd.given_up);
        self.crowd = Some(Crowd {
            given_up: before.saturating_add(1),
            last: oldest.address,
        });
    }
}

impl Waiting {
    fn enter(&self, address: &Multiaddr) -> (Taken, AbortRegistration) {
        let (connection, registration) = AbortHandle::new_pair();
        let mut places = self.places.lock();
        let (host, number) = places.enter(address, connection);
        if let Some(crowded) = places.crowded(&host) {
            places.give_up(crowded);
            count(&self.counters.crowded_out, 1);
        }
        let waiting = self.clone();
        let taken = Taken {
            waiting,
            host,
            number,
        };
        (taken, registration)
    }

    /// Notes where a static peer is: others' connections are not in its way.
    pub(crate) fn expect(&self, peer: PeerId, addresses: &[Multiaddr]) {
        let nets: BTreeSet<Net> = addresses.iter().map(net_of).collect();
        let nets = nets.into_iter().filter(|net| *net != Net::Unknown);
        let nets: BTreeSet<Net> = nets.collect();
        if nets.is_empty() {
            return;
        }
        let mut places = self.places.lock();
        places.expected.insert(peer, nets);
        places.expected_nets = places.expected.values().flatten().copied().collect();
    }

    /// Returns what was given up since the last call.
    pub(crate) fn take_crowd(&self) -> Option<Crowd> {
        self.places.lock().crowd.take()
    }
}

/// A transport whose connections wait on the doorstep until they have shown who they are.
pub(crate) struct Doorstep<Output> {
    inner: Boxed<Output>,
    waiting: Waiting,
}

impl<Output> Doorstep<Output> {
    /// Puts a doorstep before a transport.
    pub(crate) fn new(inner: Boxed<Output>, counters: Arc<Counters>) -> Self {
        let places = Arc::default();
        let waiting = Waiting { places, counters };
        Self { inner, waiting }
    }

    /// Returns who waits there.
    pub(crate) fn waiting(&self) -> &Waiting {
        &self.waiting
    }
}

impl<Output: 'static> Transport for Doorstep<Output> {
    type Output = Output;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<Output>>;
    type Dial = <Boxed<Output> as Transport>::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        self.inner.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let event = std::task::ready!(Pin::new(&mut self.inner).poll(cx));
        let from = match &event {
            TransportEvent::Incoming { send_back_addr, .. } => Some(send_back_addr.clone()),
            _ => None,
        };
        let waiting = self.waiting.clone();
        Poll::Ready(event.map_upgrade(|upgrade| {
            let place = from.map(|from| waiting.enter(&from));
            Box::pin(async move {
                let Some((_taken, registration)) = place else {
                    return upgrade.await;
                };
                let upgrade = Abortable::new(upgrade, registration);
                match tokio::time::timeout(DOORSTEP_TIME, upgrade).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) => Err(io::Error::other(
                        "it made room for connections that came after it",
                    )),
                    Err(_) => Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "it did not show in time who it is",
                    )),
                }
            }) as Self::ListenerUpgrade
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doorstep() -> Waiting {
        Waiting {
            places: Arc::default(),
            counters: Arc::default(),
        }
    }

    fn from(host: &str) -> Multiaddr {
        format!("{host}/tcp/1000").parse().unwrap()
    }

    fn numbered(number: usize) -> Multiaddr {
        let [.., high, low] = u32::try_from(number).unwrap().to_be_bytes();
        from(&format!("/ip4/10.1.{high}.{low}"))
    }

    fn is_given_up(place: &(Taken, AbortRegistration)) -> bool {
        place.1.handle().is_aborted()
    }

    #[test]
    fn a_newcomer_takes_the_place_of_who_has_waited_longest_at_its_host() {
        let waiting = doorstep();
        let other = waiting.enter(&from("/ip4/10.0.0.1"));
        let mut crowd: Vec<_> = (0..DOORSTEP_PER_HOST_MAX)
            .map(|_| waiting.enter(&from("/ip4/10.0.0.2")))
            .collect();
        assert!(!crowd.iter().any(is_given_up));
        crowd.push(waiting.enter(&from("/ip4/10.0.0.2")));
        let given_up: Vec<bool> = crowd.iter().map(is_given_up).collect();
        assert!(given_up[0] && !given_up[1..].contains(&true));
        assert!(!is_given_up(&other));
        let crowd = waiting.take_crowd().unwrap();
        assert_eq!((crowd.given_up, crowd.last), (1, from("/ip4/10.0.0.2")));
        assert_eq!(waiting.take_crowd(), None);
        assert_eq!(waiting.counters.statistics().crowded_out, 1);
    }

    #[test]
    fn addresses_of_one_network_are_one_host() {
        let host = |text: &str| host_of(&text.parse().unwrap());
        let same = host("/ip6/2001:db8:1:2::1/tcp/1");
        assert_eq!(host("/ip6/2001:db8:1:2:ffff::9/tcp/2"), same);
        assert_ne!(host("/ip6/2001:db8:1:3::1/tcp/1"), same);
        assert_ne!(host("/ip6/2001:db8:1:2::1/udp/1/quic-v1"), same);
        assert_eq!(
            host("/ip6/::ffff:10.0.0.1/tcp/1"),
            host("/ip4/10.0.0.1/tcp/2")
        );
    }

    #[test]
    fn when_all_places_are_taken_the_host_with_most_makes_room() {
        let waiting = doorstep();
        let peer = PeerId::random();
        waiting.expect(peer, &[numbered(0), numbered(1)]);
        let expected = [waiting.enter(&numbered(0)), waiting.enter(&numbered(0))];
        let single = waiting.enter(&numbered(2));
        let mut crowds = Vec::new();
        for number in 3.. {
            if crowds.len() + 5 > DOORSTEP_MAX {
                break;
            }
            crowds.push(waiting.enter(&numbered(number)));
            crowds.push(waiting.enter(&numbered(number)));
        }
        assert!(waiting.take_crowd().is_none());
        let newcomers = [waiting.enter(&numbered(1)), waiting.enter(&numbered(1))];
        assert!(!newcomers.iter().chain(&expected).any(is_given_up));
        assert!(!is_given_up(&single));
        assert!(is_given_up(&crowds[0]) && !is_given_up(&crowds[1]));
        assert_eq!(waiting.places.lock().count, DOORSTEP_MAX);
    }

    #[test]
    fn whoever_leaves_frees_its_place() {
        let waiting = doorstep();
        for _ in 0..3 * DOORSTEP_PER_HOST_MAX {
            drop(waiting.enter(&from("/ip4/10.0.0.1")));
        }
        assert_eq!(waiting.take_crowd(), None);
        let places = waiting.places.lock();
        assert!(places.count == 0 && places.hosts.is_empty());
    }
}
