import Management
import Testing

@testable import spaceport

struct OutputTests {
  @Test func tablesAreAligned() {
    var table = Table(.left("NAME"), .right("SIZE"), .left("STATE"))
    table.add("tank", "10 GiB", "ok")
    table.add("größe", "1 B", "")
    table.add("evil\u{1b}[2J\u{202e}", "0 B", "ok")
    #expect(
      table.text == #"""
        NAME                     SIZE  STATE
        tank                   10 GiB  ok
        größe                     1 B
        evil\u{1b}[2J\u{202e}     0 B  ok
        """#)
  }

  @Test(arguments: [
    (0, "0"), (9_999_999, "9999999"), (10_000_000, "10.0M"), (123_456_789, "123M"), (1_234_567_890, "1.23G"), (UInt64.max, "18.4E"),
  ])
  func countsAreShort(value: UInt64, text: String) {
    #expect(Figures.count(value) == text)
  }

  @Test(arguments: [
    (0, "0 ns"), (999, "999 ns"), (1_000, "1.00 µs"), (81_250, "81.2 µs"), (1_005_000, "1.00 ms"), (612_000_000, "612 ms"),
    (1_500_000_000, "1.50 s"), (UInt64.max, "18446744073 s"),
  ])
  func latenciesHaveThreeDigits(nanoseconds: UInt64, text: String) {
    #expect(Figures.latency(nanoseconds: nanoseconds) == text)
  }

  @Test(arguments: [(0.5, "0 s"), (61, "1 min 1 s"), (3723.5, "1 h 2 min"), (90_000, "1 d 1 h"), (-1, "?"), (.nan, "?"), (1e300, "?")])
  func durationsAreReadable(seconds: Double, text: String) {
    #expect(Figures.duration(seconds: seconds) == text)
  }

  @Test func poolsShowReasonAndNextStep() {
    var waiting = Samples.pool("cold", disks: ["/a"], state: .starting)
    waiting.reason = "1 of 2 disks is missing: /b"
    waiting.nextStep = "Bring it back"
    #expect(
      ObjectTables.pools([Samples.pool("tank", disks: ["/x", "/y", "/z"]), waiting]) == """
        NAME  STATE     CAPACITY  ALLOCATED    FREE     SLAB  DISKS  VDISKS
        tank  ok          30 GiB   1.50 GiB  27 GiB  256 MiB      3       0
        cold  starting    30 GiB   1.50 GiB  27 GiB  256 MiB      1       0
        cold: 1 of 2 disks is missing: /b. Bring it back
        """)
  }

  @Test func aPoolIsShownWithItsDisks() {
    #expect(
      ObjectTables.pool(Samples.pool("tank", disks: ["/srv/a.img"])) == """
        Name:           tank
        UUID:           1f1e1d1c-1b1a-4918-9716-151413121110
        State:          ok
        Capacity:       30 GiB
        Allocated:      1.50 GiB
        Free:           27 GiB
        Slab size:      256 MiB
        Features:       none
        Virtual disks:  none

        PATH        POOL  KIND  I/O       SIZE  ALLOCATED   FREE  SECTOR    ROLE   HEALTH   UUID
        /srv/a.img  tank  file  direct  10 GiB    512 MiB  9 GiB  512/4096  voter  healthy  0f0e0d0c-0b0a-4908-8706-050403020100
        """)
  }

  @Test func virtualDisksAreShown() {
    let disk = Samples.virtualDisk(CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 1 << 40))
    #expect(
      ObjectTables.virtualDisks([disk]) == """
        NAME       STATE   SIZE  ALLOCATED  PROVISIONING  RESILIENCY  COLUMNS  INTERLEAVE  SECTOR  CLIENTS
        tank/data  ok     1 TiB    768 MiB  thin          simple            3     256 KiB     512        0
        """)
    #expect(ObjectTables.virtualDisk(disk).contains("Size:          1 TiB (1099511627776 bytes)"))
  }

  @Test func poolsThatWaitAreExplainedBelowTheVirtualDisks() {
    var waiting = Samples.pool("cold", disks: ["/a"], state: .incomplete)
    waiting.reason = "1 of 2 disks is missing: /b"
    waiting.nextStep = "Bring it back"
    #expect(
      ObjectTables.virtualDisks([], waiting: [waiting]) == "No virtual disks are served.\ncold: 1 of 2 disks is missing: /b. Bring it back")
    let disk = Samples.virtualDisk(CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 1 << 40))
    let lines = ObjectTables.virtualDisks([disk], waiting: [waiting]).split(separator: "\n")
    #expect(lines.count == 3 && lines.last == "cold: 1 of 2 disks is missing: /b. Bring it back")
  }

  @Test func theStackIsATreeOfAtMost120Columns() {
    let text = StackTree(roots: [Samples.stack(export: "tank/data")]).text
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 120 })
    #expect(
      text == """
        LAYER                                                  OP     REQUESTS     BYTES  ERRORS  NOW     MEAN      P50      P99
        NBDServer tank/data                                    idle
        └─ VirtualDisk tank/data                               read    1234567  4.70 GiB       0    1   640 µs   576 µs  3.20 ms
           │                                                   write        12    48 KiB       0    1  2.50 µs  2.25 µs  12.5 µs
           │                                                   flush         2         -       0    1   1.50 s   1.35 s   7.50 s
           │                                                   trim          1     1 TiB       0    1     5 ns     4 ns    25 ns
           │                                                   zero      10.0M     512 B       0    1   999 ns   899 ns  4.99 µs
           └─ Pool tank                                        idle
              ├─ StorageBus                                    read    1234567  4.70 GiB       0    1   612 µs   550 µs  3.06 ms
              │  └─ PhysicalDisk /srv/disks/a.img              read     600000  2.28 GiB       0    1  81.2 µs  73.1 µs   406 µs
              │                                                write        12    48 KiB       0    1   950 ns   855 ns  4.75 µs
              └─ StorageBus                                    read    1234567  4.70 GiB       0    1   612 µs   550 µs  3.06 ms
                 └─ PhysicalDisk …dy/would/choose/disks/b.img  read     634567  2.42 GiB       3    1  1.25 ms  1.12 ms  6.25 ms
        """)
  }

  @Test func lossesAreSpelledOut() {
    let disks = ["data", "logs"].map { Samples.virtualDisk(CreateVirtualDisk(pool: "tank", name: $0, sizeBytes: 1 << 30)) }
    #expect(
      Loss.ofPool(Samples.pool("tank", disks: ["/a", "/b"]), disks).description
        == "Nothing was done: pool tank on /a, /b holds 2 virtual disks, data (1 GiB), logs (1 GiB), with 1.50 GiB allocated, and all of it"
        + " would be lost. Repeat the command with --yes to destroy it.")
    var busy = disks[0]
    busy.clientCount = 1
    #expect(
      Loss.ofVirtualDisk(busy).description
        == "Nothing was done: virtual disk tank/data of 1 GiB, with 768 MiB allocated, would be lost; 1 client is connected to it."
        + " Repeat the command with --yes to delete it.")
  }

  @Test(arguments: [
    ("/x", "a", "/x/a"), ("/", "a", "/a"), ("/x", "./a", "/x/a"), ("/x", ".", "/x"), ("/x", "../a", "/x/../a"), ("/x", ".//a", "/x/a"),
    ("/x", "./\u{301}a", "/x/\u{301}a"),
  ])
  func relativePathsAreJoined(directory: String, path: String, joined: String) {
    #expect(Paths.joined(directory, path) == joined)
  }
}
