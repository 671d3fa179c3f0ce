//! Bugs that are planted round the real code, to see that the simulator finds them. None of them is a switch inside it.

use std::sync::Arc;

use commonwatt_chain::{Agreement, AgreementError, Validators};
use commonwatt_primitives::{
    Step,
    digest::{Punctuality, StepDigest},
};
use commonwatt_runtime::{Hash, Header, apis::Lineup};

use crate::disk::Flaws;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The write-ahead log acknowledges without a sync.
    LogUnsynced,
    /// The database acknowledges without a sync.
    DatabaseUnsynced,
    /// The database forgets the numbers of some blocks.
    NumbersLost,
    /// The database keeps certificates with a single signature.
    CertificatesCut,
    /// Nodes that start take blocks from peers without looking at their certificates.
    CertificatesUnchecked,
    /// Nodes do not look at the seals of blocks.
    SealsUnchecked,
    /// Nodes vote for each block at once, before they execute it.
    VotesBeforeExecution,
    /// Nodes never answer who asks for a block.
    NoAnswers,
    /// A token is on the chain that nobody issued.
    ForgedToken,
    /// A cryptometer counts each pulse twice.
    PulsesTwice,
    /// Nodes do not hold it against a block what it leaves out.
    Timeliness,
    /// Evidence of a contradiction is dropped.
    EvidenceDropped,
    /// Pools drop the gifts that they have accepted.
    GiftsDropped,
    /// Whoever has the council's key pardons everybody who contradicted itself.
    Pardons,
    /// A liar has an honest validator's vote key, and contradicts itself in its name.
    KeyStolen,
    /// Lines flip a bit now and then.
    BitsFlipped,
    /// The disk damages the head of the write-ahead log when the machine stops.
    LogDamaged,
    /// The disk writes the log at once, but what the database commits only when the node is idle.
    DatabaseLazy,
}

impl Bug {
    /// Returns what is wrong with disks.
    pub fn flaws(self) -> Flaws {
        Flaws {
            is_log_unsynced: self == Self::LogUnsynced,
            is_database_unsynced: self == Self::DatabaseUnsynced,
            is_database_lazy: self == Self::DatabaseLazy,
            damages_log: self == Self::LogDamaged,
            loses_numbers: self == Self::NumbersLost,
            cuts_certificates: self == Self::CertificatesCut,
        }
    }
}

/// An agreement that leaves checks out.
pub struct Careless {
    inner: Validators,
    checks_seals: bool,
    checks_certificates: bool,
}

impl Careless {
    /// Wraps the real one.
    pub fn wrap(inner: Validators, bug: Option<Bug>) -> Arc<dyn Agreement> {
        let checks_seals = bug != Some(Bug::SealsUnchecked);
        let checks_certificates = bug != Some(Bug::CertificatesUnchecked);
        if checks_seals && checks_certificates {
            return Arc::new(inner);
        }
        Arc::new(Self {
            inner,
            checks_seals,
            checks_certificates,
        })
    }
}

impl Agreement for Careless {
    fn claim(
        &self,
        step: Step,
        rank: u32,
        punctuality: Punctuality,
        lineup: &Lineup,
    ) -> Result<Option<StepDigest>, AgreementError> {
        self.inner.claim(step, rank, punctuality, lineup)
    }

    fn seal(&self, header: &Header, lineup: &Lineup) -> Result<Vec<u8>, AgreementError> {
        self.inner.seal(header, lineup)
    }

    fn verify_author(
        &self,
        header: &Header,
        seal: &[u8],
        lineup: &Lineup,
    ) -> Result<(), AgreementError> {
        match self.inner.verify_author(header, seal, lineup) {
            Err(AgreementError::BadSeal(_)) if !self.checks_seals => Ok(()),
            outcome => outcome,
        }
    }

    fn certify(
        &self,
        genesis: &Hash,
        number: u32,
        hash: &Hash,
        lineup: &Lineup,
    ) -> Result<Vec<u8>, AgreementError> {
        self.inner.certify(genesis, number, hash, lineup)
    }

    fn verify_certificate(
        &self,
        genesis: &Hash,
        number: u32,
        hash: &Hash,
        certificate: &[u8],
        lineup: &Lineup,
    ) -> Result<(), AgreementError> {
        if !self.checks_certificates {
            return Ok(());
        }
        self.inner
            .verify_certificate(genesis, number, hash, certificate, lineup)
    }
}
