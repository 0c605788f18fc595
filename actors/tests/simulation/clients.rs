//! Those who send: they retry what is safe to retry, and remember what they were told.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use actors::{Caller, Clock, IdempotencyKey, Platform, SendError, SendRequest};
use model::{MessageId, Timestamp, address::Mailbox, content::Body};

use crate::{
    clock::SimClock,
    dice::{Dice, Roll},
    names::{DOMAINS, GONE, IMPLICIT, NULL_MX},
};

/// What a client wants sent, once.
#[derive(Debug, Clone)]
pub struct Order {
    pub number: u32,
    pub keyed: bool,
    pub recipients: Vec<String>,
    pub scheduled_after: Option<Duration>,
    /// Said at the first try, in milliseconds: a repetition is the same request.
    scheduled_at: Option<u64>,
    /// Whether the client takes it back some time after it was answered.
    cancels: bool,
    /// Whether two of the client's processes send it at once.
    doubled: bool,
    pub state: OrderState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// Not tried, or answered with what allows another try.
    Open,
    /// Asked, and not answered: it may have been taken over.
    Asked,
    /// Taken over.
    Acknowledged(MessageId),
    /// Without a key, and perhaps taken over: never asked again.
    Doubtful,
}

/// What the clients know. It outlives the platform.
#[derive(Default)]
pub struct Book {
    pub orders: Vec<Order>,
    /// Every id that was told.
    pub told: BTreeSet<MessageId>,
    /// How often an answer was a repetition.
    pub replays: u64,
    pub canceled: u64,
    pub violations: Vec<String>,
}

pub type SharedBook = Arc<Mutex<Book>>;

/// Wants more sent.
pub fn place_orders(book: &SharedBook, dice: Dice, life: u32, count: u64) {
    let mut book = book.lock().unwrap();
    for _ in 0..count {
        let number = u32::try_from(book.orders.len()).unwrap();
        let mut roll = dice.ask("order", &[&life.to_le_bytes(), &number.to_le_bytes()]);
        let recipients = (0..roll.within(1, 5)).map(|index| {
            let domain = match roll.below(20) {
                0 => NULL_MX,
                1 => GONE,
                2..5 => IMPLICIT,
                other => DOMAINS[usize::try_from(other).unwrap() % DOMAINS.len()].0,
            };
            format!("o{number}-{index}@{domain}")
        });
        let recipients = recipients.collect();
        let after = roll.within(10, 900);
        book.orders.push(Order {
            number,
            keyed: roll.in_thousand(700),
            recipients,
            scheduled_after: roll.in_thousand(120).then(|| Duration::from_secs(after)),
            scheduled_at: None,
            cancels: roll.in_thousand(100),
            doubled: roll.in_thousand(100),
            state: OrderState::Open,
        });
    }
}

/// A client's process.
#[derive(Clone)]
pub struct Client {
    pub platform: Platform,
    pub caller: Caller,
    pub clock: SimClock,
    pub dice: Dice,
    pub book: SharedBook,
}

impl Client {
    /// Sends the orders of its share that are open, one after the other.
    pub async fn work(self, life: u32, share: usize, shares: usize) {
        let open: Vec<usize> = {
            let book = self.book.lock().unwrap();
            let orders = book.orders.iter().enumerate();
            let open = orders.filter(|(_, order)| order.state == OrderState::Open);
            open.map(|(place, _)| place).filter(|place| place % shares == share).collect()
        };
        for place in open {
            let about = [&life.to_le_bytes()[..], &place.to_le_bytes()];
            let mut roll = self.dice.ask("client", &about);
            tokio::time::sleep(Duration::from_millis(roll.below(8_000))).await;
            let doubled = self.book.lock().unwrap().orders[place].doubled;
            if doubled && self.book.lock().unwrap().orders[place].keyed {
                tokio::spawn(self.clone().send(place, roll.clone()));
            }
            self.clone().send(place, roll).await;
        }
    }

    fn request(&self, place: usize) -> SendRequest {
        let mut book = self.book.lock().unwrap();
        let order = &mut book.orders[place];
        let now = self.clock.now();
        if let (Some(after), None) = (order.scheduled_after, order.scheduled_at) {
            order.scheduled_at = Some(now.plus(after).as_millis());
        }
        if order.state == OrderState::Open {
            order.state = OrderState::Asked;
        }
        let scheduled_at = order.scheduled_at.map(Timestamp::from_millis);
        SendRequest {
            to: order.recipients.iter().map(|text| Mailbox::parse(text).unwrap()).collect(),
            subject: format!("Order {}", order.number),
            body: Body { text: Some("Thank you.".into()), ..Body::default() },
            // What was to be sent in the past is sent at once.
            scheduled_at: scheduled_at.filter(|_| order.keyed || scheduled_at > Some(now)),
            idempotency_key: IdempotencyKey::parse(&format!("order-{}", order.number))
                .filter(|_| order.keyed),
            ..SendRequest::default()
        }
    }

    /// Asks until it has an answer that settles it.
    async fn send(self, place: usize, mut roll: Roll) {
        loop {
            let request = self.request(place);
            let keyed = request.idempotency_key.is_some();
            match self.platform.send(&self.caller, request).await {
                Ok(sent) => {
                    self.note(place, sent.message, sent.idempotent_replay);
                    break;
                }
                Err(SendError::Unknown) if !keyed => {
                    self.book.lock().unwrap().orders[place].state = OrderState::Doubtful;
                    return;
                }
                Err(SendError::Overloaded { retry_after }) => {
                    self.settle(place);
                    tokio::time::sleep(retry_after).await;
                }
                Err(SendError::Unavailable | SendError::Internal | SendError::Unknown) => {
                    self.settle(place);
                    tokio::time::sleep(Duration::from_millis(roll.within(200, 20_000))).await;
                }
                Err(error @ SendError::Refused(_)) => {
                    let mut book = self.book.lock().unwrap();
                    book.violations.push(format!("order {place} was refused: {error}"));
                    return;
                }
            }
        }
        let cancels = self.book.lock().unwrap().orders[place].cancels;
        if cancels {
            self.cancel(place, roll).await;
        } else if roll.in_thousand(100) && self.book.lock().unwrap().orders[place].keyed {
            // The answer got lost on its way, as far as this client knows.
            tokio::time::sleep(Duration::from_millis(roll.below(60_000))).await;
            let request = self.request(place);
            if let Ok(sent) = self.platform.send(&self.caller, request).await {
                self.note(place, sent.message, sent.idempotent_replay);
            }
        }
    }

    /// Nothing was stored, or the key makes it safe to ask again.
    fn settle(&self, place: usize) {
        let mut book = self.book.lock().unwrap();
        if book.orders[place].state == OrderState::Asked {
            book.orders[place].state = OrderState::Open;
        }
    }

    fn note(&self, place: usize, message: MessageId, replay: bool) {
        let mut book = self.book.lock().unwrap();
        book.told.insert(message);
        book.replays += u64::from(replay);
        if let OrderState::Acknowledged(known) = book.orders[place].state
            && known != message
        {
            book.violations.push(format!("order {place} became {known} and {message}"));
        }
        book.orders[place].state = OrderState::Acknowledged(message);
    }

    async fn cancel(&self, place: usize, mut roll: Roll) {
        tokio::time::sleep(Duration::from_millis(roll.below(120_000))).await;
        let state = self.book.lock().unwrap().orders[place].state;
        if let OrderState::Acknowledged(message) = state
            && self.platform.cancel(&self.caller, message).await.is_ok()
        {
            self.book.lock().unwrap().canceled += 1;
        }
    }
}

impl Book {
    /// Who asked was cut off with the platform.
    pub fn cut_off(&mut self) {
        for order in &mut self.orders {
            if order.state == OrderState::Asked {
                order.state = if order.keyed { OrderState::Open } else { OrderState::Doubtful };
            }
        }
    }

    /// Whether nobody waits for an answer any more.
    pub fn is_settled(&self) -> bool {
        let settled = |order: &Order| !matches!(order.state, OrderState::Open | OrderState::Asked);
        self.orders.iter().all(settled)
    }
}
