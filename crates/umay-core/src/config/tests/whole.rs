//! What parts of a document make of each other, both sides of each check.

use super::*;

#[test]
fn what_is_of_no_use_is_a_warning() {
    let unused = "3:11 no route goes to upstream `app` (name it in a route's `to`, or take it out)";
    check_warnings(&format!("{BASE}[upstream.app]\nto = \"a:1\"\n"), &[unused]);
    let late = |text: &str| format!("{LISTEN}[[route]]\n{text}[[route]]\nto = \"b:1\"\n");
    let never = "4:1 route `route-2` is never taken: route `route-1` matches the same and comes first (let them match different things)";
    check_warnings(&late("to = \"a:1\"\n"), &[never]);
    let respond = "4:1 route `route-2` is never taken";
    // HTTP goes to one and all else to the other; plaintext to one and TLS to the other.
    for text in [
        "to = \"http://a\"\n",
        "respond = {}\n",
        "redirect = \"https\"\n",
        "path = \"/a\"\nto = \"a:1\"\n",
    ] {
        check_warnings(&late(text), &[]);
    }
    let both = late("respond = {}\n").replace("b:1", "http://b");
    let told: Vec<_> = loaded(&both).warnings.iter().map(told).collect();
    assert!(told.len() == 1 && told[0].starts_with(respond), "{told:?}");
    check_warnings(
        &format!("{BASE}[[route]]\nto = \"a:1\"\n"),
        &[
            "2:6 route `default` is never taken: route `route-1` matches the same and comes first (let them match different things)",
        ],
    );
}
