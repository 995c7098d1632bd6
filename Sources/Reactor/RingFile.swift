import CLinux

/// A descriptor in the ring's table of registered files: operations on it skip the kernel's look-up and reference counting. It owns the
/// descriptor; `close` ends both.
public struct RingFile: Sendable {
  public let descriptor: Int32
  /// The place in the table; -1 when the table was full and the plain descriptor is used.
  let tableIndex: Int32

  @inline(__always)
  func apply(to entry: UnsafeMutablePointer<io_uring_sqe>) {
    if tableIndex >= 0 {
      entry.pointee.fd = tableIndex
      entry.pointee.flags |= UInt8(1 << IOSQE_FIXED_FILE_BIT)
    } else {
      entry.pointee.fd = descriptor
    }
  }
}

extension RingReactor {
  /// Registers `descriptor`, which from then on belongs to the result.
  public func register(_ descriptor: Int32) -> RingFile {
    assertIsCurrent()
    guard let index = freeFileIndices.popLast() else { return RingFile(descriptor: descriptor, tableIndex: -1) }
    guard updateRegisteredFile(at: index, to: descriptor) == 1 else {
      freeFileIndices.append(index)
      return RingFile(descriptor: descriptor, tableIndex: -1)
    }
    return RingFile(descriptor: descriptor, tableIndex: index)
  }

  /// Wraps `descriptor`, which from then on belongs to the result, without registering it: for sockets. Linux 6.1 lets a file that was taken
  /// out of the table go only when every older operation on any registered file has ended, and a receive on an idle connection never does.
  public func adopt(_ descriptor: Int32) -> RingFile { RingFile(descriptor: descriptor, tableIndex: -1) }

  /// Takes `file` out of the table and closes it. Operations still in flight end first or fail; the caller waits for them.
  public func close(_ file: RingFile) {
    assertIsCurrent()
    if file.tableIndex >= 0 {
      _ = updateRegisteredFile(at: file.tableIndex, to: -1)
      freeFileIndices.append(file.tableIndex)
    }
    CLinux.close(file.descriptor)
  }
}

// MARK: Operations. Each returns a count, or -errno; never more than one try, and short counts are the caller's to continue.

extension RingReactor {
  /// Reads at `offset` into `slice`, by its registered buffer where it has one.
  public func read(_ file: RingFile, _ slice: BufferSlice, at offset: UInt64) async -> Int32 {
    await complete { entry in
      if let index = buffers.registeredIndex(of: slice) {
        io_uring_prep_read_fixed(entry, 0, slice.start, UInt32(slice.byteCount), offset, index)
      } else {
        io_uring_prep_read(entry, 0, slice.start, UInt32(slice.byteCount), offset)
      }
      file.apply(to: entry)
    }
  }

  /// Writes `slice` at `offset`. With `isDurable` the write is on stable storage when it completes (RWF_DSYNC).
  public func write(_ file: RingFile, _ slice: BufferSlice, at offset: UInt64, isDurable: Bool) async -> Int32 {
    await complete { entry in
      if let index = buffers.registeredIndex(of: slice) {
        io_uring_prep_write_fixed(entry, 0, slice.start, UInt32(slice.byteCount), offset, index)
      } else {
        io_uring_prep_write(entry, 0, slice.start, UInt32(slice.byteCount), offset)
      }
      if isDurable { entry.pointee.rw_flags = RWF_DSYNC }
      file.apply(to: entry)
    }
  }

  public func synchronize(_ file: RingFile, dataOnly: Bool) async -> Int32 {
    await complete { entry in
      io_uring_prep_fsync(entry, 0, dataOnly ? 1 : 0)  // IORING_FSYNC_DATASYNC
      file.apply(to: entry)
    }
  }

  /// fallocate(2) with `mode`.
  public func allocate(_ file: RingFile, mode: Int32, at offset: UInt64, byteCount: UInt64) async -> Int32 {
    await complete { entry in
      io_uring_prep_fallocate(entry, 0, mode, off_t(truncatingIfNeeded: offset), off_t(truncatingIfNeeded: byteCount))
      file.apply(to: entry)
    }
  }

  public func accept(_ file: RingFile) async -> Int32 {
    await complete { entry in
      io_uring_prep_accept(entry, 0, nil, nil, CLINUX_SOCK_CLOEXEC)
      file.apply(to: entry)
    }
  }

  /// Receives what is there, at least one byte unless the peer has closed (0).
  public func receive(_ file: RingFile, into memory: UnsafeMutableRawBufferPointer) async -> Int32 {
    await complete { entry in
      io_uring_prep_recv(entry, 0, memory.baseAddress, memory.count, 0)
      file.apply(to: entry)
    }
  }

  /// Scatter receive; `message` and what it names stay alive until the result.
  public func receive(_ file: RingFile, message: UnsafeMutablePointer<msghdr>, flags: Int32 = 0) async -> Int32 {
    await complete { entry in
      io_uring_prep_recvmsg(entry, 0, message, UInt32(bitPattern: flags))
      file.apply(to: entry)
    }
  }

  /// Gather send; `message` and what it names stay alive until the result.
  public func send(_ file: RingFile, message: UnsafeMutablePointer<msghdr>) async -> Int32 {
    await complete { entry in
      io_uring_prep_sendmsg(entry, 0, message, UInt32(MSG_NOSIGNAL))
      file.apply(to: entry)
    }
  }

  public func send(_ file: RingFile, _ memory: UnsafeRawBufferPointer) async -> Int32 {
    await complete { entry in
      io_uring_prep_send(entry, 0, memory.baseAddress, memory.count, Int32(MSG_NOSIGNAL))
      file.apply(to: entry)
    }
  }

  /// Waits until `descriptor` is readable (POLLIN).
  public func waitReadable(_ file: RingFile) async -> Int32 {
    await complete { entry in
      io_uring_prep_poll_add(entry, 0, 1)
      file.apply(to: entry)
    }
  }
}

// MARK: Sockets that must end

extension RingReactor {
  /// Cancels every operation on `file` that waits: each returns -ECANCELED, having moved no byte. A count, or -errno; -ENOENT when none waited.
  @discardableResult
  public func cancelAll(_ file: RingFile) async -> Int32 {
    await complete { entry in
      let isRegistered = file.tableIndex >= 0
      let flags: UInt32 = 1 << 0 | (isRegistered ? 1 << 3 : 0)  // IORING_ASYNC_CANCEL_ALL, IORING_ASYNC_CANCEL_FD_FIXED
      io_uring_prep_cancel_fd(entry, isRegistered ? file.tableIndex : file.descriptor, flags)
    }
  }

  /// shutdown(2), which does not wait: operations in flight in that direction end, with 0 or an error. `how` is SHUT_RD, SHUT_WR or SHUT_RDWR.
  public func shutdown(_ file: RingFile, how: Int32) {
    assertIsCurrent()
    _ = CLinux.shutdown(file.descriptor, how)
  }
}
