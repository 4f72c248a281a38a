//! Smooth weighted sequences: each member as often as its weight says, its turns as far apart as can be.

/// Turns of members by index, for these weights in this order, at most `most` of them. Weights with a common divisor, and such whose
/// sum is above `most`, are brought down; none below one.
///
/// A member's turns are a fixed interval apart; members begin one after another within their first interval. With equal weights that
/// is round robin, with others it is as even as smooth weighted round robin.
#[must_use]
pub fn build(weights: &[u32], most: u32) -> Vec<u32> {
    let weights = reduced(weights, most);
    let members = weights.len() as u128;
    let mut turns: Vec<(u64, u32)> = Vec::new();
    for (member, weight) in (0..).zip(&weights) {
        let (begin, weight) = (2 * u128::from(member) + 1, u128::from(*weight));
        // Fixed point, so that no two machines round differently.
        let due = |turn| (((2 * members * turn + begin) << 32) / (2 * members * weight)) as u64;
        turns.extend((0..weight).map(|turn| (due(turn), member)));
    }
    turns.sort_unstable();
    turns.into_iter().map(|(_, member)| member).collect()
}

/// Number of turns that [`build`] gives.
#[must_use]
pub fn length(weights: &[u32], most: u32) -> u32 {
    reduced(weights, most).iter().sum()
}

fn reduced(weights: &[u32], most: u32) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let room = u64::from(most).saturating_sub(weights.len() as u64);
    if sum <= u64::from(most) {
        return weights;
    }
    weights.iter().map(|weight| 1 + (u64::from(*weight) * room / sum) as u32).collect()
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_often_as_the_weight_and_apart() {
        assert_eq!(build(&[1, 1, 1], 100), [0, 1, 2]);
        assert_eq!(build(&[7], 100), [0]);
        assert_eq!(build(&[20, 10, 10], 100), [0, 1, 0, 2]);
        assert_eq!(build(&[5, 1, 1], 100), [0, 0, 0, 1, 0, 0, 2]);
        assert_eq!(build(&[1, 1, 1, 1, 5], 100), [0, 4, 1, 4, 2, 4, 3, 4, 4]);
        assert_eq!(build(&[], 100), [0; 0]);
    }

    /// In any stretch of the sequence, however often it is repeated, each member has its share, two turns more or less.
    #[test]
    fn every_stretch_is_fair() {
        for weights in [vec![3, 2, 1], vec![100, 50, 1], vec![7; 9], vec![1000, 1, 1, 1], vec![65_535, 2, 1]] {
            let sequence = build(&weights, 65_537);
            let total = f64::from(sequence.len() as u32);
            let sum = f64::from(weights.iter().sum::<u32>());
            for (member, weight) in (0..).zip(&weights) {
                let mut seen = 0.0_f64;
                for (at, turn) in (1..).zip(&sequence) {
                    seen += f64::from(u8::from(*turn == member));
                    let due = f64::from(at) * f64::from(*weight) / sum;
                    assert!(
                        (seen - due).abs() <= 2.0,
                        "{weights:?}: {member} had {seen} of {due:.2} after {at} of {total}"
                    );
                }
            }
        }
    }

    #[test]
    fn long_sequences_are_brought_down_and_forget_nobody() {
        let weights = [65_535, 65_534, 3, 1];
        let sequence = build(&weights, 1000);
        assert_eq!(sequence.len() as u32, length(&weights, 1000));
        assert!(sequence.len() <= 1000, "{}", sequence.len());
        let of = |member| sequence.iter().filter(|turn| **turn == member).count();
        assert!(of(0) >= 495 && of(1) >= 495 && of(2) == 1 && of(3) == 1, "{:?}", [of(0), of(1), of(2), of(3)]);
    }
}
