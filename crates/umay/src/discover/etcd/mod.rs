//! Keys below a prefix in etcd v3, by its JSON gateway: all of them are read, then watched from the next
//! revision on. Whatever ends the watch (a restart, a compaction, quiet), all is read anew.

pub(super) mod message;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::Method;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use umay_core::model::{Etcd, Scheme};

use super::MAX_ENDPOINTS;
use super::client::{Answer, Ask, Client, Link, MAX_ANSWER, secret, secret_value};
use super::entry::{self, Gathered, Wanted, brief};
use super::table::{News, Report};
use message::{Change, Keys, Said};

/// The keys, each with what its value says.
type Known = BTreeMap<Vec<u8>, Result<Wanted, String>>;

/// What all requests carry.
type Fields = Vec<(HeaderName, HeaderValue)>;

/// Follows the prefix at the members in turn, each for as long as it answers.
pub(super) async fn follow(
    etcd: Arc<Etcd>,
    scheme: Scheme,
    client: Arc<Client>,
    news: mpsc::Sender<News>,
) {
    let mut follower = Follower {
        keys: Keys::below(&etcd.prefix),
        etcd: &etcd,
        scheme,
        client: &client,
        news: &news,
    };
    let mut backoff = client.pace.backoff();
    let mut turn = 0_usize;
    loop {
        let pause = match follower.visit(turn, || backoff.reset()).await {
            Ok(()) => client.pace.pause,
            Err(why) => {
                turn = turn.wrapping_add(1);
                if !follower.tell(Report::of(Err(why))).await {
                    return;
                }
                backoff.next()
            }
        };
        sleep(pause).await;
    }
}

struct Follower<'a> {
    keys: Keys,
    etcd: &'a Etcd,
    scheme: Scheme,
    client: &'a Client,
    news: &'a mpsc::Sender<News>,
}

impl Follower<'_> {
    /// Reads and watches at one member until it is time to read anew. `well` is called when the watch has
    /// begun.
    async fn visit(&mut self, turn: usize, mut well: impl FnMut() + Send) -> Result<(), String> {
        let pace = self.client.pace;
        let mut link = self.client.connect(turn).await?;
        let fields = self.log_in(&mut link).await?;
        let (revision, mut known) = self.range(&mut link, &fields).await?;
        self.tell(listed(&known)).await;
        let mut lines = self.watch(&mut link, fields, revision).await?;
        let mut dirty: Option<Instant> = None;
        loop {
            // Changes that come together are told together.
            let wait = dirty.map_or(pace.quiet, |_| pace.pause);
            match timeout(wait, lines.next()).await {
                // It may be gone without a word, so all is read anew.
                Err(_) if dirty.is_none() => return Ok(()),
                Err(_) => {}
                Ok(line) => match message::said(&line?)? {
                    Said::Begun => well(),
                    Said::Compacted => return Ok(()),
                    Said::Changes(changes) => {
                        if !changes.is_empty() {
                            dirty.get_or_insert_with(Instant::now);
                        }
                        for change in changes {
                            self.apply(change, &mut known)?;
                        }
                    }
                },
            }
            // Also if they never end.
            let settled = dirty.is_some_and(|since| since.elapsed() >= pace.pause);
            if settled {
                dirty = None;
                self.tell(listed(&known)).await;
            }
        }
    }

    /// Gives the fields that show who asks.
    async fn log_in(&self, link: &mut Link) -> Result<Fields, String> {
        let Some((user, file)) = &self.etcd.login else {
            return Ok(Vec::new());
        };
        let body = json!({ "name": user, "password": secret(file)? });
        let ask = post("/v3/auth/authenticate", &body, Vec::new());
        let (_, answer) = link.ask_all(ask).await?;
        let answer = entry::json(&answer)?;
        let token = answer.pointer("/token").and_then(Value::as_str);
        let token = token.ok_or("no token came of the login")?;
        Ok(vec![(AUTHORIZATION, secret_value(token, "the token")?)])
    }

    /// Reads all keys, and the revision that they are of.
    async fn range(&self, link: &mut Link, fields: &Fields) -> Result<(i64, Known), String> {
        let body = json!({
            "key": self.keys.first(),
            "range_end": self.keys.end(),
            "limit": MAX_ENDPOINTS + 1,
        });
        let (_, answer) = link
            .ask_all(post("/v3/kv/range", &body, fields.clone()))
            .await?;
        let (revision, pairs) = message::range(&entry::json(&answer)?)?;
        let mut known = Known::new();
        for pair in pairs {
            self.apply(pair, &mut known)?;
        }
        Ok((revision, known))
    }

    async fn watch(&self, link: &mut Link, fields: Fields, revision: i64) -> Result<Lines, String> {
        let body = json!({ "create_request": {
            "key": self.keys.first(),
            "range_end": self.keys.end(),
            "start_revision": revision.saturating_add(1).to_string(),
            "progress_notify": true,
        }});
        let answer = link
            .ask(post("/v3/watch", &body, fields), Duration::ZERO)
            .await?;
        Ok(Lines {
            answer,
            held: BytesMut::new(),
            seen: 0,
        })
    }

    fn apply(&self, change: Change, known: &mut Known) -> Result<(), String> {
        if !self.keys.have(&change.key) {
            return Err("it speaks of keys that were not asked for".to_owned());
        }
        match change.value {
            None => {
                known.remove(&change.key);
            }
            Some(value) => {
                known.insert(change.key, endpoint(&value, self.scheme));
            }
        }
        if known.len() > MAX_ENDPOINTS {
            return Err(format!("there are more than {MAX_ENDPOINTS} keys"));
        }
        Ok(())
    }

    /// False if nobody listens any more.
    async fn tell(&self, report: Report<Vec<Wanted>>) -> bool {
        self.news.send(News::Source(report)).await.is_ok()
    }
}

/// The lines of an answer that has no end.
struct Lines {
    answer: Answer,
    held: BytesMut,
    /// So many bytes of it are known to have no end of a line.
    seen: usize,
}

impl Lines {
    /// The next line. Nothing is lost if it is not waited for any longer.
    async fn next(&mut self) -> Result<BytesMut, String> {
        loop {
            let new = self.held.get(self.seen..).unwrap_or_default();
            if let Some(end) = new.iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(self.seen + end + 1);
                self.seen = 0;
                return Ok(line);
            }
            self.seen = self.held.len();
            let more = self.answer.next().await?;
            let more = more.ok_or("the watch has ended")?;
            if self.held.len() + more.len() > MAX_ANSWER {
                return Err(format!("a message has more than {MAX_ANSWER} bytes"));
            }
            self.held.extend_from_slice(&more);
        }
    }
}

fn post(path: &str, body: &Value, fields: Fields) -> Ask {
    Ask {
        method: Method::POST,
        path: path.to_owned(),
        fields,
        body: body.to_string(),
    }
}

fn listed(known: &Known) -> Report<Vec<Wanted>> {
    let mut gathered = Gathered::default();
    for (key, entry) in known {
        gathered.add(&String::from_utf8_lossy(key), entry.clone());
    }
    Report::of(gathered.end())
}

/// The endpoint that a value says: `host:port`, a URL, `{"to": …}`, or what etcd's own client writes for
/// gRPC: `{"Addr": "host:port", …}`.
pub(super) fn endpoint(value: &[u8], scheme: Scheme) -> Result<Wanted, String> {
    if value.len() > entry::MAX_ENTRY {
        return Err(format!("its value has {} bytes", value.len()));
    }
    let text = str::from_utf8(value)
        .map_err(|_| "its value is not text")?
        .trim();
    let endpoint = if text.starts_with('{') {
        match entry::json(text.as_bytes())? {
            Value::Object(object) => entry::object(&object, scheme, false),
            _ => Err(brief(text)),
        }
    } else {
        entry::endpoint(text, scheme)
    };
    endpoint.map(Wanted::new)
}
