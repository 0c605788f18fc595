//! The given/when/then harness. Every event that passes through it goes through its JSON as well.

use std::time::Duration;

use model::{
    ApiKeyId, AppId, DomainId, Event, MessageId, RecipientIndex, StreamId, TenantId, Timestamp,
    address::DomainName,
    content::RecipientKind,
    delivery::{Answer, Diagnosis, EnhancedCode, Fault, Outcome, Reply, Stage, TlsDemand},
    event::{KeyedHash, SealedText},
    message::{
        Accept, AcceptedRecipient, Attempt, Command, Facts, Message, MessageEvent, RecordedAnswer,
        Refusal, Report, Returning, SenderStanding, Sent, Sha256, SuppressionReason, decide,
    },
    retry::{Jitter, RetryPolicy},
};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_474_000_000);
pub(crate) const DOMAIN: DomainId = DomainId::from_bytes([4; 16]);
pub(crate) const EXPIRE_AFTER: Duration = Duration::from_hours(48);

pub(crate) fn later(minutes: u64) -> Timestamp {
    NOW.plus(Duration::from_mins(minutes))
}

/// The event after it was written and read.
pub(crate) fn through_json(event: &MessageEvent) -> MessageEvent {
    let stream = StreamId::Message(MessageId::from_bytes([9; 16]));
    match Event::decode(stream, &event.encode(&model::By::CommandLine.into())).unwrap() {
        Event::Message(read) => {
            assert_eq!(&read, event);
            assert_eq!(
                read.encode(&model::By::CommandLine.into()),
                event.encode(&model::By::CommandLine.into())
            );
            read
        }
        other => panic!("{other:?}"),
    }
}

/// What is known when a decision is taken; a verified sender and nothing else unless said.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) sender: SenderStanding,
    pub(crate) suppressed: Vec<(RecipientIndex, SuppressionReason)>,
    pub(crate) retry: RetryPolicy,
    pub(crate) jitter: Jitter,
    pub(crate) in_flight: bool,
    pub(crate) paused: bool,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            sender: SenderStanding::Verified(DOMAIN),
            suppressed: Vec::new(),
            retry: RetryPolicy::default(),
            jitter: Jitter::default(),
            in_flight: false,
            paused: false,
        }
    }
}

impl Known {
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            sender: self.sender,
            suppressed: &self.suppressed,
            retry: &self.retry,
            jitter: self.jitter,
            in_flight: self.in_flight,
            paused: self.paused,
        }
    }
}

/// What happened so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub(crate) state: Message,
    pub(crate) history: Vec<(Timestamp, MessageEvent)>,
}

/// What a command led to.
#[derive(Debug)]
pub(crate) struct Then {
    given: Given,
    at: Timestamp,
    result: Result<Vec<MessageEvent>, Refusal>,
}

impl Given {
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// A message to so many recipients, accepted at [`NOW`].
    pub(crate) fn accepted(recipients: usize) -> Self {
        Self::nothing().when(NOW, &accept(recipients)).happens()
    }

    pub(crate) fn and(mut self, at: Timestamp, event: &MessageEvent) -> Self {
        let event = through_json(event);
        self.state.evolve(&event, at);
        self.history.push((at, event));
        self
    }

    pub(crate) fn when(self, at: Timestamp, command: &Command) -> Then {
        self.when_knowing(at, command, &Known::default())
    }

    pub(crate) fn when_knowing(self, at: Timestamp, command: &Command, known: &Known) -> Then {
        let before = self.state.clone();
        let result = decide(&self.state, command, &known.facts(), at);
        assert_eq!(self.state, before);
        Then { given: self, at, result }
    }
}

impl Then {
    #[track_caller]
    pub(crate) fn then(self, expected: &[MessageEvent]) -> Given {
        assert_eq!(self.result.as_deref(), Ok(expected));
        self.happens()
    }

    #[track_caller]
    pub(crate) fn then_nothing(self) -> Given {
        self.then(&[])
    }

    #[track_caller]
    pub(crate) fn then_refused(self, refusal: Refusal) -> Given {
        assert_eq!(self.result, Err(refusal));
        self.given
    }

    /// Takes in what was decided, whatever it is.
    #[track_caller]
    pub(crate) fn happens(self) -> Given {
        let Self { given, at, result } = self;
        let events = result.unwrap();
        events.iter().fold(given, |given, event| given.and(at, event))
    }

    #[track_caller]
    pub(crate) fn events(&self) -> &[MessageEvent] {
        self.result.as_deref().unwrap()
    }
}

pub(crate) fn recipient(number: u8) -> AcceptedRecipient {
    AcceptedRecipient {
        kind: RecipientKind::To,
        domain: DomainName::parse(&format!("d{number}.example")).unwrap(),
        hash: KeyedHash([number; 16]),
    }
}

pub(crate) fn draft(recipients: usize) -> Accept {
    Accept {
        tenant: TenantId::from_bytes([1; 16]),
        app: AppId::from_bytes([2; 16]),
        key: ApiKeyId::from_bytes([3; 16]),
        from: DomainName::parse("mail.acme.example").unwrap(),
        recipients: (0..recipients).map(|n| recipient(u8::try_from(n).unwrap())).collect(),
        tags: Vec::new(),
        template: None,
        bulk: false,
        size: 1_000,
        tls: TlsDemand::Opportunistic,
        scheduled_at: None,
        expires_after: None,
        request: None,
    }
}

pub(crate) fn accept(recipients: usize) -> Command {
    taking(draft(recipients))
}

pub(crate) fn taking(draft: Accept) -> Command {
    Command::Accept(Box::new(draft))
}

pub(crate) fn sealed() -> SealedText {
    SealedText("c2VhbGVk".into())
}

pub(crate) fn replied(stage: Stage, code: u16, enhanced: &str) -> Outcome {
    let enhanced = EnhancedCode::parse(enhanced);
    let reply = Reply { code, enhanced, text: "in clear".into() };
    Outcome { stage, answer: Answer::Reply(reply), peer: None }
}

pub(crate) fn faulted(fault: Fault) -> Outcome {
    Outcome::fault(Stage::Connect, fault)
}

pub(crate) fn delivered() -> Outcome {
    replied(Stage::EndOfData, 250, "2.0.0")
}

pub(crate) fn bounced() -> Outcome {
    replied(Stage::RcptTo, 550, "5.1.1")
}

pub(crate) fn deferred() -> Outcome {
    replied(Stage::Greeting, 421, "4.3.2")
}

pub(crate) fn report(recipient: u8, outcome: Outcome) -> Report {
    Report {
        recipient: RecipientIndex(recipient),
        outcome,
        sealed_text: sealed(),
        sent: Some(sent()),
    }
}

pub(crate) fn tried(reports: impl IntoIterator<Item = (u8, Outcome)>) -> Command {
    Command::RecordAttempt(reports.into_iter().map(|(n, outcome)| report(n, outcome)).collect())
}

/// A report that these recipients do not exist.
pub(crate) fn came_back(recipients: Vec<u8>) -> Command {
    let diagnosis = diagnosis("5.1.1");
    let returning = |recipient| Returning {
        recipient: RecipientIndex(recipient),
        diagnosis: diagnosis.clone(),
        sealed_text: sealed(),
    };
    Command::RecordReturn(recipients.into_iter().map(returning).collect())
}

pub(crate) fn diagnosis(enhanced: &str) -> Diagnosis {
    let enhanced = EnhancedCode::parse(enhanced);
    Diagnosis { code: Some(550), enhanced, text: "in clear".into() }
}

/// The attempt as it is recorded of an outcome.
pub(crate) fn attempt(recipient: u8, number: u16, outcome: &Outcome) -> Attempt {
    let answer = match &outcome.answer {
        Answer::Fault(fault) => RecordedAnswer::Fault(*fault),
        Answer::Reply(reply) => {
            let (code, enhanced) = (reply.code, reply.enhanced);
            RecordedAnswer::Reply { code, enhanced, text: sealed() }
        }
    };
    Attempt {
        recipient: RecipientIndex(recipient),
        attempt: number,
        stage: outcome.stage,
        answer,
        peer: outcome.peer.clone(),
        sent: (outcome.stage == Stage::EndOfData).then(sent),
    }
}

pub(crate) fn sent() -> Sent {
    Sent { sha256: Sha256([9; 32]), octets: 4_321, dkim: Vec::new() }
}
