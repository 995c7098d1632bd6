import CLinux
import Glibc

/// Finds out what an open disk is: size, alignment, and what it can do. Blocking: for BlockingCalls.
enum DiskProbe {
  static func examine(_ descriptor: Int32, path: String, access: DiskAccess) throws(DiskOpenError) -> OpenedDisk {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .system(path, errno, doing: "looking at it") }
    guard let identity = DiskIdentity(status) else {
      throw DiskOpenError(.notADisk, path, "\(path) is neither a regular file nor a block device. Name one of these.")
    }
    let opened =
      switch identity {
      case .file: examineFile(descriptor, path, status, identity, access)
      case .blockDevice(let number): try examineBlockDevice(descriptor, path, number, identity, access)
      }
    guard opened.facts.byteCount > 0 else {
      throw DiskOpenError(
        .empty, path, "\(path) has no room: it is smaller than one block. Give it a size, for instance with `truncate -s 10G`.")
    }
    return opened
  }

  // MARK: Files

  private static func examineFile(
    _ descriptor: Int32, _ path: String, _ status: stat, _ identity: DiskIdentity, _ access: DiskAccess
  ) -> OpenedDisk {
    let alignment = directAlignment(of: descriptor)
    if alignment == nil { leaveDirect(descriptor) }
    let ioAlignment = alignment ?? 512
    let device = SystemBlockDevice(number: UInt64(status.st_dev))
    var facts = DiskFacts(
      kind: .file, name: path, byteCount: roundedDown(UInt64(max(status.st_size, 0)), to: ioAlignment), ioAlignment: ioAlignment,
      physicalSector: physicalSector(device.physicalSector, atLeast: ioAlignment), isRotational: device.isRotational ?? false,
      isDirect: alignment != nil, punchReadsZeros: true, isReadOnly: access != .claimed)
    var method = ZeroMethod.none
    if access == .claimed {
      let modes = supportedFallocateModes(descriptor, UInt64(max(status.st_size, 0)))
      method = modes.zeroRange ? .zeroRange : modes.punch && modes.allocate ? .punchAndAllocate : .none
      facts.zeroesCheaply = method != .none
      facts.discardGranularity = modes.punch ? max(Int(status.st_blksize), ioAlignment) : 0
    }
    return OpenedDisk(
      descriptor: descriptor, identity: identity, facts: facts, zeroMethod: method, isStatusLocal: clinux_status_is_local(descriptor))
  }

  /// What O_DIRECT wants, 512 or 4096; nil where it does not work on this file.
  private static func directAlignment(of descriptor: Int32) -> Int? {
    guard clinux_fcntl_int(descriptor, F_GETFL, 0) & CLINUX_O_DIRECT != 0 else { return nil }
    var memory: UInt32 = 0
    var offset: UInt32 = 0
    if clinux_dio_alignment(descriptor, &memory, &offset) == 0 {
      guard memory > 0, offset > 0 else { return nil }  // encrypted, data=journal, ...: refused on this file
      return DiskLimits.ioAlignments.first { $0 >= Int(max(memory, offset)) }
    }
    guard let page = UnsafeMutableRawPointer.aligned(4096) else { return nil }
    defer { free(page) }
    return DiskLimits.ioAlignments.first { pread(descriptor, page, $0, 0) >= 0 }
  }

  private static func leaveDirect(_ descriptor: Int32) {
    _ = clinux_fcntl_int(descriptor, F_SETFL, clinux_fcntl_int(descriptor, F_GETFL, 0) & ~CLINUX_O_DIRECT)
  }

  /// Which modes of fallocate(2) the file system has, tried beyond the end of the file, where there is no content to change. What that
  /// allocates is cut off again. ENOSPC and the like mean that the mode is there.
  private static func supportedFallocateModes(_ descriptor: Int32, _ size: UInt64) -> (zeroRange: Bool, punch: Bool, allocate: Bool) {
    let blockByteCount: UInt64 = 64 << 10
    let start = off_t(truncatingIfNeeded: (size / blockByteCount &+ 1) &* blockByteCount)
    func works(_ mode: Int32) -> Bool {
      if clinux_fallocate(descriptor, FALLOC_FL_KEEP_SIZE | mode, start, 4096) == 0 { return true }
      return errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EINTR
    }
    let modes = (zeroRange: works(FALLOC_FL_ZERO_RANGE), punch: works(FALLOC_FL_PUNCH_HOLE), allocate: works(0))
    ftruncate(descriptor, off_t(truncatingIfNeeded: size))
    return modes
  }

  // MARK: Block devices

  private static func examineBlockDevice(
    _ descriptor: Int32, _ path: String, _ number: UInt64, _ identity: DiskIdentity, _ access: DiskAccess
  ) throws(DiskOpenError) -> OpenedDisk {
    var byteCount: UInt64 = 0
    var logical: Int32 = 0
    var physical: UInt32 = 0
    var isReadOnly: Int32 = 0
    var result = clinux_block_size_bytes(descriptor, &byteCount)
    if result == 0 { result = clinux_block_logical_sector(descriptor, &logical) }
    guard result == 0 else { throw .system(path, -result, doing: "asking for its size") }
    if access == .claimed, clinux_block_is_read_only(descriptor, &isReadOnly) == 0, isReadOnly != 0 {
      throw .system(path, EROFS, doing: "opening it")
    }
    guard let sector = DiskLimits.ioAlignments.first(where: { $0 >= Int(logical) }) else {
      throw DiskOpenError(.system, path, "\(path) has sectors of \(logical) bytes. Only disks with 512 or 4096 byte sectors can be used.")
    }
    var memory: UInt32 = 0
    var offset: UInt32 = 0
    var ioAlignment = sector
    if clinux_dio_alignment(descriptor, &memory, &offset) == 0, memory > UInt32(sector) { ioAlignment = 4096 }
    let device = SystemBlockDevice(number: number)
    if clinux_block_physical_sector(descriptor, &physical) != 0 { physical = UInt32(sector) }
    let zeroes = access == .claimed && device.writeZeroesByteCount > 0
    let facts = DiskFacts(
      kind: .blockDevice, name: path, byteCount: roundedDown(byteCount, to: ioAlignment), ioAlignment: ioAlignment,
      physicalSector: physicalSector(Int(physical), atLeast: ioAlignment), isRotational: device.isRotational ?? false, isDirect: true,
      discardGranularity: access == .claimed ? device.discardGranularity : 0, zeroesCheaply: zeroes, isReadOnly: access != .claimed)
    return OpenedDisk(descriptor: descriptor, identity: identity, facts: facts, zeroMethod: zeroes ? .zeroRange : .none)
  }

  // MARK: Arithmetic

  private static func roundedDown(_ byteCount: UInt64, to alignment: Int) -> UInt64 { byteCount / UInt64(alignment) * UInt64(alignment) }

  /// A power of two; what the system says otherwise is ignored.
  private static func physicalSector(_ said: Int?, atLeast alignment: Int) -> Int {
    guard let said, said > alignment, said & (said - 1) == 0 else { return alignment }
    return said
  }
}

extension UnsafeMutableRawPointer {
  /// Memory for O_DIRECT, ended by free(); nil when there is none.
  static func aligned(_ byteCount: Int) -> UnsafeMutableRawPointer? {
    var memory: UnsafeMutableRawPointer?
    return posix_memalign(&memory, 4096, byteCount) == 0 ? memory : nil
  }
}
