//! Plain collections with the interface of aya's maps, for host tests.
//!
//! Values are leaked, because programs keep references to them. Each test thread has its own values.

use core::{ffi::c_void, marker::PhantomData, mem::MaybeUninit};
use std::{cell::RefCell, collections::HashMap as Collection};

/// `BPF_F_NO_PREALLOC`; unused here.
pub const BPF_F_NO_PREALLOC: u32 = 1;
/// `BPF_NOEXIST`.
pub const BPF_NOEXIST: u32 = 1;

const ENOENT: i32 = -2;
const E2BIG: i32 = -7;
const EEXIST: i32 = -17;

/// Values by the address of their map and the bytes of their key.
type Values = Collection<(usize, Vec<u8>), *mut c_void>;

thread_local! {
    static VALUES: RefCell<Values> = RefCell::default();
}

fn bytes_of<T>(value: &T) -> Vec<u8> {
    // SAFETY: keys are structures without padding or integers, so each byte is initialised.
    unsafe { core::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) }.to_vec()
}

/// The value under a key of the map at address `map`.
fn find<V>(map: usize, key: Vec<u8>) -> Option<*mut V> {
    VALUES.with_borrow(|values| values.get(&(map, key)).map(|value| value.cast()))
}

fn find_or_zeroed<V>(map: usize, key: Vec<u8>) -> *mut V {
    VALUES.with_borrow_mut(|values| {
        let zeroed = || Box::into_raw(Box::new(MaybeUninit::<V>::zeroed())).cast();
        values.entry((map, key)).or_insert_with(zeroed).cast()
    })
}

/// An array: all entries exist and are zeroed at first.
pub struct Array<V> {
    capacity: u32,
    values: PhantomData<fn() -> V>,
}

/// A per-CPU array, of the one CPU that a test has.
pub type PerCpuArray<V> = Array<V>;

impl<V> Array<V> {
    /// A map with this capacity.
    pub const fn pinned(capacity: u32, _flags: u32) -> Self {
        Self {
            capacity,
            values: PhantomData,
        }
    }

    /// A map with this capacity.
    pub const fn with_max_entries(capacity: u32, flags: u32) -> Self {
        Self::pinned(capacity, flags)
    }

    /// The entry at an index; `None` beyond the capacity.
    pub fn get(&self, index: u32) -> Option<&'static V> {
        // SAFETY: the value is leaked; all zeroes is a value of every array's type.
        self.get_ptr_mut(index).map(|value| unsafe { &*value })
    }

    /// The entry at an index, for writing.
    pub fn get_ptr_mut(&self, index: u32) -> Option<*mut V> {
        let map = (&raw const *self).addr();
        (index < self.capacity).then(|| find_or_zeroed(map, bytes_of(&index)))
    }

    /// Sets an entry.
    pub fn set(&self, index: u32, value: V) {
        if let Some(entry) = self.get_ptr_mut(index) {
            // SAFETY: a leaked value.
            unsafe { *entry = value };
        }
    }
}

/// A hash map.
pub struct HashMap<K, V> {
    capacity: u32,
    entries: PhantomData<fn() -> (K, V)>,
}

/// A least-recently-used hash map; a test never fills it.
pub type LruHashMap<K, V> = HashMap<K, V>;

impl<K, V> HashMap<K, V> {
    /// A map with this capacity.
    pub const fn pinned(capacity: u32, _flags: u32) -> Self {
        Self {
            capacity,
            entries: PhantomData,
        }
    }

    /// The value under a key.
    ///
    /// # Safety
    /// No requirement here. The function is unsafe because the kernel's maps reuse the memory of removed entries.
    pub unsafe fn get(&self, key: &K) -> Option<&'static V> {
        // SAFETY: the value is leaked.
        self.get_ptr_mut(key).map(|value| unsafe { &*value })
    }

    /// The value under a key, for writing.
    pub fn get_ptr_mut(&self, key: &K) -> Option<*mut V> {
        find((&raw const *self).addr(), bytes_of(key))
    }

    /// Inserts a copy of a value.
    ///
    /// # Errors
    /// The kernel's error number, negative.
    pub fn insert(&self, key: &K, value: &V, flags: u64) -> Result<(), i32> {
        let map = (&raw const *self).addr();
        let exists = self.get_ptr_mut(key).is_some();
        if exists && flags == u64::from(BPF_NOEXIST) {
            return Err(EEXIST);
        }
        let count = |values: &Values| values.keys().filter(|(other, _)| *other == map).count();
        if !exists && VALUES.with_borrow(count) >= self.capacity as usize {
            return Err(E2BIG);
        }
        let copy = Box::into_raw(Box::new(MaybeUninit::<V>::uninit()));
        // SAFETY: both hold one value, and values are plain data.
        unsafe { core::ptr::copy_nonoverlapping(value, copy.cast(), 1) };
        VALUES.with_borrow_mut(|values| values.insert((map, bytes_of(key)), copy.cast()));
        Ok(())
    }

    /// Removes the value under a key.
    ///
    /// # Errors
    /// There is no such key.
    pub fn remove(&self, key: &K) -> Result<(), i32> {
        let map = (&raw const *self).addr();
        let removed = VALUES.with_borrow_mut(|values| values.remove(&(map, bytes_of(key))));
        removed.map(drop).ok_or(ENOENT)
    }
}

/// A longest-prefix-match trie: prefixes in the order of their insertion.
pub struct LpmTrie<K, V> {
    /// Unused, but without it two tries may have the same address.
    _capacity: u32,
    entries: PhantomData<fn() -> (K, V)>,
}

impl<K, V> LpmTrie<K, V> {
    /// A trie; its capacity is not limited.
    pub const fn pinned(capacity: u32, _flags: u32) -> Self {
        Self {
            _capacity: capacity,
            entries: PhantomData,
        }
    }

    /// Adds a prefix of `length` bits.
    pub fn add(&self, length: u32, data: K, value: V) {
        let mut key = length.to_ne_bytes().to_vec();
        key.extend(bytes_of(&data));
        let value = Box::into_raw(Box::new(value)).cast();
        let map = (&raw const *self).addr();
        VALUES.with_borrow_mut(|values| values.insert((map, key), value));
    }
}

/// The value of the longest prefix that matches `key`; null if there is none.
///
/// # Safety
/// `key` has as many bytes as the map's keys: a length in bits, and the data.
pub unsafe fn find_longest_value<K, V>(map: *const LpmTrie<K, V>, key: *const c_void) -> *mut V {
    // SAFETY: by contract.
    let wanted = unsafe { core::slice::from_raw_parts(key.cast::<u8>().add(4), size_of::<K>()) };
    let bit = |bytes: &[u8], index: u32| bytes[index as usize / 8] >> (7 - index % 8) & 1;
    VALUES.with_borrow(|values| {
        values
            .iter()
            .filter(|((other, _), _)| *other == map.addr())
            .filter_map(|((_, key), value)| {
                let (length, data) = key.split_first_chunk::<4>()?;
                let length = u32::from_ne_bytes(*length);
                let matches = (0..length).all(|index| bit(data, index) == bit(wanted, index));
                matches.then_some((length, *value))
            })
            .max_by_key(|(length, _)| *length)
            .map_or(core::ptr::null_mut(), |(_, value)| value.cast())
    })
}
