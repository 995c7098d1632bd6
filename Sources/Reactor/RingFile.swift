import CLinux

/// A descriptor in the ring's table of registered files: operations on it skip the kernel's look-up and reference counting. It owns the
/// descriptor; `close` ends both.
public struct RingFile: Sendable {
  public let descriptor: Int32
  /// The place in the table; -1 when the table was full and the plain descriptor is used.
  let tableIndex: Int32
  /// Marks its operations; none of a socket, whose operations are cancelled instead of abandoned.
  let owner: OperationOwner
  let mayBlock: Bool

  @inline(__always)
  var place: clinux_file {
    let isRegistered = tableIndex >= 0
    return clinux_file(number: isRegistered ? tableIndex : descriptor, is_registered: isRegistered, may_block: mayBlock)
  }
}

extension RingReactor {
  /// Registers `descriptor`, which from then on belongs to the result.
  ///
  /// With `mayBlock` the kernel's worker threads begin every operation. For files of FUSE, NFS and the like: Linux asks such a file's server
  /// for its attributes before a read, on the thread that submits, and would keep the whole reactor waiting for a server that hangs.
  public func register(_ descriptor: Int32, mayBlock: Bool = false) -> RingFile {
    assertIsCurrent()
    var index = freeFileIndices.popLast() ?? -1
    if index >= 0 && updateRegisteredFile(at: index, to: descriptor) != 1 {
      freeFileIndices.append(index)
      index = -1
    }
    return RingFile(descriptor: descriptor, tableIndex: index, owner: makeOwner(), mayBlock: mayBlock)
  }

  /// Wraps `descriptor`, which from then on belongs to the result, without registering it: for sockets. Linux 6.1 lets a file that was taken
  /// out of the table go only when every older operation on any registered file has ended, and a receive on an idle connection never does.
  public func adopt(_ descriptor: Int32) -> RingFile { RingFile(descriptor: descriptor, tableIndex: -1, owner: .none, mayBlock: false) }

  /// Takes `file` out of the table and closes it. Operations still in flight end first or fail; the caller waits for them.
  public func close(_ file: RingFile) {
    unregister(file)
    CLinux.close(file.descriptor)
  }

  /// Takes `file` out of the table: for who closes the descriptor elsewhere, because that can take long.
  public func unregister(_ file: RingFile) {
    assertIsCurrent()
    guard file.tableIndex >= 0 else { return }
    _ = updateRegisteredFile(at: file.tableIndex, to: -1)
    freeFileIndices.append(file.tableIndex)
  }
}

// MARK: Operations. Each returns a count, or -errno; never more than one try, and short counts are the caller's to continue.

extension RingReactor {
  /// Reads at `offset` into `slice`, by its registered buffer where it has one.
  public func read(_ file: RingFile, _ slice: BufferSlice, at offset: UInt64) async -> Int32 {
    await complete(file.owner, slice.buffer) {
      clinux_ring_read(ring, $0, file.place, slice.start, UInt32(slice.byteCount), offset, buffers.registeredIndex(of: slice))
    }
  }

  /// Writes `slice` at `offset`. With `isDurable` the write is on stable storage when it completes (RWF_DSYNC).
  public func write(_ file: RingFile, _ slice: BufferSlice, at offset: UInt64, isDurable: Bool) async -> Int32 {
    await complete(file.owner, slice.buffer) {
      clinux_ring_write(ring, $0, file.place, slice.start, UInt32(slice.byteCount), offset, buffers.registeredIndex(of: slice), isDurable)
    }
  }

  public func synchronize(_ file: RingFile, dataOnly: Bool) async -> Int32 {
    await complete(file.owner) { clinux_ring_fsync(ring, $0, file.place, dataOnly) }
  }

  /// fallocate(2) with `mode`.
  public func allocate(_ file: RingFile, mode: Int32, at offset: UInt64, byteCount: UInt64) async -> Int32 {
    await complete(file.owner) { clinux_ring_fallocate(ring, $0, file.place, mode, offset, byteCount) }
  }

  /// What `file` is now (statx(2)), into a slice of `CLINUX_STATUS_BYTES`: for file systems that ask another process or machine, where
  /// fstat(2) could keep the whole reactor waiting. 0, or -errno.
  public func status(_ file: RingFile, into slice: BufferSlice) async -> Int32 {
    await complete(file.owner, slice.buffer) { clinux_ring_status(ring, $0, file.descriptor, slice.start) }
  }

  public func accept(_ file: RingFile) async -> Int32 {
    await complete { clinux_ring_accept(ring, $0, file.place) }
  }

  /// Receives what is there, at least one byte unless the peer has closed (0).
  public func receive(_ file: RingFile, into memory: UnsafeMutableRawBufferPointer) async -> Int32 {
    await complete { clinux_ring_receive(ring, $0, file.place, memory.baseAddress, memory.count) }
  }

  /// Scatter receive; `message` and what it names stay alive until the result.
  public func receive(_ file: RingFile, message: UnsafeMutablePointer<msghdr>, flags: Int32 = 0) async -> Int32 {
    await complete { clinux_ring_receive_message(ring, $0, file.place, message, flags) }
  }

  /// Gather send; `message` and what it names stay alive until the result.
  public func send(_ file: RingFile, message: UnsafeMutablePointer<msghdr>) async -> Int32 {
    await complete { clinux_ring_send_message(ring, $0, file.place, message) }
  }

  public func send(_ file: RingFile, _ memory: UnsafeRawBufferPointer) async -> Int32 {
    await complete { clinux_ring_send(ring, $0, file.place, memory.baseAddress, memory.count) }
  }

  /// Waits until `file` is readable (POLLIN).
  public func waitReadable(_ file: RingFile) async -> Int32 {
    await complete { clinux_ring_poll_readable(ring, $0, file.place) }
  }
}

// MARK: Disks that do not answer

extension RingReactor {
  /// How long the oldest operation on `file` that somebody waits for has been with the kernel, in nanoseconds; 0 when there is none. It
  /// looks at every operation in flight: for once a second.
  public func oldestOperationAge(_ file: RingFile) -> UInt64 {
    assertIsCurrent()
    return operations.oldest(of: file.owner).map { now.nanoseconds(since: $0) } ?? 0
  }

  /// Sends everyone away who waits for an operation on `file`, with the result `IOResult.abandoned`. The kernel still has the operations:
  /// they may yet happen, and until they are over (`hungCount` 0) their buffers stay held and `file` must not be closed.
  public func abandon(_ file: RingFile) {
    assertIsCurrent()
    operations.abandon(file.owner, buffers)
  }

  /// Operations on `file` that were abandoned and are not over.
  public func hungCount(_ file: RingFile) -> Int { operations.leftoverCount(of: file.owner) }

  /// Returns when no abandoned operation on `file` is left.
  public func drained(_ file: RingFile) async {
    while hungCount(file) > 0 { await withUnsafeContinuation { operations.waitForLeftovers(of: file.owner, $0) } }
  }
}

// MARK: Sockets that must end

extension RingReactor {
  /// Cancels every operation on `file` that waits: each returns -ECANCELED, having moved no byte. A count, or -errno; -ENOENT when none waited.
  @discardableResult
  public func cancelAll(_ file: RingFile) async -> Int32 {
    await complete { clinux_ring_cancel_all(ring, $0, file.place) }
  }

  /// shutdown(2), which does not wait: operations in flight in that direction end, with 0 or an error. `how` is SHUT_RD, SHUT_WR or SHUT_RDWR.
  public func shutdown(_ file: RingFile, how: Int32) {
    assertIsCurrent()
    _ = CLinux.shutdown(file.descriptor, how)
  }

  /// Whether a stream is at its end in both directions, or broken: poll(2), which does not wait here.
  public func isHungUp(_ file: RingFile) -> Bool {
    assertIsCurrent()
    var asked = pollfd(fd: file.descriptor, events: 0, revents: 0)
    return poll(&asked, 1, 0) == 1 && asked.revents & Int16(POLLHUP | POLLERR | POLLNVAL) != 0
  }
}
