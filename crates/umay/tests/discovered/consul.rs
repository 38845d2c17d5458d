//! Consul, as a small peer with the shape of its API, while requests run.

use umay_test::consul::Catalogue;
use umay_test::{Server, Value, json};

use super::{ask, before, served_while_it_fails, servers, until_served_by};

fn instance(server: &Server) -> Value {
    let (ip, port) = (server.addr().ip().to_string(), server.addr().port());
    json!({
        "Node": { "Node": "n", "Address": "127.9.9.9", "Datacenter": "dc1" },
        "Service": { "ID": ip, "Service": "web", "Address": ip, "Port": port,
                     "Weights": { "Passing": 1, "Warning": 1 } },
        "Checks": [{ "CheckID": "serfHealth", "Status": "passing" }],
    })
}

#[test]
fn an_instance_that_turns_critical_leaves() {
    let servers = servers(2);
    let [one, two] = [&servers[0], &servers[1]].map(instance);
    let catalogue = Catalogue::new(1, json!([one, two]));
    let agent = catalogue.start();
    let app = format!(
        "[upstream.app.discover]\nconsul = \"web\"\nscheme = \"http\"\nagents = [\"http://{}\"]",
        agent.addr()
    );
    let umay = before(&app, "");
    ask(&umay);
    until_served_by(&umay, &["a", "b"]);
    // It is asked for those only that pass their checks.
    catalogue.change(json!([two]));
    until_served_by(&umay, &["b"]);
    catalogue.change(json!([one, two]));
    until_served_by(&umay, &["a", "b"]);
    drop(agent);
    served_while_it_fails(&umay, "consul");
    until_served_by(&umay, &["a", "b"]);
}
