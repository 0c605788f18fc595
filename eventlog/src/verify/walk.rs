//! One pass over the events: the chain, the tree, and what was signed of both.

use std::path::PathBuf;

use super::{
    VerifyError, bad, index_error,
    stretch::{Link, Stretch},
};
use crate::{
    checkpoint_file::{Checkpoints, CheckpointsError},
    event::{ChainEnd, Recorded},
    gap::{Gap, GapDigest},
    index::{Index, STORED_LEVEL},
    layout::Layout,
    merkle::{Frontier, LEAF, TreeHash},
    position::Position,
    pruned::{Pruned, SignedPruned},
    signed_checkpoint::SignedCheckpoint,
    vault::VerifierKey,
};

/// What was signed, to be held against the log.
#[derive(Debug, Clone, Default)]
pub struct Signed {
    /// The key that signed. Without one only the log itself is checked.
    pub key: Option<VerifierKey>,
    /// Files of checkpoints that were kept elsewhere; those beside the log are looked at anyway.
    pub kept: Vec<PathBuf>,
    /// A checkpoint that is trusted: what it covers is not read again.
    pub from: Option<SignedCheckpoint>,
}

type Source = Box<dyn Iterator<Item = Result<SignedCheckpoint, CheckpointsError>>>;

/// Checkpoints, oldest first, each to be met when the walk comes to its position.
struct Promises {
    name: String,
    key: VerifierKey,
    source: Source,
    next: Option<SignedCheckpoint>,
}

impl Promises {
    fn new(name: String, key: &VerifierKey, source: Source) -> Result<Self, VerifyError> {
        let mut promises = Self { name, key: key.clone(), source, next: None };
        promises.advance()?;
        Ok(promises)
    }

    fn advance(&mut self) -> Result<(), VerifyError> {
        let before = self.next.as_ref().map_or(Position::START, |next| next.head().position);
        let next = self.source.next().transpose();
        let next = next.map_err(|error| bad(before.next(), format!("{}: {error}", self.name)))?;
        if let Some(signed) = &next {
            let position = signed.head().position;
            if !signed.is_signed_by(&self.key) {
                let what =
                    format!("{}: a checkpoint that {} did not sign", self.name, self.key.name());
                return Err(bad(position, what));
            }
            if position <= before && before > Position::START {
                return Err(bad(position, format!("{}: checkpoints out of order", self.name)));
            }
        }
        self.next = next;
        Ok(())
    }
}

/// How far a pass has come, and what it found so far.
pub(super) struct Walk {
    pub(super) end: ChainEnd,
    /// Where it began: what is before was not read.
    pub(super) begun: Position,
    /// Up to where the events are those that were signed.
    pub(super) signed: Position,
    tree: Frontier,
    promises: Vec<Promises>,
    /// What says which events are missing with right.
    pruned: Option<Pruned>,
    gaps: GapDigest,
    encoded: Vec<u8>,
}

impl Walk {
    /// A pass from the first event, held against nothing but the log itself.
    pub(super) fn new(index: &Index) -> Result<Self, VerifyError> {
        Ok(Self::begin(index.pruned().map_err(index_error)?.as_ref()))
    }

    fn begin(pruned: Option<&SignedPruned>) -> Self {
        Self {
            end: ChainEnd::START,
            begun: Position::START,
            signed: Position::START,
            tree: Frontier::default(),
            promises: Vec::new(),
            pruned: pruned.map(|signed| signed.pruned),
            gaps: GapDigest::default(),
            encoded: Vec::new(),
        }
    }

    /// A pass held against what was signed.
    pub(super) fn against(
        signed: &Signed,
        layout: &Layout,
        index: &Index,
    ) -> Result<Self, VerifyError> {
        let pruned = index.pruned().map_err(index_error)?;
        let mut walk = Self::begin(pruned.as_ref());
        let Some(key) = &signed.key else { return Ok(walk) };
        if let Some(pruned) = pruned.filter(|pruned| !pruned.is_signed_by(key)) {
            let what = format!("{} did not sign what was pruned up to here", key.name());
            return Err(bad(pruned.pruned.last, what));
        }
        if let Some(from) = &signed.from {
            if !from.is_signed_by(key) {
                let what = format!("the checkpoint to begin from was not signed by {}", key.name());
                return Err(bad(from.head().position, what));
            }
            let sealed = index.end().map_err(index_error)?.position;
            if from.head().position <= sealed {
                walk.begin_at(from, index)?;
            } else {
                // After a crash the journal can hold more than sled, and is read from its start.
                let one = Box::new(std::iter::once(Ok(from.clone())));
                let name = "the checkpoint to begin from".to_owned();
                walk.promises.push(Promises::new(name, key, one)?);
            }
        }
        walk.promise(signed, key, layout)?;
        Ok(walk)
    }

    /// A pass over a log without sled's files, from the first event.
    pub(super) fn of_copy(signed: &Signed, layout: &Layout) -> Result<Self, VerifyError> {
        let mut walk = Self::begin(None);
        if let Some(key) = &signed.key {
            walk.promise(signed, key, layout)?;
        }
        Ok(walk)
    }

    /// Takes in the checkpoints beside the log and those that were kept elsewhere.
    fn promise(
        &mut self,
        signed: &Signed,
        key: &VerifierKey,
        layout: &Layout,
    ) -> Result<(), VerifyError> {
        let beside = layout.checkpoints();
        let beside = beside.is_file().then_some(beside);
        for path in beside.iter().chain(&signed.kept) {
            let name = path.display().to_string();
            let failed = |error| bad(Position::START, format!("{name}: {error}"));
            let source = Checkpoints::open(path).map_err(failed)?;
            let trusted = self.end.position;
            let source = source.skip_while(move |read| {
                read.as_ref().is_ok_and(|known| known.head().position <= trusted)
            });
            self.promises.push(Promises::new(name, key, Box::new(source))?);
        }
        Ok(())
    }

    fn begin_at(&mut self, from: &SignedCheckpoint, index: &Index) -> Result<(), VerifyError> {
        let head = from.head();
        let end = index.chain_at(head.position).map_err(index_error)?;
        let tree = index.tree().frontier(head.position.get()).map_err(index_error)?;
        match end {
            Some(end) if end.hash == head.chain && tree.root() == head.root => {
                (self.end, self.tree) = (end, tree);
                (self.begun, self.signed) = (head.position, head.position);
                Ok(())
            }
            _ => Err(broken(Position::START, from)),
        }
    }

    /// The next event. `index`: where the nodes of the tree are stored, when they are.
    pub(super) fn step(
        &mut self,
        event: &Recorded,
        index: Option<&Index>,
    ) -> Result<(), VerifyError> {
        self.encoded.clear();
        self.encoded.push(LEAF);
        event.encode(&mut self.encoded);
        let linked = self.end.hash.link(self.encoded.get(1..).unwrap_or_default());
        if event.position != self.end.position.next() || event.hash != linked {
            return Err(bad(event.position, "the chain does not hold"));
        }
        let end = ChainEnd { position: event.position, hash: event.hash, at: event.at };
        self.take(end, TreeHash::of_marked_leaf(&self.encoded), index)
    }

    /// Events whose own chain was checked.
    pub(super) fn join(
        &mut self,
        stretch: &Stretch,
        index: Option<&Index>,
    ) -> Result<(), VerifyError> {
        if stretch.before.is_some_and(|before| before != self.end) {
            return Err(bad(self.end.position.next(), "the chain does not hold"));
        }
        stretch.links.iter().try_for_each(|link| match link {
            Link::Event(end, leaf) => self.take(*end, *leaf, index),
            Link::Gap(gap) => self.pass(gap, index),
        })
    }

    /// Goes on behind a gap, with what it says of the chain and the tree.
    fn pass(&mut self, gap: &Gap, index: Option<&Index>) -> Result<(), VerifyError> {
        if self.pruned.is_none_or(|pruned| gap.last() > pruned.last) {
            return Err(bad(
                gap.first,
                "events are missing, and nothing says that they were pruned",
            ));
        }
        self.gaps.add(self.end.hash, gap);
        self.end = gap.end;
        for node in gap.nodes() {
            self.grow(node.level, node.hash, index)?;
        }
        self.meet()
    }

    /// Events of the gaps that were passed.
    pub(super) const fn pruned_events(&self) -> u64 {
        self.gaps.events
    }

    /// Whether what is missing is what was pruned.
    pub(super) fn check_gaps(&self, index: &Index) -> Result<(), VerifyError> {
        // Who begins at a checkpoint has not seen those before it.
        let Some(pruned) = self.pruned.filter(|_| self.begun == Position::START) else {
            return Ok(());
        };
        if !pruned.is_of(&self.gaps) {
            let what = "what is missing up to here is not what was pruned";
            return Err(bad(pruned.last, what));
        }
        if index.chain_at(pruned.last).map_err(index_error)?.map(|end| end.hash)
            != Some(pruned.chain)
        {
            return Err(bad(pruned.last, "the chain is not that of what was pruned up to here"));
        }
        let carried = index.carried_digest().map_err(index_error)?;
        if *carried.as_bytes() != pruned.carried {
            return Err(bad(pruned.last, "what was carried of pruned events is not what was"));
        }
        Ok(())
    }

    fn take(
        &mut self,
        end: ChainEnd,
        leaf: TreeHash,
        index: Option<&Index>,
    ) -> Result<(), VerifyError> {
        self.end = end;
        self.grow(0, leaf, index)?;
        self.meet()
    }

    /// Adds a full subtree to the tree, and holds what it completes against what is stored.
    fn grow(
        &mut self,
        level: u8,
        node: TreeHash,
        index: Option<&Index>,
    ) -> Result<(), VerifyError> {
        let end = self.end.position;
        let mut full = Vec::new();
        let fits = self.tree.push_node(level, node, |level, place, hash| {
            if level >= STORED_LEVEL {
                full.push((level, place, hash));
            }
        });
        if !fits {
            return Err(bad(end, "a gap's nodes do not fit the tree"));
        }
        for (level, place, hash) in full {
            let Some(index) = index else { break };
            if index.stored_node(level, place).map_err(index_error)? != Some(hash) {
                let first = Position::new((place << level) + 1);
                return Err(bad(first, format!("the stored tree differs up to {end}")));
            }
        }
        Ok(())
    }

    /// Holds what was signed of the position that was reached against what is there.
    fn meet(&mut self) -> Result<(), VerifyError> {
        let position = self.end.position;
        for promises in &mut self.promises {
            while let Some(signed) = promises.next.as_ref()
                && signed.head().position == position
            {
                let head = signed.head();
                if head.chain != self.end.hash || head.root != self.tree.root() {
                    return Err(broken(self.signed, signed));
                }
                promises.advance()?;
                self.signed = position;
            }
        }
        Ok(())
    }

    /// Whether everything that was signed was met.
    pub(super) fn finish(&mut self) -> Result<(), VerifyError> {
        let mut missing: Option<SignedCheckpoint> = None;
        for promises in &mut self.promises {
            while let Some(signed) = promises.next.clone() {
                let most = missing.as_ref().map(|known| known.head().position);
                if most < Some(signed.head().position) {
                    missing = Some(signed);
                }
                promises.advance()?;
            }
        }
        let Some(signed) = missing else { return Ok(()) };
        let (covered, at) = (signed.head().position, signed.at());
        let what =
            format!("the log ends here, and held {covered} events when it was signed at {at}");
        Err(bad(self.end.position.next(), what))
    }
}

/// Nothing says which of the events since the checkpoint before is another: the first may be.
fn broken(held: Position, signed: &SignedCheckpoint) -> VerifyError {
    let (position, at) = (signed.head().position, signed.at());
    bad(held.next(), format!("from here to {position} the events are not those signed at {at}"))
}
