//! The launch digest of an IGVM file: its directives in file order, each as the page type that SEV-SNP has for it.
//!
//! Source: crate `igvm` 0.5.0 `src/measurement/snp.rs` (order, NORMAL for zeros); coconut-svsm `tools/igvmmeasure` (ZERO for
//! zeros). They differ in parameter areas of more than one page: `igvmmeasure` counts one page, the crate, QEMU and this
//! module all of them. Shared pages are not launched.

use std::collections::BTreeMap;
use std::fmt;

use igvm::IgvmDirectiveHeader;
use igvm_defs::IgvmPageDataType;
use zerocopy::IntoBytes as _;

use super::{Igvm, IgvmError, MAX_PAGES};
use crate::digest::{Bank, Digest, Hasher};
use crate::snp::gctx::{Gctx, contents};
use crate::snp::{LaunchDigest, PAGE_SIZE, PageType};
use crate::transcript::{Register, Step, Transcript};

/// How a host launches a page for which the file has no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ZeroPages {
    /// As a NORMAL page of zeros: the format's rule, and what QEMU does.
    Normal,
    /// As a page of type ZERO: Google's endorsements of SVSM are made so.
    Native,
}

impl ZeroPages {
    /// Both rules, the format's own first.
    pub const ALL: [ZeroPages; 2] = [ZeroPages::Normal, ZeroPages::Native];

    /// Returns the rule's name, as in output.
    pub fn name(self) -> &'static str {
        match self {
            ZeroPages::Normal => "zero-pages-as-normal",
            ZeroPages::Native => "native-zero",
        }
    }
}

impl fmt::Display for ZeroPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One page of a launch.
struct Page<'a> {
    page_type: PageType,
    gpa: u64,
    /// Contents where they count; empty for zeros.
    data: &'a [u8],
    /// The directive.
    input: &'static str,
}

impl Igvm {
    /// Computes the launch digest under one rule for pages without data.
    pub fn launch_digest(&self, zero: ZeroPages) -> LaunchDigest {
        let mut gctx = Gctx::new();
        self.pages(zero, &mut |page| page.update(&mut gctx));
        gctx.digest()
    }

    /// Returns the account of the launch; runs of neighbouring pages of one kind are one step, with the SHA-384 of all their
    /// contents (zeros where none are measured).
    pub fn transcript(&self, zero: ZeroPages) -> Transcript {
        let mut gctx = Gctx::new();
        let mut runs = Runs::default();
        self.pages(zero, &mut |page| {
            runs.begin(page, gctx.digest());
            page.update(&mut gctx);
        });
        runs.end(gctx.digest());
        Transcript { steps: runs.steps }
    }

    /// Counts the pages of the launch, and refuses what is not measured here, before anything is.
    pub(super) fn count_pages(&self) -> Result<u64, IgvmError> {
        let (mut pages, mut areas) = (0_u64, BTreeMap::new());
        for directive in self.directives() {
            match directive {
                IgvmDirectiveHeader::PageData { gpa, flags, .. } if flags.is_2mb_page() => {
                    return Err(IgvmError::LargePage { gpa: *gpa });
                }
                IgvmDirectiveHeader::ParameterArea {
                    number_of_bytes,
                    parameter_area_index,
                    ..
                } => {
                    areas.insert(*parameter_area_index, *number_of_bytes);
                }
                IgvmDirectiveHeader::ParameterInsert(insert) => {
                    let area = areas
                        .get(&insert.parameter_area_index)
                        .copied()
                        .unwrap_or_default();
                    pages = pages.saturating_add(area / PAGE_SIZE as u64);
                }
                _ => pages = pages.saturating_add(1),
            }
        }
        (pages <= MAX_PAGES)
            .then_some(pages)
            .ok_or(IgvmError::TooManyPages)
    }

    fn pages<'a>(&'a self, zero: ZeroPages, tell: &mut dyn FnMut(&Page<'a>)) {
        let mut areas = BTreeMap::new();
        for directive in self.directives() {
            match directive {
                IgvmDirectiveHeader::PageData {
                    gpa,
                    flags,
                    data_type,
                    data,
                    ..
                } if !flags.shared() => {
                    let page_type = match *data_type {
                        IgvmPageDataType::SECRETS => PageType::Secrets,
                        IgvmPageDataType::CPUID_DATA | IgvmPageDataType::CPUID_XF => {
                            PageType::Cpuid
                        }
                        _ if flags.unmeasured() => PageType::Unmeasured,
                        _ if data.is_empty() && zero == ZeroPages::Native => PageType::Zero,
                        _ => PageType::Normal,
                    };
                    tell(&Page {
                        page_type,
                        gpa: *gpa,
                        data,
                        input: "page data",
                    });
                }
                IgvmDirectiveHeader::ParameterArea {
                    number_of_bytes,
                    parameter_area_index,
                    ..
                } => {
                    areas.insert(*parameter_area_index, *number_of_bytes);
                }
                IgvmDirectiveHeader::ParameterInsert(insert) => {
                    let size = areas
                        .get(&insert.parameter_area_index)
                        .copied()
                        .unwrap_or_default();
                    for gpa in (insert.gpa..insert.gpa.saturating_add(size)).step_by(PAGE_SIZE) {
                        tell(&Page {
                            page_type: PageType::Unmeasured,
                            gpa,
                            data: &[],
                            input: "parameter insert",
                        });
                    }
                }
                IgvmDirectiveHeader::SnpVpContext { gpa, vmsa, .. } => {
                    tell(&Page {
                        page_type: PageType::Vmsa,
                        gpa: *gpa,
                        data: vmsa.as_bytes(),
                        input: "VP context",
                    });
                }
                _ => {}
            }
        }
    }
}

impl Page<'_> {
    fn has_contents(&self) -> bool {
        matches!(self.page_type, PageType::Normal | PageType::Vmsa)
    }

    /// Returns the page's 4 KiB, shorter data filled up with zeros.
    fn bytes(&self) -> [u8; PAGE_SIZE] {
        let mut bytes = [0; PAGE_SIZE];
        bytes
            .iter_mut()
            .zip(self.data)
            .for_each(|(to, from)| *to = *from);
        bytes
    }

    fn update(&self, gctx: &mut Gctx) {
        let hash = if self.has_contents() {
            contents(&self.bytes())
        } else {
            [0; 48]
        };
        gctx.update(self.page_type, self.gpa, &hash);
    }
}

/// A run of pages that is still growing.
struct Run {
    page_type: PageType,
    input: &'static str,
    start: u64,
    end: u64,
    contents: Option<Hasher>,
}

/// Collects pages into steps.
#[derive(Default)]
struct Runs {
    open: Option<Run>,
    steps: Vec<Step>,
}

impl Runs {
    /// Takes the next page; `before` is the launch digest without it.
    fn begin(&mut self, page: &Page<'_>, before: LaunchDigest) {
        let follows = |run: &Run| {
            run.page_type == page.page_type && run.input == page.input && run.end == page.gpa
        };
        if !self.open.as_ref().is_some_and(follows) {
            self.end(before);
        }
        let run = self.open.get_or_insert_with(|| Run {
            page_type: page.page_type,
            input: page.input,
            start: page.gpa,
            end: page.gpa,
            contents: page.has_contents().then(|| Bank::Sha384.hasher()),
        });
        run.end = page.gpa.saturating_add(PAGE_SIZE as u64);
        if let Some(hasher) = &mut run.contents {
            hasher.update(&page.bytes());
        }
    }

    /// Closes the run that is open, if any.
    fn end(&mut self, value: LaunchDigest) {
        let Some(run) = self.open.take() else { return };
        self.steps.push(Step {
            register: Register::LaunchDigest,
            what: format!("{} pages {:#x} to {:#x}", run.page_type, run.start, run.end),
            input: format!("IGVM {}", run.input),
            digest: run
                .contents
                .map_or(Digest::zero(Bank::Sha384), Hasher::finish),
            value: value.into(),
        });
    }
}
