import Foundation
import TestSupport
import Testing

/// A pool is known by what is on its disks, never by their order or their paths.
@Suite(.serialized) struct DiskOrderTests {
  @Test func aMirrorOpensFromItsDisksInEveryOrder() async throws {
    try await SpaceportServer.run { server in
      let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
      try await server.createMirror()
      try await write(server, 0x11)
      for (index, order) in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].enumerated() {
        try await server.succeed("pool", "close", "tank")
        try await server.succeed(["pool", "open"] + order.map { disks[$0] })
        try await check(server, 0x11 + index)
        try await write(server, 0x11 + index + 1)
      }
      let pool = try await server.pool()
      #expect(pool.disks.map(\.path) == disks && pool.state == "ok" && pool.health == "healthy")
      try await server.expectCleanScrub()
    }
  }

  @Test func linksLeadToTheSameDisk() async throws {
    try await SpaceportServer.run { server in
      let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
      try await server.createMirror()
      try await write(server, 0x21)
      try await server.succeed("pool", "close", "tank")
      let symbolic = try disks.map { disk in
        try FileManager.default.createSymbolicLink(atPath: disk + "-symbolic", withDestinationPath: disk)
        return disk + "-symbolic"
      }
      let hard = disks[1] + "-hard"
      try FileManager.default.linkItem(atPath: disks[1], toPath: hard)
      for twin in [hard, symbolic[1]] {
        try await server.refuse(["pool", "open", disks[0], disks[1], twin, disks[2]], saying: [disks[1], twin, "are the same disk"])
      }
      try await server.succeed("pool", "open", symbolic[2], symbolic[0], hard)
      try await check(server, 0x21)
      // By any of its names it is the pool's disk.
      try await server.refuse(["pool", "add", "tank", disks[1]], saying: [disks[1], "in use", "tank"])
      try await server.succeed("disk", "set", disks[1], "--usage", "hotspare")
      #expect(try await server.pool().disks.map(\.usage) == ["auto", "hotspare", "auto"])
      try await server.succeed("disk", "set", symbolic[1], "--usage", "auto")
      try await server.succeed("pool", "close", "tank")
      // One of several names may go, a directory may be scanned with all of them in it.
      try FileManager.default.removeItem(atPath: hard)
      try await server.succeed("pool", "open", "--scan", server.directory.path)
      try await check(server, 0x21)
    }
  }

  @Test func aDiskThatWasRenamedWhileTheServerWasStoppedIsFoundByAScan() async throws {
    let server = try SpaceportServer()
    try await server.start()
    let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
    try await server.createMirror()
    try await write(server, 0x31)
    try await server.stop()
    let moved = try FileManager.default.moved([disks[1]], suffix: "-moved")
    try await server.start()  // with the full wait: it is found before the pool goes on without it
    #expect(try await server.pool().state == "starting")
    try await server.succeed("pool", "open", "--scan", server.directory.path)
    let pool = try await server.pool()
    #expect(pool.state == "ok" && pool.disks.map(\.path) == [disks[0], moved[0], disks[2]])
    try await check(server, 0x31)
    // From now on that is where it lies.
    try await server.stop()
    try await server.start()
    #expect(try await server.pool().state == "ok")
    try await check(server, 0x31)
    try await server.stop()
  }

  @Test func aPoolIsOpenedAgainWhenTheStateDirectoryIsLost() async throws {
    let server = try SpaceportServer()
    try await server.start()
    let disks = try await server.makePool(disks: 3, diskByteCount: 256 << 20)
    try await server.createMirror()
    try await write(server, 0x41)
    try await server.end(SIGKILL)
    try FileManager.default.removeItem(atPath: server.stateDirectory)
    try await server.start()
    #expect(try await server.succeed("pool", "list").contains("No pools"))
    // Two of three are the majority; but while the third may be somewhere, only the operator can say that it is not.
    try await server.refuse(["pool", "open", disks[0], disks[2]], saying: ["Missing", disks[1], "--accept-loss"])
    try await server.succeed("pool", "open", "--scan", server.directory.path)
    #expect(try await server.pool().state == "ok")
    try await check(server, 0x41)
    try await server.expectCleanScrub()
    try await server.stop()
  }

  // MARK: Bytes

  private func write(_ server: SpaceportServer, _ pattern: Int) async throws {
    try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P \(pattern) 1M 40M", "-c", "flush")
  }

  private func check(_ server: SpaceportServer, _ pattern: Int) async throws {
    let read = try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "read -P \(pattern) 1M 40M")
    #expect(!read.contains("verification failed"), "\(read)")
  }
}
