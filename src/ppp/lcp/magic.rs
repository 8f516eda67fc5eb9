//! Magic numbers: different each time, never zero. They need not be secret (RFC 1661 §6.4).

/// A sequence of numbers determined by a seed (Steele, Lea and Flood's SplitMix64).
#[derive(Clone, Debug)]
pub struct MagicSource(u64);

impl MagicSource {
    /// Creates a source. Two ends with different seeds have different sequences.
    #[must_use]
    pub fn new(seed: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(seed))
    }

    /// Returns the next number, never zero.
    pub fn draw(&mut self) -> u32 {
        loop {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^= mixed >> 31;
            let [a, b, c, d, ..] = mixed.to_be_bytes();
            let number = u32::from_be_bytes([a, b, c, d]);
            if number != 0 {
                return number;
            }
        }
    }
}
