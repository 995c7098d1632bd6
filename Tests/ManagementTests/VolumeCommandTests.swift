import ArgumentParser
import Foundation
import Management
import Synchronization
import TestSupport
import Testing

@testable import spaceport

/// What the commands on volumes make of words, objects and failures.
@Suite struct VolumeCommandTests {
  @Test func volumesAreNamed() throws {
    #expect(try VolumePath(parsing: "tank/data") == VolumePath(disk: VirtualDiskPath(pool: "tank", name: "data"), partition: nil))
    #expect(try "\(VolumePath(parsing: "tank/data/my home"))" == "tank/data/my home")
    for text in ["", "tank", "tank/", "/data", "tank/data/", "tank/data/1/2", "tank//1"] {
      #expect(throws: APIError.self, "\(text)") { try VolumePath(parsing: text) }
    }
    var (first, second) = (Samples.volume(), Samples.volume())
    (second.partition, second.export.name, second.partitionLabel) = (2, "tank/data/2", "1")
    func find(_ text: String) throws -> Int? { try VolumePath(parsing: text).volume(among: [first, second]).partition }
    #expect(try find("tank/data/1") == 1, "a number wins over a label")
    #expect(try find("tank/data/home") == 1)
    for text in ["tank/data", "tank/data/3", "tank/data/Home"] { #expect(throws: APIError.self) { try find(text) } }
    first.partitionLabel = "1"
    (second.partitionLabel, first.partitionLabel) = ("twin", "twin")
    #expect(throws: APIError.self) { try find("tank/data/twin") }
  }

  /// As systemd-escape(1) prints them.
  @Test(
    arguments: [
      ("tank/data/1", "tank-data-1"), ("my-pool/da.ta_x:y/1", "my\\x2dpool-da.ta_x:y-1"), (".x/ä b", "\\x2ex-\\xc3\\xa4\\x20b"),
    ])
  func unitsAreNamedAsSystemdDoes(name: String, escaped: String) {
    #expect(VolumePath.unitName(of: name) == "spaceport-attach@\(escaped).service")
  }

  @Test func fileSystemsAreMadeForTheStripes() {
    var disk = Samples.virtualDisk(CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 4 << 30, columns: 3, interleaveBytes: 64 << 10))
    func words(_ kind: FileSystemKind, label: String? = nil) -> String {
      kind.creation(device: "/dev/nbd0", label: label, uuid: "u", on: disk).words.joined(separator: " ")
    }
    #expect(words(.ext4, label: "l") == "mkfs.ext4 -q -b 4096 -U u -E stride=16,stripe_width=48 -L l /dev/nbd0")
    #expect(words(.xfs) == "mkfs.xfs -q -m uuid=u -d su=65536,sw=3 /dev/nbd0")
    #expect(words(.btrfs, label: "l") == "mkfs.btrfs -q -U u -L l /dev/nbd0")
    disk.sizeBytes = 512 << 20
    #expect(words(.xfs) == "mkfs.xfs -q -m uuid=u -d su=65536,sw=3,agcount=4 /dev/nbd0")
    #expect(FileSystemKind.xfs.growth(device: "/dev/nbd0", mountPoint: nil) == nil)
    #expect(FileSystemKind.xfs.growth(device: "/dev/nbd0", mountPoint: "/m")?.map(\.words) == [["xfs_growfs", "/m"]])
    #expect(FileSystemKind.ext4.growth(device: "/dev/nbd0", mountPoint: nil)?.count == 2)
  }

  @Test func aCreatedVolumeHasItsLineOfFstab() {
    let volume = CreatedVolume(name: "tank/data/1", device: "/dev/nbd0", kind: .ext4, label: nil, uuid: "u-1", mountPoint: "/mnt/data")
    let line = "UUID=u-1 /mnt/data ext4 _netdev,nofail,x-systemd.requires=spaceport-attach@tank-data-1.service 0 2"
    #expect(volume.fstab == line && VolumeTables.created(volume).hasSuffix(line))
    let uuid = RandomUUID.text()
    #expect(uuid.count == 36 && Array(uuid)[14] == "4" && uuid != RandomUUID.text())
  }

  @Test func volumesAreListed() {
    var (first, second) = (Samples.volume(), Samples.volume())
    first.attachments = [AttachmentInfo(device: "/dev/nbd0", mountPoints: ["/mnt\u{1B}"])]
    second.content = nil
    second.problem = "it is offline"
    let lines = VolumeTables.volumes([first, second]).split(separator: "\n")
    #expect(lines[0] == "NAME         CONTENT  LABEL    SIZE   USED   FREE  DEVICE     MOUNTED AT  UUID")
    #expect(lines[1] == "tank/data/1  ext4     lots   10 MiB  1 MiB  9 MiB  /dev/nbd0  /mnt\\u{1b}  u-1")
    #expect(lines[2] == "tank/data/1  unknown  -      10 MiB      -      -  -          -           -")
    #expect(lines[3] == "tank/data/1: it is offline.")
  }

  @Test func stepsAreUndoneBackwardsAndAll() async {
    let order = Mutex<[Int]>([])
    var steps = UndoSteps()
    for number in 1...3 {
      steps.add("Step \(number) is undone", command: "undo \(number)") { () async throws(APIError) in
        order.withLock { $0.append(number) }
        if number == 2 { throw APIError(.busy, "Two is stuck", remedy: "") }
      }
    }
    #expect(await steps.undo() == ["Step 3 is undone.", "Not undone: Two is stuck. Do it with: undo 2", "Step 1 is undone."])
    #expect(order.withLock { $0 } == [3, 2, 1])
  }

  @Test func toolsSayWhatWentWrong() async {
    let interruption = await Interruption(remedy: "Begin again")
    defer { interruption.end() }
    func failure(_ words: String..., accepting statuses: ClosedRange<Int32> = 0...0) -> String {
      let tool = ToolProcess(words: words, package: "the-package", acceptedStatuses: statuses)
      do throws(APIError) { try tool.run(interruption) } catch { return error.description }
      return ""
    }
    #expect(failure("sh", "-c", "exit 0") == "")
    #expect(failure("sh", "-c", "echo first >&2; echo Usage: long; exit 3").contains("status 3 and said: first."))
    #expect(failure("sh", "-c", "kill -KILL $$").contains("ended by a signal"))
    #expect(failure("mkfs.none").contains("apt-get install the-package"))
    #expect(failure("sh", "-c", "exit 1", accepting: 0...1) == "")
    #expect(failure("false").contains("Mend what it names"))
  }

  /// Ctrl-C while one is at work.
  @Test func aToolThatIsInterruptedSaysSo() async throws {
    let interruption = await Interruption(remedy: "Begin again")
    defer { interruption.end() }
    let directory = try TemporaryDirectory()
    let tool = ToolProcess(words: ["sh", "-c", "echo > \(directory.file("began")); exec sleep 600"], package: "none")
    let failure = Mutex("")
    let thread = Thread {
      do throws(APIError) { try tool.run(interruption) } catch { failure.withLock { $0 = error.description } }
    }
    thread.start()
    try await waitUntil("the tool to be at work") { FileManager.default.fileExists(atPath: directory.file("began")) }
    interruption.interrupt()
    try await waitUntil("the tool to be ended") { !failure.withLock(\.isEmpty) }
    #expect(failure.withLock { $0 } == "Interrupted. Begin again.")
    #expect(throws: APIError.self) { try interruption.check() }
  }

  @Test func fileSystemsAreKnownByTheirContent() {
    #expect(
      ["ext2", "ext3", "ext4", "xfs", "btrfs", "swap"].map { FileSystemKind(contentType: $0)?.creator } == [
        "mkfs.ext4", "mkfs.ext4", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", nil,
      ])
  }

  /// What is printed to be typed reaches the same server.
  @Test(arguments: [("/run/a.sock", " --control /run/a.sock"), ("/my run/it's", " --control '/my run/it'\\''s'")])
  func commandsToBeTypedNameTheServer(socket: String, words: String) throws {
    let client = try ClientOptions.parse(["--control", socket])
    #expect(client.command("vdisk show tank/data") == "spaceport vdisk show tank/data" + words)
    #expect(try ClientOptions.parse([]).command("status") == "spaceport status")
  }

  @Test func labelsThatDoNotFitAreRefused() {
    func parse(_ line: String) throws { _ = try Spaceport.parseAsRoot(line.split(separator: " ").map(String.init)) }
    #expect(throws: Never.self) { try parse("volume create tank/data --size 1GiB --fs xfs --label twelve-bytes") }
    for line in [
      "volume create tank/data --size 1GiB --fs xfs --label thirteen-byte", "volume create tank/data --size 1GiB --fs zfs",
      "volume create tank/data --fs ext4", "volume attach tank/data --connections 17", "volume attach tank",
      "volume attach tank/d --wait 3601",
      "volume create tank/data --size 1GiB --fs ext4 --copies 3",
    ] {
      #expect(throws: (any Error).self, "\(line)") { try parse(line) }
    }
  }
}
