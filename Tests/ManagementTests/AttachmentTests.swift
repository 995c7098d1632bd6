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

  /// Workers that do something else, or did it before, and programs that are called like one, receive nothing.
  @Test func receiversAreCountedByTheWorkTheyDo() throws {
    var threads = [
      "1/comm": "systemd", "20/comm": "kworker/u9:1+nbd3-recv", "21/comm": "kworker/u9:2+nbd3-recv", "22/comm": "kworker/u9:3-nbd3-recv",
      "23/comm": "kworker/u9:4+nbd33-recv", "24/comm": "nbd3-recv", "25/status": "", "self/comm": "x+nbd3-recv", "09/comm": "x+nbd3-recv",
    ]
    func receivers(_ device: String = "nbd3") throws -> (Receivers, Blocks) {
      let files = try Blocks(threads)
      return (Receivers(device: device, processes: files.directory.path, milliseconds: 60), files)
    }
    let (some, first) = try receivers()
    withExtendedLifetime(first) {
      #expect(some.count == 2 && some.areThere(for: 2) && !some.areThere(for: 3))
    }
    threads["24/comm"] = "nbd3-recv+nbd3-recv"  // the rescuer at work
    let (all, files) = try receivers()
    withExtendedLifetime(files) { #expect(all.count == 3 && all.areThere(for: 3)) }
    // Of a device of which nothing is seen it is not said that it does not receive.
    let (none, rest) = try receivers("nbd4")
    withExtendedLifetime(rest) { #expect(none.count == 0 && none.areThere(for: 4)) }
  }

  @Test func aVolumeIsFoundByIdentifierByProcessAndOnTheWholeDisk() throws {
    let volume = Samples.volume()
    var disk = Samples.virtualDisk(CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 20 << 20))
    func attachments(_ files: [String: String], _ mounts: String = "") throws -> [AttachmentInfo] {
      Attachments(devices: try Blocks(files).devices, mounts: MountTable(parsing: mounts)).attachments(of: volume, on: disk)
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
    // Its process had this number, and attached something else.
    #expect(try attachments(["nbd3/pid": "71", "nbd3/size": "20488"]).isEmpty)
    disk.sizeBytes = 21 << 20
    #expect(try attachments(Self.wholeDisk).isEmpty)
  }

  /// A process's number tells less where another device says that it is its.
  @Test func whatAProcessAttachedCanBeDoubtful() throws {
    let target = AttachTarget(Samples.volume())
    func devices(_ files: [String: String]) throws -> [String] {
      try Attachments(devices: try Blocks(files).devices, mounts: MountTable(parsing: "")).devices(of: target).map(\.path)
    }
    let silent = ["nbd3/size": "20480", "nbd3/pid": "71"]
    #expect(try devices(silent) == ["/dev/nbd3"])
    let speaking = ["nbd1/size": "8", "nbd1/pid": "71", "nbd1/backend": "tank/other p9"]
    #expect(try devices(silent.merging(speaking) { $1 }).isEmpty)
    let twin = ["nbd4/size": "20480", "nbd4/pid": "71"]
    #expect { try devices(silent.merging(twin) { $1 }) } throws: { "\($0)".contains("/dev/nbd3, /dev/nbd4") }
    // One that says so is no doubt.
    let own = ["nbd5/size": "8", "nbd5/pid": "99", "nbd5/backend": "tank/data/1 p1"]
    #expect(try devices(silent.merging(own) { $1 }) == ["/dev/nbd3", "/dev/nbd5"])
  }

  @Test func whoElseHasAnExportOpen() throws {
    var target = AttachTarget(Samples.volume())
    func other(_ files: [String: String], alive: Set<Int> = []) throws -> Attachments.OtherClient? {
      Attachments(devices: try Blocks(files).devices, mounts: MountTable(parsing: "")).otherClient(of: target, isAlive: alive.contains)
    }
    let own = ["nbd5/size": "20480", "nbd5/pid": "71", "nbd5/backend": "tank/data/1 p1"]
    #expect(try other(own, alive: [71]) == nil)
    #expect(try other([:]) == .connections(1), "its process has ended, and no device is its")
    #expect(try other([:], alive: [71]) == .process(71))
    target.export.clientProcesses = [71, 72]
    #expect(try other(own, alive: [71, 72]) == .process(72))
    #expect(try other(own) == nil, "another process connected the device again, and has ended")
    (target.export.clientProcesses, target.export.clientCount) = ([], 0)
    #expect(try other([:]) == nil)
    target.export.clientCount = 2
    #expect(try other([:]) == .connections(2), "over TCP")
  }

  /// Without a server.
  @Test func devicesAreFoundByName() throws {
    let blocks = try Blocks([
      "nbd1/size": "8", "nbd1/pid": "1", "nbd1/backend": "tank/data/1 p1", "nbd2/size": "8", "nbd2/pid": "1",
      "nbd2/backend": "tank/data d1", "nbd3/size": "8", "nbd3/pid": "1", "nbd3/backend": "tank/data/1 x p1", "nbd4/size": "8",
      "nbd4/pid": "1",
    ])
    let attachments = Attachments(devices: blocks.devices, mounts: MountTable(parsing: ""))
    #expect(attachments.devices(named: "tank/data/1").map(\.path) == ["/dev/nbd1"])
    #expect(attachments.devices(named: "tank/data").map(\.path) == ["/dev/nbd2"])
    #expect(attachments.devices(named: "tank").isEmpty)
  }

  /// Those who have a device open without holding it.
  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices"))
  func processesThatHaveADeviceOpenAreFound() async throws {
    let loop = try LoopDevice(sector: 512)
    let name = String(loop.path.dropFirst("/dev/".count))
    let number = try String(contentsOfFile: "/sys/block/\(name)/dev", encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
    let device = NBDDevice(number: 0, name: name, identifier: nil, process: 0, byteCount: 0, deviceNumber: number, partitions: [])
    let holder = Process()
    holder.executableURL = URL(fileURLWithPath: "/bin/sh")
    holder.arguments = ["-c", "exec sleep 600 <\(loop.path)"]
    try holder.runWithoutBlockedSignals()
    defer { holder.terminate() }
    try await waitUntil("the holder to be seen") { DeviceUsers.processes(of: device).contains(Int(holder.processIdentifier)) }
    var other = device
    other.deviceNumber = "7:999999"
    #expect(DeviceUsers.processes(of: other).isEmpty)
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
    #expect { try attachments.checkIsUnmounted(device) } throws: { "\($0)".contains("umount /mnt") }
  }
}
