//! Reads what `prepare` left in the globals and memories of a guest, for wizer.
//!
//! wizer would make several copies of each memory, and note down every run of bytes that are
//! not zero. So it is shown an outline of the memory instead ([`super::layout`]), of the same
//! size and with one byte where the content begins. The rest is zero, so that the system
//! provides no memory for it.

use std::ops::Range;

use wasmtime::Store;
use wasmtime::component::{Instance, Lift, WasmList};
use wasmtime_wizer::ComponentInstanceState;

use super::super::state::State;

/// A memory as `prepare` left it.
pub(super) struct Memory {
    /// The function that shows it.
    name: String,
    bytes: WasmList<u8>,
    /// From the first byte that is not zero to the last. What is between them has to be in
    /// the snapshot, since that is one image of the memory.
    content: Range<usize>,
}

impl Memory {
    /// The size of the content, in bytes.
    pub(super) fn content_size(&self) -> usize {
        self.content.len()
    }

    /// The content, from the store of the guest.
    pub(super) fn content<'a>(&self, store: &'a Store<State>) -> &'a [u8] {
        &self.bytes.as_le_slice(store)[self.content.clone()]
    }

    fn outline(&self, store: &Store<State>) -> Vec<u8> {
        let mut outline = vec![0; self.bytes.as_le_slice(store).len()];
        if !self.content.is_empty() {
            outline[self.content.start] = 1;
        }
        outline
    }
}

/// Shows wizer an instance that has been prepared.
pub(super) struct Memories<'a> {
    store: &'a mut Store<State>,
    instance: Instance,
    found: Vec<Memory>,
    fault: Option<wasmtime::Error>,
}

impl<'a> Memories<'a> {
    pub(super) fn of(store: &'a mut Store<State>, instance: Instance) -> Self {
        Self {
            store,
            instance,
            found: Vec::new(),
            fault: None,
        }
    }

    /// The memories that have any content, in the order in which wizer asked for them.
    ///
    /// # Errors
    ///
    /// If the instance did not show everything. What wizer has made is then wrong.
    pub(super) fn read(self) -> wasmtime::Result<Vec<Memory>> {
        match self.fault {
            Some(fault) => Err(fault),
            None => {
                let with_content = |memory: &Memory| !memory.content.is_empty();
                Ok(self.found.into_iter().filter(with_content).collect())
            }
        }
    }

    /// Calls a function that wizer has added.
    async fn call<R: Lift + Send + Sync + 'static>(
        &mut self,
        instance: &str,
        function: &str,
    ) -> wasmtime::Result<R> {
        let absent = || wasmtime::format_err!("it has no `{function}`");
        let store = &mut *self.store;
        let (_, owner) = self
            .instance
            .get_export(&mut *store, None, instance)
            .ok_or_else(absent)?;
        let (_, export) = self
            .instance
            .get_export(&mut *store, Some(&owner), function)
            .ok_or_else(absent)?;
        let function = self
            .instance
            .get_typed_func::<(), (R,)>(&mut *store, export)?;
        let (result,) = function.call_async(store, ()).await?;
        Ok(result)
    }

    /// The value of a global; 0 after a fault.
    async fn global<R>(&mut self, instance: &str, function: &str) -> R
    where
        R: Lift + Default + Send + Sync + 'static,
    {
        match self.call(instance, function).await {
            Ok(value) => value,
            Err(error) => {
                self.fault.get_or_insert(error);
                R::default()
            }
        }
    }

    /// The outline of a memory.
    async fn outline(&mut self, instance: &str, function: &str) -> wasmtime::Result<Vec<u8>> {
        // wizer asks twice for the memories of some modules, and each call would take a page.
        let known = self.found.iter().position(|memory| memory.name == function);
        let at = match known {
            Some(at) => at,
            None => {
                let called = self.call::<WasmList<u8>>(instance, function).await;
                let bytes = called.map_err(|error| {
                    error.context("it must be able to grow by a page after `prepare`")
                })?;
                let content = content(bytes.as_le_slice(&*self.store));
                self.found.push(Memory {
                    name: function.to_owned(),
                    bytes,
                    content,
                });
                self.found.len() - 1
            }
        };
        Ok(self.found[at].outline(self.store))
    }
}

/// From the first byte that is not zero to the last.
fn content(memory: &[u8]) -> Range<usize> {
    let is_set = |byte: &u8| *byte != 0;
    match (
        memory.iter().position(is_set),
        memory.iter().rposition(is_set),
    ) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
    }
}

impl ComponentInstanceState for Memories<'_> {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        function: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        let outline = self.outline(instance, function).await;
        contents(&outline.unwrap_or_else(|error| {
            self.fault.get_or_insert(error);
            Vec::new()
        }));
    }

    async fn call_func_ret_s32(&mut self, instance: &str, function: &str) -> i32 {
        self.global(instance, function).await
    }

    async fn call_func_ret_s64(&mut self, instance: &str, function: &str) -> i64 {
        self.global(instance, function).await
    }

    async fn call_func_ret_f32(&mut self, instance: &str, function: &str) -> u32 {
        let value: f32 = self.global(instance, function).await;
        value.to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, function: &str) -> u64 {
        let value: f64 = self.global(instance, function).await;
        value.to_bits()
    }
}

#[cfg(test)]
mod tests {
    use super::content;

    #[test]
    fn the_content_is_what_is_not_zero_and_what_is_between() {
        assert_eq!(content(&[0, 0, 3, 0, 0, 4, 0]), 2..6);
        assert_eq!(content(&[1]), 0..1);
        assert_eq!(content(&[0; 100]), 0..0);
        assert_eq!(content(&[]), 0..0);
    }
}
