import Foundation
import Management
import TestSupport
import Testing

@testable import Attachment

/// Which block devices are whose, by what stands in /sys and /proc.
@Suite struct AttachmentTests {
  /// A tree as /sys/block has it.
  private struct Blocks {
    let directory: TemporaryDirectory

    init(_ files: [String: String]) throws {
      directory = try TemporaryDirectory()
      for (path, text) in files {
        let file = URL(fileURLWithPath: directory.file(path))
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data((text + "\n").utf8).write(to: file)
      }
    }

    var devices: [NBDDevice] { NBDDevice.all(in: directory.path) }
  }

  private static let wholeDisk = [
    "nbd0/pid": "70", "nbd0/size": "40960", "nbd0/dev": "43:0", "nbd0/nbd0p1/partition": "1", "nbd0/nbd0p1/start": "2048",
    "nbd0/nbd0p1/size": "20480", "nbd0/nbd0p1/dev": "43:1",
  ]

  @Test func onlyConnectedDevicesCount() throws {
    let blocks = try Blocks(
      Self.wholeDisk.merging([
        "nbd1/size": "0", "nbd2/pid": "x", "nbd2/size": "8", "sda/pid": "1", "sda/size": "8", "nbd10/pid": "9", "nbd10/size": "8",
        "nbd10/backend": "tank/data/1 p1", "nbdx/pid": "1", "nbdx/size": "1",
      ]) { $1 })
    #expect(blocks.devices.map(\.path) == ["/dev/nbd0", "/dev/nbd10"])
    let first = try #require(blocks.devices.first)
    #expect(first.byteCount == 20 << 20 && first.process == 70 && first.identifier == nil && first.deviceNumber == "43:0")
    #expect(
      first.partitions == [
        .init(number: 1, name: "nbd0p1", offsetBytes: 1 << 20, byteCount: 10 << 20, deviceNumber: "43:1")
      ])
    #expect(blocks.devices.last?.identifier == "tank/data/1 p1")
    #expect(NBDDevice.all(in: blocks.directory.file("none")).isEmpty)
  }

  @Test func aVolumeIsFoundByIdentifierByProcessAndOnTheWholeDisk() throws {
    let volume = Samples.volume()
    func attachments(_ files: [String: String], _ mounts: String = "") throws -> [AttachmentInfo] {
      Attachments(devices: try Blocks(files).devices, mounts: MountTable(parsing: mounts)).attachments(of: volume)
    }
    let size = ["nbd3/size": "20480", "nbd3/dev": "43:48"]
    #expect(try attachments(size.merging(["nbd3/pid": "71"]) { $1 }).map(\.device) == ["/dev/nbd3"])
    #expect(try attachments(size.merging(["nbd3/pid": "5", "nbd3/backend": "tank/data/1 p1"]) { $1 }).map(\.device) == ["/dev/nbd3"])
    // Its process's number is another's now, or it is one of another server's, or of a partition that was there before.
    for identifier in ["tank/data/1 p0", "tank/data/2 p1", "tank/data/1"] {
      #expect(try attachments(size.merging(["nbd3/pid": "71", "nbd3/backend": identifier]) { $1 }).isEmpty)
    }
    #expect(try attachments(size.merging(["nbd3/pid": "72"]) { $1 }).isEmpty)
    let mounts = "30 1 43:1 / /mnt/a\\040b rw,relatime shared:1 - ext4 /dev/nbd0p1 rw\n31 1 8:1 / / rw - ext4 /dev/sda1 rw"
    #expect(try attachments(Self.wholeDisk, mounts) == [AttachmentInfo(device: "/dev/nbd0p1", mountPoints: ["/mnt/a b"])])
    // The kernel has another table than we.
    #expect(try attachments(Self.wholeDisk.merging(["nbd0/nbd0p1/start": "4096"]) { $1 }).isEmpty)
  }

  @Test func mountsAreReadAsTheKernelWritesThem() {
    let table = MountTable(
      parsing: """
        36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue
        37 35 0:45 /sub /srv/b rw - btrfs /dev/nbd2 rw,space_cache
        38 35 43:0 / /x\\134y\\012z rw - xfs /dev/disk/by-uuid/1 rw
        short
        39 35 43:0 / /no-hyphen rw a b c d e
        """)
    #expect(table.mounts.map(\.mountPoint) == ["/mnt2", "/srv/b", "/x\\y\nz"])
    #expect(table.mounts(of: "/dev/nbd2", deviceNumber: "43:32").map(\.mountPoint) == ["/srv/b"], "btrfs has a number of its own")
    #expect(table.mounts(of: "/dev/nbd0", deviceNumber: "43:0").map(\.type) == ["xfs"])
    #expect(table.mounts(of: "/dev/nbd1", deviceNumber: "").isEmpty)
    #expect(!MountTable.current().mounts.isEmpty)
  }

  @Test func whatIsMountedOnAPartitionHoldsTheDevice() throws {
    let devices = try Blocks(Self.wholeDisk).devices
    let mounts = MountTable(parsing: "30 1 43:1 / /mnt rw - ext4 /dev/nbd0p1 rw")
    let attachments = Attachments(devices: devices, mounts: mounts)
    let device = try #require(devices.first)
    #expect(attachments.mountPoints(of: device) == ["/mnt"])
    #expect { try KernelNBD.detach(device, mountPoints: ["/mnt"]) } throws: { "\($0)".contains("umount /mnt") }
  }
}
