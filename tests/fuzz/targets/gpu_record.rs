//! What the GPU helper says to PID 1: what is accepted is written the same way again.
#![no_main]

use cloister_gpu_helper::record::{REQUEST, Record, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = Record::decode(data) {
        assert_eq!(record.encode(), data);
    }
    if let Some(request) = data.first_chunk::<REQUEST>()
        && let Ok(read) = Request::decode(request)
    {
        assert_eq!(read.encode(), *request);
    }
});
