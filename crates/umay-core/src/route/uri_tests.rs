//! Paths in disguise, and authorities.

use proptest::prelude::*;

use super::*;

#[test]
fn dot_segments_in_every_disguise() {
    for path in [
        "/.",
        "/..",
        "/./a",
        "/a/../b",
        "/a/..",
        "/%2e",
        "/%2E%2e/a",
        "/.%2e",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/..%3bx",
        "/a%2f..",
        "/..%2Fa",
        "/..\\a",
        "/a%5c..%5Cb",
        "//../",
        "..",
    ] {
        assert!(has_dot_segments(path.as_bytes()), "{path}");
    }
    for path in [
        "",
        "*",
        "/",
        "/a",
        "/...",
        "/.a",
        "/a.",
        "/..a",
        "/a..",
        "/a/.well-known/b",
        "/a;..",
        "/;.",
        "/a;x=../b",
        "/%252e%252e/",
        "/a%2fb",
        "/%2",
        "/.%2",
        "/%2g./",
        "/a.b/..c",
    ] {
        assert!(!has_dot_segments(path.as_bytes()), "{path}");
    }
}

#[test]
fn the_matched_part_of_a_path() {
    for (path, prefix, expected) in [
        ("/a/b", "/a", Some("/b")),
        ("/a", "/a", Some("")),
        ("/a/", "/a/", Some("/")),
        ("//%61//b", "/a", Some("//b")),
        ("/a/b", "/", Some("/a/b")),
        ("/a/b", "", Some("/a/b")),
        ("", "", Some("")),
        ("*", "", None),
        ("/ab", "/a", None),
        ("/a%2Fb", "/a", None),
        ("/", "/a", None),
    ] {
        let rest = prefix_len(path.as_bytes(), prefix).map(|len| &path[len..]);
        assert_eq!(rest, expected, "{path} {prefix}");
    }
}

#[test]
fn authorities() {
    for (authority, host, port) in [
        ("example.com", "example.com", None),
        ("example.com:8443", "example.com", Some(8443)),
        ("example.com:", "example.com", None),
        ("example.com:65536", "example.com:65536", None),
        ("example.com:+1", "example.com:+1", None),
        ("192.0.2.1:80", "192.0.2.1", Some(80)),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
        ("[2001:db8::1]:", "2001:db8::1", None),
        ("2001:db8::1", "2001:db8::1", None),
        (":80", "", Some(80)),
        ("", "", None),
        ("[", "[", None),
        ("]:1", "]", Some(1)),
    ] {
        let expected = (host.as_bytes(), port);
        assert_eq!(
            split_authority(authority.as_bytes()),
            expected,
            "{authority}"
        );
    }
}

proptest! {
    #[test]
    fn any_path_can_be_asked_about(path: Vec<u8>, prefix in "(/[%2fa.]{0,4}){0,3}") {
        let len = prefix_len(&path, &prefix);
        prop_assert!(len.is_none_or(|len| matches!(path.get(len), None | Some(b'/'))));
        has_dot_segments(&path);
        let normal = normalise(&path);
        prop_assert!(normal.len() <= path.len());
        split_authority(&path);
    }
}
