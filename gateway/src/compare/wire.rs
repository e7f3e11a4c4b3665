//! Protocol buffers' wire format, field by field: bytes in, encoded values out. Pure.

/// Why messages were not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    Malformed,
    TooComplex,
}

/// Depth of nested messages that are read; deeper ones are told as bytes. Readers of all languages stop there too.
pub(super) const DEPTH_MAX: usize = 100;

/// A value as it is encoded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    Group(&'a [u8]),
}

/// Bytes of the wire format, from field to field.
pub(super) struct Wire<'a> {
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn field(&mut self, left: &mut usize) -> Result<(u32, Raw<'a>), Unread> {
        spend(left)?;
        let (number, kind) = self.tag()?;
        let raw = match kind {
            3 => Raw::Group(self.group(number, left)?),
            _value => self.value(kind)?,
        };
        Ok((number, raw))
    }

    fn tag(&mut self) -> Result<(u32, u8), Unread> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Unread::Malformed)?;
        if tag < 8 {
            return Err(Unread::Malformed);
        }
        Ok((tag >> 3, (tag & 7) as u8))
    }

    fn value(&mut self, kind: u8) -> Result<Raw<'a>, Unread> {
        Ok(match kind {
            0 => Raw::Varint(self.varint()?),
            1 => Raw::Fixed64(self.fixed64()?),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Unread::Malformed)?;
                Raw::Bytes(self.take(len)?)
            }
            5 => Raw::Fixed32(self.fixed32()?),
            _unknown => return Err(Unread::Malformed),
        })
    }

    /// To the end of the group that has begun.
    fn group(&mut self, number: u32, left: &mut usize) -> Result<&'a [u8], Unread> {
        let all = self.rest;
        let mut open = vec![number];
        loop {
            spend(left)?;
            let before = self.rest.len();
            let (number, kind) = self.tag()?;
            match kind {
                3 if open.len() < DEPTH_MAX => open.push(number),
                4 if open.pop() == Some(number) => {
                    if open.is_empty() {
                        return all.get(..all.len() - before).ok_or(Unread::Malformed);
                    }
                }
                _value => {
                    self.value(kind)?;
                }
            }
        }
    }

    pub(super) fn varint(&mut self) -> Result<u64, Unread> {
        let mut value = 0_u64;
        for (n, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(n + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(Unread::Malformed)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Unread> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Unread::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn fixed64(&mut self) -> Result<u64, Unread> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Unread::Malformed)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(super) fn fixed32(&mut self) -> Result<u32, Unread> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Unread::Malformed)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }
}

/// Takes one field from the budget.
pub(super) fn spend(left: &mut usize) -> Result<(), Unread> {
    *left = left.checked_sub(1).ok_or(Unread::TooComplex)?;
    Ok(())
}
