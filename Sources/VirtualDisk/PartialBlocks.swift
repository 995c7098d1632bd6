import BlockDevice
import CLinux
import Pool
import Reactor

// Requests that are not aligned to the blocks of the disks below (512-byte sectors on 4096-byte disks, odd byte ranges) go through
// bounce buffers in whole blocks: one of the two places where payload is copied (docs/architecture.md, Buffers).

extension VirtualDisk {
  /// Whole blocks, in memory too: of a request that is cut at a row or chunk, the second part may lie at an odd address.
  @inline(__always)
  func isAligned(_ offset: UInt64, _ slice: BufferSlice) -> Bool {
    (offset | UInt64(slice.byteCount) | UInt64(UInt(bitPattern: slice.start))) & (blockByteCount - 1) == 0
  }

  /// Reads any range of a mapped row; `offset` is the resiliency's address.
  @inline(__always)
  func readBlocks(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if isAligned(offset, slice) { return try await space.read(at: offset, into: slice, request) }
    try await readPartial(at: offset, into: slice, request)
  }

  /// Writes any range of a mapped row, of which whole blocks are locked exclusively.
  @inline(__always)
  func writeBlocks(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    if isAligned(offset, slice) { return try await space.write(at: offset, from: slice, request) }
    try await writePartial(at: offset, from: slice, request)
  }

  private func readPartial(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let window = await bounce.acquire()
    defer { bounce.release(window) }
    var done = 0
    while done < slice.byteCount {
      let (start, skip, count) = piece(offset + UInt64(done), remaining: slice.byteCount - done, window.byteCount)
      let whole = Int(UInt64(skip + count).roundedUp(to: blockByteCount))
      try await space.read(at: start, into: window.part(from: 0, byteCount: whole), request)
      memcpy(slice.start + done, window.start + skip, count)
      done += count
    }
  }

  private func writePartial(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    var window = await bounce.acquire()
    defer { bounce.release(window) }
    let block = Int(blockByteCount)
    var done = 0
    while done < slice.byteCount {
      try bounce.renew(&window)
      let (start, skip, count) = piece(offset + UInt64(done), remaining: slice.byteCount - done, window.byteCount)
      let end = skip + count
      let whole = Int(UInt64(end).roundedUp(to: blockByteCount))
      if skip > 0 { try await space.read(at: start, into: window.part(from: 0, byteCount: block), request) }
      let lastBlock = whole - block
      if end < whole && (lastBlock > 0 || skip == 0) {
        try await space.read(at: start + UInt64(lastBlock), into: window.part(from: lastBlock, byteCount: block), request)
      }
      memcpy(window.start + skip, slice.start + done, count)
      try await space.write(at: start, from: window.part(from: 0, byteCount: whole), request)
      done += count
    }
  }

  /// The next piece that fits in a bounce buffer: its first block, the bytes before it in that block, and its length.
  private func piece(_ position: UInt64, remaining: Int, _ windowByteCount: Int) -> (start: UInt64, skip: Int, count: Int) {
    let start = position.roundedDown(to: blockByteCount)
    let skip = Int(position - start)
    return (start, skip, min(remaining, windowByteCount - skip))
  }

  /// Zeros any range of chunks that are present, within whole blocks locked exclusively.
  func zeroBlocks(_ row: MappedRow, from start: UInt64, to end: UInt64, _ request: IORequest) async throws(BlockError) {
    let innerStart = start.roundedUp(to: blockByteCount)
    let innerEnd = end.roundedDown(to: blockByteCount)
    if !PlantedBug.trimsDoNotMarkStaleCopies.isPlanted {
      try await markDirty(row, start.roundedDown(to: blockByteCount), end.roundedUp(to: blockByteCount))
    }
    guard innerStart < innerEnd else { return try await zeroPartial(row, from: start, to: end, request) }
    if start < innerStart { try await zeroPartial(row, from: start, to: innerStart, request) }
    try await space.writeZeroes(at: address(row, innerStart), byteCount: innerEnd - innerStart, request)
    if innerEnd < end { try await zeroPartial(row, from: innerEnd, to: end, request) }
  }

  /// Less than two blocks.
  private func zeroPartial(_ row: MappedRow, from start: UInt64, to end: UInt64, _ request: IORequest) async throws(BlockError) {
    if start == end { return }
    try await writeBlocks(at: address(row, start), from: bounce.zeroes.part(from: 0, byteCount: Int(end - start)), request)
  }
}
