//! `buffers`: the guest's view of host-owned bytes. Its streams are WASI's, so that `splice` works between them and an
//! HTTP body.

use wasmtime::component::Resource;
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::bindings::landfall::plugin::buffers::{Host, HostBuffer};
use crate::buffer::Buffer;
use crate::state::GuestState;

impl Host for GuestState {}

impl HostBuffer for GuestState {
    fn len(&mut self, buffer: Resource<Buffer>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&buffer)?.len())
    }

    fn capacity(&mut self, buffer: Resource<Buffer>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&buffer)?.capacity())
    }

    fn reader(&mut self, buffer: Resource<Buffer>) -> wasmtime::Result<Resource<DynInputStream>> {
        let reader: DynInputStream = Box::new(self.table.get(&buffer)?.reader());
        Ok(self.table.push(reader)?)
    }

    fn writer(&mut self, buffer: Resource<Buffer>) -> wasmtime::Result<Resource<DynOutputStream>> {
        let writer: DynOutputStream = Box::new(self.table.get(&buffer)?.writer());
        Ok(self.table.push(writer)?)
    }

    fn drop(&mut self, buffer: Resource<Buffer>) -> wasmtime::Result<()> {
        self.table.delete(buffer)?;
        Ok(())
    }
}
