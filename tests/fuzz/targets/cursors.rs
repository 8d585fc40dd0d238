#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wsfast_fuzz::cursors::check(bytes));
