//! Edits of genuine bytes, for formats that no fuzzer would find from nothing.

/// Applies edits of four bytes to `genuine`: place (two bytes, big-endian), kind, value.
pub fn edit(genuine: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut edited = genuine.to_vec();
    for edit in edits.as_chunks::<4>().0 {
        let [high, low, kind, value] = *edit;
        let place = usize::from(u16::from_be_bytes([high, low])) % (edited.len() + 1);
        match kind % 4 {
            0 => edited.insert(place, value),
            1 => edited.truncate(place),
            2 if place < edited.len() => drop(edited.remove(place)),
            _ => edited
                .iter_mut()
                .skip(place)
                .take(1)
                .for_each(|byte| *byte ^= value),
        }
    }
    edited
}
