//! Addresses of clients as logs may tell them: shortened to a network, or hashed with a key that is forgotten.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// An address without what tells a client from its neighbours: the first 24 bits of IPv4, the first 48 of IPv6.
///
/// An IPv4-mapped address is an IPv4 address. One of 6to4 (`2002::/16`, RFC 3056) has its IPv4 address in those
/// 48 bits, so it keeps 40: what is left of that is its first 24 bits.
pub fn truncated(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(ip) => {
            let kept = match ip.segments() {
                [0x2002, ..] => 40,
                _ => 48,
            };
            let bits = u128::from_be_bytes(ip.octets()) >> (128 - kept) << (128 - kept);
            Ipv6Addr::from(bits).into()
        }
    }
}

/// A key for [`hashed`]. Not shown by `Debug`, and to be kept in memory only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u64; 2]);

impl Key {
    /// A key of 128 random bits.
    pub fn new(random: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(random);
        Self([bits as u64, (bits >> 64) as u64])
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// An address as 16 hexadecimal digits that are the same as long as the key is, and tell nothing without it.
///
/// The hash is `SipHash` 2-4 (Aumasson and Bernstein, 2012), made for short messages and secret keys: all four
/// billion IPv4 addresses can be tried against a hash without a key in seconds, but not against this one.
pub fn hashed(key: Key, ip: IpAddr) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let hash = siphash(key, &bytes);
    std::array::from_fn(|at| {
        let digit = hash >> (60 - 4 * at) & 15;
        DIGITS.get(digit as usize).copied().unwrap_or(b'0')
    })
}

/// `SipHash` 2-4 of a message.
fn siphash(Key([k0, k1]): Key, message: &[u8]) -> u64 {
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let word = |word: u64, state: &mut [u64; 4]| {
        state[3] ^= word;
        *state = round(round(*state));
        state[0] ^= word;
    };
    let (words, rest) = message.as_chunks::<8>();
    for bytes in words {
        word(u64::from_le_bytes(*bytes), &mut state);
    }
    // The length, and what is left before it.
    let left = rest
        .iter()
        .rev()
        .fold(0, |all, byte| all << 8 | u64::from(*byte));
    word((message.len() as u64) << 56 | left, &mut state);
    state[2] ^= 0xff;
    let [a, b, c, d] = round(round(round(round(state))));
    a ^ b ^ c ^ d
}

fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

/// The day of a time in seconds since 1970, UTC.
pub fn day_of(second: u64) -> u64 {
    second / DAY
}

/// The key of today. Yesterday's is forgotten as soon as today's is asked for.
#[derive(Debug, Default)]
pub struct Keyring(Option<(u64, Key)>);

impl Keyring {
    /// The key of a day. `random` gives 128 random bits; `None` if it has none.
    ///
    /// Who is late at midnight by a moment, and asks for the day before, gets the key of the day that has begun.
    pub fn of(&mut self, day: u64, random: impl FnOnce() -> Option<[u8; 16]>) -> Option<Key> {
        if let Some((today, key)) = self.0
            && (today == day || today == day + 1)
        {
            return Some(key);
        }
        let key = Key::new(random()?);
        self.0 = Some((day, key));
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::Hasher;

    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_shortened() {
        for (from, to) in [
            ("203.0.113.77", "203.0.113.0"),
            ("255.255.255.255", "255.255.255.0"),
            ("0.0.0.1", "0.0.0.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            (
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "ffff:ffff:ffff::",
            ),
            ("::ffff:203.0.113.77", "203.0.113.0"),
            ("64:ff9b::203.0.113.77", "64:ff9b::"),
            // The address 203.0.113.77 as a network of 6to4.
            ("2002:cb00:714d:1::1", "2002:cb00:7100::"),
            ("::1", "::"),
        ] {
            assert_eq!(truncated(ip(from)), ip(to), "{from}");
        }
    }

    #[test]
    fn the_hash_is_that_of_the_paper() {
        let key = Key::new(std::array::from_fn(|at| at as u8));
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(key, &message), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn mapped_addresses_are_the_same_client() {
        let key = Key::new([7; 16]);
        let plain = hashed(key, ip("203.0.113.77"));
        assert_eq!(plain, hashed(key, ip("::ffff:203.0.113.77")));
        assert_ne!(plain, hashed(Key::new([8; 16]), ip("203.0.113.77")));
        assert!(plain.iter().all(u8::is_ascii_hexdigit));
    }

    #[test]
    fn neighbours_have_nothing_in_common() {
        let key = Key::new([7; 16]);
        let all: HashSet<_> = (0..=u16::MAX)
            .map(|n| hashed(key, Ipv4Addr::from(u32::from(n)).into()))
            .collect();
        assert_eq!(all.len(), 65_536);
    }

    #[test]
    fn a_day_has_one_key_and_the_next_another() {
        let mut made = 0;
        let mut ring = Keyring::default();
        let mut of = |day| {
            ring.of(day, || {
                made += 1;
                Some([made; 16])
            })
        };
        let midnight = 1_795_478_400;
        let (before, after) = (day_of(midnight - 1), day_of(midnight));
        assert_eq!(before + 1, after);
        let first = of(before);
        assert_eq!(of(before), first);
        let second = of(after);
        assert_ne!(second, first);
        // A worker whose clock was read a moment earlier.
        assert_eq!(of(before), second);
        assert_eq!(of(after), second);
        // A clock that was set back has a key of its own, and not yesterday's.
        assert_ne!(of(before - 1), second);
        assert_ne!(of(before - 1), first);
        assert_eq!(Keyring::default().of(1, || None), None);
    }

    proptest! {
        #[test]
        fn the_hash_is_that_of_the_standard_library(random: [u8; 16], message: Vec<u8>) {
            let key = Key::new(random);
            #[allow(deprecated, reason = "what it does is fixed, and it is here to compare with")]
            let mut other = std::hash::SipHasher::new_with_keys(key.0[0], key.0[1]);
            other.write(&message);
            prop_assert_eq!(siphash(key, &message), other.finish());
        }
    }
}
