//! Logarithms and powers of e of fourteen stakes at once, in a form that a compiler puts into vectors: library calls for
//! each took most of the time of a verdict over a thousand routes. Within two units of the last place.

use super::STAKES;

const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

const EXPONENT: u64 = 0xfff0_0000_0000_0000;
const ONE: u64 = 0x3ff0_0000_0000_0000;
const ROOT_OF_HALF: u64 = 0x3fe6_a09e_667f_3bcd;

/// 2^52: the last places of such a number are a whole one.
const WHOLE: f64 = 4_503_599_627_370_496.0;

/// Natural logarithms; of nothing, the least that a number has, which no fortune comes back from.
pub(super) fn ln(of: &[f64; STAKES]) -> [f64; STAKES] {
    let mut all = [0.0; STAKES];
    for (ln, of) in all.iter_mut().zip(of) {
        let bits = of.max(f64::MIN_POSITIVE).to_bits();
        // A power of two, and a rest between the roots of a half and of two.
        let power = bits.wrapping_sub(ROOT_OF_HALF).wrapping_add(ONE);
        let left = f64::from_bits(bits.wrapping_sub(power & EXPONENT).wrapping_add(ONE));
        let power = f64::from_bits((power >> 52) | WHOLE.to_bits()) - (WHOLE + 1023.0);
        // As fdlibm's e_log.c has it.
        let f = left - 1.0;
        let s = f / (2.0 + f);
        let z = s * s;
        let w = z * z;
        let even =
            w * (0.399_999_999_994_094_2 + w * (0.222_221_984_321_497_84 + w * 0.153_138_376_992_093_73));
        let odd = z
            * (0.666_666_666_666_673_5
                + w * (0.285_714_287_436_623_9
                    + w * (0.181_835_721_616_180_5 + w * 0.147_981_986_051_165_86)));
        let half = 0.5 * f * f;
        *ln = power * LN_2_HIGH - ((half - (s * (half + even + odd) + power * LN_2_LOW)) - f);
    }
    all
}

/// The sum of `exp` of logarithms that are at most 0, without terms that are less than `e^least`, which is no less than -100.
pub(super) fn sum_of_exp(of: &[f64; STAKES], least: f64) -> f64 {
    let mut all = [0.0; STAKES];
    for (exp, of) in all.iter_mut().zip(of) {
        let x = of.max(least);
        let near = x * std::f64::consts::LOG2_E + 1.5 * WHOLE;
        let power = near - 1.5 * WHOLE;
        let r = (x - power * LN_2_HIGH) - power * LN_2_LOW;
        let mut sum = 1.0;
        for n in [12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0] {
            sum = 1.0 + sum * r * (1.0 / n);
        }
        let scale = f64::from_bits((near.to_bits() << 52).wrapping_add(ONE));
        *exp = if *of > least { sum * scale } else { 0.0 };
    }
    all.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_the_library_has() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let of: [f64; STAKES] = std::array::from_fn(|_| 10_f64.powf(rng.f64() * 24.0 - 20.0));
            for (of, ln) in of.iter().zip(ln(&of)) {
                assert!((ln - of.ln()).abs() <= 1e-15 * of.ln().abs().max(0.1), "{of}: {ln}");
            }
            let of: [f64; STAKES] = std::array::from_fn(|_| -25.0 * rng.f64());
            let expect: f64 = of.iter().filter(|of| **of > -20.0).map(|of| of.exp()).sum();
            assert!((sum_of_exp(&of, -20.0) - expect).abs() <= 1e-14 * expect);
        }
        assert!(ln(&[0.0; STAKES])[0] < -700.0);
        assert_eq!(ln(&[1.0; STAKES]), [0.0; STAKES]);
        assert_eq!(sum_of_exp(&[0.0; STAKES], -20.0), STAKES as f64);
    }
}
