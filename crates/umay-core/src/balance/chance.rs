//! Random numbers that are handed in, made to fit.

/// Maps 64 random bits evenly to `0..count`.
pub fn below(random: u64, count: usize) -> usize {
    // Below `count`, so the cast cannot truncate.
    ((u128::from(random) * count as u128) >> 64) as usize
}

/// Maps 64 random bits evenly to 0 up to, but not including, 1.
pub fn unit(random: u64) -> f64 {
    // 53 bits are what fits into a float without rounding up to 1.
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// A hash that is the same on every machine (FNV-1a, mixed).
pub fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// The next of a row of random numbers (SplitMix64).
pub fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
