//! Asking by HTTP: a GET, of whose answer only the status counts.

use bytes::Bytes;
use h2::client::SendRequest;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::uri::{PathAndQuery, Uri};
use http::{Request, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::io::Io;
use super::{HEAD, Limit, multiplex, reach, words};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Get<'a> {
    /// Path and query.
    pub(super) path: &'a str,
    /// Host, with a port or without.
    pub(super) host: &'a str,
}

impl Get<'_> {
    /// Asks, and reads the head of the answer.
    pub(super) async fn status(
        self,
        io: Io,
        speaks_http2: bool,
        limit: Limit,
    ) -> Result<StatusCode, String> {
        if speaks_http2 {
            let scheme = if io.is_tls() { "https" } else { "http" };
            let head = self.over_http2(scheme)?;
            let talk = async |requests: SendRequest<Bytes>| {
                let answer = multiplex::send(requests, head, None).await?;
                let answer = answer.await.map_err(|error| words::http2(&error))?;
                Ok(answer.status())
            };
            multiplex::exchange(io, limit, talk).await
        } else {
            over_http1(io, self.over_http1()?, limit).await
        }
    }

    /// The target, checked once more: it goes out as it is.
    fn target(self) -> Result<PathAndQuery, String> {
        let bad = || format!("`{}` is not a path", self.path);
        if !self.path.starts_with('/') {
            return Err(bad());
        }
        self.path.parse().map_err(|_| bad())
    }

    fn over_http1(self) -> Result<Request<String>, String> {
        Request::get(Uri::from(self.target()?))
            .header(HOST, self.host)
            .header(USER_AGENT, super::USER_AGENT)
            .header(CONNECTION, "close")
            .body(String::new())
            .map_err(|_| self.bad_host())
    }

    fn over_http2(self, scheme: &str) -> Result<Request<()>, String> {
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(self.host)
            .path_and_query(self.target()?)
            .build();
        Request::get(uri.map_err(|_| self.bad_host())?)
            .header(USER_AGENT, super::USER_AGENT)
            .body(())
            .map_err(|_| self.bad_host())
    }

    fn bad_host(self) -> String {
        format!("`{}` is not a host", self.host)
    }
}

async fn over_http1(io: Io, request: Request<String>, limit: Limit) -> Result<StatusCode, String> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(usize::try_from(HEAD).unwrap_or(usize::MAX));
    let opened = builder.handshake(TokioIo::new(io)).await;
    let (mut requests, mut connection) = opened.map_err(|error| words::http1(&error))?;
    let mut answer = Box::pin(requests.send_request(request));
    let status = limit.hold(async {
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The answer, or why there is none, has been handed over before the end.
            _ = &mut connection => answer.await,
        };
        let status = answer.map(|answer| answer.status());
        status.map_err(|error| words::http1(&error))
    });
    let status = status.await;
    reach::leave(connection.into_parts().io.into_inner()).await;
    status
}

/// Whether a status is one of those that were to come; else what came.
pub(super) fn judge(status: StatusCode, expect: &[(u16, u16)]) -> Result<(), String> {
    let status = status.as_u16();
    if expect
        .iter()
        .any(|(low, high)| (*low..=*high).contains(&status))
    {
        return Ok(());
    }
    let expected: Vec<String> = expect
        .iter()
        .map(|(low, high)| match low == high {
            true => low.to_string(),
            false => format!("{low}-{high}"),
        })
        .collect();
    Err(format!("status {status}, expected {}", expected.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_judged_by_their_ranges() {
        let ranges = [(200, 299), (401, 401)];
        for (status, good) in [
            (199, false),
            (200, true),
            (299, true),
            (300, false),
            (400, false),
            (401, true),
            (402, false),
        ] {
            let judged = judge(StatusCode::from_u16(status).unwrap(), &ranges);
            let told = format!("status {status}, expected 200-299, 401");
            assert_eq!(judged, if good { Ok(()) } else { Err(told) });
        }
    }

    #[test]
    fn what_cannot_be_asked_is_not() {
        for (path, host, told) in [
            ("healthz", "a", "`healthz` is not a path"),
            ("/a b", "a", "`/a b` is not a path"),
            ("/\r\nX: y", "a", "`/\r\nX: y` is not a path"),
            ("/", "a\r\nX: y", "`a\r\nX: y` is not a host"),
        ] {
            let get = Get { path, host };
            assert_eq!(get.over_http1().unwrap_err(), told);
            assert_eq!(get.over_http2("http").unwrap_err(), told);
        }
    }
}
