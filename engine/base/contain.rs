use std::any::Any;
use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Calls code of others that panics where it should fail; `Err` holds the panic's words. What
/// `work` was changing when it panicked must not be used again.
///
/// A panic hook that [`is_contained`] tells to be silent says nothing of it: the error is said by
/// whoever gets it.
pub fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = INSIDE.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(outer);
    done.map_err(|panic| words(&*panic).unwrap_or("a panic without words").to_owned())
}

/// Whether a panic of this thread would be caught by [`contained`].
pub fn is_contained() -> bool {
    INSIDE.get()
}

fn words(panic: &(dyn Any + Send)) -> Option<&str> {
    panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_the_next_call_is_as_before() {
        assert_eq!(contained(|| 7), Ok(7));
        let inner = contained(|| {
            assert!(is_contained());
            contained(|| panic!("inside")).unwrap_err()
        });
        assert_eq!(inner.as_deref(), Ok("inside"));
        assert!(!is_contained());
        assert_eq!(contained(|| -> u8 { panic!("of {}", 3) }), Err("of 3".to_owned()));
    }
}
