//! Who of an upstream's endpoints may be picked: by how they are, in which group, and how near.

/// How an endpoint is, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nothing speaks against it.
    Well,
    /// It has asked to be left alone for a while (`Retry-After`).
    Resting,
    /// It fails one request after the other, and so many are ejected already that it is not.
    Failing,
    /// Probes say that it does not work.
    Ill,
    /// It has failed too many requests.
    Ejected,
    /// Somebody wants it to get no new requests.
    Draining,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 6] = [
        Self::Well,
        Self::Resting,
        Self::Failing,
        Self::Ill,
        Self::Ejected,
        Self::Draining,
    ];

    /// The word in metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Resting => "resting",
            Self::Failing => "failing",
            Self::Ill => "ill",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }
}

/// An endpoint, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// 0 gets no new requests.
    pub weight: u32,
    /// Its group.
    pub priority: u32,
    /// Where it stands.
    pub zone: Option<&'a str>,
    /// How it is.
    pub standing: Standing,
}

/// The indices of those that a request may still be given to when it has failed at all of [`usable`], the best
/// first, and how many of them are as good as those, but for their group or zone.
pub fn reserve(members: &[Member<'_>], usable: &[usize]) -> (Vec<usize>, usize) {
    let rank = |member: &Member<'_>| match member.standing {
        Standing::Well => Some(0),
        Standing::Resting => Some(1),
        Standing::Failing => Some(2),
        Standing::Ejected => Some(3),
        Standing::Ill | Standing::Draining => None,
    };
    let others = members.iter().enumerate().filter_map(|(index, member)| {
        let wanted = member.weight > 0 && !usable.contains(&index);
        let rank = rank(member).filter(|_| wanted)?;
        Some((rank, member.priority, index))
    });
    let mut others: Vec<(u8, u32, usize)> = others.collect();
    others.sort_unstable();
    let good = others.iter().filter(|(rank, ..)| *rank < 2).count();
    (others.into_iter().map(|(.., index)| index).collect(), good)
}

/// The indices of those that may be picked, ascending; empty only if all are draining or without weight.
///
/// - The first group (lowest priority) with an endpoint that is well gets everything.
/// - If fewer than `panic` hundredths of that group are well, all of it are used: what is left would be
///   overrun. If no group has one that is well, those that rest are used, then those that fail, and else
///   everybody: a request that may fail is better than one that must.
/// - Among them those in `zone` are preferred, as long as half of the zone's own are well.
pub fn usable(members: &[Member<'_>], panic: u8, zone: Option<&str>) -> Vec<usize> {
    let wanted = |member: &Member<'_>| member.weight > 0 && member.standing != Standing::Draining;
    let those = |which: &dyn Fn(&Member<'_>) -> bool| -> Vec<usize> {
        let all = members.iter().enumerate();
        let fit = all.filter(|(_, member)| wanted(member) && which(member));
        fit.map(|(index, _)| index).collect()
    };
    for standing in [Standing::Well, Standing::Resting, Standing::Failing] {
        let groups = members
            .iter()
            .filter(|m| wanted(m) && m.standing == standing);
        let Some(group) = groups.map(|member| member.priority).min() else {
            continue;
        };
        let all = those(&|m| m.priority == group);
        let well = those(&|m| m.priority == group && m.standing == standing);
        if well.len() * 100 < all.len() * usize::from(panic) {
            return all;
        }
        let Some(zone) = zone else {
            return well;
        };
        let here = |m: &Member<'_>| m.priority == group && m.zone == Some(zone);
        let near = those(&|m| here(m) && m.standing == standing);
        return if near.is_empty() || near.len() * 2 < those(&here).len() {
            well
        } else {
            near
        };
    }
    those(&|_| true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(priority: u32, zone: Option<&'static str>, standing: Standing) -> Member<'static> {
        Member {
            weight: 1,
            priority,
            zone,
            standing,
        }
    }

    /// Members in words: `0a-` is priority 0 in zone a and well, `1.e` priority 1 in no zone, ejected.
    fn read(text: &str) -> Vec<Member<'static>> {
        let one = |word: &str| {
            let [priority, zone, standing] = word.as_bytes() else {
                panic!("{word}");
            };
            let zone = match zone {
                b'a' => Some("a"),
                b'b' => Some("b"),
                _ => None,
            };
            let standing = match standing {
                b'-' => Standing::Well,
                b'r' => Standing::Resting,
                b'f' => Standing::Failing,
                b'i' => Standing::Ill,
                b'e' => Standing::Ejected,
                _ => Standing::Draining,
            };
            member(u32::from(priority - b'0'), zone, standing)
        };
        text.split_whitespace().map(one).collect()
    }

    #[test]
    fn groups_standings_and_zones() {
        let cases: &[(&str, u8, Option<&str>, &[usize])] = &[
            ("0.- 0.- 0.-", 0, None, &[0, 1, 2]),
            ("0.- 0.e 0.i", 0, None, &[0]),
            // Better all than the one that is left, if somebody says so.
            ("0.- 0.e 0.i", 50, None, &[0, 1, 2]),
            ("0.- 0.- 0.i", 50, None, &[0, 1]),
            ("0.- 0.- 0.i", 67, None, &[0, 1, 2]),
            // The next group only if the first has nobody.
            ("0.- 0.e 1.- 1.-", 0, None, &[0]),
            ("0.e 0.i 1.- 1.e 2.-", 0, None, &[2]),
            ("0.e 1.i 2.-", 0, None, &[2]),
            // Nobody is well: whoever only rests, then everybody of all groups.
            ("0.e 0.r 1.i", 0, None, &[1]),
            ("0.e 0.i 1.e", 0, None, &[0, 1, 2]),
            ("0.r 1.-", 0, None, &[1]),
            // Whoever fails is left to others, if there are any in any group.
            ("0.e 0.f 1.-", 0, None, &[2]),
            ("0.- 0.f", 0, None, &[0]),
            ("0.e 0.f 1.r", 0, None, &[2]),
            ("0.e 0.f 1.i", 0, None, &[1]),
            // Draining is never overruled.
            ("0.d 0.d", 0, None, &[]),
            ("0.d 0.e", 100, None, &[1]),
            // Near ones first, unless half of them are gone.
            ("0a- 0b- 0a- 0.-", 0, Some("a"), &[0, 2]),
            ("0a- 0b- 0ae 0.-", 0, Some("a"), &[0]),
            ("0a- 0b- 0ae 0ai", 0, Some("a"), &[0, 1]),
            ("0b- 0.-", 0, Some("a"), &[0, 1]),
            ("0b- 1a-", 0, Some("a"), &[0]),
        ];
        for (members, panic, zone, expected) in cases {
            let members = read(members);
            assert_eq!(usable(&members, *panic, *zone), *expected, "{members:?}");
        }
    }

    #[test]
    fn what_has_failed_everywhere_goes_on_to_others() {
        let members = read("0.- 0.e 1.- 0.i 2.r 1.f 0.d");
        let usable = usable(&members, 0, None);
        assert_eq!(usable, [0]);
        assert_eq!(reserve(&members, &usable), (vec![2, 4, 5, 1], 2));
    }

    #[test]
    fn no_weight_gets_nothing() {
        let mut members = read("0.- 0.- 1.-");
        members[0].weight = 0;
        assert_eq!(usable(&members, 100, None), [1]);
        members[1].weight = 0;
        assert_eq!(usable(&members, 0, None), [2]);
        members[2].weight = 0;
        assert!(usable(&members, 0, None).is_empty());
    }

    proptest! {
        #[test]
        fn somebody_is_left_unless_nobody_is_wanted(
            members in prop::collection::vec((0..3_u32, 0..3_u32, 0..3_usize, 0..6_usize), 0..10),
            panic in 0..=100_u8,
        ) {
            let zones = [None, Some("a"), Some("b")];
            let members: Vec<_> = members
                .into_iter()
                .map(|(weight, priority, zone, standing)| Member {
                    weight,
                    ..member(priority, zones[zone], Standing::ALL[standing])
                })
                .collect();
            let picked = usable(&members, panic, Some("a"));
            let wanted = |m: &&Member<'_>| m.weight > 0 && m.standing != Standing::Draining;
            prop_assert_eq!(picked.is_empty(), !members.iter().any(|m| wanted(&m)));
            prop_assert!(picked.iter().all(|i| wanted(&&members[*i])));
            // A well one of the first group is never passed over for a worse one, but in panic.
            if panic == 0 && members.iter().any(|m| wanted(&m) && m.standing == Standing::Well) {
                prop_assert!(picked.iter().all(|i| members[*i].standing == Standing::Well));
            }
        }
    }
}
