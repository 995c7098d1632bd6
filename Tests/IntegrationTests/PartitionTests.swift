import Foundation
import TestSupport
import Testing

/// Partition tables and partition exports of the real server, with tools and clients that no one here wrote.
@Suite(.serialized) struct PartitionTests {
  @Test(arguments: ["512", "4096"]) func tablesOfOursAreReadByTheOtherTools(sector: String) async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "2GiB", "--sector-size", sector)
      try await server.succeed("partition", "init", "tank/disk")
      try await server.succeed("partition", "create", "tank/disk", "--size", "100MiB", "--type", "efi", "--label", "esp")
      try await server.succeed(
        "partition", "create", "tank/disk", "--size", "50%FREE", "--label", "däta", "--attribute", "read-only", "--attribute", "5")
      try await server.succeed("partition", "create", "tank/disk", "--largest-free", "--type", "swap", "--number", "7")
      try await server.succeed("partition", "verify", "tank/disk")
      let table = try await server.table("tank/disk")
      #expect(table.kind == "gpt" && table.findings.isEmpty && table.alignmentBytes == 3 << 20)
      #expect(table.partitions.map(\.number) == [1, 2, 7] && table.partitions[1].attributes == ["5", "read-only"])
      let perStripe = table.alignmentBytes / (sector == "512" ? 512 : 4096)
      #expect(table.partitions.allSatisfy { $0.firstSector % perStripe == 0 })
      let image = try await PartitionClient.fetch("tank/disk", of: server)
      if sector == "512" {
        #expect(try await succeed("sgdisk", "-v", image).contains("No problems found"))
        let listing = try await succeed("sgdisk", "-p", image)
        let info = try await succeed("sgdisk", "-i", "2", image)
        #expect(info.contains("Partition name: 'däta'") && info.contains("Attribute flags: 1000000000000020"))
        for partition in table.partitions {
          let pattern = #"(?m)^ +\#(partition.number) +\#(partition.firstSector) +\#(partition.lastSector) "#
          #expect(listing.range(of: pattern, options: .regularExpression) != nil, "\(listing)")
        }
      }
      // What the kernel and qemu would see, partition by partition.
      for partition in table.partitions {
        let info = try await succeed("nbdinfo", server.uri("tank/disk/\(partition.number)"))
        #expect(info.contains("export-size: \(partition.sizeBytes)"), "\(info)")
      }
    }
  }

  @Test func exportsAreListedByNumberAndLabel() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      try await server.succeed("vdisk", "create", "tank/plain", "--size", "1GiB")
      try await PartitionClient.change(
        "tank/disk", of: server,
        by: [
          "sgdisk", "-o", "-n", "1:0:+10M", "-c", "1:data", "-n", "2:0:+10M", "-c", "2:a/b", "-n", "3:0:+10M", "-c", "3:twin", "-n",
          "4:0:+10M", "-c", "4:twin", "-n", "5:0:+10M", "-c", "5:1",
        ])
      let names = try await server.table("tank/disk").partitions.flatMap(\.exports)
      #expect(names == ["tank/disk/1", "tank/disk/data", "tank/disk/2", "tank/disk/3", "tank/disk/4", "tank/disk/5"])
      let list = try await succeed("nbdinfo", "--list", server.uri(""))
      for name in ["tank/disk", "tank/plain", "tank/disk/1", "tank/disk/5"] { #expect(list.contains("export=\"\(name)\""), "\(list)") }
      // By its unique GUID as well, which is not listed.
      let guid = try #require(try await server.table("tank/disk").partitions[2].uuid)
      #expect(try await succeed("nbdinfo", "--size", server.uri("tank/disk/\(guid.lowercased())")) == "\(10 << 20)\n")
      #expect(!list.contains(guid) && !list.contains(guid.lowercased()))
      for name in ["tank/disk/6", "tank/disk/a/b", "tank/disk/twin", "tank/plain/1", "tank/disk/"] {
        #expect(try await Program.run(["nbdinfo", "--size", server.uri(name)]).succeeded == false, "\(name)")
      }
      // Partition 1 begins at 1 MiB: the whole disk and the partition are the same bytes.
      try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk/data"), "-c", "write -P 0x41 0 10M", "-c", "flush")
      try await succeed(
        "qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "read -P 0x41 1M 10M", "-c", "read -P 0 11M 64k")
      let outside = try await Program.run(["qemu-io", "-f", "raw", server.uri("tank/disk/1"), "-c", "write -P 1 10M 512"])
      #expect(!outside.text.contains("wrote 512"))
      #expect(try await server.succeed("stack", "tank/disk").contains("Volume tank/disk"))
    }
  }

  /// Several exports of one disk at the same time; each is verified, so each stays within its bounds.
  @Test func fioVerifiesTwoPartitionsAtOnce() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "256MiB")
      try await server.succeed("partition", "init", "tank/disk")
      try await server.succeed("partition", "create", "tank/disk", "--size", "33%", "--label", "one")
      try await server.succeed("partition", "create", "tank/disk", "--largest-free", "--label", "two")
      let options = [
        "--ioengine=nbd", "--rw=randwrite", "--bsrange=4k-128k", "--blockalign=4k", "--iodepth=16", "--verify=crc32c", "--verify_fatal=1",
        "--verify_state_save=0", "--do_verify=1", "--fsync=64", "--size=64M",
      ]
      let result = try await Program.run(
        ["fio"] + options + ["--name=one", "--uri=\(server.uri("tank/disk/1"))", "--name=two", "--uri=\(server.uri("tank/disk/two"))"],
        timeoutSeconds: 300)
      #expect(result.succeeded, "\(result.text)")
      try await server.succeed("partition", "verify", "tank/disk")
    }
  }

  /// A tool writes the table through the whole disk's export while clients have partitions open.
  @Test func openPartitionsLiveAsLongAsTheTableBearsThemOut() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      let image = server.directory.file("table")
      try await PartitionClient.change(
        "tank/disk", of: server, by: ["sgdisk", "-o", "-n", "1:0:+64M", "-n", "2:0:+64M", "-n", "3:0:+64M", "-c", "1:kept", "-c", "2:goes"])
      let kept = try await PartitionHolder(server, export: "tank/disk/kept")
      let goes = try await PartitionHolder(server, export: "tank/disk/2")
      let third = try await PartitionHolder(server, export: "tank/disk/3")
      #expect(try await server.table("tank/disk").partitions.map(\.clientCount) == [1, 1, 1])
      #expect(try await server.succeed("stack", "tank/disk").contains("Partition tank/disk/2"))
      // Renamed, given a type, grown into the room behind it: all go on.
      try await PartitionClient.change("tank/disk", of: server, by: ["sgdisk", "-c", "1:renamed", "-t", "2:8200", "-A", "3:set:60"])
      for holder in [kept, goes, third] { try await holder.waitForRounds(3) }
      // One is deleted and another one put in its place; the others go on.
      try await PartitionClient.change("tank/disk", of: server, by: ["sgdisk", "-d", "2", "-n", "2:0:+32M"])
      try await goes.waitUntilSentAway()
      for holder in [kept, third] { try await holder.waitForRounds(3) }
      #expect(server.log.contains("A partition was withdrawn"))
      #expect(try await server.table("tank/disk").partitions.map(\.clientCount) == [1, 0, 1])
      // Not a byte was touched any more by who was sent away: what the new partition 2 is filled with is still there when the others have gone on.
      try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk/2"), "-c", "write -P 0x5A 0 32M", "-c", "flush")
      try await kept.waitForRounds(3)
      try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk/2"), "-c", "read -P 0x5A 0 32M")
      // A table in pieces: those that are open stay, new ones are refused with the reason.
      let uri = server.uri("tank/disk")
      try await succeed("qemu-io", "-f", "raw", uri, "-c", "write -P 0xA5 512 512", "-c", "write -P 0xA5 1073741312 512")
      for holder in [kept, third] { try await holder.waitForRounds(3) }
      let refused = try await Program.run(["qemu-io", "-f", "raw", server.uri("tank/disk/1"), "-c", "read 0 512"])
      #expect(!refused.succeeded && refused.text.contains("cannot be relied on"), "\(refused.text)")
      try await succeed(PartitionClient.python, PartitionClient.script, "table", image, uri)
      for holder in [kept, third] { try await holder.waitForRounds(3) }
      try await succeed("nbdinfo", "--size", server.uri("tank/disk/1"))
      // Wiped altogether.
      try await PartitionClient.change("tank/disk", of: server, by: ["sgdisk", "-Z"])
      for holder in [kept, third] { try await holder.waitUntilSentAway() }
      #expect(try await server.table("tank/disk").kind == "none")
    }
  }

  @Test func ourOwnToolTakesNothingFromItsClientsUnasked() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      try await server.succeed("partition", "init", "tank/disk")
      try await server.succeed("partition", "create", "tank/disk", "--size", "96MiB", "--label", "a")
      try await server.succeed("partition", "create", "tank/disk", "--size", "96MiB", "--label", "b")
      let holder = try await PartitionHolder(server, export: "tank/disk/b")
      try await server.refuse(["partition", "delete", "tank/disk", "b"], saying: ["Nothing was done", "\"b\"", "1 client", "--yes"])
      try await server.refuse(["partition", "delete", "tank/disk", "b", "--yes"], saying: ["2 (1 NBD connection)", "--force"])
      try await server.refuse(
        ["partition", "resize", "tank/disk", "b", "--size", "48MiB"], saying: ["would lose its last 48 MiB", "--yes"])
      try await server.refuse(["partition", "resize", "tank/disk", "b", "--size", "48MiB", "--yes"], saying: ["--force"])
      try await server.refuse(["partition", "init", "tank/disk"], saying: ["a GPT with 2 partitions", "--yes"])
      try await server.refuse(["partition", "init", "tank/disk", "--yes"], saying: ["2 (1 NBD connection)", "--force"])
      try await server.refuse(["vdisk", "delete", "tank/disk", "--yes"], saying: ["1 NBD connection"])
      try await server.refuse(["pool", "close", "tank"], saying: ["1 NBD connection"])
      // What harms it not goes on: another partition goes, and this one grows.
      try await server.succeed("partition", "delete", "tank/disk", "a", "--yes")
      try await server.succeed("partition", "resize", "tank/disk", "b", "--size", "128MiB")
      try await server.succeed("partition", "set", "tank/disk", "b", "--label", "c")
      try await holder.waitForRounds(3)
      #expect(try await succeed("nbdinfo", "--size", server.uri("tank/disk/c")) == "\(128 << 20)\n")
      try await server.succeed("partition", "delete", "tank/disk", "c", "--yes", "--force")
      try await holder.waitUntilSentAway()
      try await server.succeed("vdisk", "delete", "tank/disk", "--yes")
    }
  }

  /// What would be lost is what is lost: the server alone says what a name means.
  @Test func aLabelThatIsAnotherPartitionsNumberTakesNobodyIn() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "256MiB")
      try await server.succeed("partition", "init", "tank/disk")
      for (size, label) in [("16MiB", "2"), ("32MiB", "data"), ("48MiB", "03")] {
        try await server.succeed("partition", "create", "tank/disk", "--size", size, "--label", label)
      }
      try await server.refuse(["partition", "delete", "tank/disk", "2"], saying: ["partition 2 \"data\" (linux, 32 MiB) would be lost"])
      try await server.refuse(["partition", "delete", "tank/disk", "03"], saying: ["partition 3 \"03\" (linux, 48 MiB) would be lost"])
      for name in ["02", "+2", " 2", "2.0"] {
        try await server.refuse(["partition", "delete", "tank/disk", name, "--yes"], saying: ["has no partition \(name)"])
        try await server.refuse(["partition", "resize", "tank/disk", name, "--size", "8MiB", "--yes"], saying: ["has no partition"])
        try await server.refuse(["partition", "set", "tank/disk", name, "--type", "swap"], saying: ["has no partition"])
      }
      try await server.succeed("partition", "delete", "tank/disk", "2", "--yes")
      #expect(try await server.table("tank/disk").partitions.map(\.number) == [1, 3])
    }
  }

  @Test func damageIsNamedAndRepairedOnRequest() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      try await PartitionClient.change("tank/disk", of: server, by: ["sgdisk", "-o", "-n", "1:0:+64M", "-c", "1:kept"])
      let uri = server.uri("tank/disk")
      try await succeed("qemu-io", "-f", "raw", uri, "-c", "write -P 0xA5 1024 512")
      let verdict = try await server.spaceport("partition", "verify", "tank/disk")
      #expect(verdict.status == 1 && verdict.output.contains("the primary GPT is not usable: its entries' CRC32"), "\(verdict.text)")
      try await server.refuse(["partition", "create", "tank/disk", "--largest-free"], saying: ["damaged", "partition repair"])
      try await server.refuse(
        ["partition", "repair", "tank/disk"], saying: ["Nothing was done", "write the primary GPT from the backup copy"])
      let plan = try await server.succeed("partition", "repair", "tank/disk", "--dry-run")
      #expect(plan.contains("would:\n  write the primary GPT from the backup copy to sector 1"))
      #expect(try await server.spaceport("partition", "verify", "tank/disk").status == 1, "the plan wrote nothing")
      #expect(try await server.succeed("partition", "repair", "tank/disk", "--yes").contains("is repaired"))
      #expect(try await server.succeed("partition", "verify", "tank/disk").contains("nothing is wrong"))
      #expect(try await succeed("sgdisk", "-v", PartitionClient.fetch("tank/disk", of: server)).contains("No problems found"))
      #expect(try await server.succeed("partition", "repair", "tank/disk", "--yes").contains("nothing to repair"))
      try await succeed("qemu-io", "-f", "raw", uri, "-c", "write -P 0xA5 512 512", "-c", "write -P 0xA5 1073741312 512")
      try await server.refuse(["partition", "repair", "tank/disk", "--yes"], saying: ["Neither copy"])
    }
  }

  @Test func masterBootRecordsAreShownAndServedAndNotChanged() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      let script = "label: dos\nsize=20MiB, type=83, bootable\nsize=30MiB, type=82\n"
      try await PartitionClient.change("tank/disk", of: server, by: ["sfdisk"], input: script)
      let table = try await server.table("tank/disk")
      #expect(table.kind == "mbr" && table.partitions.map(\.type) == ["83", "82"] && table.partitions[0].attributes == ["active"])
      #expect(try await succeed("nbdinfo", "--size", server.uri("tank/disk/2")) == "\(30 << 20)\n")
      for arguments in [
        ["create", "tank/disk", "--largest-free"], ["delete", "tank/disk", "1", "--yes"], ["repair", "tank/disk", "--yes"],
      ] {
        try await server.refuse(["partition"] + arguments, saying: ["MBR"])
      }
      #expect(try await server.table("tank/disk").partitions.count == 2)
      // A hybrid table of sgdisk: shown, and neither part of it changed.
      try await PartitionClient.change("tank/disk", of: server, by: ["sgdisk", "-Z"])
      try await PartitionClient.change("tank/disk", of: server, by: ["sgdisk", "-o", "-n", "1:0:+16M", "-h", "1"])
      #expect(try await server.table("tank/disk").kind == "hybrid")
      try await server.refuse(["partition", "create", "tank/disk", "--largest-free"], saying: ["MBR names partitions beside the GPT"])
    }
  }

  @Test func aGrownDiskGetsItsBackupAtTheNewEnd() async throws {
    try await SpaceportServer.run { server in
      try await server.makePool()
      try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB")
      try await server.succeed("partition", "init", "tank/disk")
      try await server.succeed("partition", "create", "tank/disk", "--largest-free", "--label", "data")
      let holder = try await PartitionHolder(server, export: "tank/disk/data")
      let grown = try await server.succeed("vdisk", "resize", "tank/disk", "--size", "2GiB")
      #expect(grown.contains("backup of the partition table was moved") && grown.contains("partition resize tank/disk"))
      try await server.succeed("partition", "verify", "tank/disk")
      #expect(try await server.table("tank/disk").largestFreeBytes > 1000 << 20)
      try await server.succeed("partition", "resize", "tank/disk", "data")
      try await holder.waitForRounds(3)
      try await holder.leave()
      let size = try await server.table("tank/disk").partitions[0].sizeBytes
      #expect(size > 2030 << 20)
      #expect(try await succeed("nbdinfo", "--size", server.uri("tank/disk/data")) == "\(size)\n")
      #expect(try await succeed("sgdisk", "-v", PartitionClient.fetch("tank/disk", of: server)).contains("No problems found"))
      try await server.refuse(["vdisk", "resize", "tank/disk", "--size", "1GiB"], saying: ["cannot shrink"])
      // A damaged table is left as it is, and that is said.
      try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 0xA5 1024 512")
      #expect(try await server.succeed("vdisk", "resize", "tank/disk", "--size", "3GiB").contains("left as it is: The table is damaged"))
    }
  }
}
