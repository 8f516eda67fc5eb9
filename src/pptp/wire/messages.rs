//! The fifteen control messages, field by field in wire order (RFC 2637 §2.1 to §2.15).
//!
//! Reserved fields are written as zero and ignored when read: real peers put garbage there.

use super::fields::{Field, Text};

/// Defines the message structs, their codec and the [`Message`] enum from one list in wire order.
/// `reserved N` after a field means that N reserved bytes follow it.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident = $kind:literal, $length:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty $(, reserved $pad:literal)?;)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl $name {
                fn read(bytes: &mut &[u8]) -> Option<Self> {
                    $(
                        let $field = <$type>::read(bytes)?;
                        $(*bytes = bytes.get($pad..)?;)?
                    )*
                    Some(Self { $($field),* })
                }

                fn write(&self, out: &mut Vec<u8>) {
                    $(
                        self.$field.write(out);
                        $(out.extend_from_slice(&[0; $pad]);)?
                    )*
                }
            }

            impl From<$name> for Message {
                fn from(message: $name) -> Self {
                    Self::$name(message)
                }
            }
        )*

        /// Any control message.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Message {
            $($(#[$doc])* $name($name),)*
        }

        impl Message {
            /// Returns the control message type on the wire.
            #[must_use]
            pub const fn kind(&self) -> u16 {
                match self {
                    $(Self::$name(_) => $kind,)*
                }
            }

            /// Returns the only length, including the header, that RFC 2637 allows for this message type.
            #[must_use]
            pub const fn length_of(kind: u16) -> Option<u16> {
                match kind {
                    $($kind => Some($length),)*
                    _ => None,
                }
            }

            pub(super) fn read_body(kind: u16, mut body: &[u8]) -> Option<Self> {
                match kind {
                    $($kind => $name::read(&mut body).map(Self::$name),)*
                    _ => None,
                }
            }

            pub(super) fn write_body(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(message) => message.write(out),)*
                }
            }
        }
    };
}

messages! {
    /// Start-Control-Connection-Request (§2.1): opens the control connection.
    StartControlConnectionRequest = 1, 156 {
        /// Version of the protocol, 0x0100.
        version: u16, reserved 2;
        /// Framing capabilities: bit 0 asynchronous, bit 1 synchronous.
        framing: u32;
        /// Bearer capabilities: bit 0 analog, bit 1 digital.
        bearer: u32;
        /// How many sessions the PAC can carry; meaningless from a PNS.
        max_channels: u16;
        /// Firmware revision.
        firmware: u16;
        /// Host name of the sender.
        host_name: Text<64>;
        /// Vendor of the sender.
        vendor: Text<64>;
    }

    /// Start-Control-Connection-Reply (§2.2).
    StartControlConnectionReply = 2, 156 {
        /// Version of the protocol, 0x0100.
        version: u16;
        /// 1 for success, else see [`crate::pptp::cause::start_refusal_words`].
        result: u8;
        /// General error code, with result 2.
        error: u8;
        /// Framing capabilities: bit 0 asynchronous, bit 1 synchronous.
        framing: u32;
        /// Bearer capabilities: bit 0 analog, bit 1 digital.
        bearer: u32;
        /// How many sessions the PAC can carry.
        max_channels: u16;
        /// Firmware revision.
        firmware: u16;
        /// Host name of the sender.
        host_name: Text<64>;
        /// Vendor of the sender.
        vendor: Text<64>;
    }

    /// Stop-Control-Connection-Request (§2.3).
    StopControlConnectionRequest = 3, 16 {
        /// 1 none, 2 the peer's protocol version, 3 local shutdown.
        reason: u8, reserved 3;
    }

    /// Stop-Control-Connection-Reply (§2.4).
    StopControlConnectionReply = 4, 16 {
        /// 1 for success, 2 for a general error.
        result: u8;
        /// General error code, with result 2.
        error: u8, reserved 2;
    }

    /// Echo-Request (§2.5): the keepalive.
    EchoRequest = 5, 16 {
        /// Returned in the reply.
        identifier: u32;
    }

    /// Echo-Reply (§2.6).
    EchoReply = 6, 20 {
        /// The request's identifier.
        identifier: u32;
        /// 1 for success, 2 for a general error.
        result: u8;
        /// General error code, with result 2.
        error: u8, reserved 2;
    }

    /// Outgoing-Call-Request (§2.7): the PNS asks the PAC to place a call.
    OutgoingCallRequest = 7, 168 {
        /// The PNS's call ID: the key of GRE packets to the PNS.
        call_id: u16;
        /// The PNS's serial number of the call, for logs.
        serial: u16;
        /// Lowest acceptable line speed, bit/s.
        minimum_bps: u32;
        /// Highest acceptable line speed, bit/s.
        maximum_bps: u32;
        /// Bearer type: 1 analog, 2 digital, 3 either.
        bearer: u32;
        /// Framing type: 1 asynchronous, 2 synchronous, 3 either.
        framing: u32;
        /// Packets that the PNS buffers for the call.
        window: u16;
        /// Processing delay of the PNS, tenths of a second.
        delay: u16;
        /// Number of significant bytes in `phone`.
        phone_length: u16, reserved 2;
        /// Number to dial.
        phone: Text<64>;
        /// Additional dialing information.
        subaddress: Text<64>;
    }

    /// Outgoing-Call-Reply (§2.8).
    OutgoingCallReply = 8, 32 {
        /// The PAC's call ID: the key of GRE packets to the PAC.
        call_id: u16;
        /// The PNS's call ID, from the request.
        peer_call_id: u16;
        /// 1 for success, else see [`crate::pptp::cause::call_refusal_words`].
        result: u8;
        /// General error code, with result 2.
        error: u8;
        /// Cause code of the telephone network, 0 if none.
        cause: u16;
        /// Line speed, bit/s.
        connect_speed: u32;
        /// Packets that the PAC buffers for the call.
        window: u16;
        /// Processing delay of the PAC, tenths of a second.
        delay: u16;
        /// Physical channel, for logs.
        channel: u32;
    }

    /// Incoming-Call-Request (§2.9): the PAC reports an incoming call.
    IncomingCallRequest = 9, 220 {
        /// The PAC's call ID.
        call_id: u16;
        /// The PAC's serial number of the call, for logs.
        serial: u16;
        /// Bearer type: 1 analog, 2 digital.
        bearer: u32;
        /// Physical channel, for logs.
        channel: u32;
        /// Number of significant bytes in `dialed`.
        dialed_length: u16;
        /// Number of significant bytes in `dialing`.
        dialing_length: u16;
        /// Number that was dialed.
        dialed: Text<64>;
        /// Number of the caller.
        dialing: Text<64>;
        /// Additional dialing information.
        subaddress: Text<64>;
    }

    /// Incoming-Call-Reply (§2.10).
    IncomingCallReply = 10, 24 {
        /// The PNS's call ID.
        call_id: u16;
        /// The PAC's call ID, from the request.
        peer_call_id: u16;
        /// 1 connect, 2 general error, 3 do not accept.
        result: u8;
        /// General error code, with result 2.
        error: u8;
        /// Packets that the PNS buffers for the call.
        window: u16;
        /// Processing delay of the PNS, tenths of a second.
        delay: u16, reserved 2;
    }

    /// Incoming-Call-Connected (§2.11).
    IncomingCallConnected = 11, 28 {
        /// The PNS's call ID, from the reply.
        peer_call_id: u16, reserved 2;
        /// Line speed, bit/s.
        connect_speed: u32;
        /// Packets that the PAC buffers for the call.
        window: u16;
        /// Processing delay of the PAC, tenths of a second.
        delay: u16;
        /// Framing type: 1 asynchronous, 2 synchronous.
        framing: u32;
    }

    /// Call-Clear-Request (§2.12): the PNS requests the end of a call.
    CallClearRequest = 12, 16 {
        /// The PNS's call ID.
        call_id: u16, reserved 2;
    }

    /// Call-Disconnect-Notify (§2.13): the PAC reports that a call has ended.
    CallDisconnectNotify = 13, 148 {
        /// The PAC's call ID.
        call_id: u16;
        /// 1 lost carrier, 2 general error, 3 administrative shutdown, 4 request.
        result: u8;
        /// General error code, with result 2.
        error: u8;
        /// Cause code of the telephone network, 0 if none.
        cause: u16, reserved 2;
        /// Statistics as text, for logs.
        statistics: Text<128>;
    }

    /// WAN-Error-Notify (§2.14): running totals of line errors, from the PAC.
    WanErrorNotify = 14, 40 {
        /// The PNS's call ID.
        peer_call_id: u16, reserved 2;
        /// Frames with a wrong checksum.
        crc_errors: u32;
        /// Frames with a wrong framing.
        framing_errors: u32;
        /// Hardware overruns.
        hardware_overruns: u32;
        /// Buffer overruns.
        buffer_overruns: u32;
        /// Time-outs.
        timeouts: u32;
        /// Alignment errors.
        alignment_errors: u32;
    }

    /// Set-Link-Info (§2.15): the PNS sends the PAC the PPP options that affect framing.
    SetLinkInfo = 15, 24 {
        /// The PAC's call ID.
        peer_call_id: u16, reserved 2;
        /// Characters that the PAC escapes when it sends to the line.
        send_accm: u32;
        /// Characters that the PAC discards when it receives from the line.
        receive_accm: u32;
    }
}
