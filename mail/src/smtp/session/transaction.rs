//! One transaction: MAIL, RCPT, DATA, the message, the final dot (RFC 5321, section 3.3).
//!
//! With PIPELINING (RFC 2920) the commands of up to [`GROUP`] replies leave in one write; without
//! it, one by one. It is the same dialogue, and each reply belongs to the command it answers.

use std::time::Duration;

use lettre::{
    Address,
    transport::smtp::{
        commands::{Data, Mail, Rcpt, Rset},
        extension::{MailBodyParameter, MailParameter},
    },
};
use model::{
    address::EmailAddress,
    delivery::{Answer, Fault, Outcome, Peer, Stage},
};
use tokio::time::Instant;

use super::{CLOSING, Connection, Envelope, Lost, Transaction};
use crate::smtp::{
    reply::Lines,
    screen::{Screened, screen},
};

/// Most commands in one write. Their replies must fit into the buffers of both hosts, or each
/// side would wait for the other to read (RFC 2920, section 3.1).
const GROUP: usize = 100;
/// Octets of the message in one write.
const BLOCK_OCTETS: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Reset,
    Mail,
    Rcpt(usize),
    Data,
}

/// What was answered so far.
struct Progress {
    /// One per recipient.
    answers: Vec<Option<(Stage, Answer)>>,
    mail_heard: bool,
    mail_refused: bool,
    /// The recipients that were accepted.
    accepted: Vec<usize>,
    /// The recipients that were one too many for this transaction.
    surplus: Vec<usize>,
    /// Whether the server waits for the message.
    go_ahead: bool,
}

impl Progress {
    fn new(recipients: usize) -> Self {
        Self {
            answers: vec![None; recipients],
            mail_heard: false,
            mail_refused: false,
            accepted: Vec::new(),
            surplus: Vec::new(),
            go_ahead: false,
        }
    }

    fn answer(&mut self, recipient: usize, stage: Stage, answer: Answer) {
        if let Some(slot) = self.answers.get_mut(recipient) {
            *slot = Some((stage, answer));
        }
    }

    /// Gives the answer to all who have none yet.
    fn answer_rest(&mut self, stage: Stage, answer: &Answer) {
        for slot in self.answers.iter_mut().filter(|slot| slot.is_none()) {
            *slot = Some((stage, answer.clone()));
        }
    }

    /// Opens the answers of those who were too many, for a transaction of their own; whether there
    /// are any. Each transaction settles somebody, so there are never more than recipients. A
    /// message that was refused would be refused again.
    fn next_round(&mut self) -> bool {
        let first = self.accepted.first().and_then(|at| self.answers.get(*at));
        let taken = matches!(first, Some(Some((Stage::EndOfData, Answer::Reply(reply))))
            if reply.is_positive());
        if self.surplus.is_empty() || !taken {
            return false;
        }
        for recipient in std::mem::take(&mut self.surplus) {
            if let Some(slot) = self.answers.get_mut(recipient) {
                *slot = None;
            }
        }
        self.accepted.clear();
        self.go_ahead = false;
        true
    }

    fn open(&self) -> impl Iterator<Item = usize> {
        self.answers.iter().enumerate().filter_map(|(at, slot)| slot.is_none().then_some(at))
    }

    fn outcomes(self, peer: &Peer) -> Vec<Outcome> {
        self.answers
            .into_iter()
            .map(|slot| {
                // Everyone has an answer by now; an answer that is missing all the same must
                // neither be a delivery nor a bounce.
                let (stage, answer) =
                    slot.unwrap_or((Stage::MailFrom, Answer::Fault(Fault::Protocol)));
                Outcome { stage, answer, peer: Some(peer.clone()) }
            })
            .collect()
    }
}

impl Connection {
    /// Sends one message to all recipients of the envelope. Those whom the server finds too many
    /// for one transaction (RFC 5321, section 4.5.3.1.10) get another one at once.
    ///
    /// `message` is the message in parts that follow one another without anything between them,
    /// such as signature and content; they are sent as they are but for doubled dots. Takes at
    /// most [`Timeouts::transaction`](crate::smtp::Timeouts::transaction) up to the final dot and
    /// [`Timeouts::end_of_data`](crate::smtp::Timeouts::end_of_data) for its reply. When the
    /// future is dropped half-way, the connection is of no more use and says so.
    pub async fn deliver(&mut self, envelope: &Envelope<'_>, message: &[&[u8]]) -> Transaction {
        let mut progress = Progress::new(envelope.recipients.len());
        let kept = self.transactions > 0;
        self.peer.reused = kept;
        if self.broken || (kept && !self.is_idle_alive()) {
            self.broken = true;
            let answer = Answer::Fault(Fault::Disconnected);
            progress.answer_rest(Stage::MailFrom, &answer);
            let outcomes = progress.outcomes(&self.peer);
            return Transaction { outcomes, reusable: false, retry_at_once: true };
        }
        let screened = match self.admit(envelope, message, &mut progress) {
            Ok(screened) => Some(screened),
            Err(fault) => {
                progress.answer_rest(Stage::MailFrom, &Answer::Fault(fault));
                None
            }
        };
        let mut retry_at_once = false;
        if let Some(screened) = screened.filter(|_| progress.open().next().is_some()) {
            // Until it is known to have ended well: dropped half-way, it has not.
            self.broken = true;
            match self.transact_all(envelope, &screened, &mut progress).await {
                Ok(()) => self.broken = false,
                Err(lost) => {
                    let died = matches!(lost.answer, Answer::Fault(_));
                    retry_at_once = kept && !progress.mail_heard && died;
                    progress.answer_rest(lost.stage, &lost.answer);
                }
            }
        }
        let outcomes = progress.outcomes(&self.peer);
        Transaction { outcomes, reusable: !self.broken, retry_at_once }
    }

    /// What can be refused without asking the server.
    fn admit<'m>(
        &self,
        envelope: &Envelope<'_>,
        message: &'m [&'m [u8]],
        progress: &mut Progress,
    ) -> Result<Screened<'m>, Fault> {
        let screened = screen(message).map_err(|_| Fault::ContentInvalid)?;
        let offered = &self.extensions;
        if offered.is_too_large(screened.octets) {
            return Err(Fault::TooLarge);
        }
        if !offered.smtputf8 {
            if envelope.smtputf8 || envelope.sender.is_some_and(EmailAddress::needs_smtputf8) {
                return Err(Fault::Smtputf8Unsupported);
            }
            for (at, recipient) in envelope.recipients.iter().enumerate() {
                if recipient.needs_smtputf8() {
                    let answer = Answer::Fault(Fault::Smtputf8Unsupported);
                    progress.answer(at, Stage::MailFrom, answer);
                }
            }
        }
        // SMTPUTF8 promises 8BITMIME (RFC 6531, section 3.1), also where it is not listed.
        if !screened.is_ascii && !offered.eight_bit_mime && !offered.smtputf8 {
            return Err(Fault::ContentInvalid);
        }
        Ok(screened)
    }

    /// Transactions until nobody is left who was only too many. `Err`: as in `transact`.
    async fn transact_all(
        &mut self,
        envelope: &Envelope<'_>,
        screened: &Screened<'_>,
        progress: &mut Progress,
    ) -> Result<(), Lost> {
        loop {
            self.transactions = self.transactions.saturating_add(1);
            self.transact(envelope, screened, progress).await?;
            if !progress.next_round() {
                return Ok(());
            }
        }
    }

    /// The dialogue. `Err`: the connection is of no more use, and who has no answer has this one.
    async fn transact(
        &mut self,
        envelope: &Envelope<'_>,
        screened: &Screened<'_>,
        progress: &mut Progress,
    ) -> Result<(), Lost> {
        let deadline = Instant::now() + self.timeouts.transaction;
        let mut steps = Vec::with_capacity(envelope.recipients.len() + 3);
        if self.dirty {
            steps.push(Step::Reset);
        }
        steps.push(Step::Mail);
        steps.extend(progress.open().map(Step::Rcpt));
        steps.push(Step::Data);
        self.dirty = true;
        for group in steps.chunks(if self.extensions.pipelining { GROUP } else { 1 }) {
            if progress.mail_refused || (group == [Step::Data] && progress.accepted.is_empty()) {
                break;
            }
            self.command(group, envelope, screened, progress, deadline).await?;
        }
        match (progress.go_ahead, progress.accepted.is_empty()) {
            (true, false) => {
                let lines = self.transfer(screened, deadline).await?;
                let answer = Answer::Reply(lines.to_reply());
                progress.answer_rest(Stage::EndOfData, &answer);
                // The reply to the final dot ends the transaction either way.
                self.dirty = false;
            }
            // The server wants a message for nobody: a lone dot gets both out of it (RFC 2920,
            // section 3.1).
            (true, true) => {
                self.ask(Stage::Data, ".\r\n", self.timeouts.data).await?;
            }
            (false, _) => {}
        }
        Ok(())
    }

    /// Writes a group of commands and hears each one's reply.
    async fn command(
        &mut self,
        group: &[Step],
        envelope: &Envelope<'_>,
        screened: &Screened<'_>,
        progress: &mut Progress,
        deadline: Instant,
    ) -> Result<(), Lost> {
        for step in group {
            match step {
                Step::Reset => self.wire.put(Rset),
                Step::Mail => self.wire.put(self.mail(envelope, screened)),
                Step::Rcpt(at) => {
                    if let Some(recipient) = envelope.recipients.get(*at) {
                        self.wire.put(Rcpt::new(path(recipient), Vec::new()));
                    }
                }
                Step::Data => self.wire.put(Data),
            }
        }
        for (nth, step) in group.iter().enumerate() {
            let (stage, patience) = self.patience(*step);
            let deadline = deadline.min(Instant::now() + patience);
            if nth == 0 {
                self.send(stage, deadline).await?;
            }
            let lines = self.hear(stage, deadline).await?;
            heard(*step, &lines, progress)?;
        }
        Ok(())
    }

    const fn patience(&self, step: Step) -> (Stage, Duration) {
        match step {
            Step::Reset | Step::Mail => (Stage::MailFrom, self.timeouts.mail),
            Step::Rcpt(_) => (Stage::RcptTo, self.timeouts.rcpt),
            Step::Data => (Stage::Data, self.timeouts.data),
        }
    }

    fn mail(&self, envelope: &Envelope<'_>, screened: &Screened<'_>) -> Mail {
        let offered = &self.extensions;
        let mut parameters = Vec::new();
        if offered.size {
            parameters.push(MailParameter::Size(screened.octets));
        }
        if !screened.is_ascii && offered.eight_bit_mime {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let mut addresses = envelope.recipients.iter().chain(envelope.sender);
        if offered.smtputf8 && (envelope.smtputf8 || addresses.any(EmailAddress::needs_smtputf8)) {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        Mail::new(envelope.sender.map(path), parameters)
    }

    /// Sends the message and hears the reply to its final dot.
    async fn transfer(
        &mut self,
        screened: &Screened<'_>,
        deadline: Instant,
    ) -> Result<Lines, Lost> {
        let rate = u64::from(self.timeouts.least_octets_per_s.max(1));
        let octets = u64::try_from(screened.octets).unwrap_or(u64::MAX);
        let longest = self.timeouts.block + Duration::from_secs(octets / rate);
        let deadline = deadline.min(Instant::now() + longest);
        for block in screened.blocks(BLOCK_OCTETS) {
            screened.stuff(block, &mut self.wire.outbox);
            if self.wire.outbox.len() >= BLOCK_OCTETS {
                self.send_block(deadline).await?;
            }
        }
        self.wire.outbox.extend_from_slice(screened.end());
        self.send_block(deadline).await?;
        // From here on the server may have taken the message, whatever else happens.
        let deadline = Instant::now() + self.timeouts.end_of_data;
        match self.wire.reply(deadline).await {
            Ok(lines) if lines.code == CLOSING => Err(Lost::reply(Stage::EndOfData, &lines)),
            Ok(lines) if !lines.is_class(3) => Ok(lines),
            Ok(_) | Err(_) => Err(Lost::fault(Stage::EndOfData, Fault::OutcomeUnknown)),
        }
    }

    /// Writes a block. When this fails, the final dot has not left: what the operating system did
    /// not take is not sent.
    async fn send_block(&mut self, deadline: Instant) -> Result<(), Lost> {
        if self.wire.has_read_ahead() {
            self.wire.outbox.clear();
            return match self.hear(Stage::Transfer, deadline).await? {
                lines if lines.is_class(4) || lines.is_class(5) => {
                    Err(Lost::reply(Stage::Transfer, &lines))
                }
                _ => Err(Lost::fault(Stage::Transfer, Fault::Protocol)),
            };
        }
        let deadline = deadline.min(Instant::now() + self.timeouts.block);
        match self.wire.send(deadline).await {
            Ok(()) => Ok(()),
            // A server that had enough says so, closes, and lets the sender find out.
            Err(Fault::Disconnected) => match self.last_words().await {
                Some(lines) if lines.is_class(4) || lines.is_class(5) => {
                    Err(Lost::reply(Stage::Transfer, &lines))
                }
                _ => Err(Lost::fault(Stage::Transfer, Fault::Disconnected)),
            },
            Err(fault) => Err(Lost::fault(Stage::Transfer, fault)),
        }
    }
}

/// What a reply means to the command it answers.
fn heard(step: Step, lines: &Lines, progress: &mut Progress) -> Result<(), Lost> {
    let reply = || Answer::Reply(lines.to_reply());
    match step {
        // A server that will not forget cannot be told of another message.
        Step::Reset if !lines.is_class(2) => {
            return Err(Lost::fault(Stage::MailFrom, Fault::Protocol));
        }
        Step::Reset => {}
        Step::Mail => {
            progress.mail_heard = true;
            if !lines.is_class(2) {
                progress.mail_refused = true;
                progress.answer_rest(Stage::MailFrom, &reply());
            }
        }
        // Without a sender its no says nothing of the recipient.
        Step::Rcpt(_) if progress.mail_refused => {}
        Step::Rcpt(at) if lines.is_class(2) => progress.accepted.push(at),
        Step::Rcpt(at) => {
            if is_one_too_many(lines) {
                progress.surplus.push(at);
            }
            progress.answer(at, Stage::RcptTo, reply());
        }
        Step::Data if lines.is_class(3) => progress.go_ahead = true,
        // Neither yes nor no: nobody can know what it reads next.
        Step::Data if lines.is_class(2) => {
            return Err(Lost::fault(Stage::Data, Fault::Protocol));
        }
        Step::Data => progress.answer_rest(Stage::Data, &reply()),
    }
    Ok(())
}

/// "Too many recipients": 452, or as older servers say 552, told from "no room" by the enhanced
/// code where there is one (RFC 5321, section 4.5.3.1.10; RFC 3463, X.5.3).
fn is_one_too_many(lines: &Lines) -> bool {
    let enhanced = lines.to_reply().enhanced.map(|code| (code.subject, code.detail));
    matches!((lines.code, enhanced), (452, None | Some((5, 3))) | (552, Some((5, 3))))
}

/// An address as lettre writes it. It checks less than ours did, so there is nothing to check.
fn path(address: &EmailAddress) -> Address {
    Address::new_dangerous(address.local(), address.domain().as_str())
}
