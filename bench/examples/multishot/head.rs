//! As much of HTTP/1.1 as the relays look at: where a head ends and how much content follows. Pure.

/// Bytes of a message whose head is whole in `bytes`: head and content, by Content-Length as nginx and wrk write it.
pub(crate) fn message_len(bytes: &[u8]) -> Option<usize> {
    const LENGTH: &[u8] = b"\r\nContent-Length: ";
    let head = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let line =
        memchr::memmem::find(bytes.get(..head)?, LENGTH).and_then(|at| bytes.get(at + LENGTH.len()..head));
    let digits = line.unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit());
    let content =
        digits.fold(0_usize, |sum, digit| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0')));
    Some((head + 4).saturating_add(content))
}
