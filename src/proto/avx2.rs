//! Masking, and a part of UTF-8, compiled for AVX2 and called where the processor has it: the project's only `unsafe`.
//!
//! What earned it: `mask::words` and `utf8::cjk` compiled alone, with SSE2 and with AVX2, least of 40 runs. A message of
//! 16 KiB moved down in 194 instead of 311 ns, an ASCII one in 213 instead of 466 ns (two passes, as `mask` does it
//! without), 1 KiB of ASCII in 25 instead of 42 ns. A run of 16 KiB of Chinese is found in 0.3 us instead of 13.5; the
//! general check takes about 1 us.
//!
//! The code is that of `mask::words` and `utf8::cjk`, their safe twins, to the letter: nothing here touches memory by
//! itself. The only thing that can go wrong is to call it on a processor without AVX2, so that a value of [`Avx2`] is the
//! proof that there is one.
#![allow(unsafe_code, reason = "a call into code compiled for AVX2; measured above")]

use crate::proto::mask::words;
use crate::proto::utf8::cjk;

/// Proof that this processor has AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// Asks the processor, once; later calls load a flag.
    pub(crate) fn detect() -> Option<Self> {
        std::is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(crate) fn unmask(self, payload: &mut [u8], key: [u8; 4]) {
        #[target_feature(enable = "avx2")]
        fn twin(payload: &mut [u8], key: [u8; 4]) {
            words::unmask(payload, key);
        }
        // SAFETY: `twin` is safe code that needs AVX2, which `self`, made by `detect` alone, proves.
        unsafe { twin(payload, key) }
    }

    pub(crate) fn unmask_is_ascii(self, payload: &mut [u8], key: [u8; 4]) -> bool {
        #[target_feature(enable = "avx2")]
        fn twin(payload: &mut [u8], key: [u8; 4]) -> bool {
            words::unmask_is_ascii(payload, key)
        }
        // SAFETY: `twin` is safe code that needs AVX2, which `self`, made by `detect` alone, proves.
        unsafe { twin(payload, key) }
    }

    pub(crate) fn unmask_down(
        self,
        bytes: &mut [u8],
        from: usize,
        to: usize,
        len: usize,
        key: [u8; 4],
    ) {
        #[target_feature(enable = "avx2")]
        fn twin(bytes: &mut [u8], from: usize, to: usize, len: usize, key: [u8; 4]) {
            words::unmask_down(bytes, from, to, len, key);
        }
        // SAFETY: `twin` is safe code that needs AVX2, which `self`, made by `detect` alone, proves.
        unsafe { twin(bytes, from, to, len, key) }
    }

    pub(crate) fn unmask_down_is_ascii(
        self,
        bytes: &mut [u8],
        from: usize,
        to: usize,
        len: usize,
        key: [u8; 4],
    ) -> bool {
        #[target_feature(enable = "avx2")]
        fn twin(bytes: &mut [u8], from: usize, to: usize, len: usize, key: [u8; 4]) -> bool {
            words::unmask_down_is_ascii(bytes, from, to, len, key)
        }
        // SAFETY: `twin` is safe code that needs AVX2, which `self`, made by `detect` alone, proves.
        unsafe { twin(bytes, from, to, len, key) }
    }

    pub(crate) fn cjk_run_len(self, bytes: &[u8]) -> usize {
        #[target_feature(enable = "avx2")]
        fn twin(bytes: &[u8]) -> usize {
            cjk::run_len(bytes)
        }
        // SAFETY: `twin` is safe code that needs AVX2, which `self`, made by `detect` alone, proves.
        unsafe { twin(bytes) }
    }
}
