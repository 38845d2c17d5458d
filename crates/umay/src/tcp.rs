//! Raw streams: any bytes, from a client to an endpoint and back.

use std::cell::Cell;
use std::rc::Rc;

use umay_core::reason::Reason;

use crate::conn::{Conn, Deadline};
use crate::site::{Client, Route};
use crate::story::Story;
use crate::telemetry::access;
use crate::tunnel;
use crate::upstream::{Attempts, Cargo, Opened, Share, Took, Upstreams};
use crate::worker::Worker;

/// What one worker needs to serve raw streams.
#[derive(Debug)]
pub struct Tcp {
    worker: Rc<Worker>,
    upstreams: Rc<Upstreams>,
}

/// A stream and where it goes.
#[derive(Debug)]
pub struct Stream<'a> {
    /// Who it is from.
    pub client: &'a Client,
    /// The client's connection.
    pub conn: Conn,
    /// What it speaks, for the log.
    pub proto: &'static str,
    /// Its route.
    pub route: &'a Route,
}

impl Tcp {
    /// Streams on this worker.
    pub fn new(worker: &Rc<Worker>, upstreams: &Rc<Upstreams>) -> Self {
        Self {
            worker: Rc::clone(worker),
            upstreams: Rc::clone(upstreams),
        }
    }

    /// Carries a stream to its end.
    pub async fn serve(&self, stream: Stream<'_>, deadline: &Deadline) {
        let Stream {
            client,
            mut conn,
            proto,
            route,
        } = stream;
        let share = route.upstream.and_then(|place| self.upstreams.get(place));
        let story = || Story::of(proto).on(route);
        let Some(share) = share else {
            return story().tell(&self.worker, client, Reason::Internal, "");
        };
        // Connections of streams are not pooled.
        let mut attempts = Attempts::new(true);
        attempts.original = match client.headed(route) {
            Ok(headed) => headed,
            Err((reason, detail)) => {
                story().tell(&self.worker, client, reason, detail);
                return conn.close(deadline).await;
            }
        };
        // Nothing else is waited for meanwhile: only the end of the process could drop it.
        let why = Cell::new(Some(Reason::Draining));
        let opened = share.open(Cargo::Bytes, &mut attempts, deadline, &why);
        let opened = opened.await;
        let (mut link, lease) = match opened {
            Ok((Opened::Link(link), lease)) => (link, lease),
            Ok((Opened::Ticket(_), _)) => {
                return story().tell(&self.worker, client, Reason::Internal, "");
            }
            Err(failure) => {
                let mut story = story();
                story.attempts = told(share, &attempts, None);
                story.tell(&self.worker, client, failure.reason, &failure.detail);
                return conn.close(deadline).await;
            }
        };
        let ended = tunnel::run(&self.worker, &mut conn, &mut link.conn, deadline).await;
        if let Some(server_first) = ended.server_first {
            route.learn_server_first(client, server_first);
        }
        let took = link.connect;
        if let Some(reason) = ended.reason {
            lease.fail(reason);
            conn.reset();
            link.conn.reset();
        } else {
            drop(lease);
        }
        let mut story = story();
        story.ended = ended;
        story.attempts = told(share, &attempts, took);
        story.log(&self.worker, client);
    }
}

/// What the log is told of the way to the endpoint.
fn told<'a>(share: &'a Share, attempts: &'a Attempts, took: Option<Took>) -> access::Attempts<'a> {
    let endpoint = attempts.last.as_ref().map(|local| &local.endpoint);
    access::Attempts {
        count: attempts.count,
        upstream: Some(&share.upstream().name),
        endpoint: endpoint.map(|endpoint| &*endpoint.label),
        members: attempts.last.as_ref().map_or(&[], |local| &local.told),
        reused: false,
        queue: attempts.queued,
        connect: took.map(|took| took.whole),
        tls: took.and_then(|took| took.tls),
    }
}
