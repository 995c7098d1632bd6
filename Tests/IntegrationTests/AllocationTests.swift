import Foundation
import TestSupport
import Testing

/// The data path allocates nothing per request: slots, buffers and tasks are made as depth grows and kept. Counted, not timed.
@Suite(.serialized) struct AllocationTests {
  private static let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Clients/count_malloc.c")
    .path

  @Test(arguments: ["randread", "randwrite"]) func requestsAllocateNothing(pattern: String) async throws {
    let server = try SpaceportServer()
    let library = server.directory.file("count.so")
    try await succeed("clang", "-O1", "-shared", "-fPIC", "-o", library, AllocationTests.source, "-ldl")
    let counter = server.directory.file("count")
    try await server.start(environment: ["LD_PRELOAD": library, "COUNT_MALLOC_FILE": counter])
    try await server.makePool(disks: 2)
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB", "--provisioning", "fixed")
    try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "write -P 1 0 64M", "-c", "flush")
    let short = try await allocations(of: 2_000, pattern, server, counter)
    let long = try await allocations(of: 22_000, pattern, server, counter)
    // The same connection and depth both times: what differs is 20,000 requests, and the seconds they take: the clock and the housekeeping
    // allocate a few a second.
    let perRequest = Double(max(0, long - short)) / 20_000
    #expect(perRequest < 0.1, "\(perRequest) allocations a request (\(short), then \(long))")
    try await server.stop()
  }

  private func allocations(of requests: Int, _ pattern: String, _ server: SpaceportServer, _ counter: String) async throws -> Int {
    let before = try read(counter)
    try await succeed(
      "fio", "--name=count", "--ioengine=nbd", "--uri=\(server.uri("tank/disk"))", "--rw=\(pattern)", "--bs=4k", "--size=64M",
      "--iodepth=16", "--norandommap", "--number_ios=\(requests)", "--io_size=1G")
    return try read(counter) - before
  }

  private func read(_ path: String) throws -> Int {
    let bytes = try #require(FileManager.default.contents(atPath: path))
    return bytes.withUnsafeBytes { Int($0.loadUnaligned(as: UInt64.self)) }
  }
}
