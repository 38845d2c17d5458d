//! What a supervisor such as systemd is told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

use umay_test::{Server, Supervisor, umay};

#[test]
fn a_supervisor_is_told_of_start_reload_and_end() {
    let (supervisor, endpoint) = (Supervisor::new(), Server::ok("hi"));
    let told = || supervisor.told();
    let config = format!("listen = \"127.0.0.1:0\"\nto = \"{}\"\n", endpoint.addr());
    let mut umay = umay!()
        .config(&config)
        .env("NOTIFY_SOCKET", supervisor.path().to_str().unwrap())
        .start();
    assert_eq!(told(), "READY=1");
    // A bad configuration is over as well.
    for (text, served) in [(&config[..], true), ("listen = 1\n", false)] {
        assert_eq!(umay.reload(text), served);
        let words = told();
        assert!(words.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{words}");
        assert_eq!(told(), "READY=1");
    }
    umay.stop();
    assert_eq!(told(), "STOPPING=1");
}
