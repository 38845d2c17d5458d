//! HTTP: requests in, answers out, in any version on either side.
//!
//! The way of a request: [`connection`] (HTTP/1) or [`multiplexed`] (HTTP/2) gives its head to an
//! [`exchange`], which finds its route; [`forward`] finds an endpoint; [`duplex`] moves both bodies
//! at once with a [`body`] per direction; [`head`] decides what the other side gets to see, and
//! [`answer`] is for when Umay answers itself.

mod affinity;
mod answer;
mod attempt;
mod body;
mod connection;
mod duplex;
mod exchange;
mod forward;
mod head;
mod head2;
mod multiplexed;
mod record;
mod scratch;
mod stamps;
mod traced;
mod websocket;

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use umay_core::model::Limits;
use umay_h1 as h1;

use crate::conn::{Conn, Deadline};
use crate::site::Client;
use crate::upstream::Upstreams;
use crate::worker::Worker;
use scratch::Scratches;

pub use connection::Connection;

/// What one worker needs to serve HTTP.
#[derive(Debug)]
pub struct Http {
    worker: Rc<Worker>,
    upstreams: Rc<Upstreams>,
    scratches: Rc<Scratches>,
    now: Now,
}

/// The HTTP of a worker as it is now: another takes its place when the configuration changes, and connections
/// go over to it between two requests.
type Now = Rc<RefCell<Weak<Http>>>;

impl Http {
    /// HTTP on this worker.
    pub fn new(worker: &Rc<Worker>, upstreams: &Rc<Upstreams>) -> Rc<Self> {
        let http = Rc::new(Self {
            worker: Rc::clone(worker),
            upstreams: Rc::clone(upstreams),
            scratches: Rc::default(),
            now: Now::default(),
        });
        http.now.replace(Rc::downgrade(&http));
        http
    }

    /// What takes its place, with these.
    pub fn succeed(&self, worker: &Rc<Worker>, upstreams: &Rc<Upstreams>) -> Rc<Self> {
        let http = Rc::new(Self {
            worker: Rc::clone(worker),
            upstreams: Rc::clone(upstreams),
            scratches: Rc::clone(&self.scratches),
            now: Rc::clone(&self.now),
        });
        http.now.replace(Rc::downgrade(&http));
        http
    }

    /// The one that has taken its place, if one has.
    fn renewed(&self) -> Option<Rc<Self>> {
        let now = self.now.borrow();
        let same = std::ptr::eq(now.as_ptr(), self);
        (!same).then(|| now.upgrade()).flatten()
    }

    /// A client's connection, to be served.
    pub fn connection(
        self: &Rc<Self>,
        client: Client,
        conn: Conn,
        deadline: Deadline,
    ) -> Connection {
        Connection::new(self, client, conn, deadline)
    }
}

/// The limits of a head in HTTP/1.
fn head_limits(limits: &Limits) -> h1::Limits {
    h1::Limits {
        head: limits.head,
        fields: limits.fields,
        target: limits.target,
    }
}
