//! Commands byte by byte, and answers that no TPM gives.

use super::*;

/// Plays back responses and records what was asked, for the forms of bad answers that a
/// software TPM does not give; the good ones are in `tests/swtpm.rs`.
struct Script {
    responses: Vec<Vec<u8>>,
    asked: Vec<Vec<u8>>,
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some(next) = self.responses.first_mut() else {
            return Ok(0);
        };
        let length = next.len().min(buffer.len());
        buffer[..length].copy_from_slice(&next[..length]);
        self.responses.remove(0);
        Ok(length)
    }
}

impl Write for Script {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.asked.push(buffer.to_vec());
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn scripted(responses: &[&[u8]]) -> Tpm<Script> {
    let responses = responses.iter().map(|r| r.to_vec()).collect();
    Tpm::new(Script {
        responses,
        asked: Vec::new(),
    })
}

// Expected bytes are written out from the command tables of Part 3, field by field; that a TPM
// understands them is shown with swtpm in `tests/swtpm.rs`.
#[test]
fn quote_command_has_the_bytes_of_part_3() {
    let expected = "80020000004900000158".to_owned() // TPM_ST_SESSIONS, 73 bytes, TPM_CC_Quote
        + "80ffffff" + "00000009" + "400000090000000000" // signHandle, password session
        + "0020" + &"ab".repeat(32) // qualifyingData
        + "0010" // inScheme: TPM_ALG_NULL
        + "00000001000b03ffff00"; // PCRselect
    assert_eq!(hex::encode(quote(0x80ff_ffff, &[0xab; 32])), expected);
}

#[test]
fn create_primary_command_has_the_bytes_of_part_3() {
    let expected = "80020000004100000131".to_owned()
        + "40000001" + "00000009" + "400000090000000000"
        + "000400000000" // inSensitive
        + "0018" + "0023000b00050472" + "0000" + "00100018000b00030010" + "00000000" // inPublic
        + "0000" + "00000000"; // outsideInfo, creationPCR
    assert_eq!(hex::encode(create_primary()), expected);
}

#[test]
fn pcr_commands_have_the_bytes_of_part_3() {
    let expected =
        "8002000000200000013c0000000f00000009400000090000000000".to_owned() + "0003616263";
    assert_eq!(hex::encode(pcr_event(15, b"abc").unwrap()), expected);
    assert_eq!(
        hex::encode(pcr_read([0, 0xff, 0])),
        "8001000000140000017e00000001000b0300ff00"
    );
    assert_eq!(pcr_event(15, &vec![0; 65536]), None);
}

#[test]
fn nv_read_command_has_the_bytes_of_part_3() {
    let expected = "80020000002300000" .to_owned()
        + "14e" // TPM_CC_NV_Read
        + "40000001" + "01400001" // authHandle (owner), nvIndex
        + "00000009" + "400000090000000000"
        + "0200" + "0400"; // size, offset
    assert_eq!(hex::encode(nv_read(0x0140_0001, 512, 1024)), expected);
}

/// `TPM2B_NV_PUBLIC` and an empty name, for an index of `size` bytes.
fn nv_public(index: u32, size: u16) -> Vec<u8> {
    let mut response = vec![0x80, 1, 0, 0, 0, 28, 0, 0, 0, 0, 0, 14];
    response.extend(index.to_be_bytes());
    response.extend([0, 0x0b, 0, 2, 0, 2, 0, 0]); // nameAlg, attributes, authPolicy
    response.extend(size.to_be_bytes());
    response.extend([0, 0]);
    response
}

#[test]
fn nv_read_is_none_where_there_is_no_index() {
    let mut tpm = scripted(&[&[0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x8b]]);
    assert_eq!(tpm.nv_read(0x0140_0001, 4096).unwrap(), None);
}

#[test]
fn nv_read_refuses_another_index_an_oversized_one_and_a_short_chunk() {
    let malformed = |responses: &[&[u8]], command: &str| {
        let error = scripted(responses).nv_read(0x0140_0001, 4096).unwrap_err();
        let wanted = format!("TPM response to {command} is malformed");
        assert_eq!(error.to_string(), wanted);
    };
    malformed(&[&nv_public(0x0140_0002, 8)], "TPM2_NV_ReadPublic");
    malformed(&[&nv_public(0x0140_0001, 4097)], "TPM2_NV_Read");
    let short = [0x80, 2, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0, 4, 0, 2, 1, 2];
    malformed(&[&nv_public(0x0140_0001, 8), &short], "TPM2_NV_Read");
}

#[test]
fn run_reports_the_response_code() {
    let mut tpm = scripted(&[&[0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x2f]]);
    let error = tpm.read_pcrs().unwrap_err();
    assert_eq!(
        error.to_string(),
        "TPM refused TPM2_PCR_Read with response code 0x12f"
    );
}

#[test]
fn run_asks_again_when_the_tpm_is_busy() {
    let busy: &[u8] = &[0x80, 1, 0, 0, 0, 10, 0, 0, 9, 0x22];
    let mut tpm = scripted(&[busy, busy, &[0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0]]);
    let key = Key {
        handle: 0x8000_0000,
        public: vec![],
    };
    tpm.flush(key).unwrap();
    assert_eq!(tpm.stream.asked.len(), 3);
    assert_eq!(
        hex::encode(&tpm.stream.asked[0]),
        "80010000000e0000016580000000"
    );
}

#[test]
fn run_refuses_short_long_and_oversized_responses() {
    for response in [
        [0x80, 1, 0, 0, 0, 11, 0, 0, 0, 0].as_slice(),
        &[0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0],
        &[0x80, 1, 0xff, 0, 0, 9, 0, 0, 0, 0],
        &[0x80, 1],
        &[],
    ] {
        let error = scripted(&[response]).read_pcrs().unwrap_err();
        assert_eq!(
            error.to_string(),
            "TPM response to TPM2_PCR_Read is malformed",
            "{response:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn responses_of_any_bytes_do_not_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let size = u32::try_from(body.len() + 10).unwrap();
        let response = [[0x80, 2].as_slice(), &size.to_be_bytes(), &[0; 4], &body].concat();
        let key = Key { handle: 1, public: vec![] };
        let _ = scripted(&[&response]).quote(&key, &[0; 32]);
        let _ = scripted(&[&response]).pcr_event(15, b"x");
        let _ = scripted(&[&response]).create_attestation_key();
        let _ = scripted(&[&response]).read_pcrs();
    }
}
