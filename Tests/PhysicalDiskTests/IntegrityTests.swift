import BlockDevice
import CLinux
import Glibc
import PhysicalDisk
import Reactor
import TestSupport
import Testing

/// Files and devices that change behind our back.
@Suite struct IntegrityTests {
  private static let byteCount = 8 << 20
  private static let lastBlock = UInt64(byteCount - 4096)

  private func withFile(_ body: @escaping @Sendable (String, PhysicalDisk, BufferSlice) async throws -> Void) async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: UInt64(IntegrityTests.byteCount))
    let test = try TestReactor()
    let port = try await test.open(path)
    try await test.reactor.run { () async throws -> Void in
      let disk = PhysicalDisk(reactor: test.reactor, port: port)
      let slice = await test.reactor.pattern(byteCount: 64 << 10, seed: 1)
      // As a pooled disk: metadata at the head, a partition table at the end.
      try await disk.write(at: 0, from: slice, IORequest())
      try await disk.write(at: IntegrityTests.lastBlock, from: slice.part(from: 0, byteCount: 4096), IORequest())
      try await disk.checkIntegrity()
      try await body(path, disk, slice)
      test.reactor.buffers.release(slice.buffer)
      await disk.close()
    }
  }

  private static func size(_ path: String) -> Int {
    var status = stat()
    return stat(path, &status) == 0 ? Int(status.st_size) : -1
  }

  private static func fault(_ disk: PhysicalDisk) async -> DiskFault.Kind? { await disk.port.checkIntegrity()?.kind }

  @Test func ourOwnWriteToTheEndDoesNotHideATruncation() async throws {
    try await withFile { path, disk, slice in
      try #require(truncate(path, 4 << 20) == 0)
      let tail = slice.part(from: 0, byteCount: 4096)
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) {
        try await disk.write(at: IntegrityTests.lastBlock, from: tail, IORequest())
      }
      #expect(IntegrityTests.size(path) == 4 << 20, "the write was not made")
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.flush(IORequest()) }
      #expect(disk.ailment?.contains("shrank from 8388608 to 4194304 bytes") == true)
    }
  }

  @Test func aWriteBeyondTheNewEndDoesNotHideItEither() async throws {
    try await withFile { path, disk, slice in
      try #require(truncate(path, 4 << 20) == 0)
      try await disk.write(at: 6 << 20, from: slice, IORequest())
      #expect(IntegrityTests.size(path) == 6 << 20 + 64 << 10)
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.flush(IORequest()) }
    }
  }

  @Test func aFileThatWasTruncatedAndExtendedAgainIsNoticed() async throws {
    try await withFile { path, disk, slice in
      try #require(truncate(path, 0) == 0 && truncate(path, off_t(IntegrityTests.byteCount)) == 0)
      for _ in 0..<3 { #expect(await IntegrityTests.fault(disk) == .shrank) }
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.flush(IORequest()) }
      #expect(disk.ailment?.contains("truncated and extended again") == true)
    }
  }

  /// Space that goes because we punch or zero it, the last block included, is no fault; and what is written there later counts again.
  @Test func ourOwnTrimsAreNoFault() async throws {
    try await withFile { path, disk, slice in
      let before = allocatedByteCount(path)
      try await disk.discard(at: 0, byteCount: IntegrityTests.lastBlock, IORequest())
      #expect(allocatedByteCount(path) < before / 2)
      try await disk.checkIntegrity()
      try await disk.writeZeroes(at: 4 << 20, byteCount: 4 << 20, IORequest())
      try await disk.checkIntegrity()
      try await disk.discard(at: 0, byteCount: UInt64(IntegrityTests.byteCount), IORequest())
      try await disk.checkIntegrity()
      try await disk.flush(IORequest())
      try await disk.write(at: UInt64(IntegrityTests.byteCount - slice.byteCount), from: slice, IORequest())
      try await disk.checkIntegrity()
      try #require(truncate(path, 0) == 0 && truncate(path, off_t(IntegrityTests.byteCount)) == 0)
      #expect(await IntegrityTests.fault(disk) == .shrank)
    }
  }

  @Test func aFileThatIsReplacedIsNoticedAndOneThatIsRenamedIsNot() async throws {
    try await withFile { path, disk, slice in
      try #require(rename(path, path + ".moved") == 0)
      try await disk.checkIntegrity()
      try #require(rename(path + ".moved", path) == 0)
      let other = clinux_open(path + ".other", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
      try #require(ftruncate(other, off_t(IntegrityTests.byteCount)) == 0 && rename(path + ".other", path) == 0)
      close(other)
      #expect(await IntegrityTests.fault(disk) == .deleted)
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.flush(IORequest()) }
    }
  }

  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices")) func aBlockDeviceThatShrinksIsNoticed() async throws {
    let loop = try LoopDevice(sector: 512)
    let test = try TestReactor()
    let port = try await test.open(loop.path)
    try await test.reactor.run { () async throws -> Void in
      let disk = PhysicalDisk(reactor: test.reactor, port: port)
      try await disk.checkIntegrity()
      try #require(truncate(loop.file, 32 << 20) == 0)
      let resized = try Program.runBlocking(["losetup", "--set-capacity", loop.path])
      try #require(resized.succeeded, "\(resized.text)")
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.checkIntegrity() }
      #expect(disk.ailment?.contains("shrank from 67108864 to 33554432") == true)
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.flush(IORequest()) }
      await disk.close()
    }
  }

  /// Asked a thousand times it keeps no buffer.
  @Test func lookingIsCheap() async throws {
    try await withFile { _, disk, _ in
      await disk.reactor.sleep(milliseconds: 0)
      let began = disk.reactor.now
      for _ in 0..<1000 { try await disk.checkIntegrity() }
      await disk.reactor.sleep(milliseconds: 0)
      print("IntegrityTests: one look takes \(disk.reactor.now.nanoseconds(since: began) / 1000) ns")
      #expect(await disk.reactor.eventually { disk.reactor.buffers.reservedByteCount == 0 })  // the other tests' come and go
    }
  }
}
