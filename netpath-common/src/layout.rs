//! Declares the structures that are stored in maps.

/// Declares a `repr(C)` structure of a fixed size, in bytes, without padding.
///
/// The size of the structure and the sum of the sizes of its fields are checked at compile time. If both are equal,
/// there is no padding: every byte of a value is initialised, and each offset follows from the order of the fields.
/// With the feature `user` the structure implements `aya::Pod`: its fields are integers and arrays of integers, for
/// which every bit pattern is a value.
macro_rules! layout {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident($size:literal) {
            $($(#[$field_attribute:meta])* $visibility:vis $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$attribute])*
        #[repr(C)]
        pub struct $name {
            $($(#[$field_attribute])* $visibility $field: $type,)+
        }

        const _: () = {
            assert!(size_of::<$name>() == $size);
            assert!($(size_of::<$type>() +)+ 0 == $size);
        };

        #[cfg(feature = "user")]
        // SAFETY: integers and arrays of integers without padding, as asserted above.
        unsafe impl aya::Pod for $name {}
    };
}

pub(crate) use layout;
