//! Masking, and a part of UTF-8, compiled for AVX2 and called where the processor has it: the project's only `unsafe`.
//!
//! What earned it (`benches/inbound.rs`, quiet core, against the same code for SSE2, which stores half as much a clock):
//! a message of 16 KiB moved down in 143 instead of 277 ns, an ASCII one in 165 instead of 432 ns, 1 KiB in 11.4 instead of
//! 17.3 ns. That is 2 % of what a server spends on an echo of 16 KiB, and 5 % at 1 MiB.
//!
//! Chinese text of 16 KiB is checked in 0.40 instead of 0.96 us, simdutf8's time (`benches/utf8.rs`).
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
