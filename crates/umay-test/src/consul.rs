//! Consul, as a small peer that has the shape of the real API: blocking queries with an index. Consul itself comes in no
//! package that tests could rely on; what is sent here was written after the documents of its API.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::{Conn, Server, answer};

/// What an agent knows of a service: the index of the state, and the instances.
#[derive(Clone, Debug, Default)]
pub struct Catalogue(Arc<(Mutex<(u64, Value)>, Condvar)>);

impl Catalogue {
    /// A catalogue with these instances: a list.
    pub fn new(index: u64, instances: Value) -> Self {
        let catalogue = Self::default();
        catalogue.set(index, instances);
        catalogue
    }

    /// Other instances, at this index.
    pub fn set(&self, index: u64, instances: Value) {
        *self.0.0.lock().unwrap() = (index, instances);
        self.0.1.notify_all();
    }

    /// Other instances, at the next index.
    pub fn change(&self, instances: Value) {
        let index = self.0.0.lock().unwrap().0;
        self.set(index + 1, instances);
    }

    /// Answers as an agent does: at once if the index is another, else when it changes or the wait is over.
    fn answer(&self, target: &str) -> Vec<u8> {
        assert!(target.contains("passing=1"), "{target}");
        let param = |name: &str| -> Option<&str> {
            let (_, query) = target.split_once('?')?;
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let index: u64 = param("index").map_or(0, |text| text.parse().unwrap());
        let wait = param("wait").map_or(0, |text| text.trim_end_matches("ms").parse().unwrap());
        let wait = Duration::from_millis(wait);
        let guard = self.0.0.lock().unwrap();
        let is_same = |state: &mut (u64, Value)| state.0 == index;
        let (state, _) = self.0.1.wait_timeout_while(guard, wait, is_same).unwrap();
        let fields = format!(
            "Content-Type: application/json\r\nX-Consul-Index: {}\r\n",
            state.0
        );
        answer("200 OK", &fields, state.1.to_string())
    }

    /// Serves one connection.
    pub fn serve(&self, conn: &mut Conn) -> io::Result<()> {
        // Those who ask wait long for an answer, and for the next question.
        conn.set_deadline(Duration::from_secs(120));
        while let Some(request) = conn.read_request()? {
            conn.send(self.answer(request.target()))?;
        }
        Ok(())
    }

    /// Starts an agent.
    pub fn start(&self) -> Server {
        let catalogue = self.clone();
        Server::start(move |conn, _| catalogue.serve(conn))
    }
}
