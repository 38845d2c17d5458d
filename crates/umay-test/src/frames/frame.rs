//! Frames (RFC 9113 sections 4 and 6), built from whatever a test wants in them.

/// What a client's connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

macro_rules! numbers {
    ($(#[$doc:meta])* $module:ident: $type:ty { $($name:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[allow(missing_docs, reason = "the names are those of RFC 9113")]
        pub mod $module {
            $(pub const $name: $type = $value;)*
        }
    };
}

numbers! {
    /// Kinds of frames.
    kind: u8 {
        DATA = 0, HEADERS = 1, PRIORITY = 2, RST_STREAM = 3, SETTINGS = 4, PUSH_PROMISE = 5,
        PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8, CONTINUATION = 9,
    }
}

numbers! {
    /// Flags.
    flag: u8 { ACK = 1, END_STREAM = 1, END_HEADERS = 4, PADDED = 8, PRIORITY = 0x20, }
}

numbers! {
    /// Error codes.
    code: u32 {
        NO_ERROR = 0, PROTOCOL_ERROR = 1, INTERNAL_ERROR = 2, FLOW_CONTROL_ERROR = 3,
        STREAM_CLOSED = 5, FRAME_SIZE_ERROR = 6, REFUSED_STREAM = 7, CANCEL = 8,
        COMPRESSION_ERROR = 9, ENHANCE_YOUR_CALM = 11,
    }
}

numbers! {
    /// Settings.
    setting: u16 {
        HEADER_TABLE_SIZE = 1, ENABLE_PUSH = 2, MAX_CONCURRENT_STREAMS = 3,
        INITIAL_WINDOW_SIZE = 4, MAX_FRAME_SIZE = 5, MAX_HEADER_LIST_SIZE = 6,
        ENABLE_CONNECT_PROTOCOL = 8,
    }
}

/// A frame. Its length is that of its payload unless [`Frame::lying`] says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; the highest bit is the reserved one.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
    length: Option<usize>,
}

impl Frame {
    /// Any frame.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.as_ref().to_vec(),
            length: None,
        }
    }

    /// DATA.
    pub fn data(stream: u32, bytes: impl AsRef<[u8]>) -> Self {
        Self::new(kind::DATA, 0, stream, bytes)
    }

    /// HEADERS with a whole block.
    pub fn headers(stream: u32, block: impl AsRef<[u8]>) -> Self {
        Self::new(kind::HEADERS, flag::END_HEADERS, stream, block)
    }

    /// CONTINUATION that does not end the block.
    pub fn continuation(stream: u32, block: impl AsRef<[u8]>) -> Self {
        Self::new(kind::CONTINUATION, 0, stream, block)
    }

    /// PRIORITY: depends on a stream, with a weight.
    pub fn priority(stream: u32, on: u32, weight: u8) -> Self {
        let payload = [&on.to_be_bytes()[..], &[weight]].concat();
        Self::new(kind::PRIORITY, 0, stream, payload)
    }

    /// RST_STREAM.
    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(kind::RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// SETTINGS.
    pub fn settings(values: &[(u16, u32)]) -> Self {
        let pair =
            |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let payload: Vec<u8> = values.iter().flat_map(pair).collect();
        Self::new(kind::SETTINGS, 0, 0, payload)
    }

    /// The acknowledgement of SETTINGS.
    pub fn settings_ack() -> Self {
        Self::new(kind::SETTINGS, flag::ACK, 0, [])
    }

    /// PUSH_PROMISE with a whole block.
    pub fn push_promise(stream: u32, promised: u32, block: impl AsRef<[u8]>) -> Self {
        let payload = [&promised.to_be_bytes(), block.as_ref()].concat();
        Self::new(kind::PUSH_PROMISE, flag::END_HEADERS, stream, payload)
    }

    /// PING.
    pub fn ping(bytes: [u8; 8]) -> Self {
        Self::new(kind::PING, 0, 0, bytes)
    }

    /// GOAWAY.
    pub fn goaway(last: u32, code: u32) -> Self {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        Self::new(kind::GOAWAY, 0, 0, payload)
    }

    /// WINDOW_UPDATE.
    pub fn window(stream: u32, amount: u32) -> Self {
        Self::new(kind::WINDOW_UPDATE, 0, stream, amount.to_be_bytes())
    }

    /// With this flag.
    pub fn with(mut self, flag: u8) -> Self {
        self.flags |= flag;
        self
    }

    /// Without this flag.
    pub fn without(mut self, flag: u8) -> Self {
        self.flags &= !flag;
        self
    }

    /// Ends the stream.
    pub fn end(self) -> Self {
        self.with(flag::END_STREAM)
    }

    /// With so many bytes of padding, in a frame that says `claimed`.
    pub fn padded(mut self, claimed: u8, real: usize) -> Self {
        self.payload.insert(0, claimed);
        self.payload.resize(self.payload.len() + real, 0);
        self.with(flag::PADDED)
    }

    /// HEADERS with the fields of priority in front (RFC 9113 section 6.2).
    pub fn depending(mut self, on: u32, weight: u8) -> Self {
        let front = [&on.to_be_bytes()[..], &[weight]].concat();
        self.payload.splice(0..0, front);
        self.with(flag::PRIORITY)
    }

    /// With a length that is not that of its payload.
    pub fn lying(mut self, length: usize) -> Self {
        self.length = Some(length);
        self
    }

    /// True if a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let length = self.length.unwrap_or(self.payload.len()) as u32;
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// A number of four bytes in the payload.
    pub(super) fn number(&self, at: usize) -> Option<u32> {
        let bytes = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// The payload without padding and fields of priority; `None` if those are not proper.
    pub(super) fn content(&self) -> Option<&[u8]> {
        let mut content = &self.payload[..];
        if self.has(flag::PADDED) && matches!(self.kind, kind::DATA | kind::HEADERS) {
            let (padding, rest) = content.split_first()?;
            content = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            content = content.get(5..)?;
        }
        Some(content)
    }
}
