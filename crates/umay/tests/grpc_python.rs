//! gRPC as Google's own library speaks it, in Python, before Umay and behind it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use umay_test::programs::{python, python_endpoint};
use umay_test::{Certs, Refusing, umay};

#[test]
fn grpcio_understands_grpcio_through_umay() {
    let endpoint = python_endpoint("endpoint.py");
    let refusing = Refusing::new();
    let certs = Certs::new();
    // Endpoints without a scheme, the one by prior knowledge and the other by ALPN.
    let umay = umay!(
        "listen = \"127.0.0.1:0\"\n{}[[route]]\npath = \"/test.Echo\"\nto = \"{}\"\n\
         [[route]]\npath = \"/dead.Service\"\nto = \"{}\"\n",
        certs.issue(&["a.test"]).toml(),
        endpoint.addr,
        refusing.addr(),
    );
    let addr = umay.addr().to_string();
    let ca = certs.ca();
    for args in [&[&*addr][..], &[&addr, ca.to_str().unwrap(), "a.test"]] {
        let told = python("client.py", args);
        assert_eq!(told, "all is well\n");
    }
    umay.wait_metric("umay_http_requests_in_flight", &[], 0.0);
}
