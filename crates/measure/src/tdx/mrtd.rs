//! MRTD: one SHA-384 over a record for each page added and each 256 bytes measured.
//!
//! Spec: Intel TDX Module Base Architecture Specification, `TDH.MEM.PAGE.ADD` and `TDH.MR.EXTEND`. A record is 128 bytes
//! with the operation's name at 0 and the guest physical address at 16, else zeros; `MR.EXTEND` is followed by the 256
//! bytes. The module hashes in the order of the calls, so the order in which a VMM adds pages is part of MRTD.

use std::fmt;

use sha2::{Digest as _, Sha384};

use super::metadata::{PAGE, Section, Tdvf};
use crate::digest::{Bank, Digest};
use crate::transcript::{Register, Step, Transcript};

/// Bytes that one `TDH.MR.EXTEND` measures.
const CHUNK: usize = 256;

/// In which order a host adds and measures the pages of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageOrder {
    /// Each page is added, then measured (`KVM_TDX_INIT_MEM_REGION` of Linux 6.16 and later; GCE).
    AddThenExtend,
    /// All pages of a section are added, then all are measured (hosts with KVM patches from before Linux 6.16).
    TwoPass,
}

impl PageOrder {
    /// Both orders, the current one first.
    pub const ALL: [PageOrder; 2] = [PageOrder::AddThenExtend, PageOrder::TwoPass];

    /// Returns the order's name, as in output and reference values.
    pub fn name(self) -> &'static str {
        match self {
            PageOrder::AddThenExtend => "add-then-extend",
            PageOrder::TwoPass => "two-pass",
        }
    }
}

impl fmt::Display for PageOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Tdvf<'_> {
    /// Computes MRTD as a host with this page order makes it, 48 bytes of SHA-384.
    pub fn mrtd(&self, order: PageOrder) -> Digest {
        self.measure(order, &mut |_| {})
    }

    /// Returns the account of MRTD, one step per section and pass: the digest is that of the section's measured
    /// contents (zeros where only addresses are measured), the value that of MRTD if the launch ended there.
    pub fn transcript(&self, order: PageOrder) -> Transcript {
        let mut steps = Vec::new();
        self.measure(order, &mut |step| steps.push(step));
        Transcript { steps }
    }

    fn measure(&self, order: PageOrder, tell: &mut dyn FnMut(Step)) -> Digest {
        let mut mrtd = Mrtd(Sha384::new());
        for section in self
            .sections()
            .iter()
            .filter(|section| section.is_added() && section.size > 0)
        {
            match order {
                PageOrder::AddThenExtend => {
                    mrtd.pages(section, true, section.is_extended());
                    let what = if section.is_extended() {
                        "added and measured page by page"
                    } else {
                        "added"
                    };
                    tell(mrtd.step(section, what, section.is_extended()));
                }
                PageOrder::TwoPass => {
                    mrtd.pages(section, true, false);
                    tell(mrtd.step(section, "added", false));
                    if section.is_extended() {
                        mrtd.pages(section, false, true);
                        tell(mrtd.step(section, "measured", true));
                    }
                }
            }
        }
        mrtd.value()
    }
}

/// MRTD while it is computed.
struct Mrtd(Sha384);

impl Mrtd {
    fn pages(&mut self, section: &Section<'_>, add: bool, extend: bool) {
        // Contents of a measured section fill its pages; of others they are not hashed.
        let mut pages = section.data.chunks(PAGE);
        for gpa in (section.gpa..section.end()).step_by(PAGE) {
            let page = pages.next().unwrap_or_default();
            if add {
                self.record(b"MEM.PAGE.ADD", gpa);
            }
            let chunks = page.chunks(CHUNK).filter(|_| extend);
            for (chunk, gpa) in chunks.zip((gpa..).step_by(CHUNK)) {
                self.record(b"MR.EXTEND", gpa);
                self.0.update(chunk);
            }
        }
    }

    fn record(&mut self, operation: &[u8], gpa: u64) {
        let mut name = [0; 16];
        name.iter_mut()
            .zip(operation)
            .for_each(|(to, from)| *to = *from);
        self.0.update(name);
        self.0.update(gpa.to_le_bytes());
        self.0.update([0; 104]);
    }

    fn value(&self) -> Digest {
        Digest::Sha384(self.0.clone().finalize().into())
    }

    fn step(&self, section: &Section<'_>, what: &str, contents: bool) -> Step {
        Step {
            register: Register::Mrtd,
            what: format!("pages {:#x} to {:#x} {what}", section.gpa, section.end()),
            input: format!("TDX metadata {}", section.kind),
            digest: match contents {
                true => Bank::Sha384.hash(&[section.data]),
                false => Digest::zero(Bank::Sha384),
            },
            value: self.value(),
        }
    }
}
