//! Unpacking in a thread of its own: a reader whose next bytes are made while the last ones are used.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::Scope;

const BUFFER: usize = 1 << 20;
// How many buffers are filled ahead; one more is being filled and one is being used.
const AHEAD: usize = 2;

/// The reading end. Dropping it ends the thread.
pub(super) struct ReadAhead {
    filled: Receiver<io::Result<Vec<u8>>>,
    spent: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
}

impl ReadAhead {
    /// Begins to read `source`, which is made in the new thread, for as long as the scope lives.
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        source: impl FnOnce() -> io::Result<Box<dyn Read + Send + 'env>> + Send + 'scope,
    ) -> Self {
        let (sender, filled) = sync_channel(AHEAD);
        let (spent, returned) = channel::<Vec<u8>>();
        scope.spawn(move || {
            let mut source = match source() {
                Ok(source) => source,
                // Nobody listens when the reading end is gone, here and below.
                Err(error) => return drop(sender.send(Err(error))),
            };
            loop {
                let buffer = returned.try_recv().unwrap_or_default();
                let filled = fill(&mut source, buffer);
                let (ended, failed) = (filled.as_ref().is_ok_and(Vec::is_empty), filled.is_err());
                if ended || sender.send(filled).is_err() || failed {
                    return;
                }
            }
        });
        Self { filled, spent, current: Vec::new(), position: 0 }
    }
}

fn fill(source: &mut dyn Read, mut buffer: Vec<u8>) -> io::Result<Vec<u8>> {
    buffer.resize(BUFFER, 0);
    let mut length = 0;
    while length < BUFFER {
        match source.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(length);
    Ok(buffer)
}

impl Read for ReadAhead {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.position == self.current.len() {
            // The channel closes at the end of the source, and for ever.
            let Ok(next) = self.filled.recv() else { return Ok(0) };
            let spent = std::mem::replace(&mut self.current, next?);
            self.position = 0;
            let _ = self.spent.send(spent);
        }
        let rest = &self.current[self.position..];
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(source: impl Read + Send) -> io::Result<Vec<u8>> {
        std::thread::scope(|scope| {
            let mut bytes = Vec::new();
            ReadAhead::start(scope, || Ok(Box::new(source))).read_to_end(&mut bytes).map(|_| bytes)
        })
    }

    #[test]
    fn what_is_read_ahead_is_what_the_source_holds() {
        for length in [0, 1, BUFFER - 1, BUFFER, 5 * BUFFER + 17] {
            let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            assert!(read_all(bytes.as_slice()).unwrap() == bytes, "{length}");
        }
    }

    #[test]
    fn an_error_comes_after_the_bytes_before_it() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad sector"))
            }
        }
        let bytes = vec![1; 2 * BUFFER];
        assert_eq!(read_all(bytes.as_slice().chain(Broken)).unwrap_err().to_string(), "bad sector");
        std::thread::scope(|scope| {
            let mut reader = ReadAhead::start(scope, || Err(io::Error::other("no decoder")));
            assert_eq!(reader.read(&mut [0]).unwrap_err().to_string(), "no decoder");
        });
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_thread() {
        // The scope ends only when the thread does, and this source never does.
        std::thread::scope(|scope| {
            let mut reader = ReadAhead::start(scope, || Ok(Box::new(io::repeat(1))));
            assert_eq!(reader.read(&mut [0; 10]).unwrap(), 10);
        });
    }
}
