//! Instances of a service that Consul holds for well, by blocking queries: a question that is answered
//! when something has changed, or after a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use http::header::{HeaderMap, HeaderName};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::sleep;
use umay_core::model::{Consul, Scheme};

use super::client::{Ask, Client, escape, secret, secret_value};
use super::entry::{self, Gathered, Wanted};
use super::table::{News, Report};

/// The field with the ACL token.
const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");

/// The field with the state that an answer is about.
const INDEX: &str = "x-consul-index";

/// Endpoints, and what is wrong with some of them.
type Listed = (Vec<Wanted>, Option<String>);

/// Asks the agents in turn, each for as long as it answers.
pub(super) async fn follow(
    consul: Arc<Consul>,
    scheme: Scheme,
    client: Arc<Client>,
    news: mpsc::Sender<News>,
) {
    let pace = client.pace;
    let mut backoff = pace.backoff();
    let (mut turn, mut index) = (0_usize, 0);
    loop {
        let asked = Instant::now();
        let (report, pause) = match query(&consul, scheme, &client, turn, index).await {
            Ok((next, listed)) => {
                backoff.reset();
                // An index that goes backwards is of another history, and one that stays although the
                // answer came early was not waited for.
                let early = next == index && asked.elapsed() < pace.quiet / 2;
                index = if next < index { 0 } else { next };
                let pause = if early { pace.first } else { pace.pause };
                (Report::of(Ok(listed)), pause)
            }
            Err(why) => {
                turn = turn.wrapping_add(1);
                // The next one may know less, and is to answer at once.
                index = 0;
                (Report::of(Err(why)), backoff.next())
            }
        };
        if news.send(News::Source(report)).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

/// One question: the state after `index`, or the present one if that is 0.
async fn query(
    consul: &Consul,
    scheme: Scheme,
    client: &Client,
    turn: usize,
    index: u64,
) -> Result<(u64, Listed), String> {
    let mut fields = Vec::new();
    if let Some(file) = &consul.token_file {
        let token = secret_value(&secret(file)?, &file.display().to_string())?;
        fields.push((TOKEN, token));
    }
    let ask = Ask {
        method: Method::GET,
        path: path(consul, index, client.pace.quiet),
        fields,
        body: String::new(),
    };
    // An agent waits up to a sixteenth longer, so that not all come back at once.
    let wait = if index == 0 {
        Duration::ZERO
    } else {
        client.pace.quiet + client.pace.quiet / 16
    };
    let mut link = client.connect(turn).await?;
    let answer = link.ask(ask, wait).await?;
    let (head, body) = answer.read(client.pace.answer).await?;
    Ok((index_of(&head), instances(&body, scheme)?))
}

fn path(consul: &Consul, index: u64, wait: Duration) -> String {
    let service = escape(&consul.service);
    let mut path = format!("/v1/health/service/{service}?passing=1");
    if index > 0 {
        path += &format!("&index={index}&wait={}ms", wait.as_millis());
    }
    if let Some(tag) = &consul.tag {
        path += &format!("&tag={}", escape(tag));
    }
    if let Some(datacenter) = &consul.datacenter {
        path += &format!("&dc={}", escape(datacenter));
    }
    path
}

/// The answer's index; 0, at which nothing is waited for, if there is none.
fn index_of(head: &HeaderMap) -> u64 {
    let index = head.get(INDEX).and_then(|value| value.to_str().ok());
    index.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Reads an answer of `/v1/health/service`.
pub(super) fn instances(body: &[u8], scheme: Scheme) -> Result<Listed, String> {
    let Value::Array(list) = entry::json(body)? else {
        return Err("the answer is not a list of instances".to_owned());
    };
    let weight = |instance: &Value| {
        let weight = instance.pointer("/Service/Weights/Passing");
        weight.and_then(Value::as_u64).unwrap_or(1)
    };
    let most = list.iter().map(weight).max().unwrap_or(1);
    let mut gathered = Gathered::default();
    for instance in &list {
        let name = instance.pointer("/Service/ID").and_then(Value::as_str);
        let scaled = entry::scale(weight(instance), most);
        gathered.add(name.unwrap_or("?"), endpoint(instance, scaled, scheme));
    }
    gathered.end()
}

fn endpoint(instance: &Value, weight: u32, scheme: Scheme) -> Result<Wanted, String> {
    let text = |pointer| {
        let text = instance.pointer(pointer).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let address = text("/Service/Address").or_else(|| text("/Node/Address"));
    let address = address.ok_or("it has no address")?;
    let port = instance.pointer("/Service/Port").and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok());
    let mut endpoint = entry::located(address, port.ok_or("it has no port")?, scheme)?;
    endpoint.weight = weight;
    endpoint.zone = text("/Service/Meta/zone").and_then(entry::zone);
    Ok(Wanted::new(endpoint))
}
