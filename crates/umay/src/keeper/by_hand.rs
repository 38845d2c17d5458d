//! What somebody has set by hand at endpoints: which get no new requests, and which have another weight.
//!
//! It belongs to the endpoint, by its label: it outlives reloads and whatever discovery says. An endpoint that has left
//! may only be away, as when its registration flaps while somebody works on it; only when it has been gone for
//! long is what was set forgotten, so that a stranger with the same address begins as everybody does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::conn::unix_now;

/// For how long what was set at an endpoint that has left is remembered.
const AWAY: Duration = Duration::from_secs(3600);

/// What is wished of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To get no new requests, or some again.
    Drain(bool),
    /// To have this weight, or again the one that the configuration or a registry says.
    Weight(Option<u32>),
}

/// What is set at an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// It gets no new requests.
    pub drained: bool,
    /// It has this weight.
    pub weight: Option<u32>,
    /// When that was set last, in seconds since 1970.
    pub since: u64,
    /// The user who did; `None` if the kernel did not say.
    pub uid: Option<u32>,
    /// Since when it is not among the endpoints, in milliseconds of the upstream's clock.
    pub away: Option<u64>,
}

/// What is set at all endpoints of all upstreams, for who wants to tell of it.
#[derive(Clone, Debug, Default)]
pub struct AllByHand(Arc<Mutex<BTreeMap<String, BTreeMap<String, Setting>>>>);

impl AllByHand {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<String, Setting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Upstream, endpoint, and what is set there.
    pub fn list(&self) -> Vec<(String, String, Setting)> {
        let all = self.lock();
        let each = all.iter().flat_map(|(upstream, settings)| {
            let one = |(endpoint, setting): (&String, &Setting)| {
                (upstream.clone(), endpoint.clone(), *setting)
            };
            settings.iter().map(one)
        });
        each.collect()
    }

    /// The same, for a process that takes the place of this one.
    pub fn carried(&self) -> Value {
        let one = |(upstream, endpoint, set): (String, String, Setting)| {
            json!({
                "upstream": upstream,
                "endpoint": endpoint,
                "drained": set.drained,
                "weight": set.weight,
                "since": set.since,
                "uid": set.uid,
            })
        };
        self.list().into_iter().map(one).collect()
    }

    /// What another process has carried here. What makes no sense is left out.
    pub fn from_carried(carried: &Value) -> Self {
        let all = Self::default();
        for entry in carried.as_array().into_iter().flatten() {
            let number = |key: &str| entry.get(key).and_then(Value::as_u64);
            let small = |key: &str| number(key).and_then(|number| u32::try_from(number).ok());
            let text = |key: &str| entry.get(key).and_then(Value::as_str);
            let (Some(upstream), Some(endpoint)) = (text("upstream"), text("endpoint")) else {
                continue;
            };
            let setting = Setting {
                drained: entry.get("drained") == Some(&Value::Bool(true)),
                weight: small("weight"),
                since: number("since").unwrap_or_default(),
                uid: small("uid"),
                away: None,
            };
            let mut all = all.lock();
            let of = all.entry(upstream.to_owned()).or_default();
            of.insert(endpoint.to_owned(), setting);
        }
        all
    }

    /// Forgets upstreams that are gone.
    pub(super) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.lock().retain(|upstream, _| is_there(upstream));
    }

    /// What is set at the endpoints of one upstream.
    pub(super) fn of(&self, upstream: &str) -> ByHand {
        let settings = self.lock().get(upstream).cloned().unwrap_or_default();
        ByHand {
            upstream: upstream.to_owned(),
            settings,
            all: self.clone(),
        }
    }
}

/// What is set at the endpoints of one upstream; its ward alone changes it.
#[derive(Debug, Default)]
pub(super) struct ByHand {
    upstream: String,
    settings: BTreeMap<String, Setting>,
    all: AllByHand,
}

impl ByHand {
    /// What is set at the endpoint with this label.
    pub(super) fn get(&self, label: &str) -> Option<&Setting> {
        self.settings.get(label)
    }

    /// Sets something for a user, and gives what is set then.
    pub(super) fn set(&mut self, label: &str, wish: Wish, uid: Option<u32>) -> Setting {
        let setting = self.settings.entry(label.to_owned()).or_default();
        match wish {
            Wish::Drain(drain) => setting.drained = drain,
            Wish::Weight(weight) => setting.weight = weight,
        }
        (setting.since, setting.uid) = (unix_now(), uid);
        let set = *setting;
        if !set.drained && set.weight.is_none() {
            self.settings.remove(label);
        }
        self.tell();
        set
    }

    /// Looks who is there at `now`, and forgets those who have been away for long.
    pub(super) fn look<'a, L: Iterator<Item = &'a str>>(
        &mut self,
        now: u64,
        labels: impl Fn() -> L,
    ) {
        if self.settings.is_empty() {
            return;
        }
        let away = u64::try_from(AWAY.as_millis()).unwrap_or(u64::MAX);
        let mut changed = false;
        let upstream = &*self.upstream;
        self.settings.retain(|label, setting| {
            let since = match labels().any(|have| have == label) {
                true => None,
                false => Some(setting.away.unwrap_or(now)),
            };
            changed |= since != setting.away;
            setting.away = since;
            let stays = since.is_none_or(|since| now < since.saturating_add(away));
            if !stays {
                let endpoint = &**label;
                tracing::info!(upstream, endpoint, "what was set by hand is forgotten");
                changed = true;
            }
            stays
        });
        if changed {
            self.tell();
        }
    }

    fn tell(&self) {
        let mut all = self.all.lock();
        if self.settings.is_empty() {
            all.remove(&self.upstream);
        } else {
            all.insert(self.upstream.clone(), self.settings.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_outlives_a_short_absence_only() {
        let all = AllByHand::default();
        let mut by_hand = all.of("web");
        assert_eq!(by_hand.set("a:1", Wish::Drain(true), Some(7)).uid, Some(7));
        by_hand.set("a:1", Wish::Weight(Some(3)), Some(8));
        let there = || ["a:1"].into_iter();
        let gone = || ["b:1"].into_iter();
        by_hand.look(5, there);
        assert_eq!(all.list()[0].2.away, None);
        by_hand.look(10, gone);
        assert_eq!(all.list()[0].2.away, Some(10));
        let hour = AWAY.as_millis() as u64;
        by_hand.look(9 + hour, gone);
        let (upstream, endpoint, set) = all.list().remove(0);
        assert_eq!((&*upstream, &*endpoint), ("web", "a:1"));
        assert_eq!((set.drained, set.weight, set.uid), (true, Some(3), Some(8)));
        by_hand.look(9 + hour, there);
        by_hand.look(10 + hour, gone);
        by_hand.look(9 + 2 * hour, gone);
        assert_eq!(all.list().len(), 1);
        by_hand.look(10 + 2 * hour, gone);
        assert!(all.list().is_empty() && by_hand.get("a:1").is_none());
    }

    #[test]
    fn what_is_carried_to_another_process_is_the_same_there() {
        let all = AllByHand::default();
        all.of("web").set("a:1", Wish::Weight(Some(0)), Some(7));
        all.of("tcp").set("b:1", Wish::Drain(true), None);
        let there = AllByHand::from_carried(&all.carried());
        assert_eq!((all.list(), all.list().len()), (there.list(), 2));
        for senseless in [json!(null), json!([1, {}, { "upstream": 3 }])] {
            assert!(AllByHand::from_carried(&senseless).list().is_empty());
        }
    }

    #[test]
    fn what_is_taken_back_leaves_nothing() {
        let all = AllByHand::default();
        let mut by_hand = all.of("web");
        by_hand.set("a:1", Wish::Weight(Some(0)), None);
        by_hand.set("a:1", Wish::Drain(true), None);
        by_hand.set("a:1", Wish::Weight(None), None);
        assert_eq!(all.of("web").get("a:1").unwrap().weight, None);
        by_hand.set("a:1", Wish::Drain(false), None);
        assert!(all.list().is_empty());
        by_hand.set("a:1", Wish::Drain(true), None);
        all.keep(|upstream| upstream != "web");
        assert!(all.list().is_empty());
    }
}
