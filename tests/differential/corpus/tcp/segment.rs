//! A segment of a sequence.

/// A segment. Sequence numbers are derived from the segments before it.
#[derive(Clone, Copy)]
pub struct Segment {
    /// Whether the client sends it.
    pub client: bool,
    /// Flags.
    pub flags: u8,
    /// Bytes of payload.
    pub length: u16,
    /// Offset added to the sequence number.
    pub shift: i32,
    /// Whether it retransmits the sender's previous segment.
    pub retransmission: bool,
    /// Window.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: &'static [u8],
}

/// A segment of the client.
pub const fn c(flags: u8) -> Segment {
    Segment {
        client: true,
        flags,
        length: 0,
        shift: 0,
        retransmission: false,
        window: 5_000,
        urgent: 0,
        options: &[],
    }
}

/// A segment of the server.
pub const fn s(flags: u8) -> Segment {
    let mut segment = c(flags);
    segment.client = false;
    segment
}

impl Segment {
    /// Sets the bytes of payload.
    pub const fn data(mut self, length: u16) -> Self {
        self.length = length;
        self
    }

    /// Makes it a retransmission of the sender's previous segment.
    pub const fn retransmission(mut self) -> Self {
        self.retransmission = true;
        self
    }

    /// Sets the offset added to the sequence number.
    pub const fn shift(mut self, shift: i32) -> Self {
        self.shift = shift;
        self
    }

    /// Sets the window.
    pub const fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// Sets the urgent pointer.
    pub const fn urgent(mut self, urgent: u16) -> Self {
        self.urgent = urgent;
        self
    }

    /// Sets the options.
    pub const fn options(mut self, options: &'static [u8]) -> Self {
        self.options = options;
        self
    }
}
