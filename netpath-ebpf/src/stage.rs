//! Stages: functions that the verifier checks once.
//!
//! The verifier follows an ordinary function again for every state of its callers, so its work multiplies along a path. A
//! stage is a global function (Linux 5.6, commit 51c39bb1d5d1): the verifier checks it once for all values of its
//! arguments, and assumes only that its result is a number. So the total work is the sum of the stages' work.
//!
//! The arguments of most stages are the packet and a few numbers; the stage obtains the
//! [`Context`](crate::context::Context) again. Stages pass larger values to each other in the context's memory. Some stages
//! have a pointer as argument: to the key of a flow instead of the packet, or to the parsed packet.

use netpath_common::{hook::Hook, reason::Reason};

/// An argument of a stage.
pub trait Argument {
    /// The number that is passed.
    fn encode(self) -> u64;
    /// The argument. The verifier checks the stage for every number, so every number must decode to an argument.
    fn decode(number: u64) -> Self;
}

/// The result of a stage.
pub trait Outcome {
    /// The number that is returned.
    fn encode(self) -> u64;
    /// The result. A number that belongs to no [`Reason`] becomes [`Reason::Internal`], also in an `Option` or a
    /// `Result`. `bool`, `Option<bool>` and `Option<u32>` accept every number.
    fn decode(number: u64) -> Self;
    /// The result if the context is missing, which never happens.
    fn without_context() -> Self;
}

impl Argument for u32 {
    #[inline(always)]
    fn encode(self) -> u64 {
        self as u64
    }

    #[inline(always)]
    fn decode(number: u64) -> Self {
        number as Self
    }
}

impl Argument for u64 {
    #[inline(always)]
    fn encode(self) -> u64 {
        self
    }

    #[inline(always)]
    fn decode(number: u64) -> Self {
        number
    }
}

/// Implements [`Argument`] for an enum without fields. A number that is no variant's decodes to the last one.
macro_rules! enum_argument {
    ($type:ty: $($variant:ident),+; $last:ident) => {
        impl $crate::stage::Argument for $type {
            #[inline(always)]
            fn encode(self) -> u64 {
                self as u64
            }

            #[inline(always)]
            fn decode(number: u64) -> Self {
                $(if number == Self::$variant as u64 {
                    return Self::$variant;
                })+
                Self::$last
            }
        }
    };
}
pub(crate) use enum_argument;

enum_argument!(Hook: UplinkIngress, UplinkEgress, EndpointIngress; EndpointEgress);

/// `None` as a number: greater than every reason and every 32-bit value.
const NONE: u64 = 1 << 32;

impl Outcome for Option<u32> {
    #[inline(always)]
    fn encode(self) -> u64 {
        match self {
            Some(value) => value as u64,
            None => NONE,
        }
    }

    #[inline(always)]
    fn decode(number: u64) -> Self {
        if number == NONE {
            None
        } else {
            Some(number as u32)
        }
    }

    #[inline(always)]
    fn without_context() -> Self {
        None
    }
}

impl Outcome for Option<Reason> {
    #[inline(always)]
    fn encode(self) -> u64 {
        self.map(|reason| reason as u32).encode()
    }

    #[inline(always)]
    fn decode(number: u64) -> Self {
        Option::<u32>::decode(number).map(|value| Reason::decode(value as u64))
    }

    #[inline(always)]
    fn without_context() -> Self {
        Some(Reason::Internal)
    }
}

impl Outcome for Reason {
    #[inline(always)]
    fn encode(self) -> u64 {
        self as u64
    }

    #[inline(always)]
    fn decode(number: u64) -> Self {
        Self::from_number(number as u32).unwrap_or(Self::Internal)
    }

    #[inline(always)]
    fn without_context() -> Self {
        Self::Internal
    }
}

impl Outcome for Result<(), Reason> {
    #[inline(always)]
    fn encode(self) -> u64 {
        self.err().encode()
    }

    #[inline(always)]
    fn decode(number: u64) -> Self {
        match Option::<Reason>::decode(number) {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }

    #[inline(always)]
    fn without_context() -> Self {
        Err(Reason::Internal)
    }
}

impl Outcome for Option<bool> {
    #[inline(always)]
    fn encode(self) -> u64 {
        self.map(u32::from).encode()
    }

    #[inline(always)]
    fn decode(number: u64) -> Self {
        Option::<u32>::decode(number).map(|value| value != 0)
    }

    #[inline(always)]
    fn without_context() -> Self {
        None
    }
}

impl Outcome for bool {
    #[inline(always)]
    fn encode(self) -> u64 {
        self as u64
    }

    #[inline(always)]
    fn decode(number: u64) -> Self {
        number != 0
    }

    #[inline(always)]
    fn without_context() -> Self {
        false
    }
}

/// Makes the compiler pass an argument even if the stage does not use it or every caller passes the same value: the
/// verifier requires all arguments.
#[cfg(target_arch = "bpf")]
macro_rules! require {
    ($argument:ident) => {
        // SAFETY: copies a register to itself. With an empty template, one instruction would have two line records, which
        // the kernel rejects.
        unsafe {
            core::arch::asm!("{0} = {0}", in(reg) $argument, options(nomem, nostack, preserves_flags));
        }
    };
}
#[cfg(target_arch = "bpf")]
pub(crate) use require;

/// Defines a stage. Its first arguments are `context: &mut Context`, `key: &FlowKey`, or `skb: &mut Skb, parsed: &mut Parsed`; the
/// others and the result are numbers ([`Argument`], [`Outcome`]). Its name is a symbol of the object, so it must be unique.
///
/// Host tests call the body directly.
macro_rules! stage {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($context:ident: &mut Context $(, $argument:ident: $type:ty)*)
        -> $result:ty $body:block) => {
        $crate::stage::stage! {
            @define $(#[$meta])* $visibility
            fn $name($context: &mut $crate::context::Context $(, $argument: $type)*) -> $result $body
            call ($context.skb.as_ptr() $(, $crate::stage::Argument::encode($argument))*)
            as (skb: *mut aya_ebpf::bindings::__sk_buff $(, $argument: u64)*)
            with {
                $crate::stage::require!(skb);
                $($crate::stage::require!($argument);)*
            }
            // Never `None` at run time: every entry of an array map exists.
            enter ($crate::context::Context::new($crate::packet::skb::Skb::new(skb)).map(|mut context| {
                body(&mut context $(, <$type as $crate::stage::Argument>::decode($argument))*)
            }))
        }
    };
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($skb:ident: &mut Skb, $parsed:ident: &mut Parsed)
        -> $result:ty $body:block) => {
        $crate::stage::stage! {
            @define $(#[$meta])* $visibility
            fn $name($skb: &mut $crate::packet::skb::Skb, $parsed: &mut $crate::parse::Parsed) -> $result $body
            call ($skb.as_ptr(), $parsed)
            as (skb: *mut aya_ebpf::bindings::__sk_buff, parsed: *mut $crate::parse::Parsed)
            with {}
            // SAFETY: the only caller passes a reference. The verifier requires the comparison with null.
            enter (unsafe { parsed.as_mut() }.map(|parsed| body(&mut $crate::packet::skb::Skb::new(skb), parsed)))
        }
    };
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($key:ident: &FlowKey $(, $argument:ident: $type:ty)*)
        -> $result:ty $body:block) => {
        $crate::stage::stage! {
            @define $(#[$meta])* $visibility
            fn $name($key: &netpath_common::flow::FlowKey $(, $argument: $type)*) -> $result $body
            call ($key $(, $crate::stage::Argument::encode($argument))*)
            as (key: *const netpath_common::flow::FlowKey $(, $argument: u64)*)
            with {
                $($crate::stage::require!($argument);)*
            }
            // SAFETY: the only caller passes a reference. The verifier requires the comparison with null.
            enter (unsafe { key.as_ref() }.map(|key| {
                // Linux 6.1 takes the key of a map only from the stack, a packet or a map.
                let mut copy = netpath_common::flow::FlowKey::default();
                copy.copy_from(key);
                body(&copy $(, <$type as $crate::stage::Argument>::decode($argument))*)
            }))
        }
    };
    // `call`: arguments of the call. `as`: the parameters they become. `with`: statements at the start. `enter`: the
    // result of the body, or `None` if it cannot run.
    (@define $(#[$meta:meta])* $visibility:vis fn $name:ident($($parameter:ident: $type:ty),*) -> $result:ty $body:block
        call ($($passed:expr),*) as ($($raw:ident: $raw_type:ty),*) with { $($with:tt)* } enter ($enter:expr)) => {
        $(#[$meta])*
        #[inline(always)]
        $visibility fn $name($($parameter: $type),*) -> $result {
            #[inline(always)]
            fn body($($parameter: $type),*) -> $result $body

            #[cfg(target_arch = "bpf")]
            {
                use $crate::stage::Outcome;

                // SAFETY: the name is unique, because the linker rejects two symbols of one name.
                #[unsafe(no_mangle)]
                #[inline(never)]
                extern "C" fn $name($($raw: $raw_type),*) -> u64 {
                    $($with)*
                    let result: Option<$result> = $enter;
                    result.unwrap_or_else(<$result as Outcome>::without_context).encode()
                }

                <$result as Outcome>::decode($name($($passed),*))
            }
            #[cfg(not(target_arch = "bpf"))]
            body($($parameter),*)
        }
    };
}
pub(crate) use stage;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_the_call() {
        for reason in Reason::ALL {
            let results = [Some(*reason), None];
            for result in results {
                assert_eq!(Option::<Reason>::decode(result.encode()), result);
            }
            let results = [Err(*reason), Ok(())];
            for result in results {
                assert_eq!(Result::<(), Reason>::decode(result.encode()), result);
            }
            assert_eq!(Reason::decode(reason.encode()), *reason);
        }
        for result in [None, Some(0), Some(u32::MAX)] {
            assert_eq!(Option::<u32>::decode(result.encode()), result);
        }
        for result in [None, Some(false), Some(true)] {
            assert_eq!(Option::<bool>::decode(result.encode()), result);
        }
        for result in [false, true] {
            assert_eq!(bool::decode(result.encode()), result);
        }
    }

    #[test]
    fn arguments_survive_the_call() {
        for hook in Hook::ALL {
            assert_eq!(Hook::decode(hook.encode()), hook);
        }
        assert_eq!(u32::decode(u32::MAX.encode()), u32::MAX);
        assert_eq!(u64::decode(u64::MAX.encode()), u64::MAX);
    }

    #[test]
    fn unknown_number_is_an_internal_error() {
        assert_eq!(Reason::decode(u64::from(u32::MAX)), Reason::Internal);
        assert_eq!(Option::<Reason>::decode(u64::MAX), Some(Reason::Internal));
        assert_eq!(Reason::without_context(), Reason::Internal);
    }
}
