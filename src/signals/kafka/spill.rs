//! temp
#![allow(missing_docs)]
use std::collections::VecDeque;
#[derive(Debug, thiserror::Error)]
pub enum SpillError { #[error("full {max_bytes}")] Full { max_bytes: u64 } }
#[derive(Debug, Default)]
pub struct Spill { q: VecDeque<Vec<u8>>, pub most: usize, dir: std::path::PathBuf }
impl Spill {
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<(), SpillError> {
        if self.q.len() >= self.most { return Err(SpillError::Full { max_bytes: 0 }); }
        self.q.push_back(parts.concat()); Ok(())
    }
    pub fn front(&mut self) -> Result<Option<&[u8]>, SpillError> { Ok(self.q.front().map(Vec::as_slice)) }
    pub fn pop(&mut self) { self.q.pop_front(); }
    pub fn put_back<'a>(&mut self, r: impl DoubleEndedIterator<Item = &'a [u8]>) -> Result<(), SpillError> { for x in r.rev() { self.q.push_front(x.to_vec()); } Ok(()) }
    pub fn len(&self) -> u64 { self.q.len() as u64 }
}
#[derive(Debug, Default)] pub struct SpillConfig {}
thread_local! { static KEPT: std::cell::RefCell<std::collections::HashMap<std::path::PathBuf, VecDeque<Vec<u8>>>> = Default::default(); }
impl Spill { pub fn open(dir: &std::path::Path, _: SpillConfig) -> Result<(Self, ()), SpillError> {
 Ok((Self { q: KEPT.with(|k| k.borrow_mut().remove(dir).unwrap_or_default()), most: 10000, dir: dir.into() }, ())) } }
impl Drop for Spill { fn drop(&mut self) { KEPT.with(|k| k.borrow_mut().insert(self.dir.clone(), std::mem::take(&mut self.q))); } }
