import BlockDevice
import CLinux
import PhysicalDisk
import Reactor
import TestSupport
import Testing

/// Where the file of a test lies.
enum FileSystemUnderTest: String, CaseIterable {
  case disk = "/tmp"
  case tmpfs = "/dev/shm"
}

/// The port over real files and loop devices.
@Suite struct DescriptorPortTests {
  /// Writes, reads back, punches and zeroes; checks content byte by byte. `spaceOf` tells how much is allocated on the file.
  static func exercise(_ port: DescriptorPort, on reactor: RingReactor, spaceOf file: String?) async {
    let facts = port.facts
    let byteCount = 256 << 10
    let offset: UInt64 = 1 << 20
    let out = await reactor.pattern(byteCount: byteCount, seed: 7)
    let back = await reactor.buffers.acquire(byteCount: byteCount)
    #expect(await port.write(out, at: offset, isDurable: false) == 0)
    #expect(await port.synchronize() == 0)
    #expect(await port.read(back, at: offset) == 0)
    #expect(memcmp(out.start, back.start, byteCount) == 0)
    // One block, by a registered buffer, durable; its neighbours stay.
    let small = await reactor.pattern(byteCount: facts.ioAlignment, seed: 99)
    #expect(await port.write(small, at: offset + UInt64(facts.ioAlignment), isDurable: true) == 0)
    #expect(await port.read(back, at: offset) == 0)
    memcpy(out.start + facts.ioAlignment, small.start, facts.ioAlignment)
    #expect(memcmp(out.start, back.start, byteCount) == 0)

    if facts.discardGranularity > 0 {
      let before = file.map(allocatedByteCount)
      #expect(await port.punch(at: offset, byteCount: 64 << 10) == 0)
      #expect(await port.synchronize() == 0)
      if let file, let before { #expect(allocatedByteCount(file) == before - 64 << 10) }
      if facts.punchReadsZeros {
        #expect(await port.read(back, at: offset) == 0)
        #expect(back.bytes[..<(64 << 10)].allSatisfy { $0 == 0 })
        #expect(memcmp(out.start + 64 << 10, back.start + 64 << 10, byteCount - 64 << 10) == 0)
      }
    }
    if facts.zeroesCheaply {
      // From the punched part into the written one, an odd number of blocks.
      let start = offset + 32 << 10
      #expect(await port.zero(at: start, byteCount: UInt64(64 << 10 + facts.ioAlignment)) == 0)
      #expect(await port.read(back, at: offset) == 0)
      #expect(back.bytes[(32 << 10)..<(96 << 10 + facts.ioAlignment)].allSatisfy { $0 == 0 })
      let rest = 96 << 10 + facts.ioAlignment
      #expect(memcmp(out.start + rest, back.start + rest, byteCount - rest) == 0)
      if let file {
        let before = allocatedByteCount(file)
        #expect(await port.zero(at: offset + 1 << 20, byteCount: 1 << 20) == 0)
        #expect(allocatedByteCount(file) >= before + 1 << 20, "zeroing allocates")
      }
    } else {
      #expect(await port.zero(at: offset, byteCount: 64 << 10) == -EOPNOTSUPP)
    }
    for slice in [out, back, small] { reactor.buffers.release(slice.buffer) }
  }

  @Test(arguments: FileSystemUnderTest.allCases)
  func filesAreReadWrittenPunchedAndZeroed(fileSystem: FileSystemUnderTest) async throws {
    let directory = try TemporaryDirectory(under: fileSystem.rawValue)
    let path = try directory.sparseFile(byteCount: 16 << 20 + 100)
    let test = try TestReactor()
    let port = try await test.open(path)
    #expect(port.facts.kind == .file)
    #expect(port.facts.byteCount == 16 << 20, "a part of a block at the end is left out")
    #expect(port.facts.ioAlignment == 512 || port.facts.ioAlignment == 4096)
    #expect(port.facts.physicalSector >= port.facts.ioAlignment)
    #expect(port.facts.zeroesCheaply && port.facts.discardGranularity > 0, "ext4, xfs, btrfs and tmpfs can")
    #expect(allocatedByteCount(path) == 0, "asking what the file system can leaves nothing behind")
    await test.reactor.run {
      await DescriptorPortTests.exercise(port, on: test.reactor, spaceOf: path)
      await port.close()
    }
  }

  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices"), arguments: [512, 4096])
  func blockDevicesAreReadWrittenPunchedAndZeroed(sector: Int) async throws {
    let loop = try LoopDevice(sector: sector)
    let test = try TestReactor()
    let port = try await test.open(loop.path)
    #expect(port.facts.kind == .blockDevice)
    #expect(port.facts.byteCount == 64 << 20)
    #expect(port.facts.ioAlignment == sector)
    #expect(port.facts.isDirect)
    await test.reactor.run {
      await DescriptorPortTests.exercise(port, on: test.reactor, spaceOf: nil)
      // Discarding more than one piece, by the blocking thread.
      #expect(await port.punch(at: 0, byteCount: port.facts.byteCount) == 0)
      #expect(await port.checkIntegrity() == nil)
      await port.close()
    }
  }

  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices"))
  func aDiskWith4096ByteSectorsRefusesSmallerRequestsAbove() async throws {
    let loop = try LoopDevice(sector: 4096)
    let test = try TestReactor()
    let port = try await test.open(loop.path)
    await test.reactor.run {
      let disk = PhysicalDisk(reactor: test.reactor, port: port)
      #expect(disk.geometry.logicalSector == 4096)
      let slice = await test.reactor.buffers.acquire(byteCount: 512)
      await #expect(throws: BlockError(.misaligned)) { try await disk.read(at: 512, into: slice, IORequest()) }
      test.reactor.buffers.release(slice.buffer)
      await disk.close()
    }
  }

  @Test func writtenZerosComeFromTheSharedPage() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 8 << 20)
    let test = try TestReactor()
    let port = try await test.open(path)
    try await test.reactor.run { () async throws -> Void in
      let disk = PhysicalDisk(reactor: test.reactor, port: PortWithoutZeroing(port))
      let out = await test.reactor.pattern(byteCount: 4 << 20, seed: 3)
      try await disk.write(at: 0, from: out, IORequest())
      try await disk.writeZeroes(at: 4096, byteCount: 3 << 20, IORequest())
      try await disk.flush(IORequest())
      let back = await test.reactor.buffers.acquire(byteCount: 4 << 20)
      try await disk.read(at: 0, into: back, IORequest())
      let end = 4096 + 3 << 20
      #expect(memcmp(out.start, back.start, 4096) == 0)
      #expect(back.bytes[4096..<end].allSatisfy { $0 == 0 })
      #expect(memcmp(out.start + end, back.start + end, 4 << 20 - end) == 0)
      test.reactor.buffers.release(out.buffer)
      test.reactor.buffers.release(back.buffer)
      await disk.close()
    }
  }

  // MARK: Files that others change

  @Test func aTruncatedFileFailsItsFlushAndItsReads() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 8 << 20)
    let test = try TestReactor()
    let port = try await test.open(path)
    try await test.reactor.run { () async throws -> Void in
      let disk = PhysicalDisk(reactor: test.reactor, port: port)
      let slice = await test.reactor.pattern(byteCount: 8192, seed: 1)
      try await disk.write(at: 0, from: slice, IORequest())
      try await disk.flush(IORequest())
      try #require(truncate(path, 4 << 20 + 4096) == 0)
      let fault = await port.checkIntegrity()
      #expect(fault?.kind == .shrank)
      #expect(fault?.description.contains("shrank from 8388608 to 4198400 bytes") == true)
      // Half of it is still there, the other half is not.
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.read(at: 4 << 20, into: slice, IORequest()) }
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.flush(IORequest()) }
      #expect(disk.health.state == .failed)
      #expect(disk.health.lastError == fault?.description)
      test.reactor.buffers.release(slice.buffer)
      await disk.close()
    }
  }

  @Test func aDeletedFileFailsItsFlushButCanBeRead() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 8 << 20)
    let test = try TestReactor()
    let port = try await test.open(path)
    try await test.reactor.run { () async throws -> Void in
      let disk = PhysicalDisk(reactor: test.reactor, port: port)
      let slice = await test.reactor.pattern(byteCount: 8192, seed: 1)
      try await disk.write(at: 0, from: slice, IORequest())
      try #require(unlink(path) == 0)
      #expect(await port.checkIntegrity()?.kind == .deleted)
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.flush(IORequest()) }
      try await disk.read(at: 0, into: slice, IORequest())
      test.reactor.buffers.release(slice.buffer)
      await disk.close()
    }
  }

  /// ramfs has neither O_DIRECT nor fallocate.
  @Test(.enabled(if: mayMount, "needs root to mount")) func aFileSystemWithoutDirectIOIsUsedBufferedAndSaysSo() async throws {
    let directory = try TemporaryDirectory()
    let mounted = try run("mount", "-t", "ramfs", "ramfs", directory.path)
    try #require(mounted.status == 0, "\(mounted.text)")
    defer { _ = try? run("umount", "--lazy", directory.path) }
    let path = try directory.sparseFile(byteCount: 4 << 20)
    let test = try TestReactor()
    let port = try await test.open(path)
    #expect(!port.facts.isDirect && port.facts.ioAlignment == 512)
    #expect(!port.facts.zeroesCheaply && port.facts.discardGranularity == 0)
    await test.reactor.run {
      await DescriptorPortTests.exercise(port, on: test.reactor, spaceOf: path)
      let disk = PhysicalDisk(reactor: test.reactor, port: port)
      #expect(disk.remarks == ["buffered: the file system refuses direct I/O"])
      await disk.close()
    }
  }

  @Test(.enabled(if: mayMount, "needs root to mount")) func aFullFileSystemIsENOSPC() async throws {
    let directory = try TemporaryDirectory()
    let mounted = try run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", directory.path)
    try #require(mounted.status == 0, "\(mounted.text)")
    defer { _ = try? run("umount", "--lazy", directory.path) }
    let path = try directory.sparseFile(byteCount: 16 << 20)
    let test = try TestReactor()
    let port = try await test.open(path)
    await test.reactor.run {
      let disk = PhysicalDisk(reactor: test.reactor, port: port)
      await #expect(throws: BlockError(.noSpace, errorNumber: ENOSPC)) {
        try await disk.writeZeroes(at: 0, byteCount: 8 << 20, IORequest())
      }
      let slice = await test.reactor.pattern(byteCount: 4 << 20, seed: 1)
      await #expect(throws: BlockError(.noSpace, errorNumber: ENOSPC)) { try await disk.write(at: 8 << 20, from: slice, IORequest()) }
      #expect(disk.health.state == .ok)
      test.reactor.buffers.release(slice.buffer)
      await disk.close()
    }
  }

  @Test func readOnlyOpenClaimsNothing() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 8 << 20)
    let test = try TestReactor()
    let owner = try await test.open(path)
    let looker = try await test.open(path, access: .readOnly)
    #expect(looker.facts.isReadOnly && looker.facts.byteCount == 8 << 20)
    await test.reactor.run {
      let slice = await test.reactor.buffers.acquire(byteCount: 4096)
      #expect(await looker.read(slice, at: 0) == 0)
      #expect(await looker.write(slice, at: 0, isDurable: false) == -EBADF)
      test.reactor.buffers.release(slice.buffer)
      await looker.close()
      await owner.close()
    }
  }
}

/// A port that refuses to zero, over a real one.
final class PortWithoutZeroing: DiskPort, @unchecked Sendable {  // reactor-confined
  private let lower: DescriptorPort
  init(_ lower: DescriptorPort) { self.lower = lower }
  var facts: DiskFacts { lower.facts }
  func read(_ slice: BufferSlice, at offset: UInt64) async -> Int32 { await lower.read(slice, at: offset) }
  func write(_ slice: BufferSlice, at offset: UInt64, isDurable: Bool) async -> Int32 {
    await lower.write(slice, at: offset, isDurable: isDurable)
  }
  func synchronize() async -> Int32 { await lower.synchronize() }
  func punch(at offset: UInt64, byteCount: UInt64) async -> Int32 { -EOPNOTSUPP }
  func zero(at offset: UInt64, byteCount: UInt64) async -> Int32 { -EOPNOTSUPP }
  func oldestRequestAge(now: Instant) -> UInt64 { lower.oldestRequestAge(now: now) }
  func abandon() { lower.abandon() }
  var hungCount: Int { lower.hungCount }
  func drained() async { await lower.drained() }
  func close() async { await lower.close() }
}
