import CLinux
import PhysicalDisk
import Reactor
import TestSupport
import Testing

/// What libblkid finds, and that wiping leaves nothing of it.
@Suite struct SignatureTests {
  /// Opens the disk at `path` and probes, wipes and probes it again; hands back what was found and erased.
  private func probeAndWipe(_ path: String) async throws -> (found: DiskSignatures, erased: [FoundSignature], left: DiskSignatures) {
    let test = try TestReactor()
    let port = try await test.open(path)
    let found = try await test.reactor.run { () async throws(SignatureError) -> DiskSignatures in try await port.scanSignatures() }
    let erased = try await test.reactor.run { () async throws(SignatureError) -> [FoundSignature] in try await port.wipeSignatures() }
    let left = try await test.reactor.run { () async throws(SignatureError) -> DiskSignatures in try await port.scanSignatures() }
    await test.reactor.run { await port.close() }
    return (found, erased, left)
  }

  @Test func anEmptyFileHasNone() async throws {
    let directory = try TemporaryDirectory()
    let (found, erased, left) = try await probeAndWipe(try directory.sparseFile(byteCount: 16 << 20))
    #expect(found.isEmpty && found.partitions.isEmpty && erased.isEmpty && left.isEmpty)
  }

  @Test(arguments: [("ext4", ["mkfs.ext4", "-q", "-L", "holiday"]), ("swap", ["mkswap", "-L", "holiday"])])
  func fileSystemsAreNamedAndWiped(type: String, command: [String]) async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 32 << 20)
    let made = try Program.runBlocking(command + [path])
    try #require(made.status == 0, "\(made.text)")
    let (found, erased, left) = try await probeAndWipe(path)
    #expect(found.signatures.map(\.type) == [type])
    #expect(found.signatures.first?.label == "holiday")
    #expect(found.signatures.first?.uuid != nil)
    #expect(found.signatures.first?.description.contains("\"holiday\"") == true)
    #expect(erased == found.signatures)
    #expect(left.isEmpty)
    #expect(try run("wipefs", path).output == "")
  }

  @Test func aPartitionTableIsWipedWithItsBackup() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 64 << 20)
    let guid = "5A6B7C8D-0123-4567-89AB-CDEF01234567"
    let made = try run("sgdisk", "-n", "1:2048:+8M", "-t", "1:\(guid)", "-c", "1:tank", "-n", "2:0:0", path)
    try #require(made.status == 0, "\(made.text)")
    let (found, erased, left) = try await probeAndWipe(path)
    #expect(found.signatures.filter { $0.type == "gpt" }.map(\.offsetBytes) == [512, 64 << 20 - 512])
    #expect(found.signatures.contains { $0.type == "PMBR" })
    #expect(found.partitions.count == 2)
    #expect(found.partitions.first?.type == guid.lowercased())
    #expect(found.partitions.first?.name == "tank")
    #expect(found.partitions.first?.offsetBytes == 1 << 20)
    #expect(found.partitions.first?.byteCount == 8 << 20)
    #expect(erased == found.signatures)
    #expect(left.isEmpty && left.partitions.isEmpty)
    #expect(try run("wipefs", path).output == "")
  }

  @Test func aBackupWithoutItsFirstCopyIsFoundAndWiped() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 64 << 20)
    try #require(try run("sgdisk", "-n", "1:2048:+8M", path).status == 0)
    try #require(try run("dd", "if=/dev/zero", "of=\(path)", "bs=1M", "count=1", "conv=notrunc").status == 0)
    let (found, _, left) = try await probeAndWipe(path)
    #expect(found.signatures.map(\.type) == ["gpt"])
    #expect(found.signatures.first?.offsetBytes == UInt64(64 << 20 - 512))
    #expect(found.partitions.count == 1)
    #expect(left.isEmpty)
  }

  /// A volume group member as pvcreate leaves it: the label in sector 1, its checksum right.
  @Test func aVolumeGroupMemberIsFoundAndWiped() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 16 << 20)
    var label = [UInt8](repeating: 0, count: 512)
    label.replaceSubrange(0..<8, with: Array("LABELONE".utf8))
    label[8] = 1  // its own sector
    label[20] = 32  // offset of the content
    label.replaceSubrange(24..<32, with: Array("LVM2 001".utf8))
    label.replaceSubrange(32..<64, with: Array("AbCdEfGhIjKlMnOpQrStUvWxYz012345".utf8))
    let checksum = lvmChecksum(label[20...])
    for byte in 0..<4 { label[16 + byte] = UInt8(truncatingIfNeeded: checksum >> (8 * UInt32(byte))) }
    let descriptor = clinux_open(path, O_RDWR, 0)
    try #require(pwrite(descriptor, label, 512, 512) == 512)
    close(descriptor)
    let (found, _, left) = try await probeAndWipe(path)
    #expect(found.signatures.map(\.type) == ["LVM2_member"])
    #expect(found.signatures.first?.usage == .raid)
    #expect(left.isEmpty)
  }

  private func lvmChecksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    var crc: UInt32 = 0xf597_a6cf
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
    }
    return crc
  }

  /// Swap space made over a partition table: its own backup is still there, and all of it is found.
  @Test func whatLiesUnderAnotherSignatureIsFoundToo() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 64 << 20)
    try #require(try run("sgdisk", "-n", "1:2048:+8M", path).status == 0)
    try #require(try run("mkswap", path).status == 0)
    let (found, erased, left) = try await probeAndWipe(path)
    #expect(found.signatures.contains { $0.type == "swap" })
    #expect(found.signatures.contains { $0.type == "gpt" && $0.offsetBytes == 64 << 20 - 512 })
    #expect(erased.count == found.signatures.count)
    #expect(left.isEmpty)
  }

  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices"), arguments: [512, 4096])
  func partitionTablesOnBlockDevicesAreWipedWhileClaimed(sector: Int) async throws {
    let loop = try LoopDevice(sector: sector)
    let made = try run("sgdisk", "-n", "1:0:+8M", "-c", "1:tank", loop.path)
    try #require(made.status == 0, "\(made.text)")
    let (found, erased, left) = try await probeAndWipe(loop.path)
    #expect(found.signatures.filter { $0.type == "gpt" }.map(\.offsetBytes) == [UInt64(sector), UInt64(64 << 20 - sector)])
    #expect(found.partitions.map(\.name) == ["tank"])
    #expect(erased == found.signatures)
    #expect(left.isEmpty)
  }

  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices"))
  func theKernelForgetsPartitionsThatWereWiped() async throws {
    let loop = try LoopDevice(sector: 512, hasPartitions: true)
    try #require(try run("sgdisk", "-n", "1:0:+8M", loop.path).status == 0)
    // A kernel that cannot read this kind of table is told of the partition; one that can has it already.
    try run("addpart", loop.path, "1", "2048", "16384")
    let name = try #require(loop.path.split(separator: "/").last)
    let partition = "/sys/block/\(name)/\(name)p1"
    try #require(access(partition, F_OK) == 0)
    let test = try TestReactor()
    let port = try await test.open(loop.path, waitMilliseconds: 5000)
    let result = try await test.reactor.run { () async throws(SignatureError) -> Int32 in
      _ = try await port.wipeSignatures()
      return await port.rereadPartitions()
    }
    #expect(result == 0)
    #expect(access(partition, F_OK) != 0)
    await test.reactor.run { await port.close() }
  }

  /// The image of a disk with 4096-byte sectors, looked at as a file.
  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices"))
  func anImageOfADiskWithLargeSectorsIsFoundAndWiped() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.sparseFile(byteCount: 64 << 20)
    do {
      let loop = try LoopDevice(sector: 4096)
      try #require(try run("sgdisk", "-n", "1:0:+8M", "-c", "1:tank", loop.path).status == 0)
      try #require(try run("dd", "if=\(loop.path)", "of=\(path)", "bs=1M", "conv=notrunc,sparse").status == 0)
    }
    let (found, _, left) = try await probeAndWipe(path)
    #expect(found.signatures.filter { $0.type == "gpt" }.map(\.offsetBytes) == [4096, 64 << 20 - 4096])
    #expect(found.partitions.map(\.name) == ["tank"])
    #expect(left.isEmpty)
  }
}
