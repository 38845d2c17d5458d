//! What can be checked only when all is read.

use super::problem::Place;
use super::section::Reader;
use crate::model::{Action, Model, Protocol};
use crate::route::Table;

/// Checks what can be said only of the whole.
pub(super) fn check(reader: &mut Reader, model: &Model) {
    for route in &model.routes {
        let name = &route.name;
        let Action::Forward(to) = &route.action else {
            if route.passthrough
                || matches!(route.matches.protocol, Some(Protocol::Tcp | Protocol::Mqtt))
            {
                let message =
                    format!("route `{name}` answers in HTTP, which no raw stream understands");
                reader.error_at(&Place::Document, message, "let it go `to` endpoints");
            }
            continue;
        };
        let Some(upstream) = model.upstreams.get(to) else {
            continue;
        };
        let serves_tcp = upstream.endpoints.iter().any(|e| e.scheme.serves_tcp());
        let serves_http = upstream.endpoints.iter().any(|e| e.scheme.serves_http());
        if route.passthrough && !(route.asks_nothing_of_http() && serves_tcp) {
            let message = format!(
                "route `{name}` passes TLS through unopened, so it can match by sni only and needs endpoints of raw streams"
            );
            reader.error_at(
                &Place::Document,
                message,
                "use sni instead of host, and host:port or tcp:// endpoints",
            );
        } else if matches!(route.matches.protocol, Some(Protocol::Tcp | Protocol::Mqtt))
            && !serves_tcp
        {
            let message =
                format!("route `{name}` carries raw streams, and upstream `{to}` speaks only HTTP");
            reader.error_at(
                &Place::Document,
                message,
                "write its endpoints as host:port or tcp://",
            );
        } else if !route.serves_http(&model.upstreams)
            && !route.serves_tcp(&model.upstreams)
            && !route.passthrough
        {
            let message = format!(
                "route `{name}` can never be taken: it matches HTTP, and upstream `{to}` carries raw streams"
            );
            reader.error_at(
                &Place::Document,
                message,
                "write its endpoints as host:port or http://",
            );
        } else if route.matches.protocol == Some(Protocol::Http) && !serves_http {
            let message =
                format!("route `{name}` is for HTTP, and upstream `{to}` carries raw streams");
            reader.error_at(
                &Place::Document,
                message,
                "write its endpoints as host:port or http://",
            );
        }
    }
    if model.routes.is_empty() {
        return;
    }
    for listener in model.listeners.keys() {
        let table = Table::for_listener(model, listener);
        if !table.serves_http() && !table.serves_stream() && !table.has_passthrough() {
            let message = format!("listener `{listener}` has no route");
            reader.error_at(&Place::Document, message, "add a route for it");
        }
    }
}
