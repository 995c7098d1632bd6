import Foundation
import Logging
import Management
import TestSupport
import Testing

@testable import Service

/// Disks that are found by what is on them, wherever they are.
@Suite struct MovedDiskTests {
  /// Half of a mirror that md makes, with its own superblock behind the data, looks like the disk whose content it has.
  @Test func partOfARAIDIsNotTakenForWhatLiesOnTheRAID() async throws {
    let directory = try TemporaryDirectory()
    let byteCount: UInt64 = 256 << 20
    let disk = try directory.sparseFile(byteCount: byteCount)
    let service = try await StorageService.start(stateDirectory: directory.file("state"), logger: Logger(label: "test"))
    _ = try await service.createPool(CreatePool(name: "tank", disks: [disk]))
    #expect(await service.stop())

    let other = try await StorageService.start(stateDirectory: directory.file("other"), logger: Logger(label: "test"))
    func looks() async -> (any: Bool, alone: Bool) {
      await other.reactor.run { (await other.claims.peek(disk) != nil, await other.claims.peek(disk, isAlone: true) != nil) }
    }
    #expect(await looks() == (true, true))
    let sector = (byteCount / 512 - 16) & ~7
    var superblock = [UInt8](repeating: 0, count: 256)
    superblock.replaceSubrange(0..<8, with: [0xFC, 0x4E, 0x2B, 0xA9, 1, 0, 0, 0])  // magic and version of metadata 1.0
    withUnsafeBytes(of: sector.littleEndian) { superblock.replaceSubrange(144..<152, with: $0) }
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: disk))
    try file.seek(toOffset: sector * 512)
    try file.write(contentsOf: superblock)
    try file.close()
    #expect(await looks() == (true, false))
    #expect(await other.stop())
  }
}
