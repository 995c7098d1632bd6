import Foundation
import TestSupport
import Testing

@testable import Volume

/// How full file systems are, by their superblocks.
@Suite struct FileSystemUsageTests {
  /// The number behind a name in what a tool prints.
  private func number(_ name: String, in text: String) throws -> UInt64 {
    let line = try #require(text.split(separator: "\n").first { $0.hasPrefix(name) }, "\(name) in \(text)")
    let digits = line.dropFirst(name.count).drop { !$0.isNumber }.prefix { $0.isNumber }
    return try #require(UInt64(digits))
  }

  private func shown(_ command: String...) throws -> String { try Program.runBlocking(command).output }

  @Test(arguments: [["-b", "1024"], ["-b", "4096"], ["-O", "^64bit,^has_journal"]])
  func ext4(options: [String]) throws {
    let image = try Image(mebibytes: 96, ["mkfs.ext4", "-q"] + options)
    let usage = try #require(FileSystemUsage.read("ext4", from: image.sample()))
    let text = try shown("dumpe2fs", "-h", image.path)
    let block = try number("Block size:", in: text)
    #expect(usage.freeBytes == block * (try number("Free blocks:", in: text)))
    #expect(usage.usedBytes + usage.freeBytes == block * (try number("Block count:", in: text)))
  }

  @Test func xfs() throws {
    let image = try Image(mebibytes: 320, ["mkfs.xfs", "-q"])
    let usage = try #require(FileSystemUsage.read("xfs", from: image.sample()))
    let text = try shown("xfs_db", "-r", "-c", "sb 0", "-c", "p blocksize dblocks fdblocks", image.path)
    let block = try number("blocksize =", in: text)
    #expect(usage.freeBytes == block * (try number("fdblocks =", in: text)))
    #expect(usage.usedBytes + usage.freeBytes == block * (try number("dblocks =", in: text)))
  }

  @Test func btrfs() throws {
    let image = try Image(mebibytes: 128, ["mkfs.btrfs", "-q"])
    let usage = try #require(FileSystemUsage.read("btrfs", from: image.sample()))
    let text = try shown("btrfs", "inspect-internal", "dump-super", image.path)
    #expect(usage.usedBytes == (try number("bytes_used", in: text)))
    #expect(usage.usedBytes + usage.freeBytes == (try number("total_bytes", in: text)))
  }

  /// One that was not unmounted does not know how much of it is free.
  @Test func anExt4ThatIsMountedSaysNothing() throws {
    let image = try Image(mebibytes: 16, ["mkfs.ext4", "-q"])
    let sample = try image.sample()
    #expect(FileSystemUsage.read("ext4", from: sample) != nil)
    for (offset, value) in [(0x3A, UInt8(0)), (0x60, sample.bytes(at: 1024 + 0x60, count: 1)[0] | 4), (0x38, 0), (0x18, 99), (0xF, 0xFF)] {
      #expect(FileSystemUsage.read("ext4", from: changed(sample, at: 1024 + offset, to: value)) == nil, "\(offset)")
    }
  }

  /// Whatever is there: no trap, and never more than there can be.
  @Test(arguments: ["ext4", "xfs", "btrfs"])
  func anySuperblockIsRead(type: String) throws {
    let commands = [
      "ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"],
    ]
    let sample = try Image(mebibytes: 320, try #require(commands[type])).sample()
    let start = ["ext4": 1024, "xfs": 0, "btrfs": 65536][type] ?? 0
    for offset in 0..<512 {
      for value: UInt8 in [0, 1, 0x7F, 0xFF] {
        guard let usage = FileSystemUsage.read(type, from: changed(sample, at: start + offset, to: value)) else { continue }
        let (sum, overflow) = usage.usedBytes.addingReportingOverflow(usage.freeBytes)
        #expect(!overflow && sum <= sample.byteCount, "byte \(offset) as \(value)")
      }
    }
    #expect(FileSystemUsage.read(type, from: ContentSample(byteCount: 1 << 30)) == nil)
    #expect(FileSystemUsage.read("ntfs", from: sample) == nil)
  }

  private func changed(_ sample: ContentSample, at offset: Int, to value: UInt8) -> ContentSample {
    let start = offset / 4096 * 4096
    var block = sample.bytes(at: UInt64(start), count: 4096)
    block[offset - start] = value
    var changed = ContentSample(byteCount: sample.byteCount)
    changed.add(block, at: UInt64(start))
    return changed
  }
}
