//! Consul, as a small peer with the shape of its API, while requests run.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use umay_test::{Conn, Server, Value, answer, json};

use super::{ask, before, served_while_it_fails, servers, until_served_by};

/// The index of the state, and the instances of a service, each with whether it passes its checks.
type Instances = (u64, Vec<(Value, bool)>);

/// What is known of a service.
#[derive(Clone, Default)]
struct Catalogue(Arc<(Mutex<Instances>, Condvar)>);

impl Catalogue {
    fn new(servers: &[Server]) -> Self {
        let catalogue = Self::default();
        catalogue.change(|instances| *instances = servers.iter().map(instance).collect());
        catalogue
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(Value, bool)>)) {
        let mut state = self.0.0.lock().unwrap();
        state.0 += 1;
        change(&mut state.1);
        self.0.1.notify_all();
    }

    /// Answers as an agent does: those that pass, at once if the index is another, else when it changes
    /// or the wait is over.
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
        let is_same = |state: &mut Instances| state.0 == index;
        let (state, _) = self.0.1.wait_timeout_while(guard, wait, is_same).unwrap();
        let fields = format!(
            "Content-Type: application/json\r\nX-Consul-Index: {}\r\n",
            state.0
        );
        let passing = state.1.iter().filter(|(_, passes)| *passes);
        let passing: Vec<&Value> = passing.map(|(instance, _)| instance).collect();
        answer("200 OK", &fields, json!(passing).to_string())
    }

    fn serve(&self, conn: &mut Conn) -> io::Result<()> {
        conn.set_deadline(Duration::from_secs(120));
        while let Some(request) = conn.read_request()? {
            conn.send(self.answer(request.target()))?;
        }
        Ok(())
    }

    fn start(&self) -> Server {
        let catalogue = self.clone();
        Server::start(move |conn, _| catalogue.serve(conn))
    }
}

fn instance(server: &Server) -> (Value, bool) {
    let (ip, port) = (server.addr().ip().to_string(), server.addr().port());
    let instance = json!({
        "Node": { "Node": "n", "Address": "127.9.9.9", "Datacenter": "dc1" },
        "Service": { "ID": ip, "Service": "web", "Address": ip, "Port": port,
                     "Weights": { "Passing": 1, "Warning": 1 } },
        "Checks": [{ "CheckID": "serfHealth", "Status": "passing" }],
    });
    (instance, true)
}

#[test]
fn an_instance_that_turns_critical_leaves() {
    let servers = servers(2);
    let catalogue = Catalogue::new(&servers);
    let agent = catalogue.start();
    let app = format!(
        "[upstream.app.discover]\nconsul = \"web\"\nscheme = \"http\"\nagents = [\"http://{}\"]",
        agent.addr()
    );
    let umay = before(&app, "");
    ask(&umay);
    until_served_by(&umay, &["a", "b"]);
    catalogue.change(|instances| instances[0].1 = false);
    until_served_by(&umay, &["b"]);
    catalogue.change(|instances| instances[0].1 = true);
    until_served_by(&umay, &["a", "b"]);
    drop(agent);
    served_while_it_fails(&umay, "consul");
    until_served_by(&umay, &["a", "b"]);
}
