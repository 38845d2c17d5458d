//! A strict, sans-IO HTTP/1 codec.
