//! Postgrey, the policy daemon that Debian has for Postfix.

use std::net::SocketAddr;

use super::{Place, Running, free_address};

/// A greylist that lets a sender in who comes again from the same address after a second.
pub(crate) struct Postgrey {
    _running: Running,
    _place: Place,
    address: SocketAddr,
}

impl Postgrey {
    pub(crate) fn start() -> Self {
        let place = Place::new("postgrey");
        let address = free_address();
        place.directory("lists", "postgrey:postgrey");
        place.write("nobody", "");
        let mut running = Running::start(
            &place,
            None,
            &[
                "postgrey",
                &format!("--inet={address}"),
                "--delay=1",
                "--lookup-by-host",
                &format!("--dbdir={}", place.text("lists")),
                &format!("--whitelist-clients={}", place.text("nobody")),
                &format!("--whitelist-recipients={}", place.text("nobody")),
            ],
        );
        running.listens(address, false, &place);
        Self { _running: running, _place: place, address }
    }

    /// The line of Postfix's `main.cf` that asks it.
    pub(crate) fn restriction(&self) -> String {
        format!(
            "smtpd_recipient_restrictions = reject_unauth_destination, \
             check_policy_service inet:{}",
            self.address
        )
    }
}
