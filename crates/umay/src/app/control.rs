//! What the admin socket can do to a process that runs, and tell of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot};
use umay_core::config;
use umay_core::model::Model;

use super::status::{self, Status};
use super::{Described, Plan};
use crate::admin::{Answer, Answered, Asked, Asker, Change, Control, Fault, Refused, Reloaded};
use crate::conn::unix_now;
use crate::explain::{self, Ground, Question, Running};
use crate::keeper::{self, AllByHand, Commands, Wish};
use crate::site::Site;
use crate::telemetry::access::rfc3339;
use crate::telemetry::events::{self, LevelByHand};
use crate::telemetry::health::{Health, Stage};
use crate::telemetry::metrics::Registry;
use crate::upstream::Upstream;

/// The longest time that a level of the event log can be set for. Who wants more sets it without one.
const LONGEST_LEVEL: (Duration, &str) = (Duration::from_secs(24 * 3600), "24h");

/// The configuration that is served, with what it was made from and what was made of it.
pub(super) struct Served {
    model: Arc<Model>,
    described: Arc<Described>,
    sites: Vec<Arc<Site>>,
    upstreams: Arc<[Arc<Upstream>]>,
}

impl Served {
    pub(super) fn of(model: &Arc<Model>, plan: &Plan) -> Self {
        Self {
            model: Arc::clone(model),
            described: Arc::clone(&plan.described),
            sites: plan.sites.clone(),
            upstreams: Arc::clone(&plan.upstreams),
        }
    }
}

/// What the life of the process has to see to.
pub(super) enum Ask {
    /// To read the configuration again.
    Reload,
    /// To let the program's file, as it is now, take over.
    Upgrade,
}

/// The same, with where what came of it is to be told.
pub(super) type Order = (Ask, oneshot::Sender<Result<String, String>>);

/// What the socket can reach.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) status: Status,
    pub(super) health: Health,
    pub(super) registry: Arc<Registry>,
    pub(super) commands: Commands,
    /// Kept only if there is a socket.
    pub(super) served: Arc<ArcSwapOption<Served>>,
    /// Where a reload or an upgrade is asked for.
    pub(super) ask: mpsc::Sender<Order>,
    /// Where the end is asked for.
    pub(super) end: Arc<Notify>,
}

impl Reach {
    /// What the socket can do.
    pub(super) fn control(&self) -> Control {
        let asking = |what: fn() -> Ask| {
            let ask = self.ask.clone();
            move || -> Reloaded {
                let ask = ask.clone();
                Box::pin(async move {
                    let (tell, told) = oneshot::channel();
                    let gone = "Umay is ending".to_owned();
                    if ask.send((what(), tell)).await.is_err() {
                        return Err(gone);
                    }
                    told.await.unwrap_or(Err(gone))
                })
            }
        };
        let reach = self.clone();
        let ending = Arc::new(AtomicBool::new(false));
        Control {
            status: Arc::clone(&self.status),
            reload: Arc::new(asking(|| Ask::Reload)),
            upgrade: Arc::new(asking(|| Ask::Upgrade)),
            answer: Arc::new(move |asked, asker| reach.answer(asked, asker, &ending)),
        }
    }

    fn answer(&self, asked: Asked, asker: Asker, ending: &AtomicBool) -> Answered {
        let answer = match asked {
            Asked::Endpoint {
                upstream,
                endpoint,
                change,
            } => {
                let changed =
                    change_endpoint(self.commands.clone(), (upstream, endpoint), change, asker);
                return Box::pin(changed);
            }
            Asked::Upstreams(name) => self.upstreams(name),
            Asked::Level => Ok(Answer::Json(level())),
            Asked::SetLevel { level, time } => set_level(level, time, asker),
            Asked::Explain(question) => self.explain(&question),
            Asked::Config { origin, toml } => self.config(origin, toml),
            Asked::Open => Ok(Answer::Json(self.open())),
            Asked::Drain => self.drain(asker, ending),
        };
        Box::pin(async { answer })
    }

    fn served(&self) -> Result<Arc<Served>, Refused> {
        let served = self.served.load_full();
        served.ok_or_else(|| Fault::Conflict.because("nothing is served yet"))
    }

    fn upstreams(&self, name: Option<String>) -> Result<Answer, Refused> {
        let served = self.served()?;
        let upstreams = &served.upstreams;
        let Some(name) = name else {
            let all = upstreams.iter().map(|one| status::upstream(one));
            return Ok(Answer::Json(all.collect()));
        };
        match upstreams.iter().find(|one| one.name == name) {
            Some(one) => Ok(Answer::Json(status::upstream(one))),
            None => {
                let all: Vec<_> = upstreams.iter().map(|one| one.name.as_str()).collect();
                let all = all.join(", ");
                let why = format!("there is no upstream {name}; there are: {all}");
                Err(Fault::Missing.because(why))
            }
        }
    }

    fn explain(&self, question: &Value) -> Result<Answer, Refused> {
        let question = Question::from_json(question);
        let question = question.map_err(|why| Fault::Senseless.because(why))?;
        let served = self.served()?;
        let ground = Ground {
            model: &served.model,
            places: &served.described.places,
            running: Some(Running {
                sites: &served.sites,
                upstreams: &served.upstreams,
            }),
        };
        let told = explain::explain(&question, &ground);
        let told = told.map_err(|why| Fault::Missing.because(why))?;
        Ok(Answer::Json(Value::Array(told)))
    }

    fn config(&self, origin: bool, toml: bool) -> Result<Answer, Refused> {
        let served = self.served()?;
        let shown = config::Shown::new(&served.described.sources, &served.model);
        Ok(match toml {
            true => Answer::Text(shown.to_toml(origin)),
            false => Answer::Json(shown.to_json(origin)),
        })
    }

    fn open(&self) -> Value {
        json!({
            "stage": self.health.stage().as_str(),
            "pid": std::process::id(),
            "connections": self.registry.open_connections(),
        })
    }

    /// Ends the process as SIGTERM does; asked twice, it does not hurry.
    fn drain(&self, asker: Asker, ending: &AtomicBool) -> Result<Answer, Refused> {
        let served = self.served()?;
        let stage = self.health.stage();
        let already = ending.swap(true, Ordering::Relaxed) || stage == Stage::Draining;
        if !already {
            asker.changed("stage", stage.as_str(), Stage::Draining.as_str());
            self.end.notify_one();
        }
        let timeouts = &served.model.timeouts;
        Ok(Answer::Json(json!({
            "stage": Stage::Draining.as_str(),
            "already": already,
            "pid": std::process::id(),
            "connections": self.registry.open_connections(),
            "accepts_for": config::written_duration(timeouts.drain_delay),
            "cuts_after": config::written_duration(timeouts.drain),
        })))
    }
}

async fn change_endpoint(
    commands: Commands,
    (upstream, endpoint): (String, String),
    change: Change,
    asker: Asker,
) -> Result<Answer, Refused> {
    let wish = match change {
        Change::Drain(drain) => Wish::Drain(drain),
        Change::Weight(weight) => Wish::Weight(weight),
    };
    let who = (upstream.clone(), endpoint.clone());
    let done = keeper::set(commands, who, wish, asker.uid).await;
    let done = done.map_err(|error| match error {
        keeper::Refused::Gone => Fault::Conflict.because(error.to_string()),
        _ => Fault::Missing.because(error.to_string()),
    })?;
    let (before, after) = (done.before, done.after);
    let weight = |weight: Option<u32>| match (weight, done.configured) {
        (Some(weight), _) => weight.to_string(),
        (None, Some(weight)) => format!("{weight}, as configured"),
        (None, None) => "as configured".to_owned(),
    };
    let (what, from, to) = match wish {
        Wish::Drain(_) => (
            "draining",
            before.drained.to_string(),
            after.drained.to_string(),
        ),
        Wish::Weight(_) => ("weight", weight(before.weight), weight(after.weight)),
    };
    let what = format!("{what} of endpoint {endpoint} of upstream {upstream}");
    asker.changed(&what, &from, &to);
    let warning = done.nobody.then(|| {
        let text = format!(
            "upstream {upstream} gets nothing new: all its endpoints are drained or have weight 0"
        );
        tracing::warn!("{text}");
        text
    });
    Ok(Answer::Json(json!({
        "upstream": upstream,
        "endpoint": endpoint,
        "draining": after.drained,
        "weight": after.weight.or(done.configured),
        "configured_weight": done.configured,
        "in_flight": done.in_flight,
        "warning": warning,
    })))
}

/// What of the event log is written.
fn level() -> Value {
    let level = events::level();
    let by_hand = level.by_hand.as_ref();
    json!({
        "level": level.filter(),
        "configured": level.configured,
        "by_hand": by_hand.is_some(),
        "until": by_hand.and_then(|by_hand| by_hand.until).map(rfc3339),
    })
}

fn set_level(
    level: Option<String>,
    time: Option<Duration>,
    asker: Asker,
) -> Result<Answer, Refused> {
    let senseless = |why: String| Fault::Senseless.because(why);
    let before = events::level();
    let Some(filter) = level else {
        if time.is_some() {
            return Err(senseless(
                "the configured level has no time to end".to_owned(),
            ));
        }
        // While it still is certain that it is written.
        asker.changed("log.level", before.filter(), &before.configured);
        events::back(None).map_err(senseless)?;
        return Ok(Answer::Json(self::level()));
    };
    config::log_filter(&filter).map_err(senseless)?;
    if let Some(time) = time
        && (time.is_zero() || time > LONGEST_LEVEL.0)
    {
        let most = LONGEST_LEVEL.1;
        return Err(senseless(format!(
            "the time is more than nothing, and {most} at most; without one it stays"
        )));
    }
    let set = events::set_by_hand(LevelByHand {
        filter: filter.clone(),
        since: unix_now(),
        until: time.map(|time| unix_now().saturating_add(time.as_secs())),
        uid: asker.uid,
    });
    let turn = set.map_err(|why| senseless(format!("`{filter}` is no filter: {why}")))?;
    let to = match time {
        Some(time) => format!("{filter} for {}", config::written_duration(time)),
        None => filter,
    };
    asker.changed("log.level", before.filter(), &to);
    if let Some(time) = time {
        // It ends with the socket's runtime, which ends with the process.
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if events::back(Some(turn)) == Ok(true) {
                let level = events::level().configured;
                tracing::info!(level, "the configured log.level is back");
            }
        });
    }
    Ok(Answer::Json(self::level()))
}

/// The status document with what somebody has set by hand.
pub(super) fn with_by_hand(status: Status, all: &AllByHand) -> Status {
    let all = all.clone();
    Arc::new(move || {
        let mut document = status();
        if let Some(members) = document.as_object_mut() {
            members.insert("set_by_hand".to_owned(), by_hand(&all));
        }
        document
    })
}

/// Everything that is not as the configuration says because somebody wanted it so: a list.
fn by_hand(all: &AllByHand) -> Value {
    let mut list = Vec::new();
    for (upstream, endpoint, set) in all.list() {
        let mut add = |what: &str, value: Value| {
            list.push(json!({
                "what": what,
                "upstream": upstream,
                "endpoint": endpoint,
                "value": value,
                "there": set.away.is_none(),
                "since": rfc3339(set.since),
                "uid": set.uid,
            }));
        };
        if set.drained {
            add("draining", json!(true));
        }
        if let Some(weight) = set.weight {
            add("weight", json!(weight));
        }
    }
    let level = events::level();
    if let Some(set) = &level.by_hand {
        list.push(json!({
            "what": "log.level",
            "value": set.filter,
            "configured": level.configured,
            "since": rfc3339(set.since),
            "until": set.until.map(rfc3339),
            "uid": set.uid,
        }));
    }
    Value::Array(list)
}
