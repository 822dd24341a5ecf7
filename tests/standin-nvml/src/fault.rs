//! Everything that can be wrong with the library, the driver or the GPU.

/// One thing that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The driver is not loaded: 9 at the start.
    DriverNotLoaded,
    /// Library and driver are of different versions: 18 at the start.
    LibraryVersion,
    /// The process ends inside of the library.
    Abort,
    /// The report never comes.
    Hang,
    /// 15 instead of a report.
    Lost,
    /// A report that is longer than its array.
    Oversize,
    /// A report of no bytes.
    Empty,
    /// No certificates where there should be.
    GarbageChain,
    /// One GPU at first, two later.
    CountChanges,
    /// Two GPUs.
    TwoGpus,
    /// The ready state goes back to 0.
    ReadyDoesNotStick,
    /// The driver has latched a failure.
    Latched,
    /// The ready state is 1 from the start.
    ReadyAlready,
    /// Confidential mode is off.
    ConfidentialOff,
    /// Developer tools are on.
    DevTools,
    /// Protected PCIe.
    ProtectedPcie,
    /// Confidential mode on, environment simulated.
    Simulation,
    /// A Blackwell.
    Blackwell,
    /// The library is of another driver.
    OtherDriver,
    /// The report names another VBIOS than the library.
    OtherVbios,
    /// One measurement is wrong.
    Measurement,
    /// The report answers another nonce.
    StaleNonce,
    /// Certificates of another root.
    OtherRoot,
    /// The report is signed by another GPU.
    OtherSigner,
    /// The leaf is of other firmware than the report.
    OtherFirmware,
    /// A byte behind the report.
    Trailing,
    /// 15 instead of the second report, and of every one after it.
    LostLater,
    /// Two GPUs with the same serial numbers.
    EqualSerials,
    /// From the second report on it is another GPU.
    Exchanged,
    /// The driver has no threshold for key rotation: 3.
    NoKeyRotation,
    /// The threshold for key rotation is 62 and stays so.
    KeyRotationIgnored,
}

/// By their names.
pub(crate) const NAMES: [(&str, Fault); 31] = [
    ("driver-not-loaded", Fault::DriverNotLoaded),
    ("library-version", Fault::LibraryVersion),
    ("abort", Fault::Abort),
    ("hang", Fault::Hang),
    ("lost", Fault::Lost),
    ("oversize", Fault::Oversize),
    ("empty", Fault::Empty),
    ("garbage-chain", Fault::GarbageChain),
    ("count-changes", Fault::CountChanges),
    ("two-gpus", Fault::TwoGpus),
    ("ready-does-not-stick", Fault::ReadyDoesNotStick),
    ("latched", Fault::Latched),
    ("ready-already", Fault::ReadyAlready),
    ("confidential-off", Fault::ConfidentialOff),
    ("dev-tools", Fault::DevTools),
    ("protected-pcie", Fault::ProtectedPcie),
    ("simulation", Fault::Simulation),
    ("blackwell", Fault::Blackwell),
    ("other-driver", Fault::OtherDriver),
    ("other-vbios", Fault::OtherVbios),
    ("measurement", Fault::Measurement),
    ("stale-nonce", Fault::StaleNonce),
    ("other-root", Fault::OtherRoot),
    ("other-signer", Fault::OtherSigner),
    ("other-firmware", Fault::OtherFirmware),
    ("trailing", Fault::Trailing),
    ("lost-later", Fault::LostLater),
    ("equal-serials", Fault::EqualSerials),
    ("exchanged", Fault::Exchanged),
    ("no-key-rotation", Fault::NoKeyRotation),
    ("key-rotation-ignored", Fault::KeyRotationIgnored),
];

impl Fault {
    /// The fault of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, fault)| *fault)
    }
}
