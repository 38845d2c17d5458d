//! A directory of certificates that changes: what is new is served, what is only half there is not, and nobody else
//! has to wait for it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::Duration;

use umay_test::{Certs, Conn, GET, Pair, Server, TempDir, Umay, eventually, json, umay};

use super::{check, parsed};

/// An authority, and a directory that Umay serves the certificates of.
struct Scene {
    certs: Certs,
    dir: TempDir,
    server: Server,
}

impl Scene {
    fn new() -> Self {
        Self {
            certs: Certs::new(),
            dir: TempDir::new(),
            server: Server::ok("hi"),
        }
    }

    fn config(&self) -> String {
        let (certs, to) = (self.dir.path().join("certs"), self.server.addr());
        format!("listen = \"127.0.0.1:0\"\ncerts = [{certs:?}]\nto = \"http://{to}\"\n")
    }

    fn start(&self) -> Umay {
        let umay = umay!().config(self.config());
        umay.env("UMAY_WATCH", "true").start()
    }

    /// Puts a file in its place in one step.
    fn put(&self, from: &Path, name: &str) {
        let new = self.dir.write(".new", fs::read(from).unwrap());
        let to = self.dir.path().join("certs").join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(new, to).unwrap();
    }

    fn put_pair(&self, pair: &Pair, name: &str) {
        self.put(&pair.cert, &format!("{name}.crt"));
        self.put(&pair.key, &format!("{name}.key"));
    }

    fn issue(&self, name: &str) -> Pair {
        self.certs.issue(&[&format!("{name}.test")])
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.dir.path().join("certs").join(name)).unwrap();
    }

    fn connect(&self, umay: &Umay, name: &str) -> Option<Conn> {
        let name = format!("{name}.test");
        Conn::connect_tls(umay.addr(), &self.certs.trusting(), &name).ok()
    }

    /// Waits until a name gets this certificate.
    fn until(&self, umay: &Umay, name: &str, pair: &Pair) {
        let wanted = pair.chain().remove(0);
        eventually(name, || {
            let shown = self.connect(umay, name)?.peer_certificate();
            (shown.as_ref() == Some(&wanted)).then_some(())
        });
    }
}

fn refused(umay: &Umay) -> f64 {
    umay.metric("umay_config_reloads_total", &[("result", "refused")])
}

#[test]
fn pairs_come_go_and_are_replaced() {
    let scene = Scene::new();
    scene.put_pair(&scene.issue("a"), "a");
    let umay = scene.start();
    let mut kept = scene.connect(&umay, "a").unwrap();
    assert_eq!(kept.ask(GET).unwrap().text(), "hi");
    let b = scene.issue("b");
    scene.put_pair(&b, "b");
    scene.until(&umay, "b", &b);
    let a = scene.issue("a");
    scene.put_pair(&a, "a");
    scene.until(&umay, "a", &a);
    // Written in place, which changes nothing in the directory itself.
    let b = scene.issue("b");
    for (from, to) in [(&b.cert, "certs/b.crt"), (&b.key, "certs/b.key")] {
        scene.dir.write(to, fs::read(from).unwrap());
    }
    scene.until(&umay, "b", &b);
    // In a directory of its own, and replaced there.
    for _ in 0..2 {
        let c = scene.issue("c");
        scene.put(&c.cert, "c/fullchain.pem");
        scene.put(&c.key, "c/privkey.pem");
        scene.until(&umay, "c", &c);
    }
    scene.remove("b.crt");
    scene.remove("b.key");
    eventually("b to be gone", || {
        scene.connect(&umay, "b").is_none().then_some(())
    });
    assert_eq!(kept.ask(GET).unwrap().text(), "hi");
    assert_eq!(refused(&umay), 0.0);
    assert!(!umay.events().contains("still served"), "{}", umay.events());
}

#[test]
fn a_mounted_secret_is_followed() {
    let scene = Scene::new();
    let mount = |version: &str| {
        let pair = scene.issue("a");
        scene.put(&pair.cert, &format!("{version}/tls.crt"));
        scene.put(&pair.key, &format!("{version}/tls.key"));
        scene.put(&scene.certs.ca(), &format!("{version}/ca.crt"));
        pair
    };
    mount("..1");
    let certs = scene.dir.path().join("certs");
    symlink("..1", certs.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        symlink(format!("..data/{name}"), certs.join(name)).unwrap();
    }
    let umay = scene.start();
    let new = mount("..2");
    symlink("..2", certs.join("..tmp")).unwrap();
    fs::rename(certs.join("..tmp"), certs.join("..data")).unwrap();
    fs::remove_dir_all(certs.join("..1")).unwrap();
    scene.until(&umay, "a", &new);
    assert_eq!(refused(&umay), 0.0);
}

#[test]
fn the_second_half_may_be_late() {
    let scene = Scene::new();
    scene.put_pair(&scene.issue("a"), "a");
    let umay = scene.start();
    let new = scene.issue("a");
    scene.put(&new.cert, "a.crt");
    thread::sleep(Duration::from_secs(1));
    assert!(scene.connect(&umay, "a").is_some());
    scene.put(&new.key, "a.key");
    scene.until(&umay, "a", &new);
    assert_eq!(refused(&umay), 0.0);
    assert!(!umay.events().contains("still served"), "{}", umay.events());
}

#[test]
fn half_a_pair_is_told_and_holds_up_nobody() {
    let scene = Scene::new();
    let old = scene.issue("a");
    scene.put_pair(&old, "a");
    scene.put_pair(&scene.issue("b"), "b");
    let umay = scene.start();
    let unfit = [("listener", "127.0.0.1:0")];
    let status = || {
        let text = umay.admin_get("/status").text();
        parsed(&text)["certificates_unfit"].clone()
    };
    assert_eq!(status(), json!([]));
    let (new, other) = (scene.issue("a"), scene.issue("b"));
    scene.put(&new.cert, "a.crt");
    let line = umay.wait_event("still served");
    assert!(line.contains("WARN") && line.contains("a.crt"), "{line}");
    scene.until(&umay, "a", &old);
    scene.put_pair(&other, "b");
    scene.until(&umay, "b", &other);
    umay.wait_metric("umay_tls_certificates_unfit", &unfit, 1.0);
    assert_eq!(umay.metric("umay_tls_certificates", &unfit), 2.0);
    assert!(status()[0].as_str().unwrap().contains("a.crt"));
    // As long as it stays so it is no news.
    assert_eq!(umay.events().matches("still served").count(), 1);
    assert_eq!(refused(&umay), 0.0);
    scene.put(&new.key, "a.key");
    scene.until(&umay, "a", &new);
    umay.wait_metric("umay_tls_certificates_unfit", &unfit, 0.0);
    assert_eq!(status(), json!([]));
}

#[test]
fn the_first_start_and_the_check_take_no_half_pair() {
    let scene = Scene::new();
    scene.put_pair(&scene.issue("a"), "a");
    scene.put_pair(&scene.issue("b"), "b");
    scene.put(&scene.issue("b").key, "b.key");
    let failure = umay!().config(scene.config()).fails();
    assert!(failure.stderr.contains("b.crt"), "{}", failure.stderr);
    let path = scene.dir.write("umay.toml", scene.config());
    let (code, out) = check(&path, &[]);
    let told = String::from_utf8(out.stderr).unwrap();
    assert!(code == Some(1) && told.contains("b.crt"), "{told}");
    scene.put_pair(&scene.issue("b"), "b");
    assert_eq!(check(&path, &[]).0, Some(0));
}
