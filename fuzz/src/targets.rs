//! The targets.

mod address;
mod block;
mod composed;
mod config;
mod cursor;
mod event;
mod header;
mod journal;
mod policy;
mod readback;
mod received;
mod report;
mod session;
mod template;
mod token;

use crate::Target;

/// All there are.
pub const TARGETS: &[Target] = &[
    Target {
        name: "address",
        run: address::run,
        max_octets: 2_048,
        words: &[
            "@",
            "<",
            ">",
            "\"",
            "\\",
            ".example",
            "xn--",
            "Ada <",
            "\u{202e}",
            "ß",
            "。",
            "(",
            "[127.0.0.1]",
        ],
    },
    Target {
        name: "block",
        run: block::run,
        max_octets: 8_192,
        words: &["\0\0\0\0", "{\"type\":\"message.accepted\",\"v\":1}"],
    },
    Target { name: "compose", run: composed::run, max_octets: 16_384, words: composed::WORDS },
    Target { name: "config", run: config::run, max_octets: 4_096, words: config::WORDS },
    Target {
        name: "cursor",
        run: cursor::run,
        max_octets: 256,
        words: &["0000000000000000", "ffffffffffffffff", "+", "-1", "msg_", "evt_", "/"],
    },
    Target { name: "event", run: event::run, max_octets: 8_192, words: event::WORDS },
    Target {
        name: "header",
        run: header::run,
        max_octets: 4_096,
        words: &[
            "=?utf-8?Q?",
            "=?utf-8?B?",
            "?=",
            "  ",
            "\t",
            "X-",
            "List-Unsubscribe",
            "é",
            "日本",
            "\u{2028}",
            "\"",
            "\\",
        ],
    },
    Target {
        name: "journal",
        run: journal::run,
        max_octets: 8_192,
        words: &["\0\0\0\0", "{\"type\":\"message.accepted\",\"v\":1}"],
    },
    Target {
        name: "policy",
        run: policy::run,
        max_octets: 4_096,
        words: &[
            "version: STSv1\r\n",
            "mode: enforce\r\n",
            "mx: *.",
            "max_age: ",
            "v=TLSRPTv1; rua=mailto:",
            "v=DMARC1; p=",
        ],
    },
    Target {
        name: "received",
        run: received::run,
        max_octets: 8_192,
        words: &[
            "EHLO a\r\n",
            "HELO a\r\n",
            "MAIL FROM:<",
            "RCPT TO:<",
            ">\r\n",
            "DATA\r\n",
            "\r\n.\r\n",
            "RSET\r\n",
            "BDAT 5 LAST\r\n",
            "SIZE=",
            "\n.\n",
            "STARTTLS\r\n",
        ],
    },
    Target { name: "report", run: report::run, max_octets: 16_384, words: report::WORDS },
    Target {
        name: "session",
        run: session::run,
        max_octets: 8_192,
        words: &[
            "220 a\r\n",
            "250 ok\r\n",
            "250-",
            "250-PIPELINING\r\n",
            "250-SIZE 1\r\n",
            "250-8BITMIME\r\n",
            "250-SMTPUTF8\r\n",
            "354 go\r\n",
            "421 4.3.2 ",
            "452 4.5.3 ",
            "550 5.1.1 ",
            "552 5.5.3 ",
        ],
    },
    Target { name: "template", run: template::run, max_octets: 4_096, words: template::WORDS },
    Target {
        name: "token",
        run: token::run,
        max_octets: 512,
        words: &["bounce+", "@", "bounces.mail.acme.example", "0123456789abcdefghjkmnpqrstvwxyz"],
    },
];
