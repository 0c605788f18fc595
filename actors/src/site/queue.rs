//! A queue in which tenants take turns.

use std::collections::{HashMap, VecDeque};

use model::TenantId;

/// First come, first served within a tenant; between tenants, one each in turn. However much one
/// of them brings, the next one's first waits for one of each tenant at the most.
pub(crate) struct FairQueue<T> {
    of: HashMap<TenantId, VecDeque<T>>,
    /// Every tenant that has something here, once: whose turn it is first.
    turns: VecDeque<TenantId>,
    len: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { of: HashMap::new(), turns: VecDeque::new(), len: 0 }
    }
}

impl<T> FairQueue<T> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many are one tenant's.
    pub(crate) fn len_of(&self, tenant: TenantId) -> usize {
        self.of.get(&tenant).map_or(0, VecDeque::len)
    }

    /// Tenants that have something here.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        self.turns.iter().copied().collect()
    }

    pub(crate) fn push_back(&mut self, tenant: TenantId, item: T) {
        self.own(tenant).push_back(item);
    }

    /// Before what else this tenant has.
    pub(crate) fn push_front(&mut self, tenant: TenantId, item: T) {
        self.own(tenant).push_front(item);
    }

    fn own(&mut self, tenant: TenantId) -> &mut VecDeque<T> {
        self.len += 1;
        self.of.entry(tenant).or_insert_with(|| {
            self.turns.push_back(tenant);
            VecDeque::new()
        })
    }

    /// The next one, of the tenant whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<(TenantId, T)> {
        let tenant = self.turns.pop_front()?;
        let own = self.of.get_mut(&tenant)?;
        let item = own.pop_front()?;
        self.len -= 1;
        if own.is_empty() {
            self.of.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        Some((tenant, item))
    }

    /// The next one of this tenant.
    pub(crate) fn pop_of(&mut self, tenant: TenantId) -> Option<T> {
        let own = self.of.get_mut(&tenant)?;
        let item = own.pop_front()?;
        self.len -= 1;
        if own.is_empty() {
            self.of.remove(&tenant);
            self.turns.retain(|other| *other != tenant);
        }
        Some(item)
    }

    /// Takes out what is wanted; the order of the others stays.
    pub(crate) fn extract(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        let mut whole = std::mem::take(self);
        while let Some((tenant, item)) = whole.pop() {
            if wanted(&item) {
                taken.push(item);
            } else {
                self.push_back(tenant, item);
            }
        }
        taken
    }

    /// The first one of each tenant.
    pub(crate) fn fronts(&self) -> impl Iterator<Item = (TenantId, &T)> {
        self.of.iter().filter_map(|(tenant, own)| own.front().map(|first| (*tenant, first)))
    }

    /// Everything, in turn.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        let mut whole = std::mem::take(self);
        std::iter::from_fn(move || whole.pop().map(|(_, item)| item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId::from_bytes([1; 16]);
    const B: TenantId = TenantId::from_bytes([2; 16]);
    const C: TenantId = TenantId::from_bytes([3; 16]);

    fn drained(mut queue: FairQueue<u32>) -> Vec<u32> {
        queue.drain().collect()
    }

    #[test]
    fn tenants_take_turns_and_their_own_order_stays() {
        let mut queue = FairQueue::default();
        for item in 10..15 {
            queue.push_back(A, item);
        }
        queue.push_back(B, 20);
        queue.push_back(B, 21);
        queue.push_back(C, 30);
        assert_eq!((queue.len(), queue.len_of(A), queue.len_of(B)), (8, 5, 2));
        assert_eq!(drained(queue), [10, 20, 30, 11, 21, 12, 13, 14]);
    }

    #[test]
    fn who_comes_late_does_not_wait_for_what_others_brought_before() {
        let mut queue = FairQueue::default();
        (0..1_000).for_each(|item| queue.push_back(A, item));
        assert_eq!(queue.pop(), Some((A, 0)));
        queue.push_back(B, 9_999);
        let next: Vec<_> = (0..2).filter_map(|_| queue.pop()).map(|(_, item)| item).collect();
        assert!(next.contains(&9_999), "{next:?}");
        assert_eq!(queue.tenants(), [A]);
    }

    #[test]
    fn what_is_taken_out_leaves_the_others_in_their_order() {
        let mut queue = FairQueue::default();
        for item in 10..15 {
            queue.push_back(A, item);
        }
        queue.push_back(B, 20);
        queue.push_back(B, 21);
        assert_eq!(queue.extract(|item| item % 2 == 0), [10, 20, 12, 14]);
        assert_eq!((queue.len(), queue.len_of(A), queue.len_of(B)), (3, 2, 1));
        assert_eq!(drained(queue), [11, 21, 13]);
    }

    #[test]
    fn what_comes_back_is_its_tenants_first() {
        let mut queue = FairQueue::default();
        queue.push_back(A, 2);
        queue.push_front(A, 1);
        queue.push_front(B, 9);
        let mut fronts: Vec<_> = queue.fronts().map(|(_, item)| *item).collect();
        fronts.sort_unstable();
        assert_eq!(fronts, [1, 9]);
        assert_eq!(queue.pop_of(B), Some(9));
        assert_eq!(queue.pop_of(B), None);
        assert_eq!(queue.len(), 2);
        assert_eq!(drained(queue), [1, 2]);
    }
}
