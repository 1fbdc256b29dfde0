//! XDR (RFC 4506), as far as libvirt's messages need it. The crates for it are unmaintained, or reserve whatever a
//! length field claims; this reader never takes more than there is.

/// What could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short;

pub(crate) type Result<T> = std::result::Result<T, Short>;

/// A type that has a form in XDR.
pub(crate) trait Xdr: Sized {
    fn write(&self, out: &mut Vec<u8>);
    fn read(from: &mut Reader<'_>) -> Result<Self>;
}

/// What is left of a message.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (now, rest) = self.0.split_at_checked(length).ok_or(Short)?;
        self.0 = rest;
        Ok(now)
    }

    /// Bytes, and what fills them up to a multiple of four.
    fn padded(&mut self, length: usize) -> Result<&'a [u8]> {
        let bytes = self.take(length)?;
        self.take(padding(length))?;
        Ok(bytes)
    }

    pub(crate) fn read<T: Xdr>(&mut self) -> Result<T> {
        T::read(self)
    }
}

fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

impl Xdr for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        let bytes = from.take(4)?;
        bytes.try_into().map(Self::from_be_bytes).map_err(|_| Short)
    }
}

impl Xdr for i32 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        Ok(u32::read(from)?.cast_signed())
    }
}

impl Xdr for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        let bytes = from.take(8)?;
        bytes.try_into().map(Self::from_be_bytes).map_err(|_| Short)
    }
}

/// Opaque of a fixed length.
impl<const N: usize> Xdr for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self);
        out.extend(std::iter::repeat_n(0, padding(N)));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.padded(N)?.try_into().map_err(|_| Short)
    }
}

impl Xdr for String {
    fn write(&self, out: &mut Vec<u8>) {
        // A plugin has no gigabytes to send.
        u32::try_from(self.len()).unwrap_or(u32::MAX).write(out);
        out.extend(self.as_bytes());
        out.extend(std::iter::repeat_n(0, padding(self.len())));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        let length = usize::try_from(u32::read(from)?).map_err(|_| Short)?;
        Ok(Self::from_utf8_lossy(from.padded(length)?).into_owned())
    }
}

impl<T: Xdr> Xdr for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        u32::from(self.is_some()).write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        match u32::read(from)? {
            0 => Ok(None),
            _ => Ok(Some(T::read(from)?)),
        }
    }
}

impl<T: Xdr> Xdr for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).write(out);
        for value in self {
            value.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        // Grown as elements come, not as the length claims.
        let length = u32::read(from)?;
        (0..length).map(|_| T::read(from)).collect()
    }
}

/// `xdr!(A, B)`: tuples of fields, written one after the other.
macro_rules! tuples {
    ($(($($name:ident $index:tt),*);)*) => {
        $(
            impl<$($name: Xdr),*> Xdr for ($($name,)*) {
                fn write(&self, out: &mut Vec<u8>) {
                    $(self.$index.write(out);)*
                }

                fn read(from: &mut Reader<'_>) -> Result<Self> {
                    Ok(($($name::read(from)?,)*))
                }
            }
        )*
    };
}

tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
}

impl Xdr for () {
    fn write(&self, _out: &mut Vec<u8>) {}

    fn read(_from: &mut Reader<'_>) -> Result<Self> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &impl Xdr) -> Vec<u8> {
        let mut out = Vec::new();
        value.write(&mut out);
        out
    }

    #[test]
    fn text_is_padded_to_four() {
        assert_eq!(bytes(&"abcde".to_owned()), b"\0\0\0\x05abcde\0\0\0");
        let out = bytes(&("abcde".to_owned(), 7_u32));
        let mut reader = Reader::new(&out);
        assert_eq!(reader.read::<(String, u32)>(), Ok(("abcde".to_owned(), 7)));
    }

    #[test]
    fn values_come_back_as_they_went() {
        let value = (Some("x".to_owned()), vec![1_u32, 2], -1_i32, [9_u8; 16], u64::MAX);
        let out = bytes(&value);
        assert_eq!(Reader::new(&out).read(), Ok(value));
        assert_eq!(bytes(&None::<u32>), [0; 4]);
    }

    #[test]
    fn half_a_message_is_short_and_reserves_nothing() {
        assert_eq!(Reader::new(b"\xff\xff\xff\xffab").read::<String>(), Err(Short));
        assert_eq!(
            Reader::new(b"\xff\xff\xff\xff\0\0\0\x01").read::<Vec<u32>>(),
            Err(Short)
        );
        assert_eq!(Reader::new(b"\0\0").read::<u32>(), Err(Short));
    }
}
