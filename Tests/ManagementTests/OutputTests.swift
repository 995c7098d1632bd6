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
        NAME  STATE     HEALTH   CAPACITY  ALLOCATED    FREE     SLAB  DISKS  VDISKS
        tank  ok        healthy    30 GiB   1.50 GiB  27 GiB  256 MiB      3       0
        cold  starting  healthy    30 GiB   1.50 GiB  27 GiB  256 MiB      1       0
        cold: 1 of 2 disks is missing: /b. Bring it back
        """)
  }

  @Test func aPartitionTableIsShown() {
    var table = Samples.partitionTable(VirtualDiskPath(pool: "tank", name: "data"))
    table.findings = ["the backup GPT is not usable: there is no header at sector 9"]
    table.wholeDiskClientCount = 1
    #expect(
      PartitionOutput.table(table) == """
        Virtual disk:  tank/data
        Table:         GPT
        Disk ID:       616E48F4-2982-4B11-9FE8-4B57D9B8242D
        Sector size:   512
        Alignment:     3 MiB
        Free:          5 GiB, the largest range 4 GiB

        PART  FIRST SECTOR  LAST SECTOR   SIZE  TYPE   LABEL  ATTRIBUTES  CLIENTS  UUID
           1          6144      2103295  1 GiB  efi    esp    required,5        1  06cb42d1-2603-42f7-b5f9-493786d45438
           7       2107392      2109439  1 MiB  linux  -      -                 0  -
        Wrong: the backup GPT is not usable: there is no header at sector 9
        A client that has the whole disk attached sees a changed table when it reads it again (blockdev --rereadpt, partprobe).
        """)
  }

  @Test func whatIsToBeDoneIsSaidToThoseWhoHaveAResizedPartitionOpen() {
    let before = Samples.partitionTable(VirtualDiskPath(pool: "tank", name: "data"))
    var after = before
    #expect(PartitionOutput.remark(onResizing: before, to: after) == nil)
    after.partitions[1].sizeBytes += 1
    #expect(PartitionOutput.remark(onResizing: before, to: after) == nil, "it has no clients")
    after.partitions[0].sizeBytes -= 1
    #expect(PartitionOutput.remark(onResizing: before, to: after) == nil, "it has shrunk")
    after.partitions[0].sizeBytes += 2
    let remark = PartitionOutput.remark(onResizing: before, to: after)
    #expect(remark?.contains("spaceport volume resize tank/data/1 --size ") == true)
  }

  @Test func aDiskWithoutATableIsNotSaidToBeSound() {
    var table = Samples.partitionTable(VirtualDiskPath(pool: "tank", name: "data"))
    #expect(PartitionOutput.verification(table).contains("nothing is wrong"))
    for kind in [PartitionTableInfo.Kind.none, .bootSector] {
      table.kind = kind
      #expect(PartitionOutput.verification(table) == "tank/data has no partition table.")
    }
    table.findings = ["sector 0 cannot be read"]
    #expect(PartitionOutput.verification(table) == "Wrong: sector 0 cannot be read")
  }

  @Test func aCacheDiskThatIsUsedInPartSaysSo() {
    var disk = CacheDiskReport(
      pool: "tank", path: "/dev/sdx", number: 4, isUsed: true, pageBytes: 64 << 10, pages: 100, memoryBytes: 18_400)
    #expect(!CacheTables.cache(CacheInfo(cacheDisks: [disk])).contains("Idle"))
    disk.idleBytes = 3 << 40
    #expect(CacheTables.cache(CacheInfo(cacheDisks: [disk])).contains("3 TiB of the disk: to know more pages would take more memory"))
  }

  @Test func aPoolIsShownWithItsDisks() {
    var pool = Samples.pool("tank", disks: ["/srv/a.img"])
    pool.remaining = [PoolInfo.RemainingRoom(copies: 1, bytes: 27 << 30), PoolInfo.RemainingRoom(copies: 2, bytes: 13 << 30)]
    pool.reserveBytes = 1 << 30
    pool.isReserveMet = false
    pool.warnings = ["Too full."]
    #expect(
      ObjectTables.pool(pool) == """
        Name:               tank
        UUID:               1f1e1d1c-1b1a-4918-9716-151413121110
        State:              ok
        Health:             healthy
        Capacity:           30 GiB
        Allocated:          1.50 GiB
        Free:               27 GiB
        Room for simple:    27 GiB
        Room for 2 copies:  13 GiB
        Reserve:            1 GiB, not met
        Slab size:          256 MiB
        Features:           none
        Virtual disks:      none
        Warning:            Too full.

        PATH        POOL  DISK  KIND  I/O       SIZE  ALLOCATED   FREE  SECTOR    ROLE   USAGE  CACHE  HEALTH   STATE  UUID
        /srv/a.img  tank     -  file  direct  10 GiB    512 MiB  9 GiB  512/4096  voter  auto   -      healthy  ok     0f0e0d0c-0b0a-4908-8706-050403020100
        """)
  }

  @Test func aMissingDiskIsShownWithReasonAndNextStep() {
    var disk = Samples.disk("/srv/b.img", pool: "tank")
    disk.number = 2
    disk.health = .warning
    disk.state = .lostCommunication
    disk.usage = .hotspare
    disk.reason = "the pool goes on without it"
    disk.nextStep = "Bring it back"
    let text = ObjectTables.disks([disk])
    #expect(text.contains(" hotspare  -      warning  lost communication  ") && text.contains("/srv/b.img  tank     2  "))
    #expect(text.hasSuffix("\n/srv/b.img: the pool goes on without it. Bring it back"))
  }

  @Test func virtualDisksAreShown() {
    let disk = Samples.virtualDisk(CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 1 << 40))
    #expect(
      ObjectTables.virtualDisks([disk]) == """
        NAME       STATE  HEALTH    SIZE  ALLOCATED  PROVISIONING  RESILIENCY  COPIES  COLUMNS  INTERLEAVE  SECTOR  CLIENTS
        tank/data  ok     healthy  1 TiB    768 MiB  thin          simple           1        3     256 KiB     512        0
        """)
    #expect(ObjectTables.virtualDisk(disk).contains("Size:          1 TiB (1099511627776 bytes)"))
    var mirror = Samples.virtualDisk(CreateVirtualDisk(pool: "tank", name: "m", sizeBytes: 1 << 40, resiliency: .mirror, copies: 3))
    mirror.state = .inService
    mirror.reason = "one copy is away"
    mirror.nextStep = "Wait"
    let text = ObjectTables.virtualDisk(mirror)
    for line in ["State:         in service", "Copies:        3", "Resiliency:    mirror", "Next step:     Wait"] {
      #expect(text.contains(line), "\(line) is not in: \(text)")
    }
  }

  @Test func jobsAreShown() {
    var job = JobInfo(
      pool: "tank", number: 7, kind: .repair, state: .running, percent: 45.37, doneBytes: 1 << 30, totalBytes: 2 << 30,
      bytesPerSecond: 120 << 20, secondsLeft: 75, startedSeconds: 1_700_000_000)
    #expect(
      JobTables.jobs([job]) == """
        POOL  JOB  KIND    STATE     DONE  BYTES     OF       RATE        LEFT  DISK
        tank    7  repair  running  45.3%  1 GiB  2 GiB  120 MiB/s  1 min 15 s  -
        """)
    #expect(
      JobTables.bar(job, width: 200)
        == "tank 7 repair [##########--------------]  45.3% 1 GiB of 2 GiB, 120 MiB/s, 1 min 15 s left")
    #expect(JobTables.bar(job, width: 40).count == 39)
    #expect(JobTables.line(job) == "tank 7 repair running 45%")
    job.kind = .retire
    job.disk = "/srv/a.img"
    job.state = .suspended
    job.message = "No room."
    #expect(JobTables.line(job) == "tank 7 retire of /srv/a.img suspended 45%: No room.")
    #expect(JobTables.jobs([job]).hasSuffix("\ntank 7: No room."))
    job.percent = .nan
    #expect(JobTables.bar(job, width: 200) == "tank 7 retire [------------------------]   0.0% suspended: No room.")
    #expect(JobTables.jobs([]) == "No jobs.")
  }

  @Test func eventsAreShown() {
    let event = EventInfo(
      pool: "tank", number: 1, seconds: 1_700_000_000, severity: .error, name: "diskEvicted", disk: "/a", message: "It is gone.\u{1b}")
    #expect(
      JobTables.events([event]) == #"""
        TIME (UTC)           POOL  SEVERITY  EVENT        MESSAGE
        2023-11-14 22:13:20  tank  error     diskEvicted  It is gone.\u{1b}
        """#)
    #expect(JobTables.events([]) == "No events.")
  }

  @Test(arguments: [
    (1, "1970-01-01 00:00:01"), (951_782_399, "2000-02-28 23:59:59"), (951_782_400, "2000-02-29 00:00:00"),
    (1_735_689_599, "2024-12-31 23:59:59"), (4_107_542_400, "2100-03-01 00:00:00"), (0, "-"), (UInt64.max, "-"),
  ])
  func datesAreThoseOfTheCalendar(seconds: UInt64, text: String) {
    #expect(Figures.date(secondsSince1970: seconds) == text)
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

  @Test func remarksLeaveTheLayersNameWhole() {
    var bus = Samples.stack(export: "tank/data").children[0].children[0].children[0]
    bus.label = "/srv/disks/a.img"
    bus.remarks = [
      "0 of 32 requests at a time", "latency 233 µs of at most 100 ms", "much lies idle: to know of it would take more memory",
    ]
    bus.children[0].remarks = ["direct I/O"]
    #expect(
      StackTree(roots: [bus]).text == """
        LAYER                                          OP     REQUESTS     BYTES  ERRORS  NOW     MEAN      P50      P99
        StorageBus /srv/disks/a.img                    read    1234567  4.70 GiB       0    1   612 µs   550 µs  3.06 ms
        │  0 of 32 requests at a time
        │  latency 233 µs of at most 100 ms
        │  much lies idle: to know of it would take more memory
        └─ PhysicalDisk /srv/disks/a.img (direct I/O)  read     600000  2.28 GiB       0    1  81.2 µs  73.1 µs   406 µs
                                                       write        12    48 KiB       0    1   950 ns   855 ns  4.75 µs
        """)
  }

  @Test func labelsWithoutAnExportAreTold() {
    var table = Samples.partitionTable(VirtualDiskPath(pool: "tank", name: "data"))
    table.wholeDiskClientCount = 0
    #expect(!PartitionOutput.table(table).contains("names no export"))
    for (label, why) in [("a/b", "slash"), ("17", "number"), ("esp", "another partition")] {
      table.partitions[1].label = label
      table.partitions[1].exports = ["tank/data/7"]
      table.partitions[0].exports = ["tank/data/1"] + (label == "esp" ? [] : ["tank/data/esp"])
      let text = PartitionOutput.table(table)
      #expect(text.contains("\"\(label)\" of partition 7 names no export") && text.contains(why) && text.contains("use tank/data/7."))
      #expect(text.contains("of partition 1 names") == (label == "esp"))
    }
    for index in table.partitions.indices { table.partitions[index].exports = [] }
    table.findings = ["the primary GPT is not usable"]
    #expect(PartitionOutput.table(table).contains("None of the partitions is served"))
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
