//! The protobuf messages of `proto/endorsement.proto`, with the field numbers there.

use std::collections::BTreeMap;

/// `VMLaunchEndorsement`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LaunchEndorsement {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) serialized_uefi_golden: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) signature: Vec<u8>,
}

/// `VMGoldenMeasurement`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GoldenMeasurement {
    #[prost(message, optional, tag = "1")]
    pub(super) timestamp: Option<Timestamp>,
    #[prost(uint64, tag = "2")]
    pub(super) cl_spec: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) commit: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) cert: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) digest: Vec<u8>,
    #[prost(message, optional, tag = "7")]
    pub(super) sev_snp: Option<SevSnp>,
    #[prost(message, optional, tag = "8")]
    pub(super) tdx: Option<Tdx>,
}

/// `google.protobuf.Timestamp`, to the second.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
}

/// `VMSevSnp`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SevSnp {
    #[prost(uint32, tag = "1")]
    pub(super) svn: u32,
    #[prost(btree_map = "uint32, bytes", tag = "2")]
    pub(super) measurements: BTreeMap<u32, Vec<u8>>,
    #[prost(uint64, tag = "5")]
    pub(super) policy: u64,
    #[prost(bytes = "vec", tag = "7")]
    pub(super) svsm_measurement: Vec<u8>,
}

/// `VMTdx`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Tdx {
    #[prost(uint32, tag = "1")]
    pub(super) svn: u32,
    #[prost(message, repeated, tag = "2")]
    pub(super) measurements: Vec<TdxMeasurement>,
}

/// `VMTdx.Measurement`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TdxMeasurement {
    #[prost(uint32, tag = "1")]
    pub(super) ram_gib: u32,
    #[prost(bool, tag = "2")]
    pub(super) early_accept: bool,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) mrtd: Vec<u8>,
}
