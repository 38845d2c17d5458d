//! What can be wrong with a message.

use umay_core::reason::Reason;

macro_rules! malformed {
    ($($variant:ident = $word:literal, $down:ident, $up:ident, $what:literal;)*) => {
        /// What is wrong with a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Malformed { $(#[doc = $what] $variant,)* }

        impl Malformed {
            /// All there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What is wrong, for people.
            pub fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }

            /// The reason, if a client sent it.
            pub fn reason(self) -> Reason {
                match self { $(Self::$variant => Reason::$down,)* }
            }

            /// The reason, if an endpoint sent it.
            pub fn upstream_reason(self) -> Reason {
                match self { $(Self::$variant => Reason::$up,)* }
            }
        }
    };
}

malformed! {
    BareLf = "bare_lf", RequestMalformed, UpstreamMalformed, "a line ends in LF without CR";
    BareCr = "bare_cr", RequestMalformed, UpstreamMalformed, "a CR stands without its LF";
    BadStartLine = "bad_start_line", RequestMalformed, UpstreamMalformed, "the first line is no request line or status line";
    BadMethod = "bad_method", RequestMalformed, UpstreamMalformed, "the method is no token of 1 to 32 characters";
    BadTarget = "bad_target", RequestMalformed, UpstreamMalformed, "the request target has none of the forms that it may have";
    TargetTooLong = "target_too_long", RequestUriTooLong, UpstreamMalformed, "the request target is too long";
    BadVersion = "bad_version", RequestMalformed, UpstreamMalformed, "the version is not written as HTTP/1.1";
    VersionUnsupported = "version_unsupported", VersionUnsupported, UpstreamMalformed, "the version is neither HTTP/1.1 nor HTTP/1.0";
    BadStatus = "bad_status", RequestMalformed, UpstreamMalformed, "the status is not three digits from 100 to 999";
    BadPhrase = "bad_phrase", RequestMalformed, UpstreamMalformed, "the reason phrase has a control byte";
    HeadTooLarge = "head_too_large", RequestHeadTooLarge, UpstreamHeadTooLarge, "the head is too large";
    TooManyFields = "too_many_fields", RequestHeadTooLarge, UpstreamHeadTooLarge, "the head has too many fields";
    ObsFold = "obs_fold", RequestMalformed, UpstreamMalformed, "a line of the head begins with white space";
    NoColon = "no_colon", RequestMalformed, UpstreamMalformed, "a line of the head has no colon";
    SpaceBeforeColon = "space_before_colon", RequestMalformed, UpstreamMalformed, "a field's name is followed by white space";
    BadFieldName = "bad_field_name", RequestMalformed, UpstreamMalformed, "a field's name is no token";
    BadFieldValue = "bad_field_value", RequestMalformed, UpstreamMalformed, "a field's value has a control byte";
    BadContentLength = "bad_content_length", RequestMalformed, UpstreamMalformed, "Content-Length is not one number";
    RepeatedContentLength = "repeated_content_length", RequestMalformed, UpstreamMalformed, "Content-Length is there more than once";
    LengthAndEncoding = "length_and_encoding", RequestMalformed, UpstreamMalformed, "Content-Length and Transfer-Encoding contradict each other";
    BadTransferEncoding = "bad_transfer_encoding", RequestMalformed, UpstreamMalformed, "Transfer-Encoding is not exactly one `chunked`";
    EncodingInOldVersion = "encoding_in_old_version", RequestMalformed, UpstreamMalformed, "HTTP/1.0 has no Transfer-Encoding";
    UnwantedBody = "unwanted_body", RequestMalformed, UpstreamMalformed, "a body is announced where there can be none";
    NoHost = "no_host", RequestMalformed, UpstreamMalformed, "Host is missing";
    RepeatedHost = "repeated_host", RequestMalformed, UpstreamMalformed, "Host is there more than once";
    BadHost = "bad_host", RequestMalformed, UpstreamMalformed, "Host is no host with an optional port";
    HostMismatch = "host_mismatch", RequestMalformed, UpstreamMalformed, "Host and the target's authority disagree";
    BadConnection = "bad_connection", RequestMalformed, UpstreamMalformed, "Connection is no list of tokens";
    UnknownExpectation = "unknown_expectation", ExpectationFailed, UpstreamMalformed, "Expect is not 100-continue";
    BadChunkSize = "bad_chunk_size", RequestBodyMalformed, UpstreamBodyMalformed, "a chunk's size is no hexadecimal number of 1 to 16 digits";
    BadChunkExtension = "bad_chunk_extension", RequestBodyMalformed, UpstreamBodyMalformed, "a chunk's extension breaks the grammar";
    ExtensionsTooLong = "extensions_too_long", RequestBodyMalformed, UpstreamBodyMalformed, "the chunks' extensions are too long";
    BadChunkEnd = "bad_chunk_end", RequestBodyMalformed, UpstreamBodyMalformed, "a chunk or its size does not end in CRLF";
    BadTrailer = "bad_trailer", RequestBodyMalformed, UpstreamBodyMalformed, "a trailer field breaks the grammar";
    TrailersTooLarge = "trailers_too_large", RequestBodyMalformed, UpstreamBodyMalformed, "the trailers are too large";
    BodyCut = "body_cut", RequestBodyCut, UpstreamCut, "the body ended before its end";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct() {
        let words: std::collections::HashSet<_> =
            Malformed::ALL.iter().map(|m| m.as_str()).collect();
        assert_eq!(words.len(), Malformed::ALL.len());
    }
}
