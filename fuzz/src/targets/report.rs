//! What comes back: bounces and complaints.

use mail::report::{self, MAX_FATES, Report};
use model::delivery::MAX_REPLY_OCTETS;

pub(super) const WORDS: &[&str] = &[
    "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n",
    "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n",
    "--b\r\nContent-Type: message/delivery-status\r\n\r\n",
    "--b\r\nContent-Type: message/feedback-report\r\n\r\n",
    "--b\r\nContent-Type: message/rfc822\r\n\r\n",
    "--b--\r\n",
    "Final-Recipient: rfc822; ada@example.com\r\n",
    "Original-Recipient: rfc822;",
    "Action: failed\r\n",
    "Status: 5.1.1\r\n",
    "Diagnostic-Code: smtp; 550 5.1.1 ",
    "Feedback-Type: abuse\r\n",
    "Original-Mail-From: <",
    "X-Failed-Recipients: ",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "; charset=utf-7\r\n",
    "=?utf-8?Q?",
    "Subject: failure notice\r\n",
    "Auto-Submitted: auto-replied\r\n",
];

pub(super) fn run(octets: &[u8]) {
    let headline = report::headline(octets);
    for line in [&headline.from, &headline.subject].into_iter().flatten() {
        check_line(line);
    }
    for text in report::texts(octets) {
        assert!(text.len() <= octets.len().saturating_mul(16) + 1_024, "more text than octets");
    }
    let report = report::read(octets);
    assert_eq!(report, report::read(octets), "read twice");
    match report {
        Report::Delivery(fates) => {
            assert!(!fates.is_empty() && fates.len() <= MAX_FATES);
            for fate in fates {
                assert!(!fate.addresses.is_empty());
                check_line(&fate.diagnosis.text);
                let class = fate.diagnosis.class();
                assert_eq!(model::delivery::BounceClass::parse(class.as_str()), Some(class));
            }
        }
        Report::Feedback(complaint) => {
            assert!(complaint.senders.len() <= MAX_FATES + 1);
            assert!(complaint.recipients.len() <= MAX_FATES + 1);
        }
        Report::AutomaticReply | Report::Other => {}
    }
}

fn check_line(line: &str) {
    assert!(line.len() <= MAX_REPLY_OCTETS, "{} octets", line.len());
    assert!(!line.contains(char::is_control), "{line:?}");
}
